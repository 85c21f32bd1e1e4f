"""Masks drawn over images: translucent colours with contours, and pictures of the mistakes.

All images are uint8 (H, W, 3) RGB, all masks uint8 (H, W) class indices with 255 = ignore.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from distillfss.metrics import IGNORE, resize_mask

FILL = 0.38

# Okabe and Ito's colours, told apart by colour-blind people too.
FOUND = (190, 190, 190)
MISSED = (213, 94, 0)
FALSE_ALARM = (86, 180, 233)
WRONG_CLASS = (204, 121, 167)

# (name, colour) for legends.
ERROR_COLOURS = (
    ("found", FOUND),
    ("missed", MISSED),
    ("false alarm", FALSE_ALARM),
    ("wrong class", WRONG_CLASS),
)


def class_colours(classes: int) -> np.ndarray:
    """uint8 (classes + 1, 3): the colours masks are written with, background first."""
    from distillfss.io.masks import PALETTE

    return np.array(PALETTE, np.uint8).reshape(-1, 3)[: classes + 1]


def contours(mask: np.ndarray, width: int = 1) -> np.ndarray:
    """bool (H, W): foreground pixels at most ``width`` pixels away (up, down, left, right) from another class."""
    foreground = (mask > 0) & (mask != IGNORE)
    edge = np.zeros(mask.shape, bool)
    padded = np.pad(mask, width, mode="edge")
    height, breadth = mask.shape
    for step in range(1, width + 1):
        for down, right in ((-step, 0), (step, 0), (0, -step), (0, step)):
            neighbour = padded[width + down : width + down + height, width + right : width + right + breadth]
            edge |= neighbour != mask
    return edge & foreground


def _blend(image: np.ndarray, colours: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
    """``image`` moved towards ``colours`` by ``amount`` (0…1, scalar or (H, W))."""
    weight = np.broadcast_to(np.asarray(amount, np.float32), image.shape[:2])[:, :, None]
    return np.rint(image * (1 - weight) + colours * weight).astype(np.uint8)


def line_width(shape: tuple[int, ...]) -> int:
    """Contour width in pixels for a picture of this size."""
    return max(1, round(max(shape[:2]) / 400))


def overlay(image: np.ndarray, mask: np.ndarray, *, fill: float = FILL) -> np.ndarray:
    """The image with every class in its colour: translucent inside, solid along the contour; ignored pixels greyed."""
    ignored = mask == IGNORE
    visible = np.where(ignored, 0, mask)
    colours = class_colours(int(visible.max(initial=0)))[visible]
    drawn = _blend(image, colours, np.where(visible > 0, fill, 0.0))
    drawn[contours(mask, line_width(mask.shape))] = colours[contours(mask, line_width(mask.shape))]
    return _hatch(drawn, ignored)


def error_picture(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in grey with every foreground pixel coloured by what became of it (see ``ERROR_COLOURS``)."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.45
    counted = truth != IGNORE
    kinds = (
        (counted & (truth > 0) & (truth == predicted), FOUND, 0.6),
        (counted & (truth > 0) & (predicted == 0), MISSED, 0.8),
        (counted & (truth == 0) & (predicted > 0), FALSE_ALARM, 0.8),
        (counted & (truth > 0) & (predicted > 0) & (truth != predicted), WRONG_CLASS, 0.8),
    )
    drawn = grey.astype(np.uint8)
    for where, colour, amount in kinds:
        drawn = _blend(drawn, np.array(colour, np.float32), np.where(where, amount, 0.0))
    return _hatch(drawn, ~counted)


def _hatch(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Diagonal stripes over pixels that do not count."""
    if not where.any():
        return image
    rows, columns = np.indices(where.shape)
    stripes = where & ((rows + columns) // max(2, 2 * line_width(where.shape)) % 2 == 0)
    return _blend(image, np.array((128, 128, 128), np.float32), np.where(stripes, 0.75, 0.0))


def display_size(shape: tuple[int, ...], longest: int = 448) -> tuple[int, int]:
    """(height, width) with the longer side brought to ``longest``; small pictures grow at most fourfold."""
    scale = min(4.0, longest / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def for_display(image: np.ndarray, longest: int = 448) -> np.ndarray:
    """The image at ``display_size``; a dark one is brightened, so that a person sees what the model sees."""
    height, width = display_size(image.shape, longest)
    shown = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    bright = float(np.percentile(shown, 99.5))
    if 0 < bright < 160:
        shown = np.clip(shown * (min(235 / bright, 4.0)), 0, 255).astype(np.uint8)
    return shown


def mask_for_display(mask: np.ndarray, longest: int = 448) -> np.ndarray:
    """The mask at ``display_size``."""
    return resize_mask(mask, display_size(mask.shape, longest))


def encode_jpeg(image: np.ndarray, quality: int = 86) -> bytes:
    """JPEG bytes of an image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
