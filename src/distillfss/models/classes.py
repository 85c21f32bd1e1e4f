"""Several classes from binary problems: whose foreground is highest sets the background (DCAMA's multi-class rule)."""

from __future__ import annotations

import torch
from torch import Tensor


def merge_classes(logits: Tensor) -> Tensor:
    """One logit per class from one binary problem per class.

    At every pixel the foreground logits of all classes stand against the background logit of the class whose
    foreground is highest.

    Parameters
    ----------
    logits
        (B, n, 2, H, W), background and foreground of every class.

    Returns
    -------
    Tensor
        (B, n + 1, H, W), background first. For one class this is the binary problem itself.
    """
    if logits.shape[1] == 1:
        return logits.squeeze(1)
    background, foreground = logits.unbind(2)
    highest = foreground.argmax(dim=1, keepdim=True)
    return torch.cat([background.gather(1, highest), foreground], dim=1)
