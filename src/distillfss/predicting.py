"""Masks for a folder of images: thousands of them, some unreadable, and the run may stop at any moment.

Every mask is written whole or not at all, and nothing that exists is touched unless asked for, so starting the same
run again does the rest.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import numpy as np

from distillfss.errors import DataError, OutputError, UsageError

# Called with (images done, images in all), first with 0 done.
Tick = Callable[[int, int], None]

OVERLAYS, PROBABILITIES = "overlays", "probabilities"


class CanSegment(Protocol):
    """The part of ``Segmenter`` that this needs."""

    @property
    def class_names(self) -> Sequence[str]: ...

    @overload
    def __call__(self, image: np.ndarray, probabilities: Literal[False] = False) -> np.ndarray: ...

    @overload
    def __call__(self, image: np.ndarray, probabilities: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass
class PredictSummary:
    """What became of the images.

    Attributes
    ----------
    out
        The folder the masks are in.
    total
        Images found.
    written
        Images whose masks (and whatever else was asked for) were written by this run.
    skipped_existing
        Images left alone because everything asked for was there already.
    failed
        (image, reason) of every image that could not be used.
    """

    out: Path
    total: int
    written: int = 0
    skipped_existing: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Images dealt with so far, in whatever way."""
        return self.written + self.skipped_existing + len(self.failed)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "out": str(self.out),
            "total": self.total,
            "written": self.written,
            "skipped_existing": self.skipped_existing,
            "failed": [{"image": str(path), "reason": reason} for path, reason in self.failed],
        }


@dataclass(frozen=True)
class _Job:
    """One image and the files wanted for it."""

    image: Path
    mask: Path
    overlay: Path | None
    probabilities: Path | None

    @property
    def targets(self) -> list[Path]:
        return [path for path in (self.mask, self.overlay, self.probabilities) if path]


def predict_images(
    segmenter: CanSegment,
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    overwrite: bool = False,
    overlay: bool = False,
    probabilities: bool = False,
    progress: Tick | None = None,
    summary: PredictSummary | None = None,
) -> PredictSummary:
    """Write one mask ``out/STEM.png`` (class indices, 0 = background) per image.

    Parameters
    ----------
    images
        A folder, one image, a glob pattern, or the paths themselves.
    out
        Folder of the masks; made if it is not there. It must not be a folder the images are in.
    overwrite
        Write again what exists. Without it, existing files are left alone.
    overlay
        Also write ``out/overlays/STEM.jpg``, the image with the classes drawn over it.
    probabilities
        Also write ``out/probabilities/STEM.npz``: ``probabilities`` float16 (H, W, n + 1), background first, and
        ``class_names``.
    progress
        Called with (images done, images in all).
    summary
        Filled while running, so that a caller that is interrupted still knows how far it got.

    Raises
    ------
    UsageError
        Before anything is written: two images would get the same mask file, or a mask would land among the images.
    OutputError
        If a file cannot be written; what was written before stays.
    """
    paths = _image_paths(images)
    target = Path(out)
    jobs = [_job(path, target, overlay, probabilities) for path in paths]
    _refuse_collisions(jobs)
    _refuse_inputs(jobs)
    done = summary if summary is not None else PredictSummary(target, len(jobs))
    done.out, done.total = target, len(jobs)
    todo: list[tuple[_Job, list[Path]]] = []
    for job in jobs:
        missing = job.targets if overwrite else [path for path in job.targets if not _exists(path)]
        if missing:
            todo.append((job, missing))
    done.skipped_existing = len(jobs) - len(todo)
    _make_folders(todo)
    if progress:
        progress(done.done, done.total)
    for (job, missing), pixels in zip(todo, _read_ahead([job.image for job, _ in todo]), strict=True):
        try:
            _write(segmenter, job, missing, pixels.result())
            done.written += 1
        except DataError as error:
            done.failed.append((job.image, f"{error.problem}. {error.cure}"))
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            done.failed.append((job.image, "not enough memory for an image of this size. Cut it into tiles"))
        if progress:
            progress(done.done, done.total)
    return done


def _image_paths(images: str | Path | Iterable[str | Path]) -> list[Path]:
    from distillfss.io.files import list_images

    if isinstance(images, str | Path):
        return list(list_images(images))
    return [Path(path) for path in images]


def _job(image: Path, out: Path, overlay: bool, probabilities: bool) -> _Job:
    return _Job(
        image,
        out / f"{image.stem}.png",
        out / OVERLAYS / f"{image.stem}.jpg" if overlay else None,
        out / PROBABILITIES / f"{image.stem}.npz" if probabilities else None,
    )


def _refuse_collisions(jobs: list[_Job]) -> None:
    """Two images must not share a mask file, not even on a file system that ignores case."""
    seen: dict[str, Path] = {}
    for job in jobs:
        key = job.mask.name.casefold()
        if key in seen:
            raise UsageError(
                f"{seen[key].name} and {job.image.name} would both get the mask {job.mask.name}",
                cure="Rename one of them or predict them into different folders",
                path=job.image,
            )
        seen[key] = job.image


def _refuse_inputs(jobs: list[_Job]) -> None:
    """Nothing is written into a folder the images are in: a mask could replace one, or be taken for one next time."""
    sources = {job.image.parent.resolve() for job in jobs}
    for folder in {target.parent for job in jobs for target in job.targets}:
        if folder.resolve() in sources:
            raise UsageError("the images are in this folder", cure="Choose another one for the masks", path=folder)


def _exists(path: Path) -> bool:
    """As ``Path.exists``, but False where the folder may not be looked into: writing there then says what is wrong."""
    return os.path.exists(path)  # noqa: PTH110


def _make_folders(todo: list[tuple[_Job, list[Path]]]) -> None:
    for folder in sorted({path.parent for _, missing in todo for path in missing}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make this folder ({error.strerror})", cure="Choose another folder", path=folder
            ) from None


def _read_ahead(paths: list[Path], depth: int = 2) -> Iterator[Future[np.ndarray]]:
    """Decode the next images in a thread while the model works on the present one."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting: list[Future[np.ndarray]] = []
        try:
            for path in paths:
                waiting.append(pool.submit(_pixels, path))
                if len(waiting) > depth:
                    yield waiting.pop(0)
            yield from waiting
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _pixels(path: Path) -> np.ndarray:
    from distillfss.io.decode import read_image

    return read_image(path).pixels


def _write(segmenter: CanSegment, job: _Job, missing: list[Path], pixels: np.ndarray) -> None:
    """Predict one image and write the files of ``missing``."""
    from distillfss.io.files import atomic_write
    from distillfss.io.masks import write_mask

    if job.probabilities in missing:
        mask, likely = segmenter(pixels, probabilities=True)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            probabilities=likely.astype(np.float16),
            class_names=np.array(["background", *segmenter.class_names]),
        )
        atomic_write(job.probabilities, buffer.getvalue())
    else:
        mask = segmenter(pixels)
    if job.overlay in missing:
        from distillfss.report.overlay import encode_jpeg, overlay

        atomic_write(job.overlay, encode_jpeg(overlay(pixels, mask)))
    if job.mask in missing:
        write_mask(job.mask, mask)


def _out_of_memory(error: Exception) -> bool:
    """PyTorch reports it as RuntimeError; its wording differs by device."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
