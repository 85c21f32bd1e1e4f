"""Losses against numbers worked out by hand or in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillfss.training.losses import coarse_map_loss, dice_loss, segmentation_loss, soft_target_loss
from distillfss.training.targets import class_masks, every_other_pixel


def test_dice_by_hand():
    # one class, four pixels: p = .5 .5 1 0, truth = 1 0 1 0 -> (2 * 1.5 + 1) / (2 + 2 + 1)
    p = torch.tensor([0.5, 0.5, 1.0, 0.0]).view(1, 1, 2, 2)
    probabilities = torch.cat([1 - p, p], dim=1)
    target = torch.tensor([1, 0, 1, 0]).view(1, 2, 2)
    assert float(dice_loss(probabilities, target)) == pytest.approx(1 - 4 / 5)


def test_dice_leaves_out_ignored_pixels_and_absent_classes():
    p = torch.tensor([0.5, 0.5, 1.0, 0.0]).view(1, 1, 2, 2)
    probabilities = torch.cat([1 - p, p, torch.full_like(p, 0.7)], dim=1)
    target = torch.tensor([1, 255, 1, 0]).view(1, 2, 2)
    assert float(dice_loss(probabilities, target)) == pytest.approx(1 - (2 * 1.5 + 1) / (1.5 + 2 + 1))


def test_dice_of_an_empty_batch_is_zero_with_a_gradient():
    probabilities = torch.rand(1, 2, 2, 2).requires_grad_()
    loss = dice_loss(probabilities, torch.zeros(1, 2, 2, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(probabilities.grad.abs().sum()) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 999))
def test_segmentation_loss_in_float64(batch, ways, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(batch, ways + 1, 5, 4))
    target = rng.choice([*range(ways + 1), 255], size=(batch, 5, 4))
    target[0, 0, 0] = 0
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    known = target != 255
    entropies = [-math.log(p[b, target[b, i, j], i, j]) for b, i, j in zip(*np.nonzero(known), strict=True)]
    dices = []
    for c in range(1, ways + 1):
        if (target == c).any():
            inter, total = p[:, c][target == c].sum(), p[:, c][known].sum() + (target == c).sum()
            dices.append(1 - (2 * inter + 1) / (total + 1))
    wanted = np.mean(entropies) + (np.mean(dices) if dices else 0.0)
    found = segmentation_loss(torch.from_numpy(logits), torch.from_numpy(target.astype(np.uint8)))
    assert float(found) == pytest.approx(wanted, rel=1e-9)


def test_everything_ignored_costs_nothing():
    logits = torch.randn(1, 2, 3, 3).requires_grad_()
    loss = segmentation_loss(logits, torch.full((1, 3, 3), 255, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(logits.grad.abs().sum()) == 0


def test_soft_targets_by_hand_and_detached():
    student = torch.tensor([0.0, 0.0, 3.0, 0.0]).view(1, 2, 1, 2).requires_grad_()
    teacher = torch.tensor([0.0, 0.0, math.log(3), 0.0]).view(1, 2, 1, 2).requires_grad_()
    # pixel 0: teacher (1/4, 3/4), student softmax(0, 3); pixel 1 is unknown
    p = 1 / (1 + math.exp(3))
    wanted = 0.25 * math.log(0.25 / p) + 0.75 * math.log(0.75 / (1 - p))
    loss = soft_target_loss(student, teacher, torch.tensor([[[True, False]]]))
    assert float(loss) == pytest.approx(wanted, rel=1e-6)
    loss.backward()
    assert teacher.grad is None
    assert student.grad[..., 1].abs().sum() == 0


def test_soft_targets_vanish_when_student_and_teacher_agree_up_to_a_shift():
    logits = torch.randn(2, 3, 4, 4)
    known = torch.ones(2, 4, 4, dtype=torch.bool)
    assert float(soft_target_loss(logits, logits + 5, known)) == pytest.approx(0, abs=1e-6)


def test_coarse_map_loss_is_a_mean_over_layers_and_detached():
    student = [torch.zeros(1, 1, 2, 2).requires_grad_(), torch.zeros(1, 1, 1, 1).requires_grad_()]
    teacher = [torch.full((1, 1, 2, 2), 1.0).requires_grad_(), torch.full((1, 1, 1, 1), 3.0).requires_grad_()]
    loss = coarse_map_loss(student, teacher)
    assert float(loss) == pytest.approx((1 + 9) / 2)
    loss.backward()
    assert teacher[0].grad is None
    assert student[1].grad is not None


def test_class_masks_one_by_one():
    masks = torch.tensor([[[0, 1], [2, 255]]], dtype=torch.uint8)
    shares = class_masks(masks, 2)
    assert shares[0, 0].flatten().tolist()[:3] == [0, 1, 0]
    assert shares[0, 1].flatten().tolist()[:3] == [0, 0, 1]
    assert shares[0, :, 1, 1].isnan().all()


def test_every_other_pixel_is_one_of_each_block_and_all_four_in_turn():
    masks = torch.arange(48).view(2, 4, 6)
    seen = set()
    for seed in range(40):
        half = every_other_pixel(masks, np.random.default_rng(seed))
        assert half.shape == (2, 2, 3)
        offset = int(half[0, 0, 0])
        assert torch.equal(half, masks[:, ::2, ::2] + offset)
        seen.add(offset)
    assert seen == {0, 1, 6, 7}
