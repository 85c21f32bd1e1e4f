"""Counting pixels and turning counts into scores: IoU, Dice, precision and recall per class.

Everything here works on class-index masks: 0 = background, 1…n = the classes, 255 = pixels that do not count.
Scores are computed on counts, so the scores of a whole data set are those of all its pixels together, not a mean of
the images' scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IGNORE = 255


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask to ``size`` (height, width) by nearest neighbour with half-pixel centres.

    The centre of target pixel i lies at (i + 1/2)·n_in/n_out of the source; the pixel that contains it is taken. Whole
    numbers all the way, so no rounding decides.
    """

    def source(n_in: int, n_out: int) -> np.ndarray:
        return (2 * np.arange(n_out, dtype=np.int64) + 1) * n_in // (2 * n_out)

    return mask[np.ix_(source(mask.shape[0], size[0]), source(mask.shape[1], size[1]))]


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true (row) and predicted (column) class; pixels whose truth is 255 are left out.

    Parameters
    ----------
    truth, predicted
        uint8 (H, W) masks of the same shape; values 0…``classes``, in the truth also 255.
    classes
        Number of foreground classes n.

    Returns
    -------
    int64 (n + 1, n + 1)

    Raises
    ------
    ValueError
        Different shapes, values above ``classes``, or a mask of other than whole numbers.
    """
    for mask in (truth, predicted):
        if mask.dtype.kind not in "bui":  # 0.7 would count as 0
            raise ValueError(f"a mask of {mask.dtype}: class indices are whole numbers")
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, prediction is {predicted.shape}")
    counted = truth != IGNORE
    rows, columns = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    n = classes + 1
    if rows.size and (rows.max() >= n or columns.max() >= n):
        raise ValueError(f"a mask holds class {max(rows.max(), columns.max())}, but there are only {classes} classes")
    return np.bincount(rows * n + columns, minlength=n * n).reshape(n, n)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element by element, nan where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, math.nan), where=denominator > 0)


def mean_of_known(values: np.ndarray) -> float:
    """Mean of the values that are not nan; nan when none is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def number_or_none(value: float) -> float | None:
    """nan → None, so that it becomes ``null`` in JSON."""
    return None if math.isnan(value) else float(value)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the foreground classes on one set of pixels.

    Attributes
    ----------
    class_names
        The n foreground classes.
    tp, fp, fn
        int64 (n,): pixels of the class found, pixels wrongly given to it, pixels of it missed.
    """

    class_names: tuple[str, ...]
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @classmethod
    def of(cls, class_names: Sequence[str], counts: np.ndarray) -> Scores:
        """Scores of a confusion matrix (n + 1, n + 1) as ``confusion`` makes it."""
        tp = np.diag(counts)[1:]
        return cls(tuple(class_names), tp, counts[:, 1:].sum(axis=0) - tp, counts[1:].sum(axis=1) - tp)

    @property
    def iou(self) -> np.ndarray:
        """float64 (n,): TP / (TP + FP + FN); nan where a class is neither there nor predicted."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def dice(self) -> np.ndarray:
        """float64 (n,): 2 TP / (2 TP + FP + FN); nan where a class is neither there nor predicted."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def precision(self) -> np.ndarray:
        """float64 (n,): TP / (TP + FP); nan where a class is never predicted."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> np.ndarray:
        """float64 (n,): TP / (TP + FN); nan where a class is not there."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def wrong(self) -> int:
        """Pixels counted as a mistake of some class (a confusion of two foreground classes counts for both)."""
        return int(self.fp.sum() + self.fn.sum())

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes neither there nor predicted: they have no score and are left out of every mean."""
        nothing = (self.tp + self.fp + self.fn) == 0
        return tuple(name for name, empty in zip(self.class_names, nothing, strict=True) if empty)

    @property
    def invented(self) -> tuple[str, ...]:
        """Classes predicted but nowhere there: a single pixel of them is an IoU of 0."""
        seen = zip(self.class_names, self.tp + self.fn, self.fp, strict=True)
        return tuple(name for name, there, wrongly in seen if not there and wrongly)

    def mean(self, measure: str) -> float:
        """Mean over the classes that have a score of ``iou``, ``dice``, ``precision`` or ``recall``."""
        return mean_of_known(getattr(self, measure))

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe: per class and mean, nan as ``None``."""
        measures = ("iou", "dice", "precision", "recall")
        columns = {measure: getattr(self, measure) for measure in measures}
        per_class = {
            name: {
                **{measure: number_or_none(column[i]) for measure, column in columns.items()},
                "pixels": int(self.tp[i] + self.fn[i]),
                "predicted_pixels": int(self.tp[i] + self.fp[i]),
            }
            for i, name in enumerate(self.class_names)
        }
        return {"mean": {measure: number_or_none(self.mean(measure)) for measure in measures}, "per_class": per_class}


def constant_scores(class_names: Sequence[str], counts: np.ndarray, value: int) -> Scores:
    """Scores of predicting class ``value`` (0 = background) on every pixel that ``counts`` was taken from."""
    constant = np.zeros_like(counts)
    constant[:, value] = counts.sum(axis=1)
    return Scores.of(class_names, constant)


def best_constant(class_names: Sequence[str], counts: np.ndarray) -> tuple[int, Scores]:
    """The better of two trivial predictions: all background, or all of the most frequent foreground class."""
    frequent = 1 + int(counts[1:].sum(axis=1).argmax())
    candidates = [(value, constant_scores(class_names, counts, value)) for value in (frequent, 0)]
    return max(candidates, key=lambda item: -1.0 if math.isnan(item[1].mean("iou")) else item[1].mean("iou"))
