"""Two lanes: what does not depend on each other side by side, each on half of the cores.

What a step does to a few views are thousands of short operations. Shared out to all cores, the cores wait for each
other in every single one, and all of them for a core that another program keeps busy. The halves of a batch wait for
each other twice.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LANES = 2
T = TypeVar("T")
R = TypeVar("R")
_here = threading.local()


def halves(count: int, device: torch.device) -> list[slice]:
    """The first and the second half of ``count`` things; all of them where the device is no CPU, which is one lane."""
    middle = (count + 1) // 2
    if device.type != "cpu" or middle == count:
        return [slice(0, count)]
    return [slice(0, middle), slice(middle, count)]


def at_once(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``[function(item) for item in items]``, two at a time, each on half of the threads that PyTorch may use.

    One after the other where that is one thread, and inside a lane. A single item has one lane: how many come together
    must not decide the last bits of a result.
    """
    threads = torch.get_num_threads()
    if threads < LANES or getattr(_here, "in_lane", False):
        return [function(item) for item in items]
    return list(_lanes(threads).map(function, items))


@functools.cache
def _lanes(threads: int) -> ThreadPoolExecutor:
    everyone = threading.Barrier(LANES)

    def begin() -> None:
        torch.get_num_threads()  # a thread that was never asked takes the number set last, whoever set it
        torch.set_num_threads(threads // LANES)
        _here.in_lane = True
        everyone.wait()

    lanes = ThreadPoolExecutor(LANES, "lane", initializer=begin)
    list(lanes.map(lambda _: everyone.wait(), range(LANES)))
    torch.set_num_threads(threads)  # what later threads will take
    return lanes


if hasattr(os, "register_at_fork"):  # a child process has none of its parent's threads
    os.register_at_fork(after_in_child=_lanes.cache_clear)


def answers(
    forward: Callable[[T], Sequence[Tensor]], parts: Sequence[T], parameters: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """``forward`` of all parts of a batch, its outputs (B_i, ...) put together: (B, ...) each.

    Parameters
    ----------
    forward
        Of one part. Every output depends on some of ``parameters``.
    parameters
        What gradients are wanted of, and no other: they are summed up over the parts, in their order.
    """
    found: tuple[Tensor, ...] = _Answers.apply(forward, parts, *parameters)
    return found


class _Answers(torch.autograd.Function):
    @staticmethod
    def forward(ctx, forward, parts, *parameters):  # type: ignore[no-untyped-def]
        def answer(part):  # type: ignore[no-untyped-def]
            with torch.enable_grad():
                return tuple(forward(part))

        ctx.parameters = parameters
        ctx.found = at_once(answer, parts)
        return tuple(torch.cat([one.detach() for one in of_parts]) for of_parts in zip(*ctx.found, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        sizes = [len(outputs[0]) for outputs in ctx.found]
        of_parts = zip(*(grad.split(sizes) for grad in grads), strict=True)

        def gradients(pair):  # type: ignore[no-untyped-def]
            outputs, wanted = pair
            return torch.autograd.grad(outputs, ctx.parameters, wanted, allow_unused=True)

        found = at_once(gradients, zip(ctx.found, of_parts, strict=True))
        return None, None, *(_sum(each) for each in zip(*found, strict=True))


def _sum(gradients: Iterable[Tensor | None]) -> Tensor | None:
    there = [gradient for gradient in gradients if gradient is not None]
    return functools.reduce(torch.add, there) if there else None
