"""Mixer, teacher, student, standardisation and class merging: shapes, values, independence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from distillfss.backbones import build_backbone, load_backbone, weights_sha256
from distillfss.models.classes import merge_classes
from distillfss.models.clusters import UNUSED, cluster, k_means
from distillfss.models.mixer import Mixer, coarse_layers, coarse_stride, joining_strides, resize
from distillfss.models.probe import probe_weights
from distillfss.models.shares import mask_shares
from distillfss.models.standardize import Standardize
from distillfss.models.student import LEAST_PER_GROUP, Student, tokens_per_group
from distillfss.models.teacher import SupportTokens, Teacher
from distillfss.training.initial import initialise

LAYERS = build_backbone("efficientnet_lite0").layers


def pyramid(batch: int, height: int, width: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(
            batch, la.channels, math.ceil(height / la.stride), math.ceil(width / la.stride), generator=generator
        )
        for la in LAYERS
    ]


def coarse_sizes(query: list[torch.Tensor]) -> list[tuple[int, ...]]:
    """Grids of the coarse maps: a layer's own, halved where its stride is 8."""
    return [
        tuple(-(-side * LAYERS[i].stride // coarse_stride(LAYERS[i])) for side in query[i].shape[-2:])
        for i in coarse_layers(LAYERS)
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
    support = pyramid(3, 70, 50)
    tokens = teacher.support_tokens(support, masks, probe_weights(support, masks, LAYERS))
    for logits, maps in (Student(LAYERS, ways)(query), teacher(query, tokens)):
        assert logits.shape == (2, ways, 2, *query[0].shape[-2:])
        assert [m.shape for m in maps] == [(2, ways, 2, *size) for size in coarse_sizes(query)]
        assert logits.isfinite().all()


def test_every_map_and_feature_reaches_the_logits():
    query = [f.requires_grad_() for f in pyramid(1, 64, 64)]
    maps = [torch.rand(1, 1, 2, *size).requires_grad_() for size in coarse_sizes(query)]
    probe = torch.rand(1, 1, 1, 16, 16).requires_grad_()
    Mixer(LAYERS)(maps, probe, query).square().sum().backward()
    assert all(float(t.grad.abs().sum()) > 0 for t in [*query, *maps, probe])


def test_a_mixer_may_do_without_a_probe():
    mixer, query = Mixer(LAYERS), pyramid(1, 64, 64)
    torch.nn.init.normal_(mixer.probe["8"].weight)
    maps = [torch.rand(1, 2, 2, *size) for size in coarse_sizes(query)]
    torch.testing.assert_close(mixer(maps, None, query), mixer(maps, torch.zeros(1, 2, 1, 16, 16), query))


def test_before_any_training_the_probe_decides():
    mixer, query = Mixer(LAYERS), pyramid(1, 64, 64)
    maps = [torch.rand(1, 1, 2, *size) for size in coarse_sizes(query)]
    probe = torch.where(torch.rand(1, 1, 1, 16, 16) > 0.5, 1.0, -1.0)
    background, foreground = mixer(maps, probe, query).unbind(2)
    assert torch.equal(foreground > background, probe[:, :, 0] > 0)


def test_the_mixer_treats_classes_alike_and_apart():
    mixer, query = Mixer(LAYERS), pyramid(2, 64, 96)
    maps = [torch.rand(2, 3, 2, *size) for size in coarse_sizes(query)]
    probe = torch.rand(2, 3, 1, *query[0].shape[-2:])
    together = mixer(maps, probe, query)
    for c in range(3):
        own = slice(c, c + 1)
        torch.testing.assert_close(mixer([m[:, own] for m in maps], probe[:, own], query), together[:, own])


def test_with_many_classes_nothing_joins_at_stride_4_but_the_probes_own_logits():
    """Their part of stride 4 is what a bilinear resize makes of stride 8, the same without features of stride 4."""
    assert [joining_strides(ways) for ways in (1, 3, 4, 20)] == [(8, 4), (8, 4), (8,), (8,)]
    torch.manual_seed(0)
    mixer, query = Mixer(LAYERS, joining=(8,)), pyramid(1, 64, 96)
    maps = [torch.rand(1, 2, 2, *size) for size in coarse_sizes(query)]
    probe = torch.rand(1, 2, 1, 16, 24)
    coarse = []
    mixer.logits.register_forward_hook(lambda _module, _inputs, found: coarse.append(found))
    logits = mixer(maps, probe, query)
    assert coarse[0].shape == (2, 2, 8, 12)
    wanted = F.interpolate(coarse[0].double(), scale_factor=2, mode="bilinear").unflatten(0, (1, 2))
    wanted = wanted + mixer.probe_gain.item() * torch.cat([-probe, probe], dim=2)
    torch.testing.assert_close(logits.double(), wanted, rtol=0, atol=1e-6)
    assert torch.equal(mixer(maps, probe, [torch.zeros_like(query[0]), *query[1:]]), logits)


def test_a_teacher_of_many_classes_starts_from_what_it_has_of_the_meta_trained_one():
    backbone = load_backbone("efficientnet_lite0")
    whole, many = Teacher(backbone.layers), Teacher(backbone.layers, joining_strides(5))
    for teacher in (whole, many):
        initialise(teacher, "auto", "efficientnet_lite0", weights_sha256("efficientnet_lite0"))
    learnt, taken = whole.state_dict(), many.state_dict()
    assert all(torch.equal(learnt[name], tensor) for name, tensor in taken.items())
    left = {".".join(name.split(".")[:3]) for name in learnt.keys() - taken.keys()}
    assert left == {"mixer.join.4", "mixer.probe.4", "mixer.refine.4", "mixer.context.merge", "mixer.context.project"}


def shown_support(ways: int = 2, seed: int = 0) -> tuple[Teacher, SupportTokens]:
    torch.manual_seed(seed)
    teacher = Teacher(LAYERS).requires_grad_(False)
    masks = torch.zeros(2, ways, 64, 64)
    masks[0, 0, :32, :32] = 1
    masks[1, ways - 1, 16:, 48:] = 1
    masks[1, :, :16] = torch.nan
    support = pyramid(2, 64, 64, 7)
    return teacher, teacher.support_tokens(support, masks, probe_weights(support, masks, LAYERS))


def test_a_student_with_a_token_for_every_support_token_is_its_teacher():
    teacher, tokens = shown_support()
    student = Student(LAYERS, 2).requires_grad_(False)
    student.take_over(teacher, tokens, seed=0)
    query = pyramid(2, 64, 96)
    for ours, theirs in zip(student(query)[1], teacher(query, tokens)[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(student(query)[0], teacher(query, tokens)[0], rtol=1e-3, atol=1e-4)


def test_a_token_that_stands_for_many_counts_as_many():
    """The same support ten times over: the clusters are the same, their weights ten times as large."""
    teacher, _ = shown_support()
    features = [f[:1].repeat(10, 1, 1, 1) for f in pyramid(1, 64, 64, 7)]
    masks = torch.zeros(10, 2, 64, 64)
    masks[:, 0, :32] = 1
    tokens = teacher.support_tokens(features, masks, probe_weights(features, masks, LAYERS))
    student = Student(LAYERS, 2).requires_grad_(False)
    student.take_over(teacher, tokens, seed=0)
    query = pyramid(1, 64, 64)
    for ours, theirs in zip(student(query)[1], teacher.coarse_maps(query, tokens), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_nothing_of_the_student_grows_with_the_support_or_is_frozen():
    teacher, tokens = shown_support()
    student = Student(LAYERS, 2)
    shapes = {name: t.shape for name, t in student.state_dict().items()}
    student.take_over(teacher, tokens, seed=0)
    assert {name: t.shape for name, t in student.state_dict().items()} == shapes
    student(pyramid(1, 64, 64))[0].square().sum().backward()
    without = [n for n, p in student.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_one_class_shares_its_tokens_with_the_background_alone():
    assert (tokens_per_group(1), tokens_per_group(3), tokens_per_group(20)) == (64, 32, LEAST_PER_GROUP)


def test_clusters_by_hand():
    tokens = torch.tensor([[0.0, 0], [0.1, 0], [5, 5], [5, 5.2], [9, 0]])
    values = torch.tensor([[0.05, 0.0], [0.0, 0.0], [0.9, 0.1], [0.7, 0.1], [0.2, 0.8]])
    found = cluster(tokens, values, 1, seed=0)
    torch.testing.assert_close(found.centres, torch.tensor([[0.05, 0], [5, 5.1], [9, 0]]))
    torch.testing.assert_close(found.values, torch.tensor([[0.025, 0.0], [0.8, 0.1], [0.2, 0.8]]))
    torch.testing.assert_close(found.log_weights, torch.tensor([2.0, 2.0, 1.0]).log())
    roomy = cluster(tokens, values, 3, seed=0)
    assert (roomy.log_weights > UNUSED).tolist() == [True, True, False, True, True, False, True, False, False]
    empty = cluster(tokens[:0], values[:0], 2, seed=0)
    assert (empty.log_weights == UNUSED).all()


def test_k_means_finds_groups_that_lie_apart():
    random = torch.Generator().manual_seed(1)
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    truth = torch.arange(4).repeat_interleave(25)
    label = k_means(centres[truth] + torch.randn(100, 2, generator=random), 4, seed=3)
    # Lloyd's algorithm may join two groups and split a third, but it never mixes points of groups that lie apart
    again = k_means(centres[truth] + torch.zeros(100, 2), 4, seed=3)
    assert label.min() >= 0
    assert label.max() < 4
    for group in range(4):
        assert len(set(again[truth == group].tolist())) == 1


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
    (shares,) = mask_shares(mask.view(1, 1, 2, 4), [(1, 2)])
    assert shares.flatten().tolist() == [0.75, 0.0]
    assert mask_shares(torch.full((1, 1, 2, 2), torch.nan), [(1, 1)])[0].isnan().all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([(8, 12), (7, 9)]))
def test_mask_shares_of_several_grids_cell_by_cell(seed, size):
    random = torch.Generator().manual_seed(seed)
    masks = (torch.rand(2, 2, *size, generator=random) > 0.5).double()
    masks.masked_fill_(torch.rand(2, 1, *size, generator=random) > 0.7, torch.nan)
    grids = [(4, 6), (2, 3), (3, 2), (1, 1)]
    for grid, found in zip(grids, mask_shares(masks, grids), strict=True):
        for i, j in np.ndindex(grid):
            rows = slice(i * size[0] // grid[0], -(-(i + 1) * size[0] // grid[0]))
            columns = slice(j * size[1] // grid[1], -(-(j + 1) * size[1] // grid[1]))
            wanted = masks[:, :, rows, columns].nanmean((2, 3))
            torch.testing.assert_close(found[:, :, i, j], wanted, equal_nan=True)


def test_teacher_sees_class_shares_of_the_finest_support_grid():
    teacher = Teacher(LAYERS)
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., :32] = 1
    tokens = teacher.support_tokens(pyramid(1, 64, 64), masks)
    assert tokens.probe is None
    assert isinstance(tokens, SupportTokens)
    # stride 8 is averaged to 16: four columns, the left half foreground
    assert [tuple(m.shape) for m in tokens.masks] == [(1, 1, 4, 4)] * 3 + [(1, 1, 2, 2)] * 2
    assert tokens.masks[0][0, 0, 0].tolist() == [1, 1, 0, 0]


def test_a_class_of_which_no_example_was_seen_wins_nowhere():
    logits = torch.randn(2, 4, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    merged, kept = merge_classes(logits, [1, 3]), merge_classes(logits[:, [0, 2]])
    assert torch.equal(merged[:, [0, 1, 3]], kept)
    assert torch.equal(merged[:, 2], merged[:, 4])
    assert (merged[:, 2] <= kept[:, 1:].amin(1) - 29.9).all()
    assert not torch.isin(merged.argmax(1), torch.tensor([2, 4])).any()
