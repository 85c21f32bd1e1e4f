"""How long opponents may train: as many steps as took the seconds of our fit, or a multiple of them.

Steps are counted, not timed, so that a result depends on the seed and not on how busy a machine is. Their number comes
from seconds per step that were measured side by side, one thread, 384 px, EfficientNet-Lite0
(``benchmarks/method_seconds.py`` measures whole fits; run it when a step of anything has changed).
"""

from __future__ import annotations

from distillfss.bench.methods.base import MethodSettings

STEPS, STEPS_PER_ROOT = 160, 56
"""Steps of our whole fit with k images, 160 + 56 sqrt(k), when the seconds below were measured. It has changed since,
in steps and in what they cost; opponents keep what they had."""
FIT_STEP, FIT_STEP_PER_CLASS, MOST_CLASSES = 0.35, 0.083, 3
"""Seconds of our whole fit, divided by its steps: 0.432 with one class (5 Kvasir-SEG images, 285 steps, 123 s) and
0.600 with three (11 NEU-Seg images, 346 steps, 208 s), on a busy machine. With more classes a step has fewer
views."""
FAVOUR = 1.15
"""Opponents get a little more, so that no error of measurement is to our advantage."""


def fit_steps(settings: MethodSettings, images: int) -> int:
    """Steps that our own fit took with as many support images."""
    return max(2, round(settings.effort * (STEPS + STEPS_PER_ROOT * images**0.5)))


def steps_in_budget(
    settings: MethodSettings, images: int, ways: int, step_seconds: float, multiple: float = 1.0
) -> int:
    """Steps of ``step_seconds`` each that fit into ``multiple`` times the seconds of our fit.

    Parameters
    ----------
    images, ways
        Number of support images and of classes.
    """
    fit_seconds = fit_steps(settings, images) * (FIT_STEP + FIT_STEP_PER_CLASS * min(ways, MOST_CLASSES))
    return max(1, round(FAVOUR * multiple * fit_seconds / step_seconds))
