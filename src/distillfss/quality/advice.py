"""What is likely wrong where a class is no better than trivial, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distillfss.checking.shapes import thin
from distillfss.quality.estimate import ClassEstimate, Estimate
from distillfss.quality.outcomes import iou

FEW_IMAGES = 5
"""With fewer images of a class, more of them are the first thing to try."""
MISSED = 0.1
"""Below this IoU a held-back image counts as not found."""
MOSTLY_THIN = 0.5
"""Share of a class in parts that the finest features hardly see."""
SHOWN = 3
LARGE = 640
"""Working resolution from which on a higher one is no advice: fits would take many times as long."""


def advice(
    estimate: Estimate,
    after: NDArray[np.float64],
    names: Sequence[str],
    masks: Sequence[NDArray[np.uint8]],
    size: int,
) -> list[str]:
    """One sentence for every class that is not clearly better than trivial; none if all are.

    Parameters
    ----------
    after
        What was found in held-back images, (k, n, 3); see ``outcomes``.
    names, masks
        The support images' names and masks.
    size
        The working resolution.
    """
    said = []
    for place, each in enumerate(estimate.classes):
        if each.better_than_trivial:
            continue
        reason, cure = _reason(each, place + 1, after[:, place], names, masks, size)
        said.append(f"{each.name} may be found no better than by marking everything: {reason}; {cure}")
    return said


def _reason(
    each: ClassEstimate,
    value: int,
    counts: NDArray[np.float64],
    names: Sequence[str],
    masks: Sequence[NDArray[np.uint8]],
    size: int,
) -> tuple[str, str]:
    """(what is likely wrong, what to do) for the class of this mask value."""
    images = each.outcome.images
    if images == 0:
        return "no image shows it", f"annotate {FEW_IMAGES} images of {each.name}"
    if images == 1:
        return "only one image shows it", f"annotate {FEW_IMAGES - 1} more of {each.name}"
    if each.outcome.apart == 1:
        return f"all {images} images that show it are of one group", f"annotate images of {each.name} of other groups"
    if _share_thin(value, masks, size) > MOSTLY_THIN:
        cure = f"try --size {2 * size}" if size < LARGE else "cut the images into smaller ones"
        return f"most of it is thinner than 8 pixels at size {size}", cure
    shows = counts[:, 0] + counts[:, 2] > 0
    missed = [name for name, row, seen in zip(names, counts, shows, strict=True) if seen and iou(row[None]) < MISSED]
    if images < FEW_IMAGES:
        return f"only {images} images show it", f"annotate {max(3, FEW_IMAGES - images)} more of {each.name}"
    if missed:
        shown = ", ".join(missed[:SHOWN]) + (f" and {len(missed) - SHOWN} more" if len(missed) > SHOWN else "")
        were = "was" if len(missed) == 1 else "were"
        reason = f"{len(missed)} of {images} images {were} not understood from the others ({shown})"
        more = max(3, len(missed))
        return reason, f"see whether their masks are right ('distillfss check'), and annotate {more} more like them"
    return "it looks much like its surroundings", f"annotate {max(3, images)} more of {each.name}"


def _share_thin(value: int, masks: Sequence[NDArray[np.uint8]], size: int) -> float:
    pairs = [thin(mask, size).get(value, (0, 0)) for mask in masks]
    return sum(few for few, _ in pairs) / max(1, sum(total for _, total in pairs))
