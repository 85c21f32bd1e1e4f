"""Does the exported file do what the model does? Nothing is written before it has been shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import ExportError
from distillfss.export.pictures import Example
from distillfss.metrics import Scores, confusion
from distillfss.segmenter import Segmenter


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the model: largest difference of a logit, share of pixels with another class.

    ``relative`` is a share of the model's largest logit that is allowed where it is more.
    """

    logits: float
    masks: float
    relative: float = 0.0

    def of_logits(self, largest: float) -> float:
        """What a logit may be off by, in a model whose largest one this is."""
        return max(self.logits, self.relative * largest)


# rounding weights to half precision takes a share of what they make, not an amount
TOLERANCES = {"fp32": Tolerance(1e-3, 1e-4), "fp16": Tolerance(0.1, 2e-3, relative=0.01)}
INT8_POINTS = 0.5
"""How many points of IoU a quantised model may lose."""


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Attributes
    ----------
    images, pixels
        How many were compared.
    logits
        Largest difference of a merged class logit.
    masks
        Share of pixels, 0 to 1, with another class.
    largest
        The model's largest logit, by amount.
    """

    images: int
    pixels: int
    logits: float
    masks: float
    largest: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def agreement(
    exported: Segmenter, model: Segmenter, pictures: Iterable[NDArray[np.uint8]], precision: str
) -> Agreement:
    """Compare an exported model with the one it was made from, on images uint8 (H, W, 3) of any size.

    What a logit may be off by at this precision is also how close two classes count as a tie, see ``logit_difference``.

    Raises
    ------
    ExportError
        If the exported one fails on an image.
    """
    images = pixels = differing = 0
    furthest = largest = 0.0
    for picture in pictures:
        try:
            found = exported.logits(picture).numpy()[0]
        except Exception as error:  # ONNX Runtime's errors have no common base
            height, width = picture.shape[:2]
            reason = " ".join(str(error).split())[:200]
            raise ExportError(
                f"{model.info.backbone} is no graph for images of any size: {width}x{height} fails ({reason})",
                cure="Fit with the default backbone, or serve the .safetensors file",
            ) from error
        wanted = model.logits(picture).cpu().numpy()[0]
        here = float(np.abs(wanted).max())
        furthest = max(furthest, logit_difference(found, wanted, TOLERANCES[precision].of_logits(here)))
        largest = max(largest, here)
        differing += int((exported(picture) != model(picture)).sum())
        images += 1
        pixels += picture.shape[0] * picture.shape[1]
    return Agreement(images, pixels, furthest, differing / max(pixels, 1), largest)


def logit_difference(found: NDArray[np.float32], wanted: NDArray[np.float32], tie: float = 1e-3) -> float:
    """Largest absolute difference of merged logits (n + 1, h, w); infinite if the shapes differ.

    Where two classes are closer than ``tie``, rounding decides whose background logit is taken, so that one is not
    compared there.
    """
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    difference = np.abs(found - wanted)
    if len(wanted) > 2:
        first, second = np.sort(wanted[1:], axis=0)[::-1][:2]
        difference[0][first - second < tie] = 0
    return float(difference.max())


def check(found: Agreement, precision: str) -> None:
    """Refuse a file that is further from the model than its precision allows.

    Raises
    ------
    ExportError
        With the figures.
    """
    allowed = TOLERANCES[precision]
    allowed_logits = allowed.of_logits(found.largest)
    if found.logits <= allowed_logits and found.masks <= allowed.masks:
        return
    raise ExportError(
        f"the {precision} file does not do what the model does: logits differ by up to {found.logits:.2g} (allowed "
        f"{allowed_logits:.2g}), {100 * found.masks:.2g} % of the pixels get another class (allowed "
        f"{100 * allowed.masks:g} %). It was not written",
        cure="Export with --precision fp32" if precision != "fp32" else "Report it, with the backbone's name",
    )


@dataclass(frozen=True)
class Quality:
    """Foreground IoU in per cent of the model and of its quantised twin, and of the twin against the model.

    ``model`` and ``quantised`` are against the annotation, and None without any.
    """

    model: float | None
    quantised: float | None
    twins: float

    @property
    def lost(self) -> float:
        """Points of IoU lost against the annotation; without one, what is missing to identical masks."""
        return 100 - self.twins if self.model is None or self.quantised is None else self.model - self.quantised

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "lost": self.lost}


def quality(quantised: Segmenter, model: Segmenter, examples: Sequence[Example]) -> Quality:
    """Compare a quantised model with the one it was made from, by the measure of the literature.

    What is found of classes that an image is not annotated for counts neither way.
    """
    ways = len(model.class_names) + 1
    against_labels = np.zeros((2, ways, ways), np.int64)
    twins = np.zeros((ways, ways), np.int64)
    labelled = False
    for example in examples:
        wanted, found = model(example.pixels), quantised(example.pixels)
        twins += confusion(wanted, found, ways - 1)
        if example.mask is not None:
            labelled = True
            judged = np.arange(ways, dtype=np.uint8)
            if example.annotated is not None:
                judged[[value not in example.annotated for value in range(ways)]] = 0
            against_labels += [confusion(example.mask, judged[mask], ways - 1) for mask in (wanted, found)]
    ious = (
        [100 * Scores.of(model.class_names, counts).mean("iou") for counts in against_labels]
        if labelled
        else [None] * 2
    )
    # two empty masks agree
    same = Scores.of(model.class_names, twins).mean("iou")
    return Quality(ious[0], ious[1], 100.0 if np.isnan(same) else 100 * same)
