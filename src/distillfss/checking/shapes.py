"""Specks and thin parts of masks, by sums over squares: fast, and without labelling every object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distillfss.checking.findings import Box
from distillfss.geometry import working_size
from distillfss.io.masks import IGNORE
from distillfss.metrics import resize_mask

SPECK = 3
"""Side of the square that holds a speck, in pixels of a picture of ``SPECK_AT`` pixels; larger in larger ones."""
SPECK_AT = 512
SPECK_SHARE = 0.01
"""Specks are at most this share of what else the mask holds of their class: where all is tiny, nothing is stray."""
STRIDE, CELLS = 4, 2
"""What is thinner than two cells of the finest features, at stride 4, is hardly seen."""


def box_sums(where: NDArray[np.bool_], side: int) -> NDArray[np.int32]:
    """(H, W) → (H - side + 1, W - side + 1): how many are true in the square from each place on."""
    height, width = where.shape
    if height < side or width < side:
        return np.zeros((max(0, height - side + 1), max(0, width - side + 1)), np.int32)
    sums = np.zeros((height + 1, width + 1), np.int32)
    where.cumsum(1, dtype=np.int32, out=sums[1:, 1:])
    for row in range(2, height + 1):  # what cumsum(0) does takes five times as long
        sums[row] += sums[row - 1]
    return sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]


def spread(starts: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """The union of the squares that start where true: (H, W) → (H + side - 1, W + side - 1)."""
    return box_sums(np.pad(starts, side - 1), side) > 0


def isolated(where: NDArray[np.bool_], side: int, unsure: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Pixels that are true and, together with what touches them, fit into a square of this side.

    What touches the picture's edge, or pixels that are ``unsure``, is not isolated: it may go on beyond.
    """
    padded = np.pad(where, side + 1, mode="edge")
    around = padded if unsure is None else np.pad(where | unsure, side + 1, mode="edge")
    inner, outer = box_sums(padded, side), box_sums(around, side + 2)
    alone = (outer > 0) & (inner[1:-1, 1:-1] == outer)
    found = spread(alone, side)  # starts at (1, 1) of the padded picture
    return found[side : side + where.shape[0], side : side + where.shape[1]] & where


def specks(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W): pixels of specks and pinholes of a few pixels, where their class has larger parts as well."""
    found = np.zeros(mask.shape, np.bool_)
    most = max(2, round(SPECK * max(mask.shape) / SPECK_AT))
    sides = sorted({min(most, 3 * 2**step) for step in range(8)})
    values = np.unique(mask).tolist()
    # beside classes 255 means "not counted", alone beside 0 it is the class of a black-and-white mask
    unsure = mask == IGNORE if set(values) - {0, IGNORE} else None
    for value in values:
        if value == IGNORE and unsure is not None:
            continue
        where = mask == value
        total = int(where.sum())
        alone = np.zeros(mask.shape, np.bool_)
        for side in sides:
            alone |= isolated(where, side, unsure)
        if 0 < alone.sum() <= SPECK_SHARE * total:
            found |= alone
    return found


def without_specks(mask: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The mask with those pixels taken over by what surrounds them: the commonest value among their neighbours."""
    cleaned, left = mask.copy(), where.copy()
    while left.any():
        padded, open_ = np.pad(cleaned, 1, mode="edge"), np.pad(left, 1, mode="edge")
        for row, column in np.argwhere(left):
            near = padded[row : row + 3, column : column + 3][~open_[row : row + 3, column : column + 3]]
            if near.size:
                cleaned[row, column] = np.bincount(near).argmax()
                left[row, column] = False
    return cleaned


def cleaned(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask without specks.

    They are taken away until none is left: one beside another is alone only after that has gone. Every round leaves
    fewer connected parts, so there is a last one.
    """
    while (stray := specks(mask)).any():
        mask = without_specks(mask, stray)
    return mask


def thin(mask: NDArray[np.uint8], size: int) -> dict[int, tuple[int, int]]:
    """By class: (pixels in parts thinner than two cells, all pixels), counted at the working resolution."""
    seen = resize_mask(mask, working_size(mask.shape[0], mask.shape[1], size))
    side = STRIDE * CELLS
    counts = {}
    for value in np.unique(seen).tolist():
        if value in (0, 255):
            continue
        # what is cut off by the picture's edge goes on beyond it
        where = np.pad(seen == value, side, mode="edge")
        opened = spread(box_sums(where, side) == side * side, side)
        total = int(where[side:-side, side:-side].sum())
        counts[value] = total - int((opened & where)[side:-side, side:-side].sum()), total
    return counts


def solid_counts(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(256,) how many pixels of each value have it all around them."""
    padded = np.pad(mask, 1, mode="edge")
    same = np.ones(mask.shape, np.bool_)
    for down in range(3):
        for right in range(3):
            same &= padded[down : down + mask.shape[0], right : right + mask.shape[1]] == mask
    return np.bincount(mask[same], minlength=256)


def boxes_of(where: NDArray[np.bool_], most: int = 12) -> tuple[Box, ...]:
    """Boxes around what is true, a few: pixels no more than a fiftieth of the picture apart share one."""
    points = np.argwhere(where)
    if len(points) > 4000:
        points = points[np.linspace(0, len(points) - 1, 4000).astype(int)]
    near = max(4, max(where.shape) // 50)
    boxes: list[list[int]] = []
    for row, column in points.tolist():
        for box in boxes:
            if box[0] - near <= row < box[2] + near and box[1] - near <= column < box[3] + near:
                box[:] = min(box[0], row), min(box[1], column), max(box[2], row + 1), max(box[3], column + 1)
                break
        else:
            if len(boxes) < most:
                boxes.append([row, column, row + 1, column + 1])
    return tuple((box[0], box[1], box[2], box[3]) for box in boxes)
