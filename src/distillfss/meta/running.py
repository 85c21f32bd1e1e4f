"""``meta_train``: source folders in, a teacher that has learnt to learn out."""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distillfss.backbones import weights_sha256
from distillfss.checkpoints.teacher_file import TeacherInfo, write_teacher
from distillfss.errors import DistillFSSError, FitInterrupted, UsageError
from distillfss.meta.config import PRECISIONS, MetaConfig
from distillfss.meta.job import Job, MetaProgress
from distillfss.meta.training import CONTENDERS, VALIDATION_SHOTS, work
from distillfss.metrics import number_or_none
from distillfss.runtime import resolve_device
from distillfss.training.state import FitState, load_state

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Tell = Callable[[MetaProgress], None]


@dataclass(frozen=True)
class MetaResult:
    """What meta-training ends with.

    Attributes
    ----------
    teacher
        State dict of the averaged teacher.
    history
        Per validation: step, mean loss since the last, held-out IoU (0 to 1) with 1 and with 5 shots.
    held_out
        Held-out class -> IoU (0 to 1) of the teacher, of the same teacher untrained, and of prototypes, each with 1
        and with 5 shots: ``{"elephant": {"teacher 1": 0.61, ...}}``.
    seconds
        Of training, without the features.
    """

    teacher: dict[str, Tensor]
    history: list[tuple[float, ...]]
    held_out: dict[str, dict[str, float]]
    seconds: float


def meta_train(
    sources: Sequence[str | Path],
    config: MetaConfig,
    *,
    state: str | Path,
    cache: str | Path,
    cache_gb: float = 16.0,
    device: str = "auto",
    processes: int = 1,
    precision: str = "auto",
    progress: Tell | None = None,
) -> MetaResult:
    """Teach a teacher on episodes over source classes.

    Parameters
    ----------
    sources
        Folders of annotated images, in any format of ``io.annotations``.
    config
        Settings.
    state
        Checkpoint, written every minute; the same call goes on from it. It outlives the call.
    cache, cache_gb
        Folder for the frozen features, and the most it may take in gigabytes.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    processes
        Processes on the CPU, or GPUs; the episodes of a step are shared out, the result is the same up to rounding.
    precision
        ``32``, ``bf16`` (mixed), or ``auto``: mixed where the device gains from it.
    progress
        Called every few steps.

    Raises
    ------
    FitInterrupted
        On Ctrl-C or SIGTERM, after the checkpoint was written.
    UsageError
        If settings do not fit together, or the extra ``[meta]`` is not installed.
    DataError
        If a source cannot be read.
    OutputError
        If the cache or the checkpoint cannot be written.
    """
    if config.episodes % processes:
        raise UsageError(
            f"{config.episodes} episodes per step cannot be shared out to {processes} processes",
            cure="Choose a number of episodes that is a multiple of --processes",
        )
    fabric = build_fabric(resolve_device(device), processes, precision)
    job = Job(tuple(Path(s).resolve() for s in sources), config, Path(cache), int(cache_gb * 1e9), Path(state))
    tell = progress if progress is not None else lambda _: None
    if processes == 1:
        fabric.launch()
        terminated = work(fabric, job, tell)
    else:
        terminated = False  # the signal came to this process, which waits for the others
        _in_processes(fabric, job, processes, tell)
    found = load_state(job.state, job.fingerprint())
    if found is None or found.step < config.steps or "held_out" not in found.tensors:
        where = f"stopped at step {found.step if found else 0} of {config.steps}"
        cure = "Run the same command again to go on from there"
        raise FitInterrupted(where, cure=cure, path=job.state, terminated=terminated)
    return result(found, config.hold_out)


def build_fabric(device: torch.device, processes: int, precision: str) -> Fabric:
    """Lightning's view of the device, the processes and the precision.

    Raises
    ------
    UsageError
        If the extra is missing, or the precision or the number of GPUs cannot be had.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}", cure=f"Choose one of {', '.join(PRECISIONS)}")
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise UsageError(
            f"meta-training needs Lightning Fabric ({error})", cure="Install it with: pip install 'distillfss[meta]'"
        ) from error
    if device.type == "cuda" and processes > torch.cuda.device_count():
        raise UsageError(f"there are {torch.cuda.device_count()} GPUs, not {processes}", cure="Lower --processes")
    mixed = precision == "bf16" or (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return Fabric(
        accelerator=device.type,
        devices=processes,
        strategy="ddp_spawn" if processes > 1 else "auto",
        precision="bf16-mixed" if mixed else "32-true",
    )


def _in_processes(fabric: Fabric, job: Job, processes: int, tell: Tell) -> None:
    """Launch the processes; what the first one tells, and what goes wrong in any, comes back through pipes.

    One for each: when a process fails the others are killed, and one that held a common queue's lock at that moment
    would keep everyone waiting for ever, this process included.
    """
    pipes = [multiprocessing.get_context("spawn").Pipe(duplex=False) for _ in range(processes)]
    readers, writers = [reader for reader, _ in pipes], [writer for _, writer in pipes]
    faults: list[DistillFSSError] = []

    def listen() -> None:
        for said in all_that_comes(readers):
            if isinstance(said, MetaProgress):
                tell(said)
            else:
                faults.append(said)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()

    def hear_them_out() -> None:
        for writer in writers:  # the last ones that are open
            writer.close()
        listener.join()

    try:
        # arguments given to `launch` itself may not be frozen dataclasses
        fabric.launch(functools.partial(_one_process, job=job, writers=writers))
    except KeyboardInterrupt:
        stop_children()
    except torch.multiprocessing.ProcessRaisedException:
        hear_them_out()
        if faults:
            raise faults[0] from None
        raise
    finally:
        hear_them_out()


def all_that_comes(readers: Sequence[Connection]) -> Iterator[Any]:
    """What is sent through any of several pipes, until all of them are closed or end within a message."""
    still = list(readers)
    while still:
        ready = wait(still)
        for reader in [one for one in still if one in ready]:
            try:
                yield reader.recv()
            except (EOFError, OSError):
                still.remove(reader)
                reader.close()


def stop_children() -> None:
    """Ask the processes to write the checkpoint and end, and wait for them.

    Ctrl-C in a terminal has reached them already, and a second signal would end them at once: they get a moment first.
    """
    children = multiprocessing.active_children()
    deadline = time.monotonic() + 5
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
    for child in children:
        child.terminate()
    for child in children:
        child.join()


def _one_process(fabric: Fabric, job: Job, writers: Sequence[Connection]) -> None:
    send = writers[fabric.global_rank].send
    # gloo's threads may outlive the interpreter's end and abort a process that has done its work (PyTorch 2.13,
    # also after destroy_process_group): the process leaves before its interpreter is taken apart
    status = 1
    atexit.register(lambda: leave(status))
    try:
        work(fabric, job, send)
        status = 0
    except DistillFSSError as fault:
        send(fault)
        raise


def leave(status: int) -> None:
    """End this process at once, with what it has printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def result(state: FitState, class_names: Sequence[str]) -> MetaResult:
    """Read the result from a finished state."""
    prefix = "average."
    teacher = {n.removeprefix(prefix): t for n, t in state.tensors.items() if n.startswith(prefix)}
    columns = [f"{name} {shots}" for shots in VALIDATION_SHOTS for name in CONTENDERS]
    held_out = {
        name: dict(zip(columns, row[1:], strict=True))
        for name, row in zip(class_names, state.tensors["held_out"].tolist(), strict=True)
    }
    history = [tuple(row) for row in state.tensors["history"].tolist()]
    return MetaResult(teacher, history, held_out, state.seconds)


def save_teacher(path: Path, config: MetaConfig, outcome: MetaResult) -> None:
    """Write the result as a teacher file that ``fit`` can start from.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    info = TeacherInfo(
        backbone=config.backbone,
        concat_support=False,
        architecture="distillfss",
        size=config.size,
        summary={"settings": settings_of(config), "seconds": outcome.seconds, "held_out": _plain(outcome.held_out)},
        backbone_sha256=weights_sha256(config.backbone, config.backbone_weights),
    )
    write_teacher(path, info, {f"teacher.{name}": tensor for name, tensor in outcome.teacher.items()})


def settings_of(config: MetaConfig) -> dict[str, Any]:
    """Every setting, without where files lie on this machine."""
    weights = config.backbone_weights
    return {**asdict(config), "backbone_weights": None if weights is None else Path(weights).name}


def _plain(held_out: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {name: {k: number_or_none(v) for k, v in row.items()} for name, row in held_out.items()}
