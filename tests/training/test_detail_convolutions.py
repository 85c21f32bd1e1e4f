"""Which masks need details: what the grid of stride 4 keeps of them, against masks whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenes import square_support, thread_support

from distillfss import FitConfig, SupportSet
from distillfss.extending import config_for, extend
from distillfss.fit_run import FitRun
from distillfss.models.composite import draws_details
from distillfss.training.details import kept_by_the_grid, working_resolution


def mask_of(*boxes: tuple[int, int, int, int, int]) -> torch.Tensor:
    """(1, 64, 64) with ``value`` in rows and columns from to."""
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    for value, top, bottom, left, right in boxes:
        mask[:, top:bottom, left:right] = value
    return mask


def test_all_of_a_half_plane_and_nothing_of_a_thread():
    half, thread = mask_of((1, 0, 64, 0, 32)), mask_of((1, 0, 64, 33, 34))
    assert kept_by_the_grid([half], 1) == [1.0]
    assert kept_by_the_grid([thread], 1) == [0.0]  # a quarter of every cell
    assert kept_by_the_grid([half, thread], 1) == [pytest.approx(64 * 32 / (64 * 33))]


def test_two_pixels_of_four_are_drawn_as_wide_as_bilinear_says():
    """A bar that fills half a cell: the cell has 0.5, no pixel more."""
    assert kept_by_the_grid([mask_of((1, 0, 64, 32, 34))], 1) == [0.0]
    # three of four: 0.75 at the cell's centre, 0.66 half a pixel aside, 0.47 a pixel farther: its two middle columns
    assert kept_by_the_grid([mask_of((1, 0, 64, 32, 35))], 1) == [pytest.approx(2 / 3)]


def test_classes_apart_and_unknown_pixels_are_none():
    mask = mask_of((1, 0, 32, 0, 64), (2, 40, 41, 0, 64), (255, 50, 64, 0, 64))
    assert kept_by_the_grid([mask], 3) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("side", "fine_size", "wanted"),
    [(96, 160, 160), (96, 128, 160), (512, 160, 224), (96, 110, 96), (60, 160, 96), (96, 0, 96), (512, 0, 96)],
)
def test_thin_objects_are_worked_at_a_higher_resolution(side, fine_size, wanted):
    """At most 1.75 times that of the files, 1.4 times of what is asked for, and not if it is hardly a higher one."""
    thread = np.zeros((side, side), np.uint8)
    thread[:: side // 8] = 1
    support = SupportSet.from_arrays([np.zeros((side, side, 3), np.uint8)] * 2, [thread] * 2)
    assert working_resolution(support, 96, fine_size) == wanted


@pytest.mark.parametrize(("width", "wanted"), [(2, 224), (7, 224), (10, 160), (12, 160), (24, 96)])
def test_the_thinner_the_higher(width, wanted):
    """Bars in 512 pixels: of those of seven, two at 160, the grid keeps 71 %; of those of ten, three, all."""
    bars = np.zeros((512, 512), np.uint8)
    for start in range(0, 512, 64):
        bars[start : start + width] = 1
    support = SupportSet.from_arrays([np.zeros((512, 512, 3), np.uint8)] * 2, [bars] * 2)
    assert working_resolution(support, 96, 160) == wanted


def half_and_bars(side: int, bars: int) -> NDArray[np.uint8]:
    """The upper half, and bars below it: at 96 pixels the grid keeps 94 % with one, 89 with two."""
    mask = np.zeros((side, side), np.uint8)
    mask[: side // 2] = 1
    for number in range(1, bars + 1):
        start = side // 2 + number * side // 8 - side // 16
        mask[start : start + max(2, side * 14 // 512)] = 1
    return mask


@pytest.mark.parametrize(
    ("side", "bars", "images", "wanted"),
    [
        (512, 1, 24, 96),  # details will do
        (512, 1, 25, 160),
        (512, 2, 24, 160),
        (512, 0, 25, 96),  # nothing is lost, and nothing gained
        (64, 2, 24, 96),  # 1.75 times the files' resolution is hardly a higher one
        (64, 2, 25, 160),  # 2.5 times
    ],
)
def test_many_images_are_worked_at_a_higher_resolution_sooner(side, bars, images, wanted):
    mask = half_and_bars(side, bars)
    support = SupportSet.from_arrays(different(images, side), [mask] * images)
    assert working_resolution(support, 96, 160) == wanted


def different(images, side):
    return [np.full((side, side, 3), light, np.uint8) for light in range(images)]


def test_copies_do_not_make_many():
    mask = half_and_bars(512, 1)
    support = SupportSet.from_arrays([*different(24, 512), *different(24, 512)], [mask] * 48)
    assert (len(support), support.fewest()) == (48, 24)
    assert working_resolution(support, 96, 160) == 96


def test_a_class_that_no_image_shows_does_not_make_many_few():
    mask = half_and_bars(64, 2)
    support = SupportSet.from_arrays(different(25, 64), [mask] * 25, ("bar", "none"))
    assert working_resolution(support, 96, 160) == 160


def test_a_speck_that_vanishes_is_worked_where_it_does_not():
    speck = np.zeros((512, 512), np.uint8)
    speck[1:4, 1:4] = 1
    support = SupportSet.from_arrays([np.zeros((512, 512, 3), np.uint8)] * 2, [speck] * 2)
    assert working_resolution(support, 96, 128) == 160


def test_one_thin_class_of_two_is_enough_and_blobs_are_not():
    assert working_resolution(thread_support(3, ways=2), 96, 640) == 160
    assert working_resolution(square_support(3, ways=2), 96, 640) == 96


def test_a_fit_works_thin_objects_at_the_resolution_that_it_says():
    threads = thread_support(3)
    config = FitConfig(size=96, effort=0.05, pool_views=4, estimate=False)
    run = FitRun(threads, config, lambda _: None)
    assert [tuple(view.mask.shape) for view in run.ready.plain] == [(1, 160, 160)] * 3
    assert run.ready.pool.advance(0)[0].mask.shape == (1, 96, 96)
    while not run.done:
        run.advance()
    model = run.segmenter()
    assert (model.size, model.info.size) == (160, 160)
    assert model.logits(threads.samples[0].image).shape[-2:] == (80, 80)  # details have stride 2
    more, smaller = SupportSet(square_support(3).samples, ("added",)), replace(config, size=64)
    assert extend(model, more, smaller).size == 160
    beside = FitRun(more, config_for(model, smaller), lambda _: None, beside=model)
    assert beside.ready.plain[0].mask.shape == (1, 160, 160)
    assert beside.ready.pool.advance(0)[0].mask.shape == (1, 64, 64)
    assert FitRun(threads, replace(config, fine_size=0), lambda _: None).ready.size == 96


def test_only_masks_that_need_it_get_details():
    config = FitConfig(size=96, effort=0.05, pool_views=4, estimate=False)
    assert FitRun(square_support(3, ways=2), config, lambda _: None).student.detail is None
    threads = thread_support(3, ways=2)
    run = FitRun(threads, config, lambda _: None)
    assert run.student.detail is not None
    for settings in ({"detail_rate": 0.0}, {"backbone_rate": 0.0}, {"instant": True}):
        without = FitConfig(size=96, effort=0.05, pool_views=4, estimate=False, **settings)
        assert FitRun(threads, without, lambda _: None).student.detail is None


def test_details_are_learnt_with_the_backbone_and_kept_whole():
    config = FitConfig(size=96, effort=0.05, pool_views=4, estimate=False)
    run = FitRun(thread_support(3, ways=2), config, lambda _: None)
    start = {name: t.clone() for name, t in run.student.detail.state_dict().items()}
    while not run.adapts:
        run.advance()
    assert all(torch.equal(t, start[name]) for name, t in run.student.detail.state_dict().items())
    while not run.done:
        run.advance()
    end = run.student.detail.state_dict()
    assert not torch.equal(end["correct.weight"], start["correct.weight"])
    model = run.segmenter()
    assert draws_details(model.parts[2])
    assert model.info.details
    assert 0 < run.share < 1  # other weights go a part of the way back
    assert all(torch.equal(t, end[name]) for name, t in model.parts[2].detail.state_dict().items())
    assert model.logits(run.support.samples[0].image).shape == (1, 3, 80, 80)  # stride 2 of 160 pixels
