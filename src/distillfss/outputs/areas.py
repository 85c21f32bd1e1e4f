"""A table of areas: one row per image and class."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from distillfss.outputs.base import Output, Segmented

COLUMNS = (
    "image",
    "frame",
    "width",
    "height",
    "value",
    "class",
    "pixels",
    "share",
    "square_metres",
    "square_metres_per_pixel",
    "scale_from",
)


class Areas(Output):
    """``areas.csv``: pixels, share of the image (of what holds data) and, where there is a scale, square metres.

    Background is a class here.
    Files of several pictures have a row per page or frame and class; ``frame`` counts from 1 and is empty elsewhere.
    The scale is ``metres_per_pixel``, else what the file says (``scale.pixel_area``); the last column tells which.
    """

    where = "areas.csv"
    wants_scale = True

    @property
    def record_key(self) -> str:
        # `formats.area_rows` makes such records too, with the square metres of every class, or one per frame
        return "areas"

    def record(self, seen: Segmented) -> dict[str, Any]:
        height, width = seen.mask.shape
        pixels = np.bincount(seen.mask.ravel(), minlength=len(self.settings.class_names) + 1)
        record: dict[str, Any] = {"width": width, "height": height, "pixels": pixels.tolist()}
        if seen.pixel_area:
            record |= {"square_metres_per_pixel": seen.pixel_area.square_metres, "scale_from": seen.pixel_area.source}
        return record

    def shared_files(self) -> tuple[str, ...]:
        return ("areas.csv",)

    def collect(self, records: Mapping[str, Any]) -> dict[str, bytes]:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        names = ["background", *self.settings.class_names]
        for name, record in sorted(records.items()):
            pictures = enumerate(record["frames"], start=1) if "frames" in record else [("", record)]
            for place, picture in pictures:
                frame = picture.get("frame", place)  # of a video, not every frame need be there
                table.writerows((name, frame, *row) for row in self._rows(picture, names))
        return {"areas.csv": text.getvalue().encode(errors="backslashreplace")}

    def _rows(self, record: Mapping[str, Any], names: list[str]) -> Iterable[tuple[Any, ...]]:
        """A row per class of one picture, from its width on."""
        each, source = self._scale(record)
        metres = record.get("square_metres") if self.settings.metres_per_pixel is None else None
        size = sum(record["pixels"]) or 1  # without those that hold no data
        for value, pixels in enumerate(record["pixels"]):
            area = "" if each is None else f"{metres[value] if metres else pixels * each:.10g}"
            scale = "" if each is None else f"{each:.10g}"
            row = (record["width"], record["height"], value, names[value], pixels, f"{pixels / size:.6f}")
            yield *row, area, scale, source

    def _scale(self, record: Mapping[str, Any]) -> tuple[float | None, str]:
        if self.settings.metres_per_pixel is not None:
            return self.settings.metres_per_pixel**2, "--metres-per-pixel"
        return record.get("square_metres_per_pixel"), record.get("scale_from", "")
