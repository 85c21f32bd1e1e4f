"""How long opponents may train: as many steps as took the seconds of our fit, or a multiple of them.

Steps are counted, not timed, so that a result depends on the seed and not on how busy a machine is. Their number comes
from seconds per step that were measured side by side, one thread, 384 px, EfficientNet-Lite0
(``benchmarks/method_seconds.py`` measures whole fits; run it when a step of anything has changed).
"""

from __future__ import annotations

from distillfss.bench.methods.base import MethodSettings
from distillfss.config import FitConfig

FIT_STEP = 0.61
"""Processor seconds of our whole fit, divided by its steps: 0.614 with one class (5 Kvasir-SEG images, 263 steps,
161 s), 0.589 with three (13 NEU-Seg images, 351 steps, 207 s), where more classes mean fewer views a step. Measured in
one run with the opponents' steps, on a busy machine."""
FAVOUR = 1.15
"""Opponents get a little more, so that no error of measurement is to our advantage."""


def fit_steps(settings: MethodSettings, images: int) -> int:
    """Steps that our own fit takes with as many support images, all phases together."""
    config = FitConfig(effort=settings.effort)
    return config.transfer_steps(images) + config.distill_steps(images) + config.adapt_steps(images)


def steps_in_budget(settings: MethodSettings, images: int, step_seconds: float, multiple: float = 1.0) -> int:
    """Steps of ``step_seconds`` each that fit into ``multiple`` times the seconds of our fit with ``images``."""
    return max(1, round(FAVOUR * multiple * fit_steps(settings, images) * FIT_STEP / step_seconds))
