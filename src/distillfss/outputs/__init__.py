"""What ``predict`` can write about an image, one small module per format.

A format turns one segmented image into the bytes of a file of its own (a mask), into a record that becomes part of a
file about all images (a row of a table), or both. None of them opens or writes files: see ``distillfss.places``.
"""

from __future__ import annotations

from collections.abc import Iterable

from distillfss.errors import UsageError
from distillfss.outputs.areas import Areas
from distillfss.outputs.base import Output, OutputSettings, Segmented
from distillfss.outputs.coco import Coco
from distillfss.outputs.confidence import Confidence
from distillfss.outputs.mask import Mask
from distillfss.outputs.overlay import Overlay
from distillfss.outputs.probabilities import Probabilities
from distillfss.outputs.yolo import Yolo

__all__ = ["OUTPUTS", "Output", "OutputSettings", "Segmented", "make_outputs"]

OUTPUTS: dict[str, type[Output]] = {
    "mask": Mask,
    "overlay": Overlay,
    "probabilities": Probabilities,
    "coco": Coco,
    "yolo": Yolo,
    "csv": Areas,
    "confidence": Confidence,
}
"""Format by the name it is asked for with."""


def make_outputs(names: Iterable[str], settings: OutputSettings) -> list[Output]:
    """The formats of these names, each once, in the order of ``OUTPUTS``.

    Raises
    ------
    UsageError
        No or an unknown name, or a package that a format needs is not installed.
    """
    asked = list(names)
    for name in asked:
        if name not in OUTPUTS:
            raise UsageError(f"there is no output {name!r}", cure=f"Choose from {', '.join(OUTPUTS)}")
    if not asked:
        raise UsageError("no output was asked for", cure=f"Choose from {', '.join(OUTPUTS)}")
    return [kind(settings) for name, kind in OUTPUTS.items() if name in asked]
