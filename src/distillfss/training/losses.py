"""What transfer and distillation minimise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = 255


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice of merged class logits.

    Cross-entropy alone lets a small class vanish, Dice alone has no gradient where nothing is right yet.

    Parameters
    ----------
    logits
        (B, n + 1, H, W), background first.
    target
        (B, H, W) integer class indices, 255 = ignore.

    Returns
    -------
    Tensor
        Scalar; 0 if every pixel is ignored.
    """
    target = target.long()
    known = target != IGNORE
    if not known.any():
        return logits.sum() * 0.0
    entropy = F.cross_entropy(logits, target, ignore_index=IGNORE)
    return entropy + dice_loss(logits.softmax(1), target)


def dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """1 minus the soft Dice coefficient per foreground class over the whole batch, mean over the classes in it.

    Over the batch and not per image, because an image without the class has no Dice. Classes absent from the batch
    are left out; with none at all the loss is 0.
    """
    known = target != IGNORE
    losses = []
    for index in range(1, probabilities.shape[1]):
        truth = (target == index) & known
        if truth.any():
            p = probabilities[:, index] * known
            losses.append(1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1))
    return torch.stack(losses).mean() if losses else probabilities.sum() * 0.0


def soft_target_loss(student: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's class distribution from the teacher's, mean over known pixels.

    Parameters
    ----------
    student, teacher
        (B, n + 1, H, W) logits; the teacher takes no gradient.
    known
        (B, H, W) bool.
    """
    divergence = F.kl_div(student.log_softmax(1), teacher.detach().log_softmax(1), reduction="none", log_target=True)
    return (divergence.sum(1) * known).sum() / known.sum().clamp_min(1)


def coarse_map_loss(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Mean squared error of coarse maps, mean over layers (DistillFSS eq. 6); the teacher takes no gradient."""
    return torch.stack([F.mse_loss(s, t.detach()) for s, t in zip(student, teacher, strict=True)]).mean()
