"""Views of source folders and synthetic scenes: what they show, what they hide, how many there are."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import write_pair
from PIL import Image

from distillfss.errors import DataError, UsageError
from distillfss.meta.report import describe_source
from distillfss.meta.sources import MOST_VIEWS, SCENE_VIEWS, Sources, open_sources
from distillfss.meta.synthetic import SHAPES, blur, scene_view, shapes


def opened(sources, **changes):
    settings = {"hold_out": ["c"], "size": 64, "views": 2.0, "scenes": 2, "seed": 0, **changes}
    return Sources(open_sources(sources), **settings)


def test_classes_of_one_name_are_one_class(sources):
    assert opened(sources).class_names == ("a", "b", "c", "d", "scene 0", "scene 1")


def test_sources_may_be_annotated_in_other_formats(tmp_path):
    """The same two classes as black-and-white masks, one folder per class, and as index masks."""
    random = np.random.default_rng(0)
    index = tmp_path / "index"
    for number in range(4):
        image, mask = random.integers(0, 256, (40, 50, 3), np.uint8), np.zeros((40, 50), np.uint8)
        mask[5:20, 5:30] = 1 + number % 2
        write_pair(index, f"{number}", image, mask)
        label = "ab"[number % 2]
        write_pair(tmp_path / "binary", f"{number}", image, mask)
        (tmp_path / "binary" / "masks" / label).mkdir(exist_ok=True)
        (tmp_path / "binary" / "masks" / f"{number}.png").unlink()
        Image.fromarray((mask > 0) * np.uint8(255)).save(tmp_path / "binary" / "masks" / label / f"{number}.png")
    (index / "meta.json").write_text('{"classes": ["background", "a", "b"]}')
    ours, theirs = (opened([tmp_path / name], hold_out=["b"]) for name in ("index", "binary"))
    assert theirs.class_names == ours.class_names
    assert theirs.views == ours.views
    for number in range(len(ours.views)):
        (image, mask), (image_too, mask_too) = ours.view(number), theirs.view(number)
        assert torch.equal(image, image_too)
        assert np.array_equal(mask, mask_too)


def test_held_out_pixels_are_ignored_in_training_and_shown_in_validation(sources):
    found = opened(sources)
    held = found.class_names.index("c") + 1
    training = [found.view(number)[1] for number in range(len(found.training))]
    assert not any((mask == held).any() for mask in training)
    first = len(found.training)
    validation = [found.view(first + i)[1] for i in range(len(found.validation))]
    assert len(validation) == 3  # images 2, 5 and 8 of the first folder
    assert all((mask == held).mean() > 0.05 for mask in validation)
    # images that show nothing but the held-out class have nothing to teach
    assert not {info.image for info in found.training} & {2, 5, 8}


def test_views_of_photographs_show_the_class_under_its_new_number_and_keep_ignored_pixels(sources):
    found = opened(sources, hold_out=[])
    for number, info in enumerate(found.training):
        if info.scene >= 0:
            continue
        folder, index = divmod(info.image, 9)
        name = (("a", "b", "c"), ("b", "d"))[folder][index % (3, 2)[folder]]
        values = set(np.unique(found.view(number)[1]).tolist())
        assert values <= {-1, 0, found.class_names.index(name) + 1}


def test_rare_classes_get_more_views(sources):
    found = opened(sources, hold_out=[], views=4.0)
    views = Counter(info.image for info in found.training if info.scene < 0)
    # a: 3 images, b: 3 + 5, c: 3, d: 4; every class gets the same number of views in all
    of_class = {"a": 0, "b": 0, "c": 0, "d": 0}
    for image, count in views.items():
        folder, index = divmod(image, 9)
        of_class[(("a", "b", "c"), ("b", "d"))[folder][index % (3, 2)[folder]]] += count
    assert max(of_class.values()) - min(of_class.values()) <= 8 * 0.5 + 1
    assert max(views.values()) <= MOST_VIEWS
    assert sum(views.values()) == pytest.approx(4 * 18, rel=0.1)


def test_no_more_views_than_the_cache_has_room_for(sources):
    assert len(opened(sources, views=8.0).views) > 60
    assert len(opened(sources, views=8.0, most_views=60).views) <= 60
    with pytest.raises(UsageError, match=r"no room for a view of each of 15 images\. Raise --cache-gb"):
        opened(sources, most_views=20)


def test_a_view_follows_from_its_number_and_the_seed(sources):
    one, two, other = opened(sources), opened(sources), opened(sources, seed=1)
    for number in (0, 5, len(one.training) - 1, len(one.views) - 1):
        assert torch.equal(one.view(number)[0], two.view(number)[0])
        assert (one.view(number)[1] == two.view(number)[1]).all()
    assert not torch.equal(one.view(0)[0], other.view(0)[0])


def test_what_cannot_be_held_out_is_named(sources):
    with pytest.raises(UsageError, match=r"no source has the class 'zebra'.*Choose from: a, b, c, d"):
        opened(sources, hold_out=["zebra"])
    with pytest.raises(DataError, match="no image shows a class to learn from"):
        opened(sources, hold_out=["a", "b", "c", "d"])


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("scale", [0.02, 0.1, 0.35])
def test_shapes_are_there_and_leave_background(kind, scale):
    for seed in range(5):
        share = float(shapes(kind, scale, 128, np.random.default_rng(seed)).float().mean())
        assert 0.002 < share < 0.6


def test_blur_keeps_the_mean_and_spreads_a_point():
    point = torch.zeros(41, 41)
    point[20, 20] = 1
    spread = blur(point, 2.0)
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    rows = torch.arange(41.0)
    # the variance of a Gaussian of 2 pixels, cut off at 2.5 deviations
    assert float((spread.sum(1) * (rows - 20) ** 2).sum()) == pytest.approx(4.0, rel=0.1)


def test_views_of_a_scene_differ_in_place_and_agree_in_look():
    def texture(random):
        return np.full((50, 60, 3), random.integers(0, 255, 3), np.uint8)

    for scene in range(8):
        views = [scene_view(scene, view, 0, 96, texture) for view in range(SCENE_VIEWS)]
        assert len({mask.numpy().tobytes() for _, mask in views}) == SCENE_VIEWS
        assert all(image.shape == (3, 96, 96) and image.min() >= 0 and image.max() <= 255 for image, _ in views)
        inside = [image[:, mask == 1].mean() - image[:, mask == 0].mean() for image, mask in views]
        # flat textures: foreground is always lighter, or always darker
        assert len({bool(difference > 0) for difference in inside if abs(difference) > 4}) <= 1


def test_the_card_counts_the_classes_that_the_masks_show(sources: list[Path], tmp_path: Path):
    one = tmp_path / "one"
    shutil.copytree(sources[0], one)
    assert describe_source(one) == "`one`, 9 images, 3 classes"
    about = {"classes": ["background", "a", "b", "c", "never", "nowhere"], "ignore_index": 255, "title": "Squares"}
    (one / "meta.json").write_text(json.dumps(about))
    assert describe_source(one) == "`one`, 9 images, 3 of 5 classes; title: Squares"
