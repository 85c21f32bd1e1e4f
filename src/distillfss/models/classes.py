"""Several classes from binary problems: whose foreground is highest sets the background (DCAMA's multi-class rule)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BELOW = 30.0
"""Logits by which a class that was never shown lies below all others: a probability of 1e-13."""


def merge_classes(logits: Tensor, never: Sequence[int] = ()) -> Tensor:
    """One logit per class from one binary problem per class.

    At every pixel the foreground logits of all classes stand against the background logit of the class whose
    foreground is highest.

    Parameters
    ----------
    logits
        (B, n, 2, H, W), background and foreground of every class.
    never
        Classes of which no example was seen, not all of them: they win nowhere, though they have a name.

    Returns
    -------
    Tensor
        (B, n + 1, H, W), background first. For one class this is the binary problem itself.
    """
    if logits.shape[1] == 1:
        return logits.squeeze(1)
    background, foreground = logits.unbind(2)
    if never:
        classes = range(logits.shape[1])
        lowest = foreground[:, [place for place in classes if place not in never]].amin(1, keepdim=True) - BELOW
        foreground = torch.cat([lowest if place in never else foreground[:, place, None] for place in classes], dim=1)
    highest = foreground.argmax(dim=1, keepdim=True)
    return torch.cat([background.gather(1, highest), foreground], dim=1)
