"""Whether mirrored views are label-safe, against what is drawn and against computations by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from distillfss import FitConfig, SupportSet, evaluate
from distillfss.backbones.base import Layer
from distillfss.fit_run import FitRun
from distillfss.support import Sample
from distillfss.training import safe_views, self_training
from distillfss.training.augment import BOTH, Augmenter, Strength, View
from distillfss.training.pool import Encode
from distillfss.training.safe_views import LeftOut, safe_mirrors, safe_negatives

SIDE = 64
LAYERS = (Layer("fine", channels=2, stride=4), Layer("coarse", channels=1, stride=8))
STILL = Strength(
    flip=1, rotation=0, zoom=1, stretch=1, shift=0, brightness=0, contrast=1, saturation=1, tint=1, blur=0, invert=0
)


def encode(images: torch.Tensor) -> list[torch.Tensor]:
    """How light it is, and how far to the right: what a network knows of the border."""
    light = F.avg_pool2d(images[:, :1] / 128 - 1, 4)
    right = torch.linspace(-1, 1, light.shape[-1]).expand_as(light)
    return [torch.cat([light, right], 1), F.avg_pool2d(light, 2)]


def picture(blobs: list[tuple[int, int, int]]) -> View:
    """Light squares of 16 pixels at (x, y), each of a class, 0 for none, on dark grey."""
    image, mask = torch.full((3, SIDE, SIDE), 60.0), torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    for x, y, value in blobs:
        image[:, y : y + 16, x : x + 16] = 220
        mask[y : y + 16, x : x + 16] = value
    return View(image, mask, 0, 0)


def left_out(views: list[View], ways: int = 1, encode: Encode = encode) -> LeftOut:
    return LeftOut(views, [encode(view.image[None]) for view in views], encode, LAYERS, ways)


def safe(views: list[View], ways: int) -> tuple[bool, bool]:
    return safe_mirrors(left_out(views, ways))


def test_left_and_right_of_one_thing_in_a_single_image():
    assert safe([picture([(4, 20, 1), (44, 24, 2)])], 2) == (False, True)
    assert safe([picture([(20, 4, 1), (24, 44, 2)])], 2) == (True, False)
    assert safe([picture([(4, 4, 1), (44, 44, 2)])], 2) == BOTH, "the mirror image of neither lies where the other is"
    assert safe([picture([(4, 20, 1)])], 1) == BOTH, "a single image does not tell what a class is told from"


def test_the_other_side_of_a_class_that_is_known_already():
    view = picture([(44, 24, 1)])
    left, far = (picture([(x, y, 1)]).mask[None, None].float() for x, y in ((4, 20), (44, 44)))

    def beside(*known: torch.Tensor) -> tuple[bool, bool]:
        return safe_mirrors(left_out([view]), [torch.cat(known, 1)])

    assert beside(left) == (False, True)
    assert beside(far) == BOTH
    assert beside(left[..., ::2, ::2]) == (False, True), "whatever the grid"
    assert beside(far, far.flip(-1)) == BOTH, "what is known already may be as it likes"


def test_a_class_on_one_side_of_what_looks_the_same():
    heights = [4, 12, 20, 28, 36]
    one_side = [picture([(6, y, 1), (42, 40 - y, 0)]) for y in heights]
    assert safe(one_side, 1) == (False, True)
    anywhere = [picture([(x, y, 1)]) for x, y in zip([2, 40, 20, 44, 8], heights, strict=True)]
    assert safe(anywhere, 1) == BOTH


def test_what_chance_explains_is_no_reason():
    """One image of six loses all of its class when it is mirrored, the others nothing."""
    views = [picture([(x, y, 1)]) for x, y in zip([2, 40, 20, 44, 8, 30], [4, 12, 20, 28, 36, 40], strict=True)]
    odd = views[0].image.flip(-1)

    def encode_but_one(images: torch.Tensor) -> list[torch.Tensor]:
        return encode(images.flip(-2) if torch.equal(images[0], odd) else images)

    asked = left_out(views, encode=encode_but_one)
    counts = safe_views._counts_of_mirror_images(asked)
    (lost, *_), (error, *_) = safe_views._lost(counts)
    assert float(lost[0]) > safe_views.MOST_LOST > 0.1
    assert 0 < float(lost[0]) < safe_views.CHANCE[6 - 2] * float(error[0])
    assert safe_mirrors(asked) == BOTH


def test_standard_errors_are_those_of_the_jackknife():
    counts = np.random.default_rng(5).integers(1, 90, (7, 3, 2, 3)).astype(float)
    lost, error = (part.numpy() for part in safe_views._lost(torch.from_numpy(counts)))
    for axis in (1, 2):
        for value in (0, 1):

            def difference(rows, axis=axis, value=value):
                plain, mirrored = rows[:, 0, value].sum(0), rows[:, axis, value].sum(0)
                return plain[0] / plain.sum() - mirrored[0] / mirrored.sum()

            without = np.array([difference(np.delete(counts, i, 0)) for i in range(7)])
            assert lost[axis - 1, value] == pytest.approx(difference(counts), abs=1e-12)
            wanted = np.sqrt(6 / 7 * ((without - without.mean()) ** 2).sum())
            assert error[axis - 1, value] == pytest.approx(wanted, abs=1e-12)


def test_what_chance_explains_is_a_quantile_of_students_t():
    for place, errors in enumerate(safe_views.CHANCE):
        assert errors == pytest.approx(stats.t.ppf(0.95, df=place + 1), abs=0.006)
    assert len(safe_views.CHANCE) == safe_views.MOST_IMAGES - 1


def test_more_images_than_are_looked_at_change_nothing():
    views = [picture([(6, y % 40, 1), (42, 40 - y % 40, 0)]) for y in range(0, 7 * 30, 7)]
    asked = []

    def counted(images: torch.Tensor) -> list[torch.Tensor]:
        asked.append(len(images))
        return encode(images)

    plain = [encode(view.image[None]) for view in views]
    assert safe_mirrors(LeftOut(views, plain, counted, LAYERS, 1)) == (False, True)
    assert len(asked) == 2 * safe_views.MOST_IMAGES


@pytest.mark.parametrize(
    ("may", "axes"), [(BOTH, (-2, -1)), ((True, False), (-1,)), ((False, True), (-2,)), ((False, False), ())]
)
def test_views_are_mirrored_where_they_may_be(may, axes):
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = random.integers(0, 2, (64, 64), dtype=np.uint8)
    augmenter = Augmenter(SupportSet([Sample("a", image, mask)], ("it",)), 64, STILL)
    augmenter.mirrors = may
    for one in (augmenter, augmenter.at(STILL), augmenter.of(augmenter._images, augmenter._masks)):
        view = one.view(0, 3)
        assert torch.allclose(view.image, torch.from_numpy(image).permute(2, 0, 1).float().flip(axes), atol=0.01)
        assert torch.equal(view.mask, torch.from_numpy(mask).flip(axes))


def test_where_mirrors_are_not_safe_nothing_else_about_a_view_changes():
    random = np.random.default_rng(2)
    sample = Sample("a", random.integers(0, 256, (64, 64, 3), dtype=np.uint8), np.ones((64, 64), np.uint8))
    augmenter = Augmenter(SupportSet([sample], ("it",)), 64, Strength(flip=0))
    flipping = Augmenter(SupportSet([sample], ("it",)), 64, Strength(flip=1))
    flipping.mirrors = (False, False)
    for seed in range(5):
        assert torch.equal(augmenter.view(0, seed).image, flipping.view(0, seed).image)


@pytest.mark.parametrize(("may", "looks"), [(BOTH, 4), ((False, True), 2), ((True, False), 2), ((False, False), 1)])
def test_answers_look_at_no_mirror_image_that_is_not_safe(monkeypatch, may, looks):
    seen = []
    monkeypatch.setattr(
        self_training, "mean_answer", lambda student, tail, image, ways: seen.append(ways) or torch.ones(2, 4, 4)
    )
    self_training.own_answers(None, None, [torch.zeros(3, 4, 4)], may)  # type: ignore[arg-type]
    assert len(seen[0]) == looks
    mirrored = {axis for axes in seen[0] for axis in axes}
    assert mirrored == {axis for axis, can in zip((-1, -2), may, strict=True) if can}


def shades(dark: bool, count: int = 6) -> list[View]:
    """Mid-grey pictures with lighter squares, of class 1, and darker ones of nothing, all over the place."""
    views = []
    for number in range(count):
        random = np.random.default_rng(number)
        image, mask = torch.full((3, SIDE, SIDE), 128.0), torch.zeros(SIDE, SIDE, dtype=torch.uint8)
        for place, (x, y) in enumerate((x, y) for x in (4, 24, 44) for y in (4, 24, 44)):
            kind, by = (place + number) % 3, float(random.uniform(30, 100))
            image[:, y : y + 16, x : x + 16] += (by, -by * dark, 0)[kind]
            mask[y : y + 16, x : x + 16] = int(kind == 0)
        views.append(View(image, mask, number, number))
    return views


def contrast(images: torch.Tensor) -> list[torch.Tensor]:
    """How light it is, and how far from mid-grey, which is the same in a negative."""
    light = F.avg_pool2d(images[:, :1] / 128 - 1, 4)
    return [torch.cat([light, light.abs()], 1), F.avg_pool2d(light, 2)]


def test_negatives_are_safe_where_they_do_not_make_the_class_of_something_else():
    def asked(views: list[View], encode: Encode) -> bool:
        return safe_negatives(left_out(views, encode=encode))

    assert asked(shades(dark=False), contrast), "what stands out is the class, in a negative as well"
    assert not asked(shades(dark=True), encode), "what is dark is light in a negative"
    assert asked(shades(dark=True, count=1), encode), "a single image does not tell"


def test_no_view_is_a_negative_where_negatives_are_not_safe():
    sample = Sample("a", np.full((64, 64, 3), 200, np.uint8), np.ones((64, 64), np.uint8))
    one, two = (SupportSet([sample], names) for names in (("it",), ("it", "other")))
    always = Strength(0, 0, 1, 1, 0, 0, 1, 1, 1, 0, invert=1)
    augmenter = Augmenter(one, 64, always)
    assert float(augmenter.view(0, 1).image.mean()) == pytest.approx(55, abs=0.1)
    augmenter.negatives = False
    for kept in (augmenter, augmenter.at(replace(always, blur=0.1)), Augmenter(two, 64, always)):
        assert float(kept.view(0, 1).image.mean()) == pytest.approx(200, abs=0.1)
    assert not Augmenter(one, 64, always, alone=False).negatives


def left_and_right(count: int) -> SupportSet:
    """Two discs of one grey: the left one is class 1, the right one class 2."""
    y, x = np.mgrid[:128, :128]
    samples = []
    for number in range(count):
        random = np.random.default_rng(number)
        image, mask = random.normal(90, 12, (128, 128, 3)), np.zeros((128, 128), np.uint8)
        for value, centre in ((1, 34), (2, 94)):
            disc = np.hypot(y - 64 - random.normal(0, 10), x - centre - random.normal(0, 4)) < 20
            image[disc] += 90
            mask[disc] = value
        samples.append(Sample(f"n{number}", image.clip(0, 255).astype(np.uint8), mask))
    return SupportSet(samples, ("left", "right"))


def test_a_fit_tells_left_from_right_where_mirrored_views_would_not(monkeypatch):
    def fitted() -> tuple[FitRun, float]:
        run = FitRun(left_and_right(5), FitConfig(size=128, instant=True, estimate=False), lambda _: None)
        while not run.done:
            run.advance()
        new = SupportSet(left_and_right(13).samples[5:], ("left", "right"))
        return run, float(np.mean(evaluate(run.segmenter(), new).paper.iou))

    run, found = fitted()
    assert not run.ready.augmenter.mirrors[0]
    said = dict(zip(("left_right", "upside_down"), run.ready.augmenter.mirrors, strict=True))
    assert run.segmenter().summary["mirrored"] == said
    monkeypatch.setattr(safe_views, "safe_mirrors", lambda *_: BOTH)
    run, mirrored = fitted()
    assert run.segmenter().summary["mirrored"] == {"left_right": True, "upside_down": True}
    assert found > mirrored + 0.15
