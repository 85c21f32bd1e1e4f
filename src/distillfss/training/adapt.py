"""Adaptation: student and the later stages of the backbone learn together, from the annotation alone.

Every step sees new views. A backbone learns the few it is shown again and again by heart.

What few images teach a backbone holds for images like them; of others (another stain, another season) it knew more
before. So a part of the way is gone back, in weights, the more the fewer images there are: after WiSE-FT (Wortsman et
al., "Robust fine-tuning of zero-shot models", CVPR 2022), where models half-way keep nearly all that was learnt and
much of what was known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from distillfss.models.mixer import resize
from distillfss.models.student import Student
from distillfss.models.tail import Tail
from distillfss.training.jitter import jittered
from distillfss.training.lanes import answers, halves
from distillfss.training.losses import segmentation_loss
from distillfss.training.pool import Batch, EncodedView, Views, side_by_side
from distillfss.training.rivals import Rivals
from distillfss.training.targets import every_other_pixel
from distillfss.training.transfer import probes_of


class Adapt:
    """The last phase of a fit. The teacher, which knows the frozen backbone only, has no part in it.

    Parameters
    ----------
    student, tail
        Trained in place.
    views
        Where a step's views come from, with the layers that do not learn.
    probes
        Of every support image, the probe of the others.
    jitter
        Strength of the jitter of what the student sees, see ``training.jitter``.
    rivals
        Classes that are fixed already and compete with those that are learnt. The tail does not learn then.
    """

    name = "adapt"

    def __init__(
        self,
        student: Student,
        tail: Tail,
        views: Views,
        probes: Mapping[int, Tensor],
        *,
        steps: int,
        jitter: float,
        rivals: Rivals | None = None,
    ) -> None:
        self.model: nn.Module = nn.ModuleList([student, tail])
        self.student = student
        self.tail = tail
        self.views = views
        self.probes = probes
        self.steps = steps
        self.jitter = jitter
        self.rivals = rivals or Rivals()

    def loss(self, step: int, pool_step: int) -> Tensor:
        """Scalar loss of one step; ``pool_step`` says which views it sees."""
        views, random = self.views.advance(pool_step), self.views.random(pool_step)
        return annotation_loss(
            self.student, self.tail, views, probes_of(views, self.probes), random, self.jitter, self.rivals
        )


def annotation_loss(
    student: Student,
    tail: Tail,
    views: Sequence[EncodedView],
    probes: Tensor | None,
    random: np.random.Generator,
    jitter: float,
    rivals: Rivals,
) -> Tensor:
    """Scalar loss of what the student says of views, their layers that learn computed anew.

    Parameters
    ----------
    views
        With the layers that do not learn, and masks.
    probes
        Of every view, see ``Student``; None for the student's own.
    random
        Decides jitter, and which pixels count.
    jitter
        See ``training.jitter``.
    rivals
        Classes that are fixed already and compete with the student's.
    """
    parts = halves(len(views), views[0].mask.device)

    def answer(part: tuple[slice, np.random.Generator]) -> tuple[Tensor]:
        at, own = part
        encoded = Batch.of(views[at]).features
        pyramid, fine = tail(encoded), tail.fine(encoded)
        logits, _ = student(jittered(pyramid, jitter, own), None if probes is None else probes[at], fine=fine)
        return (rivals.merge_with(logits, pyramid, fine),)

    learning = [p for module in (student, tail) for p in module.parameters() if p.requires_grad]
    (merged,) = answers(answer, list(zip(parts, random.spawn(len(parts)), strict=True)), learning)
    target = every_other_pixel(side_by_side([view.mask for view in views]), random)
    return segmentation_loss(rivals.grouped(resize(merged, target.shape[-2:])), target)
