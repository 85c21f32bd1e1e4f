"""A table of how sure the model is of each image, and which are unlike anything it learnt from."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from distillfss.outputs.base import Output, Segmented

COLUMNS = ("image", "confidence", "strangeness", "unlike_support")


class Confidence(Output):
    """``confidence.csv``, the least certain first.

    Confidence is the IoU the model expects of its mask, 0 to 1 (too good, as models are; it is for putting images in
    order); strangeness is above 1 where an image is unlike the support. Cells are empty where the model cannot tell:
    large images that were cut into tiles, ONNX files, models of a single image.
    """

    where = "confidence.csv"
    about_judgement = True

    @property
    def record_key(self) -> str:
        return "confidence"

    def record(self, seen: Segmented) -> dict[str, float | None]:
        judged = seen.judged
        if judged is None:
            return {"confidence": None, "strangeness": None}
        strangeness = None if judged.strangeness is None else round(judged.strangeness, 3)
        return {"confidence": round(judged.confidence, 4), "strangeness": strangeness}

    def shared_files(self) -> tuple[str, ...]:
        return ("confidence.csv",)

    def collect(self, records: Mapping[str, Any]) -> dict[str, bytes]:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        rows = [(name, record["confidence"], record["strangeness"]) for name, record in records.items()]
        for name, sure, strange in sorted(rows, key=lambda row: (row[1] is None, row[1] or 0.0, row[0])):
            unlike = "" if strange is None else "yes" if strange > 1 else "no"
            table.writerow([name, *("" if value is None else value for value in (sure, strange)), unlike])
        return {"confidence.csv": text.getvalue().encode(errors="backslashreplace")}
