"""The main job: a support set in, a support-free segmenter out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from distillfss.config import FitConfig
from distillfss.errors import FitInterrupted, UsageError
from distillfss.fit_preparation import Progress
from distillfss.fit_run import FitRun
from distillfss.runtime import keep_freed_memory
from distillfss.segmenter import Segmenter
from distillfss.support import SupportSet
from distillfss.training.details import working_resolution
from distillfss.training.interrupt import Interrupt, graceful_interrupt
from distillfss.training.state import check_state, load_state, save_state
from distillfss.unlabeled import working_images

if TYPE_CHECKING:
    from distillfss.segmenter import Picture

SAVE_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class FilesLeftOut(Progress):
    """Told once, where files could not be read and are not needed; the message says which."""


@dataclass(frozen=True)
class Resumed(Progress):
    """Told once, where a fit goes on from the state of an earlier run."""


def fit(
    support: SupportSet | str | Path,
    config: FitConfig | None = None,
    *,
    unlabeled: Sequence[Picture] | str | Path | None = None,
    state: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    first_model: Callable[[Segmenter], None] | None = None,
) -> Segmenter:
    """Learn to segment from a support set.

    The teacher is fine-tuned on the support (transfer), then distilled into a student that needs no support. With a
    single image there is no second one to be its support: two augmented views of it stand in.

    Parameters
    ----------
    support
        1 to 80 annotated images, checked by ``SupportSet``, or the folder that ``SupportSet.from_folder`` reads.
    config
        Settings; the defaults are meant for every data set.
    unlabeled
        Images of the target without annotation (arrays, Pillow images or files), or a folder of them, of which up to
        100 are learnt from: in more time, a better model (see ``training.self_training``). Of a folder, files that
        cannot be read are left out, which ``progress`` is told by a ``FilesLeftOut``. Never give the images it will be
        judged by.
    state
        File for the state of an unfinished fit. It is written every few seconds, and a fit of the same support with
        the same settings goes on from it, to the same model. It outlives the fit, so that a model that could not be
        saved (a full disk) is not lost; remove it once the model is saved.
    progress
        Called before the first step and after every one; with a ``Resumed`` where the fit goes on from ``state``.
    first_model
        Called once, after a quarter of the time, with what the student is when it takes over from the teacher: not
        as good as it will be, without an estimate, but a model. Not called for an instant model, or by a run that
        goes on from a later step.

    Returns
    -------
    Segmenter
        Ready to use; nothing of the support is in it.

    Raises
    ------
    FitInterrupted
        On Ctrl-C or SIGTERM, after the state was written.
    DataError
        If the support cannot be used (see ``SupportSet.from_folder``), or an image without annotation not be read.
    UsageError
        If an instant model is asked for of one image, and there is no meta-trained teacher to make it from; there are
        images without annotation, and a backbone that does not learn; or something else is passed than a support set
        and a config.
    OutputError
        If the state cannot be written, or ``state`` is a file of another kind.
    """
    if isinstance(support, str | Path):
        support = SupportSet.from_folder(support)
    if not isinstance(support, SupportSet):
        cure = "Pass a SupportSet (from_folder, from_arrays) or a folder"
        raise UsageError(f"a support of Python type {type(support).__name__}", cure=cure)
    config = FitConfig() if config is None else config
    if not isinstance(config, FitConfig):
        cure = "Pass a FitConfig, such as FitConfig(size=256)"
        raise UsageError(f"a config of Python type {type(config).__name__}", cure=cure)
    tell = progress if progress is not None else lambda _: None
    keep_freed_memory()
    images: Sequence[Tensor] = ()
    if unlabeled is not None:
        tell(Progress("prepare", 0, 1, "reading images without annotation"))
        size = working_resolution(support, config.size, config.fine_size)
        images = working_images(
            unlabeled,
            size,
            support.reading,
            lambda what: tell(FilesLeftOut("prepare", 0, 1, f"left out: {what}")),
            (sample.image for sample in support.samples),
        )
    run = FitRun(support, config, tell, unlabeled=images)
    run_to_the_end(run, None if state is None else Path(state), tell, first_model)
    return run.segmenter()


def run_to_the_end(
    run: FitRun,
    path: Path | None,
    tell: Callable[[Progress], None],
    first_model: Callable[[Segmenter], None] | None = None,
) -> None:
    """Take all steps that are left, from the state in ``path`` on if it is of this run; see ``fit``."""
    if path is not None:
        check_state(path)
    fingerprint = run.fingerprint()
    if path is not None and (found := load_state(path, fingerprint)) is not None:
        run.restore(found)
        where = run.progress(f"going on at step {run.steps_done} of {run.steps_in_all}")
        tell(Resumed(where.phase, where.step, where.steps, where.message))
    with graceful_interrupt() as interrupt:
        saved = time.perf_counter()
        while not run.done:
            handed_over = run.handed_over
            message = run.advance()
            if first_model is not None and run.handed_over and not handed_over and not run.done:
                first_model(run.segmenter())
            tell(run.progress(message))
            if path is not None and (interrupt.requested or time.perf_counter() - saved > SAVE_EVERY_SECONDS):
                save_state(path, run.state(), fingerprint)
                saved = time.perf_counter()
            if interrupt.requested:
                raise _interrupted(run, path, interrupt)
        if path is not None:
            save_state(path, run.state(), fingerprint)
        if interrupt.requested:  # while the last state was written
            raise _interrupted(run, path, interrupt)


def _interrupted(run: FitRun, path: Path | None, interrupt: Interrupt) -> FitInterrupted:
    where = f"stopped at step {run.steps_done} of {run.steps_in_all}"
    cure = "Run the same command again to go on from there"
    if path is None:
        where, cure = f"{where}, nothing was kept", "Give `state` a file name to be able to go on"
    return FitInterrupted(where, cure=cure, path=path, terminated=interrupt.terminated)
