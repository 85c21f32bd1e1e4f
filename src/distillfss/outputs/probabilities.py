"""Class probabilities as 16-bit TIFF: read by image tools and libraries alike, and finer than half precision."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image, TiffImagePlugin

from distillfss.outputs.base import Output, Segmented

SCALE = 65535
"""Value of probability 1."""

_DESCRIPTION, _SOFTWARE, _PREDICTOR, _HORIZONTAL = 270, 305, 317, 2


class Probabilities(Output):
    """One page per class, background first: value = probability x 65535, rounded.

    Every page's ``ImageDescription`` is JSON with ``class_names`` (background first, as the pages) and ``scale``.
    Compressed without loss (deflate with a horizontal predictor).
    """

    where = "probabilities/STEM.tif"
    folder = "probabilities"
    suffix = ".tif"
    wants_probabilities = True

    def encode(self, seen: Segmented) -> bytes:
        assert seen.probabilities is not None
        values = np.rint(np.clip(seen.probabilities, 0, 1) * SCALE).astype(np.uint16)
        pages = [Image.fromarray(np.ascontiguousarray(values[:, :, page])) for page in range(values.shape[2])]
        about = {"class_names": ["background", *self.settings.class_names], "scale": SCALE}
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[_DESCRIPTION] = json.dumps(about)  # ASCII, as TIFF has it
        tags[_SOFTWARE] = "distillfss"
        tags[_PREDICTOR] = _HORIZONTAL
        buffer = io.BytesIO()
        pages[0].save(
            buffer, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate", tiffinfo=tags
        )
        return buffer.getvalue()
