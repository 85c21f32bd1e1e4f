"""How good is a segmenter on labelled images it has not seen?

The headline is the foreground IoU over all pixels, the measure of the literature: per class, true and false positives
and misses are summed over every pixel of every image, the IoU is taken of the sums, and the mean is over the classes.
It is reported at 384×384 (what papers print) and at the images' own sizes (what users need), beside what a trivial
prediction reaches.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distillfss.class_matching import match_classes
from distillfss.errors import DataError, UsageError
from distillfss.metrics import Scores, best_constant, confusion, constant_scores, number_or_none, resize_mask

if TYPE_CHECKING:
    from distillfss.support import LabelledFolder, Sample, SupportSet

PAPER_SIZE = (384, 384)

# Called with (images done, images in all), first with 0 done.
Tick = Callable[[int, int], None]


class CanPredict(Protocol):
    """The part of ``Segmenter`` that an evaluation needs."""

    @property
    def class_names(self) -> Sequence[str]: ...

    def predict(self, pixels: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]: ...


class Labelled(Protocol):
    """Labelled images that are read one at a time; ``LabelledFolder`` is one."""

    @property
    def class_names(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True)
class ImageResult:
    """Scores of one image, at its own size and at 384×384; ``index`` is its place in the labelled set."""

    index: int
    name: str
    height: int
    width: int
    own: Scores
    paper: Scores

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe row."""
        row: dict[str, Any] = {"image": self.name, "height": self.height, "width": self.width}
        for measure in ("iou", "dice", "precision", "recall"):
            row[measure] = number_or_none(self.own.mean(measure))
        row["iou_384"] = number_or_none(self.paper.mean("iou"))
        row["wrong_pixels"] = self.own.wrong
        if len(self.own.class_names) > 1:
            for name, value in zip(self.own.class_names, self.own.iou, strict=True):
                row[f"iou of {name}"] = number_or_none(value)
        return row


@dataclass(frozen=True)
class Evaluation:
    """The outcome of ``evaluate``.

    Attributes
    ----------
    class_names
        The model's classes; all scores are in this order.
    own, paper
        Scores over all pixels at the images' own sizes and at 384×384.
    baseline, baseline_own, baseline_paper
        The better of two trivial predictions ("all background", "all NAME") and its scores.
    images
        One row per image, in the order of the labelled set.
    skipped
        (name, reason) of every pair that could not be read.
    notices
        What a reader of the figures should know.
    seconds_per_image
        Median time of one prediction (both sizes), without reading the file.
    """

    class_names: tuple[str, ...]
    own: Scores
    paper: Scores
    baseline: str
    baseline_own: Scores
    baseline_paper: Scores
    images: tuple[ImageResult, ...]
    skipped: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]
    seconds_per_image: float

    @property
    def foreground_iou(self) -> float:
        """The headline at the images' own sizes, 0 to 1."""
        return self.own.mean("iou")

    @property
    def foreground_iou_384(self) -> float:
        """The headline at 384×384, 0 to 1."""
        return self.paper.mean("iou")

    def worst(self, number: int) -> list[ImageResult]:
        """The images with the lowest mean IoU, worst first; among equals the one with more wrong pixels."""

        def badness(result: ImageResult) -> tuple[float, int, str]:
            iou = result.own.mean("iou")
            return (math.inf if math.isnan(iou) else iou, -result.own.wrong, result.name)

        return sorted(self.images, key=badness)[:number]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe: fractions from 0 to 1, nan as ``None``."""
        return {
            "foreground_iou_384": number_or_none(self.foreground_iou_384),
            "foreground_iou": number_or_none(self.foreground_iou),
            "baseline": {
                "prediction": self.baseline,
                "foreground_iou_384": number_or_none(self.baseline_paper.mean("iou")),
                "foreground_iou": number_or_none(self.baseline_own.mean("iou")),
            },
            "class_names": list(self.class_names),
            "images": len(self.images),
            "seconds_per_image": self.seconds_per_image,
            "at_384": self.paper.to_dict(),
            "at_own_size": self.own.to_dict(),
            "per_image": [result.to_dict() for result in self.images],
            "skipped": [{"image": name, "reason": reason} for name, reason in self.skipped],
            "notices": list(self.notices),
        }

    def write_csv(self, path: str | Path) -> None:
        """Write one row per image; a score that does not exist is an empty field, a skipped image has its reason."""
        from distillfss.io.files import atomic_write

        def shorten(value: Any) -> Any:
            return round(value, 6) if isinstance(value, float) else value

        rows = [{field: shorten(value) for field, value in result.to_dict().items()} for result in self.images]
        rows += [{"image": name, "skipped": reason} for name, reason in self.skipped]
        fields = [*(rows[0] if self.images else {"image": None}), "skipped"]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=fields, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(Path(path), text.getvalue().encode(errors="backslashreplace"))


class _Samples:
    """A support set seen as labelled images."""

    def __init__(self, class_names: Sequence[str], samples: Sequence[Sample]) -> None:
        self.class_names = tuple(class_names)
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int, /) -> Sample:
        return self._samples[index]


def open_labelled(labelled: str | Path | LabelledFolder | SupportSet | Labelled) -> Labelled:
    """A folder's path, a ``LabelledFolder`` or a ``SupportSet`` as labelled images read one at a time."""
    if isinstance(labelled, str | Path):
        from distillfss.support import LabelledFolder

        return LabelledFolder.open(labelled)
    if hasattr(labelled, "samples"):
        return _Samples(labelled.class_names, labelled.samples)
    return labelled


def evaluate(
    segmenter: CanPredict | str | Path,
    labelled: str | Path | LabelledFolder | SupportSet | Labelled,
    *,
    progress: Tick | None = None,
    keep: Callable[[NDArray[np.uint8]], None] | None = None,
) -> Evaluation:
    """Compare a segmenter's masks with annotated ones.

    Parameters
    ----------
    segmenter
        A ``Segmenter`` or its file, or anything with its ``class_names`` and ``predict``.
    labelled
        A folder of annotated images in any format that ``fit`` reads, or a ``LabelledFolder`` (both are read one image
        at a time), or a ``SupportSet``.
    progress
        Called with (images done, images in all).
    keep
        Given the mask at 384×384 of every image that could be read, in the order of ``Evaluation.images``.

    Raises
    ------
    DataError
        If the classes do not fit together, or not one pair can be read.
    ModelFileError
        If the segmenter's file cannot be loaded.
    """
    if isinstance(segmenter, str | Path):
        from distillfss.segmenter import Segmenter

        segmenter = Segmenter.load(segmenter)
    names = tuple(segmenter.class_names)
    data = open_labelled(labelled)
    if hasattr(data, "named_as"):
        data = data.named_as(names)
    if hasattr(data, "read_as"):
        data = data.read_as(getattr(segmenter, "summary", {}).get("reading"))
    table, notices = _match(data, names)
    if hasattr(data, "refuse_white"):
        data.refuse_white()
    notices += getattr(data, "notices", ())
    total = np.zeros((2, len(names) + 1, len(names) + 1), np.int64)
    results: list[ImageResult] = []
    skipped: list[tuple[str, str]] = []
    seconds: list[float] = []
    if progress:
        progress(0, len(data))
    for index in range(len(data)):
        try:
            sample = data[index]
        except (DataError, UsageError) as error:  # the latter of a map that lacks the model's bands
            skipped.append((_name(data, index), str(error)))
        else:
            truth = table[sample.mask]
            started = time.perf_counter()
            at_paper_size, at_own_size = masks_of(segmenter, data, index, sample)
            seconds.append(time.perf_counter() - started)
            if keep:
                keep(at_paper_size)
            paper = confusion(resize_mask(truth, PAPER_SIZE), at_paper_size, len(names))
            own = confusion(truth, at_own_size, len(names))
            total += (paper, own)
            height, width = truth.shape
            scores = (Scores.of(names, own), Scores.of(names, paper))
            results.append(ImageResult(index, sample.name, height, width, *scores))
        if progress:
            progress(index + 1, len(data))
    if not results:
        reason = skipped[0][1] if skipped else "there are none"
        raise DataError(f"not one labelled image can be used: {reason}", cure="Check the folder", path=_folder(data))
    return _summed(names, total, results, skipped, notices, seconds)


def masks_of(
    segmenter: CanPredict, data: Labelled, index: int, sample: Sample
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Of an image at 384×384 and at its own size; by tiles where ``predict`` takes them, shrunk for the former."""
    from distillfss.formats.as_predicted import mask_by_tiles

    own_size = (sample.image.shape[0], sample.image.shape[1])
    file = getattr(data, "image_path", None)
    reading = getattr(data, "reading", (None, None))
    by_tiles = mask_by_tiles(segmenter, None if file is None else file(index), sample.image, *reading)
    if by_tiles is not None:
        return resize_mask(by_tiles, PAPER_SIZE), by_tiles
    at_paper_size, at_own_size = segmenter.predict(sample.image, [PAPER_SIZE, own_size])
    return at_paper_size, at_own_size


def _match(data: Labelled, names: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """``match_classes`` with the folder's name on its error."""
    try:
        return match_classes(names, tuple(data.class_names))
    except DataError as error:
        raise DataError(error.problem, cure=error.cure, path=_folder(data)) from None


def _summed(
    names: tuple[str, ...],
    total: np.ndarray,
    results: list[ImageResult],
    skipped: list[tuple[str, str]],
    notices: list[str],
    seconds: list[float],
) -> Evaluation:
    """Scores of the summed counts ``total`` (2, n + 1, n + 1): at 384×384, at the images' own sizes."""
    paper, own = (Scores.of(names, counts) for counts in total)
    value, baseline_paper = best_constant(names, total[0])
    remarks = list(notices)
    if own.absent:
        remarks.append(f"neither in the masks nor predicted, so left out of the mean: {', '.join(own.absent)}")
    if own.invented:
        remarks.append(f"in none of the masks, but predicted, so 0 % in the mean: {', '.join(own.invented)}")
    if skipped:
        remarks.append(f"{len(skipped)} of {len(skipped) + len(results)} images could not be read and are left out")
    return Evaluation(
        class_names=names,
        own=own,
        paper=paper,
        baseline=f"every pixel {names[value - 1] if value else 'background'}",
        baseline_own=constant_scores(names, total[1], value),
        baseline_paper=baseline_paper,
        images=tuple(results),
        skipped=tuple(skipped),
        notices=tuple(remarks),
        seconds_per_image=float(np.median(seconds)),
    )


def _name(data: Labelled, index: int) -> str:
    names: Sequence[str] | None = getattr(data, "names", None)
    return names[index] if names else f"image {index}"


def _folder(data: Labelled) -> Path | None:
    root: str | Path | None = getattr(data, "root", None)
    return Path(root) if root else None
