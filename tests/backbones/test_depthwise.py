"""Gradients of depthwise convolutions, against autograd's own in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distillfss.backbones.depthwise import depthwise_conv2d
from distillfss.backbones.efficientnet_lite import SameConv2d


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("stride", "padding"), [(1, 2), (1, 0), (2, 0), (2, 1), (3, 0)])
@pytest.mark.parametrize(("height", "width"), [(12, 9), (11, 14)])
def test_as_autograd_does_it(kernel: int, stride: int, padding: int, height: int, width: int):
    random = torch.Generator().manual_seed(0)
    given = [torch.randn(*shape, generator=random) for shape in ((3, 4, height, width), (4, 1, kernel, kernel), (4,))]
    own = [tensor.clone().requires_grad_() for tensor in given]
    exact = [tensor.double().requires_grad_() for tensor in given]
    out = depthwise_conv2d(*own, stride, padding)
    expected = F.conv2d(*exact, stride, padding, groups=4)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn(out.shape, generator=random)
    found = torch.autograd.grad(out, own, grad)
    for one, two in zip(found, torch.autograd.grad(expected, exact, grad.double()), strict=True):
        assert one.shape == two.shape
        torch.testing.assert_close(one.double(), two, rtol=1e-5, atol=1e-4)


def test_what_does_not_learn_gets_no_gradient():
    x = torch.randn(2, 6, 8, 8, requires_grad=True)
    weight, bias = torch.randn(6, 1, 5, 5, requires_grad=True), torch.randn(6)
    depthwise_conv2d(x, weight, bias, 1, 2).sum().backward()
    assert bias.grad is None
    before: list[Tensor] = [g for g in (x.grad, weight.grad) if g is not None]
    other = [x.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()]
    F.conv2d(other[0], other[1], bias, 1, 2, groups=6).sum().backward()
    for one, two in zip(before, (other[0].grad, other[1].grad), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-4)


def test_the_backbones_convolution_learns_this_way():
    conv = SameConv2d(6, 6, 5, 2, groups=6)
    out = conv(torch.randn(2, 6, 16, 16))
    assert out.grad_fn is not None
    assert out.grad_fn.name() == "_DepthwiseBackward"
    with torch.no_grad():
        assert conv(torch.randn(2, 6, 16, 16)).shape == (2, 6, 8, 8)
