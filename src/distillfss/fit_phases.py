"""The phases of a fit, made from what was prepared and the settings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from distillfss.config import FEW
from distillfss.errors import UsageError
from distillfss.fit_preparation import Preparation
from distillfss.models.tail import FixedTail, LearningTail, Tail
from distillfss.training.adapt import Adapt
from distillfss.training.augment import STRONG, Augmenter
from distillfss.training.cross_validation import STEPS, CrossValidation, Learning
from distillfss.training.distill import Distill
from distillfss.training.loop import Phase
from distillfss.training.pool import ViewPool
from distillfss.training.self_training import SelfTrain
from distillfss.training.transfer import Transfer


def phases_of(ready: Preparation, tail: Tail | None, unlabeled: Sequence[Tensor]) -> list[Phase]:
    """What is learnt, one after the other: the teacher, the student, and where there is a tail, both together.

    Parameters
    ----------
    ready
        Its teacher and student are trained in place.
    tail
        The stages of the backbone that learn, or what stands for them; None if the student is done when distilled.
    unlabeled
        Images of the target without annotation, (3, h, w) uint8 each.
    """
    phases: list[Phase] = [_transfer(ready), _distill(ready, whole_views=tail is None)]
    return phases if tail is None else phases + _learning(ready, tail, unlabeled)


def tail_of(ready: Preparation, unlabeled: Sequence[Tensor]) -> Tail | None:
    """The backbone's later stages, to be learnt; None where they are to stay as they are.

    Beside another model they stay, too, for its classes rest on them; but the student learns from strongly changed
    views after distillation as in any fit.

    Raises
    ------
    UsageError
        If there are images without annotation and nothing to learn from them.
    """
    if not ready.learns:
        if unlabeled:
            raise UsageError(
                "images without annotation teach a backbone that learns, and this one does not",
                cure="Leave them out, or do without --instant and --frozen-backbone, on an EfficientNet-Lite",
            )
        return FixedTail(ready.backbone, ready.standardize) if ready.learns_beside else None
    return LearningTail(ready.backbone, ready.standardize).to(ready.device)


def validation_of(ready: Preparation) -> CrossValidation:
    """Cross-validation of the teacher as it starts, which will have learnt from all images before its turn comes."""
    config = ready.config
    how = Learning(
        ways=ready.ways,
        seed=config.seed,
        queries=config.queries(ready.ways),
        episode_shots=config.episode_shots,
        answer_shots=config.answer_shots,
        crop=config.crop,
        jitter=config.jitter,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    steps = max(1, round(STEPS * min(1.0, config.effort)))
    start = copy.deepcopy(ready.teacher)
    together, judged = ready.support.together, ready.support.firsts
    plain, views = (
        [replace(view, scene=together[view.source]) for view in seen] for seen in (ready.plain, ready.first_views)
    )
    validation = CrossValidation(start, plain, views, ready.probes_of_groups, how, judged, steps=steps)
    if config.instant and ready.support.different > 1:
        validation.judge_start()
    return validation


def few_of(ready: Preparation) -> float:
    """Images beyond which more make adaptation alone longer: where the backbone learns, ``FEW`` of every class."""
    images = ready.support.different
    if not ready.learns:
        return images
    return images * min(1.0, FEW / max(1, ready.support.fewest()))


def _transfer(ready: Preparation) -> Transfer:
    config, images = ready.config, ready.support.different
    # of a single image, query and support would be two views: to tell copies again is not what it is to learn
    learns = config.use_teacher and not (images == 1 and ready.well_begun)
    return Transfer(
        ready.teacher,
        ready.pool,
        ready.probes,
        ready.ways,
        steps=config.transfer_steps(images, few_of(ready)) if learns else 0,
        queries=config.queries(ready.ways),
        shots=config.episode_shots,
        crop=config.crop,
        jitter=config.jitter,
        rivals=ready.rivals,
    )


def _distill(ready: Preparation, *, whole_views: bool) -> Distill:
    config = ready.config
    return Distill(
        ready.student,
        ready.teacher,
        ready.pool,
        ready.plain,
        ready.probes,
        steps=config.distill_steps(ready.support.different, few_of(ready)),
        batch=config.batch(ready.ways),
        shots=config.answer_shots,
        # what crops lose, the whole views of adaptation bring back
        crop=1.0 if whole_views else config.crop,
        jitter=config.jitter,
        answer_weight=config.answer_weight if config.use_teacher else 0,
        map_weight=config.map_weight if config.use_teacher else 0,
        rivals=ready.rivals,
    )


def _learning(ready: Preparation, tail: Tail, unlabeled: Sequence[Tensor]) -> list[Phase]:
    """Those after distillation, from strongly changed views: the backbone learns, where it may."""
    config, augmenter = ready.config, ready.augmenter.at(STRONG)

    def views(seen: Augmenter, seed: int) -> ViewPool:
        batch = config.adapt_batch
        return ViewPool(seen, tail.encode_head, seed=seed, capacity=batch, refresh=batch)

    steps = config.adapt_steps(len(ready.support), few_of(ready))  # copies are views that take longer to learn
    seen = views(augmenter, config.seed)
    adapt = Adapt(ready.student, tail, seen, ready.probes, steps=steps, jitter=config.jitter, rivals=ready.rivals)
    if not unlabeled:
        return [adapt]

    def views_of(images: Sequence[Tensor], masks: Sequence[Tensor]) -> ViewPool:
        return views(augmenter.of(images, masks), config.seed + 1)

    again = config.adapt_steps(ready.support.different)  # as measured, with few images or many
    return [adapt, SelfTrain(adapt, unlabeled, views_of, augmenter.mirrors, steps=again)]
