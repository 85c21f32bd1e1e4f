"""What cross-validation found, as scores per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Outcome:
    """Scores of one class on support images that were held back, 0 to 1.

    Attributes
    ----------
    images
        Support images that show it.
    start, validated
        IoU over all pixels of all held-back images: of the teacher before any step, shown the other images; and after
        a short fine-tuning on others.
    error
        Standard error of ``validated`` by the jackknife over images, or groups.
    trivial
        IoU of "everything is this class".
    groups
        Of how many patients, films, fields these images are, where whole groups were held back; None: each image was
        by itself.
    """

    images: int
    start: float
    validated: float
    error: float
    trivial: float
    groups: int | None = None

    @property
    def apart(self) -> int:
        """How many of them say something that none of the others does."""
        return self.images if self.groups is None else self.groups


def outcomes(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    masks: Sequence[NDArray[np.uint8]],
    groups: Sequence[int] | None = None,
) -> list[Outcome]:
    """Scores of every class.

    Parameters
    ----------
    before, after
        True positives, false positives and misses per held-back image and class, (k, n, 3): of the teacher before any
        step, and fine-tuned.
    masks
        Those images' class indices (H, W), 255 = ignore.
    groups
        Those images' groups, which were held back as a whole; None: every image was by itself.
    """
    shares = class_shares(masks, before.shape[1])
    return [
        Outcome(
            images=int((shares[:, place] > 0).sum()),
            start=iou(before[:, place]),
            validated=iou(after[:, place]),
            error=jackknife(after[:, place] if groups is None else _summed(after[:, place], groups)),
            trivial=float(shares[:, place].mean()),
            groups=None if groups is None else len(np.unique(np.asarray(groups)[shares[:, place] > 0])),
        )
        for place in range(before.shape[1])
    ]


def _summed(counts: NDArray[np.float64], groups: Sequence[int]) -> NDArray[np.float64]:
    """Counts per image (k, 3) to counts per group (g, 3)."""
    return np.array([counts[np.asarray(groups) == group].sum(0) for group in np.unique(groups)])


def class_shares(masks: Sequence[NDArray[np.uint8]], ways: int) -> NDArray[np.float64]:
    """Share of every class in the pixels that count of every image, (k, n)."""
    counts = np.array([np.bincount(mask.ravel(), minlength=256) for mask in masks])
    known = counts[:, :255].sum(1, keepdims=True)
    shares: NDArray[np.float64] = counts[:, 1 : ways + 1] / np.maximum(known, 1)
    return shares


def iou(counts: NDArray[np.float64]) -> float:
    """IoU over all pixels of images with hits, false positives and misses (k, 3); 0 where there is nothing."""
    hits, false, missed = counts.sum(0)
    return float(hits / max(hits + false + missed, 1))


def jackknife(counts: NDArray[np.float64]) -> float:
    """Standard error of ``iou``, from leaving out each of the k images; 0 for a single one."""
    number = len(counts)
    without = np.array([iou(np.delete(counts, place, axis=0)) for place in range(number)])
    return float(np.sqrt((number - 1) / number * np.square(without - without.mean()).sum())) if number > 1 else 0.0
