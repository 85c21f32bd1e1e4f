"""Cross-validation within a fit: what a teacher finds in support images that it has not learnt from.

It costs little: the features of all views are there already, and a short fine-tuning of the teacher stands for the
whole fit. What that leaves out (the other steps, the images that were held back) is made good by
``distillfss.quality``.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distillfss.models.classes import merge_classes
from distillfss.models.teacher import Teacher
from distillfss.training.loop import PhaseRunner
from distillfss.training.pool import EncodedView
from distillfss.training.scoring import pixel_counts
from distillfss.training.transfer import Transfer, leave_one_out_tokens, manageable

FOLDS = 3
"""Groups of images that are held back in turn."""
STEPS = 20
"""Fine-tuning steps without each of them. Twice as many told no more (``docs/estimate.md``)."""


@dataclass(frozen=True)
class Learning:
    """How the teacher is fine-tuned and asked; as in the fit itself, see ``FitConfig``."""

    ways: int
    seed: int
    queries: int
    episode_shots: int
    answer_shots: int
    crop: float
    jitter: float
    learning_rate: float
    weight_decay: float


class SomeViews:
    """Views of some of the images, the same ones at every step: what ``Transfer`` draws from without a window."""

    def __init__(self, views: Sequence[EncodedView], sources: Sequence[int], seed: Sequence[int]) -> None:
        self._views = [view for view in views if view.source in set(sources)]
        self._seed = seed

    def advance(self, step: int) -> list[EncodedView]:
        """The views."""
        return self._views

    def random(self, step: int) -> np.random.Generator:
        """The source of every random choice of one step."""
        return np.random.default_rng([*self._seed, step])


class CrossValidation:
    """Every support image, but for copies, judged by a teacher that was shown others and fine-tuned on others.

    Parameters
    ----------
    teacher
        As the fit starts; never changed.
    plain
        Every support image unaugmented. Those of one ``scene`` are held back together: an image and its copies, or
        all of one patient, film, field.
    views
        Augmented views of them.
    probes
        Of every image, the probe of the other scenes.
    judged
        Places in ``plain`` of the images that are judged: all but copies. None: the first of each scene.
    folds, steps
        Parts of the scenes held back in turn (a single one cannot be), and fine-tuning steps without each.
    """

    def __init__(
        self,
        teacher: Teacher,
        plain: Sequence[EncodedView],
        views: Sequence[EncodedView],
        probes: Mapping[int, Tensor],
        learning: Learning,
        judged: Sequence[int] | None = None,
        *,
        folds: int = FOLDS,
        steps: int = STEPS,
    ) -> None:
        self.teacher = teacher
        self.plain = plain
        self.views = views
        self.probes = probes
        self.learning = learning
        self.steps = steps
        scenes = sorted({view.scene for view in plain})
        self.judged = scenes if judged is None else list(judged)
        order = np.random.default_rng([learning.seed, 6]).permutation(scenes)
        parts = np.array_split(order, min(folds, len(scenes))) if len(scenes) > 1 else []
        # which of the judged are held back in turn
        self.held_back = [
            [place for place, source in enumerate(self.judged) if plain[source].scene in part] for part in parts
        ]
        count = len(self.judged)
        # (k, n, 3): found and true, found and false, missed; without fine-tuning, and with it
        self.before = torch.zeros(count, learning.ways, 3, dtype=torch.float64)
        self.after = torch.zeros_like(self.before)
        self.seconds = 0.0
        self._fold = 0
        self._runner: PhaseRunner | None = None
        self._learner = teacher

    @property
    def done(self) -> bool:
        return self._fold == len(self.held_back)

    @property
    def steps_in_all(self) -> int:
        return len(self.held_back) * self.steps

    @property
    def steps_done(self) -> int:
        return self._fold * self.steps + (0 if self._runner is None else self._runner.step)

    def advance(self) -> None:
        """One step of fine-tuning; after the last of a fold, its images are judged."""
        started = time.perf_counter()
        held_back = self.held_back[self._fold]
        if self._runner is None:
            self._runner = self._without(held_back)
        self._runner.advance()
        if self._runner.done:
            for place in held_back:
                self.before[place] = self._found(self.teacher, self.judged[place])
                self.after[place] = self._found(self._learner, self.judged[place])
            self._fold, self._runner, self._learner = self._fold + 1, None, self.teacher
            if self.done:
                self.views = ()  # a hundred megabytes
        self.seconds += time.perf_counter() - started

    def judge_start(self) -> None:
        """For a fit without steps: all there is to validate is what the teacher finds as it starts."""
        started = time.perf_counter()
        for place, source in enumerate(self.judged):
            self.before[place] = self.after[place] = self._found(self.teacher, source)
        self._fold = len(self.held_back)
        self.seconds += time.perf_counter() - started

    def _without(self, held_back: Sequence[int]) -> PhaseRunner:
        how = self.learning
        without = {self.plain[self.judged[place]].scene for place in held_back}
        rest = [view.source for view in self.plain if view.scene not in without]
        self._learner = copy.deepcopy(self.teacher)
        phase = Transfer(
            self._learner,
            SomeViews(self.views, rest, [how.seed, 7, self._fold]),
            self.probes,
            how.ways,
            steps=self.steps,
            queries=how.queries,
            shots=how.episode_shots,
            crop=how.crop,
            jitter=how.jitter,
        )
        return PhaseRunner(phase, 0, peak=how.learning_rate, weight_decay=how.weight_decay)

    @torch.no_grad()
    def _found(self, teacher: Teacher, source: int) -> Tensor:
        how, view = self.learning, self.plain[source]
        random = np.random.default_rng([how.seed, 8, source])
        tokens = leave_one_out_tokens(teacher, self.plain, self.probes, source, how.ways, random, how.answer_shots)
        return pixel_counts(merge_classes(teacher(view.features, manageable(tokens, random))[0]), view.mask)

    def tensors(self) -> dict[str, Tensor]:
        """What the finished folds found; an unfinished one starts over."""
        seconds = torch.tensor(self.seconds, dtype=torch.float64)
        return {"before": self.before, "after": self.after, "fold": torch.tensor(self._fold), "seconds": seconds}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The reverse of ``tensors``."""
        self.before, self.after = tensors["before"], tensors["after"]
        self._fold, self._runner, self.seconds = int(tensors["fold"]), None, float(tensors["seconds"])
