"""Index PNG: the mask itself."""

from __future__ import annotations

from distillfss.io.masks import encode_mask
from distillfss.outputs.base import Output, Segmented


class Mask(Output):
    """8-bit palette PNG whose values are class indices."""

    where = "STEM.png"
    suffix = ".png"

    def encode(self, seen: Segmented) -> bytes:
        return encode_mask(seen.mask)
