"""16-bit TIFF, read back by tifffile."""

from __future__ import annotations

import io
import json

import numpy as np
import tifffile
from hard_masks import NAMES, segmented

from distillfss.outputs import OutputSettings
from distillfss.outputs.probabilities import Probabilities


def test_every_value_is_within_half_a_step(settings: OutputSettings) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (23, 35, 3))
    likely = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).astype(np.float32)
    likely[0, 0], likely[0, 1] = (0, 0, 1), (1 + 1e-6, 0, 0)
    data = Probabilities(settings).encode(segmented(likely.argmax(-1).astype(np.uint8), probabilities=likely))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) == 3
        assert {page.dtype for page in file.pages} == {np.dtype(np.uint16)}
        for page in file.pages:
            about = json.loads(page.description)
            assert about == {"class_names": ["background", *NAMES], "scale": 65535}
        stored = np.stack([page.asarray() for page in file.pages], axis=-1)
    np.testing.assert_allclose(stored / 65535, likely.clip(0, 1).astype(np.float64), atol=0.5001 / 65535)
    assert stored[0, 0].tolist() == [0, 0, 65535]
    assert stored[0, 1].tolist() == [65535, 0, 0]
    assert (abs(stored.astype(int).sum(axis=-1) - 65535) <= 1).all()
