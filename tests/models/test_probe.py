"""The probe against ridge regression written out in float64, and its map pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distillfss.backbones.base import Layer
from distillfss.models.probe import (
    BALANCE,
    LIMIT,
    MOST_CHANNELS,
    MOST_PER_SIDE,
    RIDGE,
    Moments,
    class_weights,
    lattice,
    leave_out,
    probe_layers,
    probe_map,
    probe_weights,
    probe_width,
    rows_and_columns,
    sample,
    shrunk,
)

LAYERS = (Layer("a", 4, 3), Layer("b", 8, 4), Layer("c", 16, 2), Layer("d", 32, 5))
CHANNELS = 14


def pyramid(batch: int, side: int, seed: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, la.channels, side // la.stride, side // la.stride, generator=random) for la in LAYERS]


def at_finest(features: list[torch.Tensor], row: int, column: int) -> np.ndarray:
    """Features of one image (C, h, w) at a pixel of the finest grid, bilinear with half-pixel centres, in float64."""
    height, width = features[0].shape[-2:]
    values = []
    for feature in features:
        h, w = feature.shape[-2:]
        y, x = (row + 0.5) * h / height - 0.5, (column + 0.5) * w / width - 0.5
        y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
        f, dy, dx = feature.double().numpy(), y - top, x - left
        above = f[:, top, left] * (1 - dx) + f[:, top, right] * dx
        below = f[:, bottom, left] * (1 - dx) + f[:, bottom, right] * dx
        values.append(above * (1 - dy) + below * dy)
    return np.concatenate([*values, [1.0]])


def by_hand(
    features: list[torch.Tensor], masks: torch.Tensor, ridge: float = RIDGE, per_side: int = MOST_PER_SIDE
) -> np.ndarray:
    """Weighted ridge regression over the lattice; every pixel in as many parts as it has classes."""
    count, ways, size = *masks.shape[:2], masks.shape[-1]
    grid = features[0].shape[-1]
    cell = size // grid
    rows = []
    for image in range(count):
        for i in lattice(grid, per_side).tolist():
            for j in lattice(grid, per_side).tolist():
                shares = masks[image, :, i * cell : (i + 1) * cell, j * cell : (j + 1) * cell].double()
                known = ~shares.isnan()
                if known.any():
                    share = [float(s[k].mean()) for s, k in zip(shares, known, strict=True)]
                    x = at_finest([f[image] for f in features], i, j)
                    rows.append((x, np.array([1 - sum(share), *share])))
    totals = sum(share for _, share in rows)
    weights = np.where(totals > 0, (np.maximum(totals, 1e-12) / totals.sum()) ** -BALANCE, 0)
    weights /= (weights * totals).sum()
    second, cross = np.zeros((CHANNELS + 1,) * 2), np.zeros((CHANNELS + 1, ways))
    for x, share in rows:
        for c, part in enumerate(share):
            second += weights[c] * part * np.outer(x, x)
            if c:
                cross[:, c - 1] += weights[c] * part * x
    variances = np.diag(second)[:-1] - second[:-1, -1] ** 2 / second[-1, -1]
    second += ridge * variances.mean() * np.diag([*np.ones(CHANNELS), 0])
    trust = 1 - 1 / count
    weights = trust * np.linalg.solve(second, cross).T
    weights[:, -1] += (1 - trust) / 2
    return weights


def some_masks(count: int, ways: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    index = torch.randint(0, ways + 1, (count, 1, 64, 64), generator=random)
    masks = (index == torch.arange(1, ways + 1)[:, None, None]).float()
    return masks.masked_fill(torch.rand(count, 1, 64, 64, generator=random) > 0.9, torch.nan)


@pytest.mark.parametrize("ways", [1, 3])
def test_the_probe_is_weighted_ridge_regression(ways):
    features, masks = pyramid(3, 64, 0), some_masks(3, ways, 1)
    masks[0, :, :16] = torch.nan
    found = probe_weights(features, masks, LAYERS)
    assert found.shape == (ways, probe_width(LAYERS)) == (ways, CHANNELS + 1)
    np.testing.assert_allclose(found.numpy(), by_hand(features, masks), rtol=1e-4, atol=1e-5)


def test_ridge_and_lattice_can_be_chosen():
    features, masks = pyramid(3, 64, 0), some_masks(3, 2, 1)
    assert lattice(16, 5).tolist() == [1, 4, 7, 10, 13]
    whole, _ = leave_out(sample(features, masks, LAYERS, 5), [0, 1, 2], folds=10, ridge=0.7)
    np.testing.assert_allclose(whole.numpy(), by_hand(features, masks, 0.7, 5), rtol=1e-4, atol=1e-5)
    for other in (by_hand(features, masks, RIDGE, 5), by_hand(features, masks, 0.7)):
        assert not np.allclose(whole.numpy(), other, rtol=1e-2)


def test_its_map_pixel_by_pixel_for_one_probe_and_for_one_per_image():
    features = pyramid(2, 64, 3)
    weights = 0.2 * torch.randn(2, 3, CHANNELS + 1, generator=torch.Generator().manual_seed(4))
    each, first = probe_map(features, weights, LAYERS), probe_map(features, weights[0], LAYERS)
    assert each.shape == (2, 3, 1, 16, 16)
    torch.testing.assert_close(first[0], each[0])
    for image, i, j in [(0, 0, 0), (0, 7, 9), (1, 15, 2), (1, 15, 15)]:
        score = weights[image].double().numpy() @ at_finest([f[image] for f in features], i, j)
        wanted = np.clip(2 * score - 1, -LIMIT, LIMIT)
        np.testing.assert_allclose(each[image, :, 0, i, j].numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert float(probe_map(features, 100 * weights, LAYERS).abs().max()) == LIMIT


def test_every_image_gets_the_probe_of_the_others():
    features, masks = pyramid(3, 64, 5), some_masks(3, 2, 6)
    sampled = sample(features, masks, LAYERS, 20)
    # the second image comes in two views
    whole, without = leave_out([*sampled, sampled[1]], [0, 1, 7, 1], folds=10)
    assert sorted(without) == [0, 1, 7]
    alone, own = leave_out(sampled[:1], [4], folds=10)
    torch.testing.assert_close(own[4], alone)
    assert float(probe_map(features, alone, LAYERS).abs().max()) == 0  # one image has no probe
    # an image that differs changes every probe but its own
    other = sample(pyramid(3, 64, 8), masks, LAYERS, 20)
    changed, others = leave_out([sampled[0], sampled[1], other[2], sampled[1]], [0, 1, 7, 1], folds=10)
    torch.testing.assert_close(others[7], without[7], rtol=1e-4, atol=1e-5)
    assert all(not torch.allclose(others[source], without[source], atol=1e-3) for source in (0, 1))
    assert not torch.allclose(changed, whole, atol=1e-3)


def test_an_image_that_is_left_out_is_answered_as_one_that_was_never_there():
    """Centring on all images must not tell the others' probe which way the one that is left out lies."""
    random = torch.Generator().manual_seed(0)
    offsets = 0.6 * torch.randn(6, 500, generator=random)
    offsets -= offsets[:5].mean(0)  # five are the support, the sixth is new
    direction = torch.cat([torch.full((100,), 0.5), torch.zeros(400)])

    def image(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        share = (torch.rand(400, 1, generator=random) < 0.4).float()
        x = offsets[number] + torch.randn(400, 500, generator=random) + (share - 0.4) * direction
        return torch.nn.functional.pad(x, (0, 1), value=1.0), share

    images = [image(number) for number in range(6)]
    whole, without = leave_out(images[:5], range(5), folds=10)

    def correct(weights: torch.Tensor, number: int) -> float:
        pixels, share = images[number]
        return float(((pixels @ weights.T > 0.5) == (share > 0.5)).float().mean())

    assert correct(whole, 5) > 0.94
    assert min(correct(without[number], number) for number in range(5)) > 0.94


def test_where_features_have_their_origin_does_not_matter():
    features, masks = pyramid(4, 64, 5), some_masks(4, 2, 6)
    moved = [feature + 3.0 for feature in features]
    one, two = (probe_map(maps, probe_weights(maps, masks, LAYERS), LAYERS) for maps in (features, moved))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_with_more_images_than_folds_some_are_left_out_together():
    features, masks = pyramid(5, 64, 5), some_masks(5, 1, 6)
    _, without = leave_out(sample(features, masks, LAYERS, 20), range(5), folds=2)
    torch.testing.assert_close(without[0], without[2])
    torch.testing.assert_close(without[1], without[3])
    assert not torch.allclose(without[0], without[1])


def test_those_of_a_group_are_left_out_together():
    """By brute force: from the images of all other groups, as much of it as so many images are to be trusted."""
    features, masks = pyramid(5, 64, 5), some_masks(5, 1, 6)
    sampled = sample(features, masks, LAYERS, 20)
    groups = {0: 9, 1: 3, 2: 9, 3: 1, 4: 3}
    whole, without = leave_out(sampled, range(5), folds=10, together=groups)
    weights = class_weights(torch.cat([shares for _, shares in sampled]))
    for source in range(5):
        others = [sampled[i] for i in range(5) if groups[i] != groups[source]]
        pixels, shares = (torch.cat(each) for each in zip(*others, strict=True))
        wanted = shrunk(Moments.of(pixels, shares, weights).solve(RIDGE), len(others))
        torch.testing.assert_close(without[source], wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(whole, leave_out(sampled, range(5), folds=10)[0])


def test_a_wide_pyramid_is_seen_by_the_last_layer_of_every_stride():
    wide = (Layer("a", 4, 64), Layer("b", 8, MOST_CHANNELS), Layer("c", 8, 512), Layer("d", 16, 7), Layer("e", 32, 8))
    assert probe_layers(wide) == (0, 2, 3, 4)
    assert probe_width(wide) == 64 + 512 + 7 + 8 + 1
    assert probe_layers(LAYERS) == (0, 1, 2, 3)


def test_a_support_of_which_nothing_is_known_leans_to_background():
    """A map of -1 would say "background" with full confidence; half of it is what two images are worth."""
    features = pyramid(2, 64, 0)
    weights = probe_weights(features, torch.full((2, 2, 64, 64), torch.nan), LAYERS)
    assert torch.equal(probe_map(features, weights, LAYERS), torch.full((2, 2, 1, 16, 16), -0.5))


def test_the_more_views_the_fewer_pixels_of_each():
    assert [rows_and_columns(views) for views in (1, 25, 69, 114)] == [48, 40, 24, 20]
    assert lattice(96, 40).tolist() == list(range(1, 96, 2))
    assert lattice(96, 24).tolist() == list(range(2, 96, 4))
    assert lattice(7, 20).tolist() == list(range(7))
