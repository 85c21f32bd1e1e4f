"""The whole measurement: at every setting, all subjects interleaved in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distillfss.backbones import Backbone
from distillfss.bench.speed import memory, onnx_runtime
from distillfss.bench.speed.rows import AXES, EAGER, ONNX, Measured, Plan, Row, words
from distillfss.bench.speed.subjects import (
    FLOOR,
    Setting,
    StudentPipeline,
    build,
    decides,
    head_parameters,
    load,
    multiply_adds,
    parameters,
    random_image,
)
from distillfss.bench.speed.timing import interleaved, ratio
from distillfss.runtime import keep_freed_memory

EXPORTED = (FLOOR, "student")
"""Subjects that are measured in ONNX Runtime as well: what one would deploy, and its floor."""


@dataclass(frozen=True)
class Runner:
    """A subject in a runtime, ready to be timed; or why it is not."""

    subject: str
    runtime: str
    call: Callable[[], object] | None
    onnx: Path | None = None
    note: str = ""


@contextmanager
def thread_count(number: int) -> Iterator[None]:
    """PyTorch with this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure(plan: Plan, progress: Callable[[str, int, int, str], None] = lambda *now: None) -> Measured:
    """Measure everything a plan asks for.

    Parameters
    ----------
    progress
        Told the phase, how many of how many settings are done, and the present one.

    Raises
    ------
    UsageError
        For an unknown backbone, or one that the paper's models do not fit.
    """
    keep_freed_memory()  # as 'distillfss predict' does
    with tempfile.TemporaryDirectory() as folder, thread_count(plan.threads):
        bench = _Bench(plan, Path(folder))
        rows: list[Row] = []
        settings = plan.settings()
        for number, setting in enumerate(settings):
            progress("measuring", number, len(settings), ", ".join(words(setting, axis) for axis in AXES))
            rows += bench.rows(setting)
        progress("measuring", len(settings), len(settings), "")
        idle = {name: peak / 1024 for name, peak in bench.idle.items() if peak is not None}
    return Measured(plan, tuple(rows), idle)


class _Bench:
    """What is measured once although several settings show it: exports, peaks, multiply-adds."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.backbone: Backbone = load(plan.backbone)
        self.backbone_parameters = parameters(self.backbone)
        self.idle: dict[str, int | None] = {}
        self._exports: dict[tuple[Any, ...], tuple[Path | None, str]] = {}
        self._peaks: dict[tuple[Any, ...], int | None] = {}
        self._counts: dict[tuple[Any, ...], int] = {}

    def rows(self, setting: Setting) -> list[Row]:
        """Every subject at one setting."""
        image = random_image(setting.size)
        modules = {subject: build(subject, self.backbone, setting) for subject in self.plan.subjects}
        runners = [_eager(subject, module, image) for subject, module in modules.items()]
        if self.plan.onnx:
            exported = [name for name in EXPORTED if name in modules]
            runners += [self._in_onnx_runtime(name, modules[name], image, setting) for name in exported]
        calls = {(r.subject, r.runtime): r.call for r in runners if r.call is not None}
        with torch.inference_mode():
            seconds = interleaved(calls, repeats=self.plan.repeats, warm_up=self.plan.warm_up)
        rows = []
        for runner in runners:
            own = seconds.get((runner.subject, runner.runtime), ())
            floor = seconds.get((FLOOR, runner.runtime), ())
            rows.append(
                Row(
                    setting=setting,
                    subject=runner.subject,
                    runtime=runner.runtime,
                    seconds=own,
                    over_floor=ratio(own, floor) if own and floor else None,
                    backbone_parameters=self.backbone_parameters,
                    head_parameters=head_parameters(modules[runner.subject]),
                    multiply_adds=self._count(runner.subject, modules[runner.subject], image, setting),
                    peak_mib=self._peak(runner, setting) if self.plan.memory and own else None,
                    note=runner.note,
                )
            )
        return rows

    def _in_onnx_runtime(self, subject: str, module: nn.Module, image: Tensor, setting: Setting) -> Runner:
        key = (subject, *decides(subject, setting))
        if key not in self._exports:
            path = self.folder / f"{'-'.join(map(str, key))}.onnx"
            note = onnx_runtime.missing() or self._export(module, image, path)
            self._exports[key] = (None, f"not timed: {note}") if note else (path, "")
        found, note = self._exports[key]
        if found is None:
            return Runner(subject, ONNX, None, note=note)
        session, pixels = onnx_runtime.open_session(found, self.plan.threads), image.numpy()
        return Runner(subject, ONNX, lambda: onnx_runtime.run(session, pixels), found)

    def _export(self, module: nn.Module, image: Tensor, path: Path) -> str:
        """Write the ONNX file; why it is of no use, or nothing."""
        try:
            onnx_runtime.export(module.shipped() if isinstance(module, StudentPipeline) else module, image, path)
            found = onnx_runtime.run(onnx_runtime.open_session(path, self.plan.threads), image.numpy())
        except Exception as error:  # what an exporter raises of a network it does not know has no end
            return f"it cannot be exported ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        with torch.inference_mode():
            off = onnx_runtime.difference(found, module(image))
        # "not less" is also what a NaN is
        return "" if off <= onnx_runtime.TOLERANCE else f"its outputs differ from PyTorch's by {off:.1%}"

    def _count(self, subject: str, module: nn.Module, image: Tensor, setting: Setting) -> int:
        key = (subject, *decides(subject, setting))
        if key not in self._counts:
            self._counts[key] = multiply_adds(module, image)
        return self._counts[key]

    def _peak(self, runner: Runner, setting: Setting) -> float | None:
        if runner.runtime not in self.idle:
            self.idle[runner.runtime] = self._fresh(runner, setting, idle=True)
        key = (runner.runtime, runner.subject, *decides(runner.subject, setting))
        if key not in self._peaks:
            self._peaks[key] = self._fresh(runner, setting)
        idle, peak = self.idle[runner.runtime], self._peaks[key]
        return None if idle is None or peak is None else (peak - idle) / 1024

    def _fresh(self, runner: Runner, setting: Setting, idle: bool = False) -> int | None:
        plan = self.plan
        return memory.measure(runner.subject, plan.backbone, setting, plan.threads, runner.onnx, idle)


def _eager(subject: str, module: nn.Module, image: Tensor) -> Runner:
    return Runner(subject, EAGER, lambda: module(image))
