"""TIFF stacks: one page of masks per page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from distillfss.errors import DataError
from distillfss.formats.dicom import refuse_probabilities
from distillfss.formats.frames import ClassCounts, numbered, segment_picture, write_overlay
from distillfss.formats.options import PNG, FormatOptions, Frame, Prediction, Tick
from distillfss.io.decode import picture_array
from distillfss.io.files import atomic_folder, atomic_path, make_folder
from distillfss.io.limits import limits
from distillfss.io.masks import PALETTE, write_mask
from distillfss.io.opening import decoding, open_picture, too_many_pixels
from distillfss.io.pixels import array_to_rgb8
from distillfss.notices import NoticeKind
from distillfss.outputs.scale import PixelArea, page_area
from distillfss.tiles.scores import CanSegment

_FIGURES = re.compile(r"\d+")


def stack_targets(path: Path, out: Path, options: FormatOptions) -> list[Path]:
    """The stack (or the folder of PNGs) with the masks, then, on request, the folder of overlays."""
    mask = out / (path.stem if options.masks == PNG else f"{path.stem}.tif")
    return [mask, out / "overlays" / path.stem] if options.overlay else [mask]


def predict_stack(
    segmenter: CanSegment,
    path: str | Path,
    out: str | Path,
    options: FormatOptions | None = None,
    tick: Tick | None = None,
) -> Prediction:
    """Segment every page of a TIFF with several.

    Parameters
    ----------
    segmenter
        The model.
    path
        The TIFF. Its pages may differ in size.
    out
        Folder for ``STEM.tif``, a TIFF with a page of class indices (with palette, compressed without loss) for every
        page; with ``options.masks`` ``png`` for ``STEM/0001.png``, ... Overlays go to ``overlays/STEM/0001.jpg``, ...
    options
        Tiles, ...
    tick
        Told about every page.

    Raises
    ------
    DataError
        A page cannot be read; it is named.
    UsageError
        Probabilities were asked for.
    OutputError
        Something cannot be written.
    """
    path, out, options = Path(path), Path(out), options or FormatOptions()
    refuse_probabilities(options, path)
    targets = stack_targets(path, out, options)
    kept = options.left_alone(targets)
    make_folder(out)
    places: list[Path | None] = [None if target in kept else target for target in targets]
    counts = ClassCounts(segmenter.class_names)
    frames: list[Frame] = []
    said: dict[str, list[str]] = {}  # what was said of pages, by its text without the figures, which differ by page

    def masks() -> Iterator[NDArray[np.uint8]]:
        for index, page in enumerate(read_pages(path)):
            mask = segment_picture(segmenter, page.pixels, options)
            frames.append(counts.add(mask, page.pixel_area))
            for note in page.notes:
                said.setdefault(_FIGURES.sub("", note), []).append(f"page {index + 1}: {note}")
            if options.overlay and places[1]:
                write_overlay(numbered(places[1], index, page.total, "jpg"), page.pixels, mask)
            if options.masks == PNG and places[0]:
                write_mask(numbered(places[0], index, page.total, "png"), mask)
            if tick:
                tick(index + 1, page.total)
            yield mask

    with ExitStack() as folders:
        if options.overlay and places[1]:
            places[1] = folders.enter_context(atomic_folder(places[1]))
        if options.masks == PNG and places[0]:
            places[0] = folders.enter_context(atomic_folder(places[0]))
        if options.masks != PNG and places[0]:
            write_stack(places[0], masks())
        else:
            for _ in masks():
                pass
    notices = [
        f"{path}, {notes[0]}{f' (and {more} more pages likewise)' if (more := len(notes) - 1) else ''}"
        for notes in said.values()
    ]
    return Prediction(
        targets,
        notices,
        counts.pixels(),
        counts.square_metres(frames),
        frames=frames,
        details={"pages": len(frames)},
        kept=kept,
    )


@dataclass(frozen=True, eq=False)
class Page:
    """A page of a TIFF: (H, W, 3) uint8 ``pixels``, ``notes`` on how they were read, pages in all."""

    pixels: NDArray[np.uint8]
    notes: list[str]
    pixel_area: PixelArea | None
    total: int


def read_pages(path: Path) -> Iterator[Page]:
    """Every page, by the rules of ``read_image``.

    Raises
    ------
    DataError
        A page cannot be read.
    """
    with open_picture(path) as image:
        with decoding(path):
            total = int(getattr(image, "n_frames", 1))
            first = _tags(image)
        for index in range(total):
            with decoding(path):
                image.seek(index)
                tags = _tags(image)
            if image.width * image.height > limits().pixels:
                raise too_many_pixels(path, image.width, image.height)
            try:
                array, notes = picture_array(image, None)
                pixels, more = array_to_rgb8(array)
            except DataError as fault:
                raise DataError(f"page {index + 1} of {total}: {fault.problem}", cure=fault.cure, path=path) from fault
            kept = [note.text for note in notes if note.kind is not NoticeKind.FIRST_ONLY] + more
            yield Page(pixels, kept, page_area(tags, first), total)


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Those of the page that is open."""
    return dict(getattr(image, "tag_v2", {}))


def write_stack(path: Path, masks: Iterator[NDArray[np.uint8]]) -> None:
    """Write masks (H, W) as the pages of a TIFF, one at a time, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w+b") as file, AppendingTiffWriter(file, new=True) as pages:
        for mask in masks:
            picture = Image.fromarray(mask)
            picture.putpalette(PALETTE.tobytes())
            picture.save(pages, "TIFF", compression="tiff_adobe_deflate")
            pages.newFrame()
