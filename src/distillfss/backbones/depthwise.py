"""Depthwise convolution whose weights learn in a fraction of the time on a CPU.

oneDNN has no fast kernel for the gradient of depthwise weights other than 3x3: 5x5 takes 20 times as long as the
convolution itself. But that gradient is a depthwise convolution too, of the input with the gradient of the output as
its kernel, for every image and channel by itself; and depthwise convolutions with large kernels are fast.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SLOW_ABOVE = 3
"""Larger kernels have no fast gradient of their own."""


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """``F.conv2d(x, weight, bias, stride, padding, groups=C)`` for x (B, C, H, W) and weight (C, 1, k, k).

    Equal to it forwards, and up to rounding backwards.
    """
    channels, _, *kernel = weight.shape
    learns = torch.is_grad_enabled() and weight.requires_grad
    if learns and max(kernel) > SLOW_ABOVE and x.device.type == "cpu":
        out: Tensor = _Depthwise.apply(x, weight, bias, stride, padding)
        return out
    return F.conv2d(x, weight, bias, stride, padding, groups=channels)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x, _, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, (ctx.stride,) * 2, (ctx.padding,) * 2, (1, 1), False, (0, 0), len(weight),
                (True, False, False),
            )  # fmt: skip
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(x, grad, weight.shape[-2:], ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = grad.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None, None


def _weight_gradient(x: Tensor, grad: Tensor, kernel: torch.Size, stride: int, padding: int) -> Tensor:
    """(C, 1, k, k): ``sum over b, i, j of grad[b, c, i, j] x[b, c, stride i + u - p, stride j + v - p]``."""
    batch, channels = x.shape[:2]
    found = F.conv2d(
        x.flatten(0, 1)[None],
        grad.flatten(0, 1)[:, None],
        padding=padding,
        dilation=stride,
        groups=batch * channels,
    )
    # a stride may leave rows and columns over that no output looked at
    whole = found[0, :, : kernel[0], : kernel[1]]
    return whole.unflatten(0, (batch, channels)).sum(0)[:, None]
