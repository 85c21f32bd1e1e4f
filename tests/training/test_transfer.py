"""What the teacher attends to in a step of its fine-tuning."""

import numpy as np
import pytest
import torch

from distillfss.models.attention import CoarseAttention
from distillfss.models.teacher import SupportTokens
from distillfss.training.transfer import FEW_TOKENS, manageable, thinned


def tokens_of(*sides):
    """Tokens of two images and a class, the value of every mask its own place."""
    features = tuple(torch.randn(2, 8, side, side, generator=torch.Generator().manual_seed(side)) for side in sides)
    masks = tuple(torch.arange(2.0 * side * side).reshape(2, 1, side, side) for side in sides)
    return SupportTokens(features, masks, probe=torch.ones(1, 4))


def test_a_quarter_of_the_tokens_stays_in_its_place():
    whole = tokens_of(24, 17)
    thin = thinned(whole, np.random.default_rng(0))
    for left, masks in zip(thin.masks, whole.masks, strict=True):
        known = ~left.isnan()
        torch.testing.assert_close(left[known], masks[known], rtol=0, atol=0)
        rows, columns = (known[0, 0].any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        for kept in (rows, columns):
            assert kept in (list(range(0, masks.shape[-1], 2)), list(range(1, masks.shape[-1], 2)))
        assert int(known.sum()) == 2 * len(rows) * len(columns)
    assert thin.features is whole.features
    assert thin.probe is whole.probe


def test_every_token_has_its_turn():
    whole, random = tokens_of(20), np.random.default_rng(1)
    seen = torch.stack([~thinned(whole, random).masks[0].isnan() for _ in range(40)])
    assert seen.any(0).all()


def test_layers_of_few_tokens_stay_whole():
    side = int(FEW_TOKENS**0.5)
    whole = tokens_of(side, side + 1)
    thin = thinned(whole, np.random.default_rng(0))
    assert thin.masks[0] is whole.masks[0]
    assert bool(thin.masks[1].isnan().any())


@pytest.mark.parametrize(("side", "thins"), [(24, False), (40, False), (56, True)])
def test_trials_attend_to_a_quarter_at_a_high_resolution(side, thins):
    """Layers of stride 16 have 24, 40 and 56 tokens a side at 384, 640 and 896 pixels."""
    whole = tokens_of(side, side // 2)
    found = manageable(whole, np.random.default_rng(0))
    known = [float((~mask.isnan()).double().mean()) for mask in found.masks]
    assert known == ([0.25, 0.25] if thins else [1.0, 1.0])


def test_attention_to_thinned_tokens_is_that_to_those_that_are_left():
    """By the formula, in float64: softmax over the tokens of the kept rows and columns alone."""
    attention = CoarseAttention(8, heads=2, head_channels=4).double()
    with torch.no_grad():
        attention.position_gain.fill_(0.5)
    whole = tokens_of(18)
    features, masks = whole.features[0].double(), whole.masks[0].double() / 648
    (left,) = thinned(SupportTokens((features,), (masks,)), np.random.default_rng(3)).masks
    query = torch.randn(1, 8, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    keys, values = attention.keys_and_values(features, masks)
    kept = ~left.flatten(1).flatten().isnan()
    assert 0.2 < float(kept.double().mean()) < 0.3
    weights = (attention.queries(query)[0] @ keys[:, kept].transpose(1, 2)).softmax(-1)
    by_hand = (weights @ values[kept]).mean(0).T.reshape(1, 1, 5, 5)
    torch.testing.assert_close(attention(query, features, left), by_hand, rtol=1e-9, atol=1e-12)
