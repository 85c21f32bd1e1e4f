"""The loop of meta-training: episodes to gradients, on one process or several, from checkpoint to checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from distillfss.backbones import load_backbone
from distillfss.backbones.base import Backbone
from distillfss.meta.cache import FeatureCache, row_bytes
from distillfss.meta.episodes import ClassIndex, Episode, Sampler, load, validation_episodes
from distillfss.meta.job import Job, MetaProgress
from distillfss.meta.model import EpisodeModel
from distillfss.meta.opponents import prototypes, untrained
from distillfss.meta.scores import Scores
from distillfss.meta.sources import Sources, open_sources
from distillfss.models.teacher import Teacher
from distillfss.runtime import keep_freed_memory
from distillfss.training.interrupt import graceful_interrupt
from distillfss.training.loop import MAX_GRADIENT_NORM, learning_rate
from distillfss.training.state import (
    FitState,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAVE_EVERY_SECONDS = 60.0
TELL_EVERY_STEPS = 10
VALIDATION_SHOTS = (1, 5)
RESUMED = "going on"
CONTENDERS = ("teacher", "untrained", "prototypes")
FINAL_EPISODES = 30
"""Episodes per held-out class and number of shots in the comparison at the end."""


class MetaRun:
    """One process' share of meta-training.

    Parameters
    ----------
    fabric
        Knows the device, the precision and the other processes.
    job
        What to do.
    tell
        Told how far it is; called on the first process only.
    """

    def __init__(self, fabric: Fabric, job: Job, tell: Callable[[MetaProgress], None]) -> None:
        config = job.config
        self.fabric, self.job, self.config = fabric, job, config
        self.tell = tell if fabric.is_global_zero else lambda _: None
        self.device = fabric.device
        backbone = load_backbone(config.backbone, config.backbone_weights)
        self.sources = Sources(
            open_sources(job.sources),
            hold_out=config.hold_out,
            size=config.size,
            views=config.views,
            scenes=config.synthetic,
            seed=config.seed,
            most_views=job.cache_bytes // row_bytes(backbone.layers, config.size),
        )
        self.cache = self._filled_cache(backbone.to(self.device))
        self._index_views()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.teacher = Teacher(backbone.layers)
            self.average = EpisodeModel(Teacher(backbone.layers))
        self.average.teacher.load_state_dict(self.teacher.state_dict())
        self.average.to(self.device).requires_grad_(False)
        model = EpisodeModel(self.teacher)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.model, self.wrapped_optimizer = fabric.setup(model, self.optimizer)
        self.step = 0
        self.seconds = 0.0
        self.held_out: Tensor | None = None
        self.losses: list[float] = []  # since the last validation
        self.history: list[tuple[float, float, float, float]] = []

    def _filled_cache(self, backbone: Backbone) -> FeatureCache:
        sources, config, fabric = self.sources, self.config, self.fabric
        cache = FeatureCache(
            self.job.cache,
            self.job.views_fingerprint(len(sources.views)),
            len(sources.views),
            backbone.layers,
            config.size,
            sources.view,
            lambda images: backbone(images.to(self.device)),
        )
        if fabric.is_global_zero:
            cache.prepare()
        fabric.barrier()
        cache.open()
        missing = cache.missing()
        fabric.barrier()  # nobody writes before everybody has the same list
        mine = missing[fabric.global_rank :: fabric.world_size]
        for count, number in enumerate(mine, start=1):
            cache.fill(number)
            if count % TELL_EVERY_STEPS == 0:
                self.tell(MetaProgress("features", count, len(mine)))
        fabric.barrier()
        return cache

    def _index_views(self) -> None:
        sources, config = self.sources, self.config
        classes = len(sources.class_names)
        areas = [self.cache.areas(number, classes) for number in range(len(sources.views))]
        held = np.isin(sources.class_names, sources.hold_out)
        first = len(sources.training)
        self.training = ClassIndex(sources.views, range(first), areas[:first])
        self.sampler = Sampler(
            self.training,
            classes - config.synthetic,
            max_shots=config.max_shots,
            scene_share=config.synthetic_share,
            absent_share=config.absent_share,
            blind_share=config.blind_share,
            seed=config.seed,
        )
        self.validation = ClassIndex(
            sources.views, range(first, len(sources.views)), [share * held for share in areas[first:]]
        )

    @property
    def done(self) -> bool:
        return self.step >= self.config.steps

    def compare(self) -> Tensor:
        """Held-out IoU of the averaged teacher and its opponents, per class.

        Returns
        -------
        Tensor
            One row per held-out class: its number, then for 1 and for 5 shots the IoU (0 to 1; NaN where the class has
            too few images) in the order of ``CONTENDERS``.
        """
        layers = self.teacher.layers
        answers = (
            self.average.answer,
            untrained(layers, self.config.seed, self.device),
            prototypes(layers),
        )
        columns = []
        for shots in VALIDATION_SHOTS:
            for name, answer in zip(CONTENDERS, answers, strict=True):
                self.tell(MetaProgress("validate", 0, 0, f"{name}, {shots} shots"))
                columns.append(self.validate(shots, FINAL_EPISODES * len(self.config.hold_out), answer).per_class())
        held = [self.sources.class_names.index(name) for name in self.config.hold_out]
        rows = [[float(c), *(column.get(c, float("nan")) for column in columns)] for c in held]
        return torch.tensor(rows, dtype=torch.float64).reshape(len(held), 1 + len(columns))

    def advance(self) -> float:
        """One step over this process' share of the episodes; its mean loss."""
        config, fabric = self.config, self.fabric
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, config.steps, config.learning_rate)
        first = self.step * config.episodes
        numbers = range(first + fabric.global_rank, first + config.episodes, fabric.world_size)
        loss = self.model([load(self.cache, self.sampler(number), self.device) for number in numbers])
        self.wrapped_optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(self.model, self.wrapped_optimizer, max_norm=MAX_GRADIENT_NORM)
        self.wrapped_optimizer.step()
        self._update_average()
        self.step += 1
        return float(loss.detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        # early on a long average would remember the random start
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.teacher.parameters(), self.teacher.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current.detach().to(average), 1 - decay)

    def validate(self, shots: int, count: int, answer: Callable[[Any], Tensor] | None = None) -> Scores:
        """Foreground IoU per held-out class of the averaged teacher, or of ``answer``; the same on every process."""
        episodes = validation_episodes(self.validation, count, shots, self.config.seed)
        mine = episodes[self.fabric.global_rank :: self.fabric.world_size]
        scores = Scores(len(self.sources.class_names))
        for episode in mine:
            scores.add(episode.wanted, *self._answered(episode, answer or self.average.answer))
        return scores.reduced(self.fabric)

    @torch.no_grad()
    def _answered(self, episode: Episode, answer: Callable[[Any], Tensor]) -> tuple[Tensor, Tensor]:
        data = load(self.cache, episode, self.device)
        return answer([data]), data.target

    def state(self) -> FitState:
        """Everything that decides what follows."""
        parts = {"teacher.": self.teacher, "average.": self.average.teacher}
        tensors = {prefix + name: t for prefix, part in parts.items() for name, t in part.state_dict().items()}
        tensors["history"] = torch.tensor(self.history, dtype=torch.float64).reshape(-1, 4)
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        if self.held_out is not None:
            tensors["held_out"] = self.held_out
        return FitState(0, self.step, self.seconds, {**tensors, **optimizer_tensors(self.optimizer)})

    def restore(self, state: FitState) -> None:
        """Continue where ``state`` was taken."""
        for prefix, part in (("teacher.", self.teacher), ("average.", self.average.teacher)):
            part.load_state_dict(
                {name.removeprefix(prefix): t for name, t in state.tensors.items() if name.startswith(prefix)}
            )
        if state.step > 0:
            restore_optimizer(self.optimizer, state.tensors)
        self.step, self.seconds = state.step, state.seconds
        # of the first process: where several share the episodes, the mean after a resumption is nearly theirs
        self.losses = state.tensors["losses"].tolist()
        self.history = [tuple(row) for row in state.tensors["history"].tolist()]


def work(fabric: Fabric, job: Job, tell: Callable[[MetaProgress], None]) -> bool:
    """What every process runs: from the checkpoint, if there is one, to the end or to a request to stop.

    Returns whether this process was asked to by SIGTERM.
    """
    if fabric.world_size > 1 and fabric.device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // fabric.world_size))
    keep_freed_memory()
    run = MetaRun(fabric, job, tell)
    fingerprint = job.fingerprint()
    found = load_state(job.state, fingerprint)
    fabric.barrier()
    if found is not None:
        run.restore(found)
        run.tell(MetaProgress("train", run.step, job.config.steps, f"{RESUMED} at step {run.step}"))
    with graceful_interrupt() as interrupt:
        clock = Clock(run)
        while not run.done:
            run.losses.append(run.advance())
            if run.step % TELL_EVERY_STEPS == 0:
                rate = clock.episodes_per_second()
                run.tell(MetaProgress("train", run.step, job.config.steps, f"{rate:.1f} episodes/s{_latest(run)}"))
            if run.step % job.config.validate_every == 0 or run.done:
                _record(run)
                if run.done:
                    run.held_out = run.compare()
            stop = _anywhere(fabric, interrupt.requested)
            if stop or run.done or (fabric.is_global_zero and clock.save_is_due()):
                clock.stop()
                if fabric.is_global_zero:
                    save_state(job.state, run.state(), fingerprint)
            if stop:
                break
    fabric.barrier()
    return interrupt.terminated


class Clock:
    """Seconds of training, over all sittings."""

    def __init__(self, run: MetaRun) -> None:
        self._run = run
        self._since = self._saved = time.perf_counter()
        self._mark = (self._since, run.step)

    def stop(self) -> None:
        """Add what has passed to the run."""
        now = time.perf_counter()
        self._run.seconds += now - self._since
        self._since = self._saved = now

    def save_is_due(self) -> bool:
        return time.perf_counter() - self._saved > SAVE_EVERY_SECONDS

    def episodes_per_second(self) -> float:
        """Since the last call."""
        now, (then, step) = time.perf_counter(), self._mark
        self._mark = (now, self._run.step)
        return (self._run.step - step) * self._run.config.episodes / max(now - then, 1e-9)


def _anywhere(fabric: Fabric, requested: bool) -> bool:
    """Whether any process was asked to stop: all of them stop at the same step."""
    if fabric.world_size == 1:
        return requested
    total = fabric.all_reduce(torch.tensor(float(requested), device=fabric.device), reduce_op="sum")
    assert isinstance(total, Tensor)
    return bool(total > 0)


def _record(run: MetaRun) -> None:
    """Validate, and keep step, mean loss since the last time, 1-shot and 5-shot IoU."""
    fabric, config = run.fabric, run.config
    mean = fabric.all_reduce(torch.tensor(float(np.mean(run.losses)), device=fabric.device), reduce_op="mean")
    run.losses.clear()
    scores = []
    for place, shots in enumerate(VALIDATION_SHOTS):
        run.tell(MetaProgress("validate", place, len(VALIDATION_SHOTS), f"held-out classes, {shots} shots"))
        scores.append(run.validate(shots, config.validation_episodes).mean())
    run.history.append((float(run.step), float(mean), *scores))  # type: ignore[arg-type]


def _latest(run: MetaRun) -> str:
    if not run.history:
        return ""
    _, loss, one, five = run.history[-1]
    return f", loss {loss:.3f}, held-out IoU {100 * one:.1f} (1 shot) {100 * five:.1f} (5)"
