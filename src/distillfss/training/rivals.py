"""Classes that are learnt beside others that are fixed: they compete, and nothing is taught to the fixed ones.

The images of a new class are annotated for that class only. What is called background there may be any of the old
classes, so it says "not the new class" and no more: background and every old class are equally right.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distillfss.models.classes import merge_classes
from distillfss.models.composite import answer_of, draws_details
from distillfss.models.mixer import resize
from distillfss.training.pool import EncodedView, Join, side_by_side
from distillfss.training.targets import class_masks


class Rivals:
    """The fixed classes; none of them in an ordinary fit.

    Parameters
    ----------
    student
        ``pyramid -> (logits (B, m, 2, h, w), coarse maps)`` of m fixed classes. None for m = 0.
    """

    def __init__(self, student: nn.Module | None = None, ways: int = 0) -> None:
        self.student = student
        self.ways = ways if student is not None else 0
        self._known: dict[int, Tensor] = {}

    def __bool__(self) -> bool:
        return self.student is not None

    @property
    def draws_details(self) -> bool:
        """Whether one of the fixed classes does."""
        return self.student is not None and draws_details(self.student)

    @torch.no_grad()
    def answer(self, features: Sequence[Tensor], fine: Tensor | None = None) -> Tensor:
        """Logits (B, m, 2, h, w) of the fixed classes; given the map of stride 2, on its grid."""
        assert self.student is not None
        return answer_of(self.student, features, fine)[0]

    def masks(self, features: Sequence[Tensor]) -> Tensor:
        """Where the fixed classes are in images, as far as they know: (B, m, h, w) of 0 and 1."""
        return class_masks(merge_classes(self.answer(features)).argmax(1), self.ways)

    def merge(self, logits: Tensor, views: Sequence[EncodedView], join: Join = side_by_side) -> Tensor:
        """One logit per class of views of the pool, fixed classes first.

        Parameters
        ----------
        logits
            (B, n, 2, h, w) of the classes that are learnt.
        views
            The B views they are of.
        join
            What put them together, see ``Batch.of``.

        Returns
        -------
        Tensor
            (B, 1 + m + n, h, w), background first.
        """
        if not self:
            return merge_classes(logits)
        return merge_classes(torch.cat([join([self._answer_once(view) for view in views]), logits], dim=1))

    def merge_with(self, logits: Tensor, pyramid: Sequence[Tensor], fine: Tensor) -> Tensor:
        """The same of anything, given its pyramid and map of stride 2: on the latter's grid if fixed classes are."""
        if not self:
            return merge_classes(logits)
        theirs = self.answer(pyramid, fine if self.draws_details else None)
        return merge_classes(torch.cat([theirs, resize(logits, theirs.shape[-2:])], dim=1))

    def _answer_once(self, view: EncodedView) -> Tensor:
        # one at a time, as the model will be asked, and a resumed fit must not differ in the last bits
        if view.number not in self._known:
            self._known[view.number] = self.answer(view.features)
        return self._known[view.number]

    def forget(self, oldest: int) -> None:
        """Drop the answers to views that have left the pool's window, which begins with number ``oldest``."""
        for number in [n for n in self._known if n < oldest]:
            del self._known[number]

    def grouped(self, merged: Tensor) -> Tensor:
        """Background and fixed classes as one: (B, 1 + m + n, h, w) logits to (B, 1 + n, h, w).

        The softmax of the result is that of ``merged`` with the first 1 + m probabilities summed up, so that
        cross-entropy with it is the partial-label loss: a pixel that is none of the new classes may be anything else.
        """
        if not self:
            return merged
        rest = merged[:, : self.ways + 1].logsumexp(1, keepdim=True)
        return torch.cat([rest, merged[:, self.ways + 1 :]], dim=1)
