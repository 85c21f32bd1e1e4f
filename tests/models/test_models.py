"""Mixer, teacher, student, standardisation and class merging: shapes, values, independence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillfss.backbones import build_backbone
from distillfss.models.classes import merge_classes
from distillfss.models.mixer import Mixer, coarse_layers, resize
from distillfss.models.standardize import Standardize
from distillfss.models.student import ConvDist, Student
from distillfss.models.teacher import SupportTokens, Teacher, mask_shares

LAYERS = build_backbone("efficientnet_lite0").layers


def pyramid(batch: int, height: int, width: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(
            batch, la.channels, math.ceil(height / la.stride), math.ceil(width / la.stride), generator=generator
        )
        for la in LAYERS
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 999))
def test_merging_pixel_by_pixel(batch, ways, height, width, seed):
    logits = torch.randn(batch, ways, 2, height, width, generator=torch.Generator().manual_seed(seed))
    merged = merge_classes(logits)
    assert merged.shape == (batch, ways + 1, height, width)
    for b, i, j in np.ndindex(batch, height, width):
        best = max(range(ways), key=lambda c: logits[b, c, 1, i, j])
        assert merged[b, 0, i, j] == logits[b, best, 0, i, j]
        assert merged[b, 1:, i, j].tolist() == logits[b, :, 1, i, j].tolist()


def test_resize_at_an_odd_size_by_hand():
    """Half-pixel centres: 2 -> 3 samples at -1/6, 1/2 and 7/6, clamped to the border."""
    row = torch.tensor([[[0.0, 6.0]]])
    assert resize(row[None], (1, 3)).flatten().tolist() == pytest.approx([0.0, 3.0, 6.0])
    five = resize(torch.tensor([[[[0.0, 10.0]]]]), (1, 5)).flatten().tolist()
    assert five == pytest.approx([0.0, 1.0, 5.0, 9.0, 10.0])


@pytest.mark.parametrize("size", [(384, 384), (96, 160), (33, 65), (32, 32)])
@pytest.mark.parametrize("ways", [1, 3, 20])
def test_student_and_teacher_shapes_at_any_size(size, ways):
    query = pyramid(2, *size)
    teacher = Teacher(LAYERS)
    masks = torch.rand(3, ways, 70, 50).round()
    tokens = teacher.support_tokens(pyramid(3, 70, 50), masks)
    for logits, maps in (Student(LAYERS, ways)(query), teacher(query, tokens)):
        assert logits.shape == (2, ways, 2, *query[0].shape[-2:])
        assert [m.shape for m in maps] == [(2, ways, *query[i].shape[-2:]) for i in coarse_layers(LAYERS)]
        assert logits.isfinite().all()


def test_every_coarse_map_and_feature_reaches_the_logits():
    query = [f.requires_grad_() for f in pyramid(1, 64, 64)]
    maps = [torch.rand(1, 1, *query[i].shape[-2:]).requires_grad_() for i in coarse_layers(LAYERS)]
    Mixer(LAYERS)(maps, query).square().sum().backward()
    assert all(float(t.grad.abs().sum()) > 0 for t in [*query, *maps])


def test_the_mixer_treats_classes_alike_and_apart():
    mixer, query = Mixer(LAYERS), pyramid(2, 64, 96)
    maps = [torch.rand(2, 3, *query[i].shape[-2:]) for i in coarse_layers(LAYERS)]
    together = mixer(maps, query)
    for c in range(3):
        torch.testing.assert_close(mixer([m[:, c : c + 1] for m in maps], query), together[:, c : c + 1])


def test_conv_dist_keeps_classes_apart():
    """Only a class' own weights reach its map: what `extend` will rely on."""
    layer = ConvDist(24, ways=3, hidden=8)
    maps = layer(torch.randn(1, 24, 5, 5))
    maps[:, 1].sum().backward()
    used = layer.inner.weight.grad.abs().sum((1, 2, 3)).view(3, 8).sum(1) > 0
    assert used.tolist() == [False, True, False]
    assert (layer.outer.weight.grad.abs().sum((1, 2, 3)) > 0).tolist() == [False, True, False]


def test_conv_dist_is_conv1x1_of_relu_of_conv3x3_per_class():
    layer = ConvDist(6, ways=2, neck=4, hidden=3).double()
    x = torch.randn(1, 6, 4, 5, dtype=torch.float64)
    maps = layer(x)
    neck = torch.einsum("oc,bchw->bohw", layer.neck.weight[:, :, 0, 0], x) + layer.neck.bias[:, None, None]
    padded = torch.nn.functional.pad(neck, (1, 1, 1, 1))[0].detach().numpy()
    weight, bias = layer.inner.weight.detach().numpy(), layer.inner.bias.detach().numpy()
    outer, outer_bias = layer.outer.weight.detach().numpy()[:, :, 0, 0], layer.outer.bias.detach().numpy()
    for c, i, j in np.ndindex(2, 4, 5):
        window = padded[:, i : i + 3, j : j + 3]
        hidden = [max(0.0, (weight[c * 3 + h] * window).sum() + bias[c * 3 + h]) for h in range(3)]
        wanted = outer_bias[c] + float(np.dot(outer[c], hidden))
        assert float(maps[0, c, i, j]) == pytest.approx(wanted, rel=1e-10)


def test_standardised_support_has_mean_zero_and_deviation_one():
    pyramids = [[7 + 3 * f for f in pyramid(1, 64, 96, seed)] for seed in range(3)]
    standardize = Standardize(LAYERS)
    standardize.calibrate(pyramids)
    for layer in zip(*(standardize(p) for p in pyramids), strict=True):
        pixels = torch.cat([f.flatten(2) for f in layer], dim=2).double()
        torch.testing.assert_close(pixels.mean(2), torch.zeros_like(pixels.mean(2)), atol=1e-4, rtol=0)
        torch.testing.assert_close(pixels.var(2, correction=0), torch.ones_like(pixels.mean(2)), atol=1e-3, rtol=0)


def test_a_dead_channel_is_not_blown_up():
    features = pyramid(2, 64, 64)
    features[0][:, 0] = 5.0
    standardize = Standardize(LAYERS)
    standardize.calibrate([features])
    assert standardize(features)[0][:, 0].abs().max() < 1e-3
    assert standardize(features)[0].isfinite().all()


def test_mask_shares_by_hand():
    mask = torch.tensor([[1.0, 1.0, 0.0, torch.nan], [1.0, 0.0, torch.nan, torch.nan]])
    shares = mask_shares(mask.view(1, 1, 2, 4), (1, 2))
    assert shares.flatten().tolist() == [0.75, 0.0]
    assert mask_shares(torch.full((1, 1, 2, 2), torch.nan), (1, 1)).isnan().all()


def test_teacher_sees_class_shares_of_the_finest_support_grid():
    teacher = Teacher(LAYERS)
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., :32] = 1
    tokens = teacher.support_tokens(pyramid(1, 64, 64), masks)
    assert isinstance(tokens, SupportTokens)
    # stride 8 is averaged to 16: four columns, the left half foreground
    assert [tuple(m.shape) for m in tokens.masks] == [(1, 1, 4, 4)] * 3 + [(1, 1, 2, 2)] * 2
    assert tokens.masks[0][0, 0, 0].tolist() == [1, 1, 0, 0]
