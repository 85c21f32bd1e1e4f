"""How far the probe is trusted at the start of a fit: tried on support images it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from distillfss.models.classes import merge_classes
from distillfss.models.probe import probe_map
from distillfss.models.teacher import Teacher
from distillfss.training.losses import IGNORE
from distillfss.training.pool import EncodedView
from distillfss.training.transfer import leave_one_out_tokens

GAINS = (0.0, 1.0, 2.0, 3.0, 5.0)
"""Logits per unit of the probe's map that are tried."""
MOST_IMAGES = 16
"""Images that are left out in turn; more would say little more."""


@torch.no_grad()
def best_gain(
    teacher: Teacher, plain: Sequence[EncodedView], probes: Mapping[int, Tensor], ways: int, *, shots: int, seed: int
) -> float:
    """The gain of ``GAINS`` whose answers to left-out support images have the best IoU, the smallest of equals.

    Parameters
    ----------
    teacher
        As it starts, its mixer without weights for the probe's map, so that the probe's logits are simply added.
    plain
        Every support image unaugmented, at least two.
    probes
        Of every support image, the probe of the others.
    shots
        Support images the teacher is shown with each.
    """
    counts = torch.zeros(len(GAINS), 2, ways)
    for view in plain[:MOST_IMAGES]:
        random = np.random.default_rng([seed, 5, view.source])
        tokens = leave_one_out_tokens(teacher, plain, probes, view.source, ways, random, shots)
        assert tokens.probe is not None
        logits = teacher.mixer(teacher.coarse_maps(view.features, tokens), None, view.features)
        probe = probe_map(view.features, tokens.probe, teacher.layers)
        decided = torch.cat([-probe, probe], dim=2)
        for place, gain in enumerate(GAINS):
            counts[place] += overlap(merge_classes(logits + gain * decided), view.mask).cpu()
    score = (counts[:, 0] / counts[:, 1].clamp_min(1)).mean(1)
    return GAINS[int(score.argmax())]


def overlap(merged: Tensor, mask: Tensor) -> Tensor:
    """Intersection and union of every class in pixels of the logits' grid, (2, n).

    Parameters
    ----------
    merged
        (1, n + 1, h, w) class logits.
    mask
        (1, H, W) class indices, 255 = ignore; read at the middle of every cell of the grid.
    """
    rows, columns = (
        ((torch.arange(fine, device=mask.device) + 0.5) * size / fine).long()
        for fine, size in zip(merged.shape[-2:], mask.shape[-2:], strict=True)
    )
    truth, found = mask[0][rows][:, columns], merged[0].argmax(0)
    known = truth != IGNORE
    pairs = []
    for value in range(1, merged.shape[1]):
        is_found, is_true = (found == value) & known, truth == value
        pairs.append(torch.stack([(is_found & is_true).sum(), (is_found | is_true).sum()]))
    return torch.stack(pairs, dim=1).float()
