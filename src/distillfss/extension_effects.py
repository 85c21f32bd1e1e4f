"""What an extension did on the images it was learnt from: how well the new classes fit, what the old ones gave up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from distillfss.evaluation import CanPredict
from distillfss.metrics import IGNORE
from distillfss.support import SupportSet

LEARNT = 0.25
"""A new class with an IoU below this, on images it has learnt from, has hardly come out."""
OWNED = 0.5
"""An old class that had at least this share of it is why."""


@dataclass(frozen=True)
class Effects:
    """Figures of the images of the new classes, which the model has seen: they say that it learnt, not how good it is.

    Attributes
    ----------
    iou
        IoU of every new class over all pixels, 0 to 1.
    lost
        Of the pixels that are no new class and were an old one to the model before, the share that changed, 0 to 1;
        None if there were none.
    owner
        For every new class the old one that most of its pixels were to the model before, and their share, 0 to 1; a
        class that had none of them is not there.
    """

    iou: dict[str, float]
    lost: float | None
    owner: dict[str, tuple[str, float]] = field(default_factory=dict)

    def doubts(self) -> list[str]:
        """New classes that may be old ones under another name: the model knew what is annotated, and kept it."""
        return [
            f"{100 * share:.0f} % of what is annotated as {name} was {old} to the model already; if it is the same, "
            "name it like that"
            for name, (old, share) in self.owner.items()
            if self.iou[name] < LEARNT and share >= OWNED
        ]


def effects(
    before: CanPredict,
    after: CanPredict,
    support: SupportSet,
    tick: Callable[[int, int], None] = lambda done, all_: None,
) -> Effects:
    """Compare two models on a support set of the new classes.

    Parameters
    ----------
    before, after
        The model with its old classes, and with the new ones after them.
    support
        Images whose masks hold the new classes only (``extending.new_classes``).
    tick
        Called with images done and images in all.
    """
    old, names = len(before.class_names), support.class_names
    counts = np.zeros((len(names), 2), np.int64)
    before_it = np.zeros((len(names), old + 1), np.int64)
    were_old = changed = 0
    for number, sample in enumerate(support.samples):
        tick(number, len(support))
        shape = (sample.mask.shape[0], sample.mask.shape[1])
        first, second = before.predict(sample.image, [shape])[0], after.predict(sample.image, [shape])[0]
        known = sample.mask != IGNORE
        for place in range(len(names)):
            is_true, is_found = (sample.mask == place + 1) & known, (second == old + place + 1) & known
            counts[place] += (is_true & is_found).sum(), (is_true | is_found).sum()
            before_it[place] += np.bincount(first[is_true], minlength=old + 1)
        others = (sample.mask == 0) & (first > 0)
        were_old += int(others.sum())
        changed += int((others & (first != second)).sum())
    tick(len(support), len(support))
    iou = {name: float(both / max(either, 1)) for name, (both, either) in zip(names, counts, strict=True)}
    owner = {}
    for name, row in zip(names, before_it, strict=True):
        if row[1:].any():
            value = int(row[1:].argmax()) + 1
            owner[name] = before.class_names[value - 1], float(row[value] / row.sum())
    return Effects(iou, changed / were_old if were_old else None, owner)
