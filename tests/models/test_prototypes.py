"""Prototypes against plain loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distillfss.backbones.base import Layer
from distillfss.models.prototypes import LOGIT_SCALE, prototype_layers, prototype_logits, prototype_map, prototypes


def case(seed=0, shots=3, ways=2):
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(2, 5, 3, 4, generator=random, dtype=torch.float64)
    support = torch.randn(shots, 5, 2, 3, generator=random, dtype=torch.float64)
    shares = torch.rand(shots, ways, 2, 3, generator=random, dtype=torch.float64)
    shares[0, :, 1, 2] = torch.nan
    return query, support, shares


def by_hand(query, support, shares, c):
    """Mean foreground and background features of class c, then the cosine of every query pixel to both."""
    sums, weights = np.zeros((2, 5)), np.zeros(2)
    for s, i, j in np.ndindex(support.shape[0], 2, 3):
        share = float(shares[s, c, i, j])
        if np.isnan(share):
            continue
        for side, weight in enumerate((1 - share, share)):
            sums[side] += weight * support[s, :, i, j].numpy()
            weights[side] += weight
    centres = sums / weights[:, None]
    out = np.zeros((2, 2, 3, 4))
    for b, side, i, j in np.ndindex(*out.shape):
        q = query[b, :, i, j].numpy()
        out[b, side, i, j] = q @ centres[side] / np.linalg.norm(q) / np.linalg.norm(centres[side])
    return out


def test_the_map_is_the_difference_of_two_cosines():
    query, support, shares = case()
    found = prototype_map(query, support, shares)
    assert found.shape == (2, 2, 3, 4)
    for c in range(2):
        cosine = by_hand(query, support, shares, c)
        np.testing.assert_allclose(found[:, c].numpy(), cosine[:, 1] - cosine[:, 0], rtol=1e-9, atol=1e-12)


def test_logits_are_the_mean_over_layers():
    query, support, shares = case()
    other = case(1)
    logits = prototype_logits([query, other[0]], [support, other[1]], [shares, other[2]])
    wanted = (by_hand(query, support, shares, 1) + by_hand(*other, 1)) / 2 * LOGIT_SCALE
    np.testing.assert_allclose(logits[:, 1].numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_a_class_nowhere_in_the_support_is_no_class_at_all():
    query, support, shares = case()
    shares[:, 0] = 0
    assert prototypes(support, shares)[0, 1].tolist() == [0] * 5
    assert prototype_map(query, support, shares).isfinite().all()
    nothing = prototype_map(query, support, torch.full_like(shares, torch.nan))
    assert nothing.abs().max() == pytest.approx(0)


def test_the_deepest_layers_vote():
    layers = [Layer("a", 4, 1), Layer("b", 16, 1), Layer("c", 32, 1), Layer("d", 32, 1)]
    assert prototype_layers(layers) == (2, 3)
