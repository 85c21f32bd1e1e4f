"""One phase of a fit: an optimiser, a learning rate that rises and falls, and a loss per step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from distillfss.training.state import optimizer_tensors, restore_optimizer

WARM_UP_STEPS = 20
FINAL_SHARE = 0.02
"""The learning rate ends at this share of its peak."""
MAX_GRADIENT_NORM = 1.0


class Phase(Protocol):
    """What is trained, for how many steps, and what is minimised."""

    name: str
    model: nn.Module
    steps: int

    def loss(self, step: int, pool_step: int) -> Tensor: ...


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up to ``peak``, then a half cosine down."""
    rising = min(1.0, (step + 1) / WARM_UP_STEPS)
    falling = 0.5 * (1 + math.cos(math.pi * step / steps))
    return peak * rising * (falling * (1 - FINAL_SHARE) + FINAL_SHARE)


class PhaseRunner:
    """Takes one phase from step to step; its state can be stored between any two.

    Parameters
    ----------
    phase
        What to train.
    pool_offset
        Pool step of the phase's first step.
    peak
        Peak learning rate.
    apart
        Peak learning rates of their own, of modules that are part of the phase's model.
    """

    def __init__(
        self,
        phase: Phase,
        pool_offset: int,
        *,
        peak: float,
        weight_decay: float,
        apart: Sequence[tuple[nn.Module, float]] = (),
    ) -> None:
        self.phase = phase
        self.step = 0
        self._pool_offset = pool_offset
        self._weight_decay = weight_decay
        self._parameters = [p for p in phase.model.parameters() if p.requires_grad]
        groups = [([p for p in module.parameters() if p.requires_grad], rate) for module, rate in apart]
        taken = {id(p) for parameters, _ in groups for p in parameters}
        self._groups = [([p for p in self._parameters if id(p) not in taken], peak), *groups]

    @cached_property
    def _optimizer(self) -> torch.optim.AdamW:
        # made for the first step: the first optimiser of a process imports much of PyTorch, a third of an instant model
        groups = [{"params": parameters, "lr": peak} for parameters, peak in self._groups]
        return torch.optim.AdamW(groups, weight_decay=self._weight_decay, fused=True)

    @property
    def done(self) -> bool:
        return self.step >= self.phase.steps

    def advance(self) -> float:
        """Take one step and return its loss."""
        for group, (_, peak) in zip(self._optimizer.param_groups, self._groups, strict=True):
            group["lr"] = learning_rate(self.step, self.phase.steps, peak)
        loss = self.phase.loss(self.step, self._pool_offset + self.step)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        self._optimizer.step()
        self.step += 1
        return float(loss.detach())

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's tensors, for ``restore``."""
        return optimizer_tensors(self._optimizer) if self.step > 0 else {}

    def restore(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Continue at ``step`` with the optimiser as it was."""
        self.step = step
        if step > 0:
            restore_optimizer(self._optimizer, tensors)
