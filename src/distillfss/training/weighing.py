"""How far the probe is trusted at the start of a fit: tried on support images it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from distillfss.models.classes import merge_classes
from distillfss.models.probe import probe_map
from distillfss.models.teacher import Teacher
from distillfss.training.pool import EncodedView
from distillfss.training.scoring import pixel_counts
from distillfss.training.transfer import leave_one_out_tokens, manageable

GAINS = (0.0, 1.0, 2.0, 3.0, 5.0)
"""Logits per unit of the probe's map that are tried."""
INSTANT_GAINS = (*GAINS, 8.0, 12.0)
"""The same for a model that takes no step. Where steps follow, a probe this loud leaves the mixer little to learn."""
MOST_IMAGES = 16
"""Images that are left out in turn; more would say little more."""


@torch.no_grad()
def best_gain(
    teacher: Teacher,
    plain: Sequence[EncodedView],
    probes: Mapping[int, Tensor],
    ways: int,
    *,
    gains: Sequence[float],
    shots: int,
    seed: int,
) -> float:
    """The one of ``gains`` whose answers to left-out support images have the best IoU, the smallest of equals.

    Parameters
    ----------
    teacher
        As it starts, its mixer without weights for the probe's map, so that the probe's logits are simply added.
    plain
        Every support image unaugmented, at least two.
    probes
        Of every support image, the probe of the others.
    gains
        What is tried, in rising order.
    shots
        Support images the teacher is shown with each.
    """
    counts = torch.zeros(len(gains), ways, 3, dtype=torch.float64)
    for view in plain[:MOST_IMAGES]:
        random = np.random.default_rng([seed, 5, view.source])
        tokens = leave_one_out_tokens(teacher, plain, probes, view.source, ways, random, shots)
        tokens = manageable(tokens, random)
        assert tokens.probe is not None
        logits = teacher.mixer(teacher.coarse_maps(view.features, tokens), None, view.features)
        probe = probe_map(view.features, tokens.probe, teacher.layers)
        decided = torch.cat([-probe, probe], dim=2)
        for place, gain in enumerate(gains):
            counts[place] += pixel_counts(merge_classes(logits + gain * decided), view.mask)
    score = (counts[..., 0] / counts.sum(-1).clamp_min(1)).mean(1)
    return gains[int(score.argmax())]
