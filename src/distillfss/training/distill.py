"""Distillation (DistillFSS eq. 7): the student learns from the annotation, the teacher's answer and its coarse maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from distillfss.models.mixer import resize
from distillfss.models.student import Student
from distillfss.models.teacher import SupportTokens, Teacher
from distillfss.training.crops import Crops
from distillfss.training.jitter import jittered
from distillfss.training.lanes import answers, at_once, halves
from distillfss.training.losses import IGNORE, coarse_map_loss, segmentation_loss, soft_target_loss
from distillfss.training.pool import Batch, EncodedView, ViewPool
from distillfss.training.rivals import Rivals
from distillfss.training.targets import every_other_pixel
from distillfss.training.transfer import leave_one_out_tokens, probes_of, thinned

MOST_SHOWN = 16
"""Supports of answers that are kept, about 4 MB each at 384 px."""


@dataclass(frozen=True)
class Answer:
    """The teacher's answer to one view: merged logits (1, n + 1, H / 4, W / 4) and coarse maps (1, n, h_l, w_l).

    Rivals are part of the background.
    """

    logits: Tensor
    maps: list[Tensor]


class Distill:
    """The second phase of a fit. The teacher is frozen and answers each view once, without that view's own image.

    Parameters
    ----------
    student
        Trained in place.
    teacher
        Asked, never changed.
    plain
        Every support image unaugmented: what the teacher is shown.
    probes
        Of every support image, the probe of the others.
    batch, shots
        Views per step; support images the teacher is shown per view.
    crop
        Share of a view's height and width that the student looks at in a step, each time another part of it.
    jitter
        Strength of the jitter of what the student sees, see ``training.jitter``; the teacher sees views as they are.
    answer_weight, map_weight
        Weights of the teacher's logits and coarse maps beside the annotation's weight of 1.
    rivals
        Classes that are fixed already and compete with those that are learnt.
    """

    name = "distill"

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        pool: ViewPool,
        plain: Sequence[EncodedView],
        probes: Mapping[int, Tensor],
        *,
        steps: int,
        batch: int,
        shots: int,
        crop: float,
        jitter: float,
        answer_weight: float,
        map_weight: float,
        rivals: Rivals | None = None,
    ) -> None:
        self.model: nn.Module = student
        self.student = student
        self.teacher = teacher
        self.pool = pool
        self.plain = plain
        self.probes = probes
        self.steps = steps
        self.batch = batch
        self.shots = shots
        self.crop = crop
        self.jitter = jitter
        self.answer_weight = answer_weight
        self.map_weight = map_weight
        self.rivals = rivals or Rivals()
        self._answers: dict[int, Answer] = {}
        self._shown: dict[int, SupportTokens] = {}

    def loss(self, step: int, pool_step: int) -> Tensor:
        """Scalar loss of one step; ``pool_step`` places the pool's window."""
        window = self.pool.advance(pool_step)
        random = self.pool.random(pool_step)
        views = [window[int(i)] for i in random.permutation(len(window))[: self.batch]]
        self._forget(window[0].number)
        crops = Crops(views[0].mask.shape[-2:], self.crop, len(views), random)
        parts = halves(len(views), views[0].mask.device)

        def answer(part: tuple[slice, np.random.Generator]) -> tuple[Tensor, ...]:
            at, own = part
            some, cropped = views[at], crops.of(at)
            seen = jittered(Batch.of(some, cropped).features, self.jitter, own)
            logits, maps = self.student(seen, probes_of(some, self.probes), cropped.encoding)
            return self.rivals.merge(logits, some, cropped), *maps

        learning = list(self.student.parameters())
        merged, *maps = answers(answer, list(zip(parts, random.spawn(len(parts)), strict=True)), learning)
        masks = crops([view.mask for view in views])
        target = every_other_pixel(masks, random)
        loss = segmentation_loss(self.rivals.grouped(resize(merged, target.shape[-2:])), target)
        if not (self.answer_weight or self.map_weight):
            return loss
        told = self._told(views)
        teacher_logits = crops([one.logits for one in told])
        teacher_maps = [crops(layer) for layer in zip(*(one.maps for one in told), strict=True)]
        known = resize((masks != IGNORE).float()[:, None], merged.shape[-2:])[:, 0] > 0.5
        return (
            loss
            + self.answer_weight * soft_target_loss(self.rivals.grouped(merged), teacher_logits, known)
            + self.map_weight * coarse_map_loss(maps, teacher_maps)
        )

    def _told(self, views: Sequence[EncodedView]) -> list[Answer]:
        """The teacher's answers, which it gives once."""
        new = [view for view in views if view.number not in self._answers]
        asked = [(view, self._tokens(view.source)) for view in new]
        for view, answer in zip(new, at_once(self._answer, asked), strict=True):
            self._answers[view.number] = answer
        return [self._answers[view.number] for view in views]

    @torch.no_grad()
    def _answer(self, asked: tuple[EncodedView, SupportTokens]) -> Answer:
        view, tokens = asked
        logits, maps = self.teacher(view.features, tokens)
        return Answer(self.rivals.grouped(self.rivals.merge(logits, [view])), maps)

    def _tokens(self, source: int) -> SupportTokens:
        """What the teacher is shown for the views of one image, always the same."""
        if source not in self._shown:
            if len(self._shown) >= MOST_SHOWN:
                del self._shown[next(iter(self._shown))]
            random = self.pool.random_of_source(source)
            tokens = leave_one_out_tokens(
                self.teacher, self.plain, self.probes, source, self.student.ways, random, self.shots
            )
            self._shown[source] = thinned(tokens, random)
        return self._shown[source]

    def _forget(self, oldest: int) -> None:
        self.rivals.forget(oldest)
        for number in [n for n in self._answers if n < oldest]:
            del self._answers[number]
