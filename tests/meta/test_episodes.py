"""Episodes: distinct images, even classes, decided by their number; the cache returns what the backbone gave."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from distillfss.backbones import load_backbone
from distillfss.meta.cache import FeatureCache, row_bytes
from distillfss.meta.episodes import LEAST_SHARE, ClassIndex, Episode, Sampler, load, validation_episodes
from distillfss.meta.model import EpisodeModel
from distillfss.meta.scores import Scores
from distillfss.meta.sources import ViewInfo
from distillfss.models.probe import probe_weights
from distillfss.models.standardize import standardized, statistics
from distillfss.models.teacher import Teacher
from distillfss.training.losses import segmentation_loss

SIZE = 64


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("efficientnet_lite0")


def picture(number: int) -> tuple[torch.Tensor, np.ndarray]:
    random = torch.Generator().manual_seed(number)
    mask = np.zeros((SIZE, SIZE), np.int16)
    mask[10:40, 20:50] = number % 3 + 1
    mask[0, :5] = -1
    return torch.rand(3, SIZE, SIZE, generator=random) * 255, mask


@pytest.fixture
def cache(tmp_path, backbone):
    made = FeatureCache(tmp_path / "cache", "x", 12, backbone.layers, SIZE, picture, backbone)
    made.prepare()
    made.open()
    for number in made.missing():
        made.fill(number)
    return made


def test_the_cache_returns_what_the_backbone_gave(cache, backbone):
    image, mask = picture(7)
    wanted = backbone(image[None])
    found = cache[7]
    for got, want in zip(found.features, wanted, strict=True):
        # 16 bits carry 11 binary digits
        torch.testing.assert_close(got.float(), want[0], rtol=2**-10, atol=2**-20)
    assert (found.mask.numpy() == mask).all()
    areas = cache.areas(7, 5)
    assert areas.tolist() == pytest.approx([0, 900 / 4096, 0, 0, 0])


def test_a_view_takes_the_bytes_it_is_said_to(cache, tmp_path, backbone):
    on_disk = sum((tmp_path / "cache" / f"{name}.npy").stat().st_size for name in ("features", "masks"))
    assert on_disk == pytest.approx(12 * row_bytes(backbone.layers, SIZE), abs=300)


def test_a_cache_is_kept_filled_up_or_replaced(cache, tmp_path, backbone):
    def reopened(identity):
        again = FeatureCache(tmp_path / "cache", identity, 12, backbone.layers, SIZE, picture, backbone)
        again.prepare()
        again.open()
        return again

    assert reopened("x").missing() == []
    done = np.load(tmp_path / "cache" / "done.npy", mmap_mode="r+")
    done[3] = 0
    done.flush()
    assert reopened("x").missing() == [3]
    assert reopened("another backbone").missing() == list(range(12))
    (tmp_path / "cache" / "about").write_bytes(b"\xff")
    assert reopened("x").missing() == list(range(12))
    assert (tmp_path / "cache" / "features.npy").stat().st_blocks * 512 >= 12 * 20_000  # reserved, not sparse


def index_of(areas: dict[int, dict[int, float]], images: dict[int, int], classes: int = 4) -> ClassIndex:
    views = [ViewInfo(images[number], number) for number in sorted(areas)]
    rows = [np.array([areas[number].get(c, 0.0) for c in range(classes)]) for number in sorted(areas)]
    return ClassIndex(views, range(len(views)), rows)


@pytest.fixture
def index():
    # views 2i and 2i + 1 are of image i; image i shows class i % 3, and class 3 a little
    areas = {number: {(number // 2) % 3: 0.2, 3: LEAST_SHARE * 0.9} for number in range(60)}
    return index_of(areas, {number: number // 2 for number in range(60)})


def test_classes_too_small_or_in_one_image_only_are_not_asked_for(index):
    assert index.classes == [0, 1, 2]
    assert index.images(1) == 10
    alone = index_of({0: {0: 0.5}, 1: {0: 0.5}, 2: {1: 0.5}, 3: {1: 0.5}}, {0: 0, 1: 0, 2: 1, 3: 2})
    assert alone.classes == [1]  # both views of class 0 are of one image


def test_query_and_support_are_different_images_that_show_the_class(index):
    sampler = Sampler(index, 4, max_shots=5, scene_share=0.0, absent_share=0.0, blind_share=0.0, seed=3)
    shots = Counter()
    classes = Counter()
    for number in range(600):
        episode = sampler(number)
        images = [view // 2 for view in (episode.query, *episode.support)]
        assert len(set(images)) == len(images)
        assert all(image % 3 == episode.wanted for image in images)
        shots[len(episode.support)] += 1
        classes[episode.wanted] += 1
    assert set(shots) == {1, 2, 3, 4, 5}
    assert min(shots.values()) > 80  # 120 expected
    assert min(classes.values()) > 160  # 200 expected


def test_an_episode_follows_from_its_number(index):
    one, two = (
        Sampler(index, 4, max_shots=5, scene_share=0.0, absent_share=0.1, blind_share=0.0, seed=3) for _ in range(2)
    )
    assert [one(n) for n in (5, 2, 9)] == [two(n) for n in (5, 2, 9)]
    assert one(5) != Sampler(index, 4, max_shots=5, scene_share=0.0, absent_share=0.1, blind_share=0.0, seed=4)(5)


def test_scenes_and_absent_queries_come_as_often_as_asked(index):
    sampler = Sampler(index, 2, max_shots=2, scene_share=0.25, absent_share=0.3, blind_share=0.5, seed=0)
    episodes = [sampler(n) for n in range(1000)]
    scenes = sum(e.wanted >= 2 for e in episodes)
    absent = sum(e.query // 2 % 3 != e.wanted for e in episodes)
    assert scenes == pytest.approx(250, abs=50)
    assert absent == pytest.approx(300, abs=55)
    assert sum(e.blind for e in episodes) == pytest.approx(500, abs=60)


def test_validation_goes_through_the_classes_in_turn(index):
    episodes = validation_episodes(index, 9, 5, 0)
    assert [e.wanted for e in episodes] == [0, 1, 2] * 3
    assert validation_episodes(index, 9, 10, 0) == []  # ten images are nine shots and a query


def test_load_gives_masks_of_the_class_asked_for(cache):
    data = load(cache, Episode(query=1, support=(4, 6), wanted=1), torch.device("cpu"))
    assert [f.shape[0] for f in data.query] == [1] * 6
    assert [f.shape[0] for f in data.support] == [2] * 6
    assert data.target.unique().tolist() == [0, 1, 255]
    assert int((data.target == 1).sum()) == 900
    assert data.masks.shape == (2, 1, SIZE, SIZE)
    assert data.masks.nansum((1, 2, 3)).tolist() == [900, 0]  # picture 6 shows class 0
    assert int(data.masks.isnan().sum()) == 10


def test_episodes_side_by_side_equal_episodes_one_by_one(cache, backbone):
    torch.manual_seed(0)
    model = EpisodeModel(Teacher(backbone.layers)).requires_grad_(False)
    device = torch.device("cpu")
    episodes = [load(cache, e, device) for e in (Episode(1, (4,), 1), Episode(2, (5, 8), 2), Episode(0, (3, 6, 9), 0))]
    together = model.answer(episodes)
    for place, episode in enumerate(episodes):
        means, stds = statistics([episode.support])
        query = standardized(episode.query, means, stds)
        support = standardized(episode.support, means, stds)
        probe = probe_weights(support, episode.masks, backbone.layers)
        tokens = model.teacher.support_tokens(support, episode.masks, probe)
        alone = model.teacher(query, tokens)[0][:, 0]
        torch.testing.assert_close(together[place : place + 1], alone, rtol=1e-4, atol=1e-5)
    target = torch.cat([e.target for e in episodes])[:, 1::2, 1::2]
    unprobed = model.answer(episodes, probed=False)
    logits = torch.nn.functional.interpolate(unprobed, target.shape[-2:], mode="bilinear", align_corners=False)
    wanted = sum(float(segmentation_loss(logits[i : i + 1], target[i : i + 1])) for i in range(3)) / 3
    assert float(model(episodes)) == pytest.approx(wanted, rel=1e-5)


def test_a_blind_episode_is_answered_from_the_coarse_maps_alone(cache, backbone):
    torch.manual_seed(0)
    model = EpisodeModel(Teacher(backbone.layers)).requires_grad_(False)
    device = torch.device("cpu")
    seeing, blind = (load(cache, Episode(1, (4,), 1, blind=b), device) for b in (False, True))
    assert not torch.equal(model.answer([seeing]), model.answer([blind]))
    before = model.answer([blind])
    for parameter in model.teacher.mixer.context.parameters():
        parameter.add_(1)
    assert torch.equal(model.answer([blind]), before)


def test_scores_by_hand():
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0] = 1  # the upper row is foreground
    scores = Scores(3)
    scores.add(2, logits, torch.tensor([[[1, 0], [1, 255]]], dtype=torch.uint8))
    scores.add(2, logits, torch.tensor([[[1, 1], [0, 0]]], dtype=torch.uint8))
    scores.add(0, -logits, torch.tensor([[[1, 1], [0, 0]]], dtype=torch.uint8))
    # class 2: intersection 1 + 2, union 3 + 2; class 0 is all wrong
    assert scores.per_class() == {0: pytest.approx(0.0), 2: pytest.approx(3 / 5)}
    assert scores.mean() == pytest.approx(0.3)
