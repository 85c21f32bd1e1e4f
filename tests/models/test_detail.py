"""Details: nothing is corrected at first, every class by itself, and one pixel computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from test_lean import LAYERS, pyramid

from distillfss.models.composite import StudentParts, draws_details
from distillfss.models.detail import CHANNELS, SOFTNESS, Detail
from distillfss.models.mixer import resize
from distillfss.models.student import Student


def learnt(ways: int, seed: int = 0) -> Detail:
    """With every number away from where it starts, in float64."""
    torch.manual_seed(seed)
    detail = Detail(5, ways).double()
    with torch.no_grad():
        for parameter in detail.parameters():
            parameter.normal_(std=0.5)
    detail.calibrate(torch.randn(5), torch.rand(5) + 0.5)
    return detail


def seen(batch: int, ways: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of stride 4 and a map of stride 2."""
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(batch, ways, 2, 8, 12, generator=generator, dtype=torch.double)
    return logits, torch.randn(batch, 5, 16, 24, generator=generator, dtype=torch.double)


@torch.no_grad()
def test_what_has_not_learnt_corrects_nothing() -> None:
    logits, fine = seen(2, 3)
    torch.testing.assert_close(Detail(5, 3).double()(logits, fine), resize(logits, (16, 24)), rtol=0, atol=0)


@torch.no_grad()
def test_a_pixel_by_hand() -> None:
    """Every sum written out, at a pixel inside and at a corner, where what lies beyond the border counts as nothing."""
    detail, (logits, fine) = learnt(2), seen(1, 2)
    found = detail(logits, fine)
    rough = resize(logits, (16, 24))[0]
    mean, std = detail.get_buffer("mean"), detail.get_buffer("std")
    one = 1  # the second class

    def inside(row: int, column: int) -> bool:
        return 0 <= row < 16 and 0 <= column < 24

    def guess(row: int, column: int) -> float:
        background, foreground = rough[one, :, row, column].tolist()
        return math.tanh((foreground - background) / SOFTNESS)

    def hidden(row: int, column: int) -> list[float]:
        values = []
        for channel in range(CHANNELS * one, CHANNELS * (one + 1)):
            weights = detail.seen.weight[channel, :, 0, 0]
            total = float(detail.seen.bias[channel] + (weights * (fine[0, :, row, column] - mean) / std).sum())
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    if inside(row + down, column + right):
                        weight = float(detail.guess.weight[channel, 0, down + 1, right + 1])
                        total += weight * guess(row + down, column + right)
            values.append(max(0.0, total))
        return values

    for row, column in ((7, 9), (0, 23)):
        more = float(detail.correct.bias[one])
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                if inside(row + down, column + right):
                    weights = detail.correct.weight[one, :, down + 1, right + 1].tolist()
                    more += sum(w * h for w, h in zip(weights, hidden(row + down, column + right), strict=True))
        background, foreground = rough[one, :, row, column].tolist()
        assert found[0, one, :, row, column].tolist() == pytest.approx([background - more, foreground + more])


@torch.no_grad()
def test_no_class_looks_at_the_logits_of_another() -> None:
    detail, (logits, fine) = learnt(3), seen(1, 3)
    before = detail(logits, fine)
    logits[:, 1] += torch.randn(1, 2, 8, 12, dtype=torch.double)
    after = detail(logits, fine)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.allclose(before[:, 1], after[:, 1])


@torch.no_grad()
def test_a_student_without_the_map_answers_as_if_it_drew_none() -> None:
    torch.manual_seed(0)
    student = Student(LAYERS, 2, fine_channels=5).double().eval()
    student.detail.correct.bias.fill_(1.0)
    features = pyramid(1, 2, 2, seed=0)
    rough, maps = student(features)
    drawn, same_maps = student(features, fine=torch.randn(1, 5, 32, 32, dtype=torch.double))
    assert rough.shape[-2:] == (16, 16)
    torch.testing.assert_close(drawn, resize(rough, (32, 32)) + torch.tensor([-1.0, 1.0])[:, None, None])
    assert all(torch.equal(one, two) for one, two in zip(maps, same_maps, strict=True))


@torch.no_grad()
def test_beside_one_that_draws_details_others_are_brought_to_its_grid() -> None:
    torch.manual_seed(0)
    rough, fine_one = Student(LAYERS, 1).double().eval(), Student(LAYERS, 2, fine_channels=5).double().eval()
    fine_one.detail.correct.bias.fill_(1.0)
    both = StudentParts([rough, fine_one], ((True,), (True, False)))
    assert draws_details(both)
    assert not draws_details(StudentParts([rough], ((True,),)))
    features, fine = pyramid(1, 2, 1, seed=0), torch.randn(1, 5, 32, 16, dtype=torch.double)
    found, _ = both(features, fine=fine)
    # to the last bit what it says alone
    assert torch.equal(found[:, 1], fine_one(features, fine=fine)[0][:, 0])
    assert torch.equal(found[:, 0], resize(rough(features)[0], (32, 16))[:, 0])
    assert both(features)[0].shape == (1, 2, 2, 16, 8)
