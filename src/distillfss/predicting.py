"""Masks for a folder of images: thousands of them, some unreadable, and the run may stop at any moment.

Every file is written whole or not at all, and nothing that exists is touched unless asked for, so starting the same
run again does the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.notices import Alike, Notice, NoticeKind
from distillfss.outputs.base import Output, Segmented
from distillfss.outputs.makers import fingerprint_of
from distillfss.outputs.scale import PixelArea, pixel_area
from distillfss.overlapping import overlap
from distillfss.places import ImageSource, Place, as_file, is_url, shown
from distillfss.predict_plan import Job, Plan, PlanSettings
from distillfss.quality.judging import Answer

# Called with (images done, images in all), first with 0 done.
Tick = Callable[[int, int], None]


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
        The folder or address the results are at.
    total
        Images found.
    written
        Images whose results were written by this run.
    skipped_existing
        Images left alone because everything asked for was there already.
    failed
        (image, reason) of every image that could not be used.
    files
        Files written by this run, by output; those about all images are counted with the others, as are what GeoTIFF,
        DICOM files, stacks and videos got.
    kept
        Of the images that were worked on, files that were there already and left alone, by output.
    without_polygons
        Files that get no polygons, whatever is asked for.
    unlike
        Images of this run that are unlike anything in the support.
    notices
        A line per image of this run of which something was passed over.
    without_confidence, without_strangeness
        Images of this run whose cells in the table of confidence are empty, all of them or those on strangeness.
    converted
        What was changed in images of this run so that they are 8-bit RGB, and upright: ``lines`` says it once for all
        images alike.
    """

    out: Path | str
    total: int
    written: int = 0
    skipped_existing: int = 0
    failed: list[tuple[ImageSource, str]] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    without_polygons: int = 0
    unlike: list[ImageSource] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    converted: Alike = field(default_factory=Alike)
    without_confidence: int = 0
    without_strangeness: int = 0

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
            "files": dict(self.files),
            "kept": dict(self.kept),
            "unlike_support": [str(path) for path in self.unlike],
        }


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as it was read: ``pixels`` (H, W, 3) uint8 RGB, and the area of one of them where that was asked for.

    ``notices`` are about pages or frames that were not read, ``converted`` about what was changed in those that were.
    """

    pixels: NDArray[np.uint8]
    pixel_area: PixelArea | None = None
    notices: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()


def read_picture(file: Path, *, scale: bool = False) -> Picture:
    """From file to pixels; runs in a reading thread."""
    from distillfss.io.decode import read_image

    image = read_image(file)
    unread, converted = (
        tuple(_said(notice, file) for notice in image.remarks if notice.kind in kinds)
        for kinds in ({NoticeKind.FIRST_ONLY}, {NoticeKind.TURNED, NoticeKind.CONVERTED})
    )
    return Picture(image.pixels, pixel_area(file) if scale else None, unread, converted)


def _said(notice: Notice, file: Path) -> str:
    """Without the path, which of an image from elsewhere is that of a passing copy."""
    if notice.kind is NoticeKind.TURNED:  # the mask is ours: nobody need check how it was drawn
        return "turned upright as its EXIF orientation says; the mask is that of the upright picture"
    return notice.text.removeprefix(f"{file}: ")


def segment_picture(segmenter: CanSegment, picture: Picture, *, probabilities: bool = False) -> Answer:
    """From pixels to an answer, with probabilities on request; runs in one thread, one at a time."""
    answer = getattr(segmenter, "answer", None)
    if answer is not None:
        found: Answer = answer(picture.pixels, probabilities=probabilities)
        return found
    if probabilities:
        return Answer(*segmenter(picture.pixels, probabilities=True))
    return Answer(segmenter(picture.pixels))


def segment_file(segmenter: CanSegment, file: Path, *, probabilities: bool = False, scale: bool = False) -> Segmented:
    """The whole way of one image: what ``segment_jobs`` does in its threads, one step after the other."""
    picture = read_picture(file, scale=scale)
    answer = segment_picture(segmenter, picture, probabilities=probabilities)
    return _segmented(file.name, picture, answer)


def _segmented(name: str, picture: Picture, answer: Answer) -> Segmented:
    return Segmented(
        name,
        picture.pixels,
        answer.mask,
        answer.probabilities,
        picture.pixel_area,
        answer.judged,
        picture.notices,
        picture.converted,
    )


def predict_images(
    segmenter: CanSegment,
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    outputs: Sequence[str] = ("mask",),
    overwrite: bool = False,
    overlay: bool = False,
    probabilities: bool = False,
    coco_segmentation: str = "polygon",
    instances: str = "component",
    metres_per_pixel: float | None = None,
    progress: Tick | None = None,
    summary: PredictSummary | None = None,
) -> PredictSummary:
    """Write masks, or whatever ``outputs`` names, of many images.

    Images are read, segmented and written at the same time, one by one through the model, so results depend neither on
    threads nor on the other images.

    Parameters
    ----------
    images
        A folder, one image, a glob pattern, an address such as ``s3://bucket/scans``, or the paths themselves.
    out
        Folder or address of the results; made if it is not there. It must not be a folder the images are in.
    outputs
        Names of ``distillfss.outputs.OUTPUTS``: mask, overlay, probabilities, coco, yolo, csv, confidence.
    overwrite
        Write again what exists. Without it, existing files are left alone.
    overlay, probabilities
        The same as naming them in ``outputs``.
    coco_segmentation, instances, metres_per_pixel
        See ``distillfss.outputs.OutputSettings``.
    progress
        Called with (images done, images in all).
    summary
        Filled while running, so that a caller that is interrupted still knows how far it got.

    Raises
    ------
    UsageError
        Before anything is written: two images would get the same file, a result would land among the images, results of
        another model are there, or an output is unknown or lacks its package.
    OutputError
        If a file cannot be written; what was written before stays.
    """
    extras = [name for name, asked in (("overlay", overlay), ("probabilities", probabilities)) if asked]
    settings = PlanSettings(
        out=str(out),
        outputs=(*outputs, *extras),
        class_names=tuple(segmenter.class_names),
        coco_segmentation=coco_segmentation,
        instances=instances,
        metres_per_pixel=metres_per_pixel,
        model=fingerprint_of(segmenter),
    )
    return predict(segmenter, settings, images, overwrite=overwrite, progress=progress, summary=summary)


def predict(
    segmenter: CanSegment,
    settings: PlanSettings,
    images: str | Path | Iterable[str | Path],
    *,
    overwrite: bool = False,
    progress: Tick | None = None,
    summary: PredictSummary | None = None,
) -> PredictSummary:
    """As ``predict_images``, with what to write where in one place."""
    done = summary if summary is not None else PredictSummary(settings.out, 0)
    plan = begin(settings, images, overwrite, done, progress)
    try:
        segment_jobs(segmenter, plan.place, plan.todo, lambda job, outcome: settle(plan, done, job, outcome, progress))
    finally:
        plan.records.flush()
    end(plan, done)
    return done


def begin(
    settings: PlanSettings,
    images: str | Path | Iterable[str | Path],
    overwrite: bool,
    done: PredictSummary,
    progress: Tick | None,
) -> Plan:
    """Find out what there is to do, and refuse what cannot work."""
    plan = Plan(settings, images, overwrite=overwrite)
    done.out = shown(settings.out) if is_url(settings.out) else Path(settings.out)
    done.total, done.skipped_existing = plan.total, plan.total - len(plan.todo)
    done.files = dict.fromkeys(plan.names, 0)
    if progress:
        progress(done.done, done.total)
    return plan


Outcome = dict[str, Any] | str
"""Of one image: its record, or the reason it could not be used."""
UNLIKE = "unlike_support"
"""Key in the outcome, not in what is recorded, of an image that is unlike anything in the support."""
NOTICES = "notices"
"""Key in the outcome, not in what is recorded, of what was passed over in an image."""
CONVERTED = "converted"
"""Key in the outcome, not in what is recorded, of what was changed in an image to read it."""
UNJUDGED = "unjudged"
"""Key in the outcome, not in what is recorded, of what the model could not tell of its answer though it was asked."""
NOT_RECORDED = (UNLIKE, NOTICES, CONVERTED, UNJUDGED)


def settle(plan: Plan, done: PredictSummary, job: Job, outcome: Outcome, progress: Tick | None) -> None:
    """Note what became of an image."""
    if isinstance(outcome, str):
        done.failed.append((job.image, outcome))
    else:
        plan.records.add(job.name, {key: value for key, value in outcome.items() if key not in NOT_RECORDED})
        done.written += 1
        if UNLIKE in outcome:
            done.unlike.append(job.image)
        done.notices += [f"{job.image}: {notice}" for notice in outcome.get(NOTICES, ())]
        done.without_confidence += outcome.get(UNJUDGED) == "confidence"
        done.without_strangeness += outcome.get(UNJUDGED) == "strangeness"
        for what in outcome.get(CONVERTED, ()):
            done.converted.add(str(job.image), what)
        for output in plan.outputs:
            name, has_file = plan.name_of(output), output.target(job.stem) is not None
            if output in job.wanted:
                done.files[name] += has_file
            elif has_file:
                done.kept[name] = done.kept.get(name, 0) + 1
    if progress:
        progress(done.done, done.total)


def end(plan: Plan, done: PredictSummary) -> None:
    """Write the files about all images."""
    for name, files in plan.collect().items():
        done.files[name] += files


def segment_jobs(
    segmenter: CanSegment, place: Place, jobs: Sequence[Job], settle: Callable[[Job, Outcome], None]
) -> None:
    """Segment images and write the files of each, telling ``settle`` in the order of the jobs.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """

    def read(job: Job) -> Picture:
        with as_file(job.image) as file:
            return read_picture(file, scale=any(output.wants_scale for output in job.wanted))

    def work(job: Job, picture: Picture) -> Segmented:
        wanted = any(output.wants_probabilities for output in job.wanted)
        return _segmented(job.name, picture, segment_picture(segmenter, picture, probabilities=wanted))

    def write(job: Job, seen: Segmented) -> dict[str, Any]:
        return write_outputs(place, job.stem, seen, job.wanted)

    def done(job: Job, result: dict[str, Any] | Exception) -> None:
        settle(job, result if isinstance(result, dict) else _reason(result))

    threads = min(4, cores())
    overlap(jobs, read, work, write, done, readers=threads, writers=4, size=lambda picture: picture.pixels.nbytes)


def write_outputs(place: Place, stem: str, seen: Segmented, wanted: Sequence[Output]) -> dict[str, Any]:
    """Write the files of one image; returns its record for those about all images. Runs in a writing thread."""
    record: dict[str, Any] = {}
    if seen.judged is not None and seen.judged.unlike_support:
        record[UNLIKE] = True
    if seen.notices:
        record[NOTICES] = list(seen.notices)
    if seen.converted:
        record[CONVERTED] = list(seen.converted)
    if any(output.about_judgement for output in wanted):
        if seen.judged is None:
            record[UNJUDGED] = "confidence"
        elif seen.judged.strangeness is None:
            record[UNJUDGED] = "strangeness"
    for output in wanted:
        if output.record_key:
            record[output.record_key] = output.record(seen)
        target = output.target(stem)
        if target:
            place.write(target, output.encode(seen))
    return record


def _reason(error: Exception) -> str:
    """Why an image is left out; anything that is not about this image alone is raised."""
    if isinstance(error, DataError):
        return f"{error.problem}. {error.cure}"
    if _out_of_memory(error):
        return "not enough memory for an image of this size. Cut it into tiles"
    raise error


def _out_of_memory(error: Exception) -> bool:
    """PyTorch reports it as RuntimeError; its wording differs by device."""
    text = str(error).lower()
    told = isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    return isinstance(error, MemoryError) or told


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
