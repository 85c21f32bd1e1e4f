"""Self-training: what the adapted model answers to images without annotation is learnt like annotation.

Its sure answers, given once, have to come out of strongly changed views of the images as well: consistency from weak to
strong as in Sohn et al., "FixMatch", NeurIPS 2020, with the fixed answers of a finished model as in Xie et al.,
"Self-training with Noisy Student", CVPR 2020. An answer is the mean of those to the image and its mirror images, as in
Radosavovic et al., "Data distillation", CVPR 2018: where they differ the model is not sure, and where it is, it is more
often right. Annotation stays in every step, so that nothing drifts away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from distillfss.models.classes import merge_classes
from distillfss.models.mixer import resize
from distillfss.models.student import Student
from distillfss.models.tail import Tail
from distillfss.training.adapt import Adapt, annotation_loss
from distillfss.training.augment import BOTH
from distillfss.training.lanes import at_once
from distillfss.training.losses import IGNORE
from distillfss.training.pool import Views
from distillfss.training.safe_views import AXES
from distillfss.unlabeled import MOST

SURE = 0.8
"""A pixel whose likeliest class has less is left out."""
MIRRORED: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Axes along which an image is mirrored for each of its answers, where views of training are mirrored as well."""


class SelfTrain(Adapt):
    """Goes on where ``before`` ends: more steps, half of their views of images without annotation.

    With fewer images than ``MOST`` the steps are fewer in proportion, so that none is learnt by heart.

    Parameters
    ----------
    before
        Whose student, tail and views these are as well.
    images
        (3, h, w) uint8 each, without annotation.
    views_of
        Makes views of images and their masks, as ``before.views`` are of the support.
    mirrors
        Whether those are mirrored left to right, and upside down.
    steps
        With ``MOST`` images.
    """

    name = "self-train"

    def __init__(
        self,
        before: Adapt,
        images: Sequence[Tensor],
        views_of: Callable[[Sequence[Tensor], Sequence[Tensor]], Views],
        mirrors: tuple[bool, bool] = BOTH,
        *,
        steps: int,
    ) -> None:
        steps = max(1, round(steps * min(1.0, len(images) / MOST)))
        super().__init__(before.student, before.tail, before.views, before.probes, steps=steps, jitter=before.jitter)
        self.images = images
        self.answers: list[Tensor] = []
        self._views_of = views_of
        self._mirrors = mirrors
        self._answered: Views | None = None

    def begin(self, answers: Sequence[Tensor] | None = None) -> None:
        """Take ``answers``, (h, w) uint8 with 255 where unsure, for the images' annotation; None: the student's."""
        if answers is None:
            answers = own_answers(self.student, self.tail, self.images, self._mirrors)
        self.answers = list(answers)
        self._answered = self._views_of(self.images, self.answers)

    def loss(self, step: int, pool_step: int) -> Tensor:
        """Of annotation and of the answers, alike."""
        assert self._answered is not None, "begin first"
        views, random = self._answered.advance(step), self._answered.random(step)
        own = annotation_loss(self.student, self.tail, views, None, random, self.jitter, self.rivals)
        return super().loss(step, pool_step) + own


def own_answers(
    student: Student, tail: Tail, images: Sequence[Tensor], mirrors: tuple[bool, bool] = BOTH
) -> list[Tensor]:
    """The model's sure answers, (h, w) uint8 class indices on the CPU, 255 where it is less than ``SURE``.

    Parameters
    ----------
    images
        (3, h, w) uint8 at the working resolution.
    mirrors
        Whether images may be mirrored left to right, and upside down.
    """
    forbidden = {axis for axis, may in zip(AXES, mirrors, strict=True) if not may}
    ways_to_look = [axes for axes in MIRRORED if not forbidden & set(axes)]

    def answer(image: Tensor) -> Tensor:
        most, index = mean_answer(student, tail, image, ways_to_look).max(0)
        return index.masked_fill(most < SURE, IGNORE).to(torch.uint8).cpu()

    return at_once(answer, images)


@torch.no_grad()
def mean_answer(student: Student, tail: Tail, image: Tensor, mirrored: Sequence[tuple[int, ...]] = MIRRORED) -> Tensor:
    """Class probabilities (n + 1, h, w) of an image (3, h, w) uint8: the mean over it and its mirror images."""
    seen = image[None].float().to(next(student.parameters()).device)
    total = seen.new_zeros(())
    for axes in mirrored:
        encoded = tail.encode_head(seen.flip(axes))
        logits, _ = student(tail(encoded), fine=tail.fine(encoded))
        total = total + resize(merge_classes(logits), image.shape[-2:]).softmax(1).flip(axes)
    return total[0] / len(mirrored)
