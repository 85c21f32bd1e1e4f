"""The lean student computes what the fitted one does, whatever was folded."""

from __future__ import annotations

import copy

import pytest
import torch

from distillfss.backbones import Layer
from distillfss.models.lean import LeanStudent
from distillfss.models.standardize import Standardize
from distillfss.models.student import Student

# several layers of a stride, channels that do not divide by four
LAYERS = tuple(
    Layer(f"layer{number}", stride, channels)
    for number, (stride, channels) in enumerate([(4, 6), (8, 10), (8, 12), (16, 9), (16, 16), (32, 24)])
)


def fitted(ways: int, seed: int) -> tuple[Standardize, Student]:
    """With every number away from where it starts, in float64."""
    torch.manual_seed(seed)
    standardize, student = Standardize(LAYERS).double(), Student(LAYERS, ways).double()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for attention in student.attention:
            attention.get_buffer("log_weights").copy_(torch.rand(attention.values.shape[0]) * 40 - 30)
        student.get_buffer("probe").normal_(std=0.2)
        for index, layer in enumerate(LAYERS):
            standardize.get_buffer(f"mean{index}").copy_(torch.randn(layer.channels) * 3)
            standardize.get_buffer(f"std{index}").copy_(torch.rand(layer.channels) + 0.2)
    return standardize, student.eval()


def pyramid(batch: int, rows: int, columns: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(
            batch,
            layer.channels,
            32 * rows // layer.stride,
            32 * columns // layer.stride,
            generator=generator,
            dtype=torch.double,
        )
        * 4
        for layer in LAYERS
    ]


@pytest.mark.parametrize(("ways", "batch", "rows", "columns"), [(1, 1, 2, 3), (1, 3, 1, 1), (3, 2, 3, 1), (5, 2, 1, 2)])
@torch.no_grad()
def test_logits_are_those_of_the_student(ways: int, batch: int, rows: int, columns: int) -> None:
    standardize, student = fitted(ways, seed=ways)
    features = pyramid(batch, rows, columns, seed=batch)
    wanted, _ = student(standardize(features))
    assert wanted.std() > 0.1
    before = copy.deepcopy(student.state_dict())
    lean = LeanStudent(standardize, student).double()
    torch.testing.assert_close(lean(features), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    # whoever goes on with the fitted one finds it as it was
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


@pytest.mark.parametrize("ways", [1, 2, 4])
@torch.no_grad()
def test_details_are_those_of_the_student(ways: int) -> None:
    standardize, _ = fitted(ways, seed=ways)
    student = Student(LAYERS, ways, fine_channels=7).double().eval()
    for parameter in student.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    student.detail.calibrate(torch.randn(7), torch.rand(7) + 0.2)
    features, fine = pyramid(2, 1, 2, seed=0), 3 * torch.randn(2, 7, 16, 32, dtype=torch.double)
    wanted, _ = student(standardize(features), fine=fine)
    lean = LeanStudent(standardize, student).double()
    assert wanted.shape == (2, ways, 2, 16, 32)
    torch.testing.assert_close(lean(features, fine), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    torch.testing.assert_close(lean(features), student(standardize(features))[0], rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_pixel_without_any_feature_is_no_nan() -> None:
    """All channels alike: neither variance nor length to divide by."""
    standardize, student = fitted(1, seed=0)
    features = [
        standardize.get_buffer(f"mean{index}")[None, :, None, None].expand(
            1, -1, 32 // layer.stride, 32 // layer.stride
        )
        for index, layer in enumerate(LAYERS)
    ]
    wanted, _ = student(standardize(features))
    found = LeanStudent(standardize, student).double()(features)
    assert wanted.isfinite().all()
    assert found.isfinite().all()
