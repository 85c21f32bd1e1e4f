"""The classes drawn over the image, to look at."""

from __future__ import annotations

from distillfss.outputs.base import Output, Segmented
from distillfss.report.overlay import encode_jpeg, overlay


class Overlay(Output):
    """JPEG of the image with translucent classes and contours."""

    where = "overlays/STEM.jpg"
    folder = "overlays"
    suffix = ".jpg"

    def encode(self, seen: Segmented) -> bytes:
        return encode_jpeg(overlay(seen.pixels, seen.mask))
