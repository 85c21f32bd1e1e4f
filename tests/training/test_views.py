"""Augmented views: image and mask move together, and everything follows from a seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import square_support

from distillfss.geometry import working_size
from distillfss.preprocess import at_working_size
from distillfss.support import SupportSet
from distillfss.training.augment import STRONG, Augmenter, Strength, gaussian_blur, mask_for_views
from distillfss.training.pool import Batch, ViewPool
from distillfss.training.transfer import episode

GEOMETRY = Strength(brightness=0, contrast=1, saturation=1, tint=1, blur=0, invert=0)
STILL = replace(GEOMETRY, flip=0, rotation=0, zoom=1, stretch=1, shift=0)


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [
        (500, 500, (384, 384)),
        (1080, 1920, (288, 512)),
        (10, 10, (384, 384)),
        (100, 1000, (128, 1216)),
        (1, 9999, (96, 1536)),
    ],
)
def test_working_size_keeps_area_and_aspect(height, width, wanted):
    assert working_size(height, width, 384) == wanted


def test_the_plain_view_is_what_the_segmenter_sees():
    support = square_support(1)
    view = Augmenter(support, 128).plain(0)
    torch.testing.assert_close(view.image, at_working_size(support.samples[0].image, 128), atol=1e-3, rtol=0)


def test_image_and_mask_move_together():
    """The image shows its own mask; wherever a view's mask is sure, its pixels must say the same."""
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 2, (6, 8)), np.ones((40, 40))).astype(np.uint8)
    support = SupportSet.from_arrays([np.repeat(mask[..., None] * 200, 3, axis=2)], [mask])
    augmenter = Augmenter(support, 256, GEOMETRY)
    agreement = []
    for seed in range(20):
        view = augmenter.view(0, seed)
        assert view.image.shape[1:] == view.mask.shape == augmenter.canvas
        agreement.append(float(((view.image[0] > 100) == (view.mask == 1)).float().mean()))
    assert min(agreement) > 0.97


def test_views_of_a_part_show_it_at_the_scale_of_the_whole():
    """A ramp of one grey level per pixel: a part of it rises just as fast, and every part comes up."""
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    support = SupportSet.from_arrays([ramp], [np.eye(256, dtype=np.uint8)])
    augmenter = Augmenter(support, 256, STILL, view_size=128)
    assert augmenter.canvas == (128, 128)
    assert augmenter.plain(0).image.shape == (3, 256, 256)
    lefts, tops = [], []
    for seed in range(60):
        view = augmenter.view(0, seed)
        assert view.image.shape == (3, 128, 128)
        assert view.mask.shape == (128, 128)
        torch.testing.assert_close(view.image[0].diff(dim=1), torch.ones(128, 127), atol=1e-3, rtol=0)
        lefts.append(float(view.image[0, 0, 0]))
        rows, columns = torch.nonzero(view.mask, as_tuple=True)  # the diagonal says how far down the part begins
        if len(rows):
            tops.append(float((columns - rows).float().mean()))
    assert 0 <= min(lefts) < 16
    assert 112 < max(lefts) <= 128
    assert min(tops) < -64
    assert max(tops) > 64


def test_a_view_size_that_images_do_not_reach_changes_nothing():
    support = square_support(2)
    usual, other = Augmenter(support, 96), Augmenter(support, 96, view_size=384)
    assert torch.equal(usual.view(1, 5).image, other.view(1, 5).image)
    assert torch.equal(usual.view(1, 5).mask, other.view(1, 5).mask)


def test_plain_masks_do_not_move_by_half_a_pixel():
    mask = np.zeros((128, 128), np.uint8)
    mask[32:64, 16:80] = 1
    support = SupportSet.from_arrays([np.zeros((128, 128, 3), np.uint8)], [mask])
    assert np.array_equal(Augmenter(support, 128).plain(0).mask.numpy(), mask)


def test_masks_of_photographs_are_kept_at_twice_the_working_resolution():
    big = np.kron(np.eye(4, dtype=np.uint8), np.ones((250, 300), np.uint8))
    small = mask_for_views(big, 96).numpy()
    assert small.shape == working_size(1000, 1200, 192)
    rows, columns = ((2 * np.arange(n) + 1) * full // (2 * n) for n, full in zip(small.shape, big.shape, strict=True))
    assert np.array_equal(small, big[rows][:, columns])
    assert np.array_equal(mask_for_views(big, 600).numpy(), big)


def test_flips_are_exact():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    mask = np.random.default_rng(1).integers(0, 2, (64, 64)).astype(np.uint8)
    flips = replace(STILL, flip=1.0)
    view = Augmenter(SupportSet.from_arrays([image], [mask]), 64, flips).view(0, 0)
    assert np.array_equal(view.mask.numpy(), mask[::-1, ::-1])
    np.testing.assert_allclose(view.image.permute(1, 2, 0).numpy(), image[::-1, ::-1], atol=0.1)


def test_a_negative_is_exact_and_comes_as_often_as_said():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.eye(64, dtype=np.uint8)
    still = replace(STILL, invert=0.3)
    augmenter = Augmenter(SupportSet.from_arrays([image], [mask]), 64, still)
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()
    negatives = 0
    for seed in range(200):
        seen = augmenter.view(0, seed).image
        negative = bool((seen - (255 - pixels)).abs().max() < 0.1)
        assert negative or (seen - pixels).abs().max() < 0.1
        negatives += negative
    assert 40 <= negatives <= 80  # 60 expected, three standard deviations to either side

    two_classes = SupportSet.from_arrays([image], [mask * np.arange(1, 65, dtype=np.uint8)[:, None] % 3])
    for augmenter in (Augmenter(two_classes, 64, still), Augmenter(two_classes, 64).at(still)):
        assert all((augmenter.view(0, seed).image - pixels).abs().max() < 0.1 for seed in range(40))


def test_turning_keeps_areas_on_a_wide_canvas():
    """Rotation happens in pixels: nothing shears although the canvas is twice as wide as high."""
    mask = np.zeros((128, 256), np.uint8)
    mask[44:84, 108:148] = 1
    support = SupportSet.from_arrays([np.zeros((128, 256, 3), np.uint8)], [mask])
    turn = replace(STILL, rotation=30)
    augmenter = Augmenter(support, 181, turn)
    areas = [int((augmenter.view(0, seed).mask == 1).sum()) for seed in range(10)]
    assert all(abs(area - 1600) < 80 for area in areas)


def test_pixels_stay_in_range_and_seeds_decide():
    augmenter = Augmenter(square_support(2), 96)
    one, same, other = (augmenter.view(0, seed) for seed in (7, 7, 8))
    assert torch.equal(one.image, same.image)
    assert torch.equal(one.mask, same.mask)
    assert not torch.equal(one.image, other.image)
    for seed in range(20):
        image = augmenter.view(1, seed).image
        assert 0 <= float(image.min()) <= float(image.max()) <= 255


def test_ignored_pixels_stay_ignored():
    image, mask = np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 255, np.uint8)
    mask[0, 0] = 1
    mask[0, 1] = 2
    view = Augmenter(SupportSet.from_arrays([image], [mask]), 64).view(0, 3)
    assert set(view.mask.unique().tolist()) <= {1, 2, 255}
    assert float((view.mask == 255).float().mean()) > 0.9


def test_blur_equals_an_independent_one():
    from scipy.ndimage import gaussian_filter

    image = torch.rand(3, 40, 30, dtype=torch.float32)
    wanted = gaussian_filter(image.double().numpy(), (0, 1.2, 1.2), mode="mirror", radius=4)
    np.testing.assert_allclose(gaussian_blur(image, 1.2).numpy(), wanted, atol=1e-5)


def encode(images: torch.Tensor) -> list[torch.Tensor]:
    return [images.mean((2, 3), keepdim=True)]


def make_pool(count: int, capacity: int = 8) -> ViewPool:
    return ViewPool(Augmenter(square_support(count), 64), encode, seed=3, capacity=capacity, refresh=2)


def test_a_window_does_not_depend_on_how_it_was_reached():
    walked, jumped = make_pool(3), make_pool(3)
    for step in range(6):
        window = walked.advance(step)
    direct = jumped.advance(5)
    assert [v.number for v in window] == [v.number for v in direct] == list(range(10, 18))
    for a, b in zip(window, direct, strict=True):
        assert a.source == b.source
        assert torch.equal(a.features[0], b.features[0])
        assert torch.equal(a.mask, b.mask)


def test_every_image_has_its_turn():
    window = make_pool(4, capacity=12).advance(0)
    assert Counter(v.source for v in window) == dict.fromkeys(range(4), 3)


def test_another_strength_changes_the_views_and_not_the_images():
    support = square_support(2)
    mild = Augmenter(support, 96)
    strong = mild.at(STRONG)
    wanted = Augmenter(support, 96, STRONG)
    for source, seed in ((0, 3), (1, 4)):
        assert torch.equal(strong.view(source, seed).image, wanted.view(source, seed).image)
        assert torch.equal(strong.plain(source).image, mild.plain(source).image)
        assert not torch.equal(strong.view(source, seed).image, mild.view(source, seed).image)


def test_batches_put_views_side_by_side():
    window = make_pool(2).advance(0)
    batch = Batch.of(window[:3])
    assert batch.masks.shape == (3, 64, 64)
    assert torch.equal(batch.features[0][1:2], window[1].features[0])


@pytest.mark.parametrize("count", [2, 3, 6])
def test_query_and_support_are_different_images(count):
    window = make_pool(count, capacity=12).advance(0)
    for seed in range(20):
        queries, support = episode(window, np.random.default_rng(seed), queries=3, shots=4)
        assert 1 <= len(queries) <= 3
        assert len(support) == min(4, count - 1)
        assert len({v.source for v in support}) == len(support)
        assert not {v.source for v in queries} & {v.source for v in support}


def test_a_single_image_is_asked_with_another_view_of_itself():
    queries, support = episode(make_pool(1).advance(0), np.random.default_rng(0), queries=3, shots=4)
    assert len(queries) == 3
    assert len(support) == 1
    assert support[0].number not in {v.number for v in queries}
