"""Partial labels beside fixed classes: the loss against a brute-force computation, and who learns from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import square_support
from torch import Tensor, nn

from distillfss import FitConfig, SupportSet
from distillfss.fit_run import FitRun
from distillfss.models.classes import merge_classes
from distillfss.training.losses import segmentation_loss
from distillfss.training.pool import EncodedView
from distillfss.training.rivals import Rivals

QUICK = FitConfig(size=96, effort=0.1, pool_views=6, distill_batch=3)


class Fixed(nn.Module):
    """Answers (B, m, 2, h, w) that are the pyramid's first layer; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        self.asked += 1
        return features[0], []


def views(answers: Tensor, first: int = 0) -> list[EncodedView]:
    mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
    return [EncodedView([answer[None]], mask, 0, first + number, 0) for number, answer in enumerate(answers)]


def brute_force(old: np.ndarray, new: np.ndarray, target: np.ndarray) -> float:
    """Cross-entropy and Dice of the merged softmax, pixel by pixel, every class that is not new being "the rest"."""
    batch, _, _, height, width = old.shape
    ways = new.shape[1]
    shares = np.zeros((batch, ways + 1, height, width))
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                pairs = [*old[b, :, :, i, j], *new[b, :, :, i, j]]
                strongest = max(pairs, key=lambda pair: pair[1])
                weights = [math.exp(strongest[0]), *(math.exp(pair[1]) for pair in pairs)]
                p = [weight / sum(weights) for weight in weights]
                shares[b, 0, i, j] = sum(p[: len(p) - ways])
                shares[b, 1:, i, j] = p[len(p) - ways :]
    known = target != 255
    entropies = [-math.log(shares[b, target[b, i, j], i, j]) for b, i, j in zip(*np.nonzero(known), strict=True)]
    dices = []
    for c in range(1, ways + 1):
        if (target == c).any():
            total = shares[:, c][known].sum() + (target == c).sum()
            dices.append(1 - (2 * shares[:, c][target == c].sum() + 1) / (total + 1))
    return float(np.mean(entropies) + (np.mean(dices) if dices else 0.0))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 3), st.integers(0, 999))
def test_partial_labels_by_brute_force_in_float64(batch: int, old: int, new: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fixed, learnt = rng.normal(size=(batch, old, 2, 4, 3)) * 3, rng.normal(size=(batch, new, 2, 4, 3)) * 3
    target = rng.choice([*range(new + 1), 255], size=(batch, 4, 3)).astype(np.uint8)
    target[0, 0, 0] = 0
    rivals = Rivals(Fixed(), old)
    merged = rivals.merge(torch.from_numpy(learnt), views(torch.from_numpy(fixed)))
    found = segmentation_loss(rivals.grouped(merged), torch.from_numpy(target))
    assert float(found) == pytest.approx(brute_force(fixed, learnt, target), rel=1e-9)


def test_a_pixel_of_an_old_class_costs_nothing_where_the_annotation_says_background() -> None:
    """The old class is sure of it, and the new one does not claim it: nothing is to be learnt there."""
    old = torch.tensor([-20.0, 20.0]).view(1, 1, 2, 1, 1).double()
    new = torch.tensor([20.0, -20.0]).view(1, 1, 2, 1, 1).double().requires_grad_()
    rivals = Rivals(Fixed(), 1)
    merged = rivals.merge(new, views(old))
    assert merged[0].argmax(0).item() == 1
    target = torch.zeros(1, 1, 1, dtype=torch.uint8)
    loss = segmentation_loss(rivals.grouped(merged), target)
    loss.backward()
    assert float(loss.detach()) < 1e-15
    assert float(new.grad.abs().max()) < 1e-15
    assert float(segmentation_loss(merged.detach(), target)) > 39  # what counting it as background would have cost


def test_without_fixed_classes_everything_is_as_it_was() -> None:
    logits = torch.randn(2, 3, 2, 4, 4)
    rivals = Rivals()
    merged = rivals.merge(logits, views(torch.zeros(2, 1, 2, 4, 4)))
    assert torch.equal(merged, merge_classes(logits))
    assert rivals.grouped(merged) is merged


class Drawing(Fixed):
    """Answers a pyramid by its first layer; asked with the map of stride 2, by twice that map's first two channels."""

    detail = nn.Identity()

    def forward(self, features: list[Tensor], fine: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        return (features[0] if fine is None else 2 * fine[:, None, :2]), []


@pytest.mark.parametrize("fixed", [Fixed, Drawing])
def test_what_is_new_is_brought_to_the_grid_of_fixed_classes_that_draw_details(fixed: type[Fixed]) -> None:
    old, fine, new = torch.randn(2, 1, 2, 4, 3), torch.randn(2, 5, 8, 6), torch.randn(2, 3, 2, 4, 3)
    merged = Rivals(fixed(), 1).merge_with(new, [old], fine)
    if fixed is Fixed:
        assert torch.equal(merged, merge_classes(torch.cat([old, new], dim=1)))
        return
    finer = nn.functional.interpolate(new.flatten(1, 2), (8, 6), mode="bilinear").unflatten(1, (3, 2))
    torch.testing.assert_close(merged, merge_classes(torch.cat([2 * fine[:, None, :2], finer], dim=1)))


def test_fixed_classes_answer_a_view_once_and_are_forgotten_with_it() -> None:
    student = Fixed()
    rivals, shown = Rivals(student, 1), views(torch.randn(3, 1, 2, 4, 4), first=10)
    new = torch.randn(3, 1, 2, 4, 4)
    for _ in range(2):
        rivals.merge(new, shown)
    assert student.asked == 3
    rivals.forget(12)
    rivals.merge(new, shown)
    assert student.asked == 5


def test_only_the_new_part_learns() -> None:
    """After every phase: no gradient in backbone, standardisation and old student, all of whose numbers stay."""
    model = FitRun(square_support(2, ways=2), QUICK, lambda _: None).segmenter()
    before = [{name: t.clone() for name, t in part.state_dict().items()} for part in model.parts]
    three = square_support(3, ways=3)
    only_third = SupportSet.from_arrays([s.image for s in three.samples], [(s.mask == 3) * 1 for s in three.samples])
    run = FitRun(only_third, QUICK, lambda _: None, beside=model)
    start = {name: t.clone() for name, t in run.student.state_dict().items()}
    while not run.done:
        run.advance()
    for part, kept in zip(model.parts, before, strict=True):
        assert all(parameter.grad is None for parameter in part.parameters())
        assert all(torch.equal(t, kept[name]) for name, t in part.state_dict().items())
    gradients = [p.grad for p in run.student.parameters()]
    assert any(g is not None and float(g.abs().max()) > 0 for g in gradients)
    assert any(not torch.equal(t, start[name]) for name, t in run.student.state_dict().items())
    assert run.ready.standardize is model.parts[1]
