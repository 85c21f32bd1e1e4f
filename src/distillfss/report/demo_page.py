"""The page of ``distillfss demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distillfss.report.page import annotated, comparison, duration, headline, milliseconds, render
from distillfss.sample import CREDIT

if TYPE_CHECKING:
    from distillfss.demo import DemoResult
    from distillfss.evaluation import CanPredict, Labelled
    from distillfss.support import SupportSet


def demo_page(
    result: DemoResult,
    support: SupportSet,
    unseen: Labelled,
    segmenter: CanPredict,
    *,
    model_file: str,
    tile: tuple[int, ...],
) -> str:
    """One self-contained HTML page: support, unseen images with truth and prediction, figures, what to do next.

    Parameters
    ----------
    model_file
        Name of the model file beside the page.
    tile
        (height, width) of a tile.
    """
    same = np.arange(256, dtype=np.uint8)
    megabytes = result.model_bytes / 1e6
    return render(
        "demo.html",
        head=headline(result.evaluation),
        support=[annotated(sample.image, sample.mask, sample.name, 320) for sample in support.samples],
        rows=[comparison(unseen, segmenter, image, same) for image in result.evaluation.images],
        fit_seconds=duration(result.fit_seconds),
        latency=milliseconds(result.seconds_per_image),
        device={"cpu": "the CPU", "cuda": "the GPU", "mps": "the GPU"}.get(result.device.split(":")[0], result.device),
        model_size=f"{megabytes:.1f} MB",
        model_note="one file, no support image in it, nothing that executes code.",
        model_file=model_file,
        tile=f"{tile[1]} × {tile[0]}",
        credit=CREDIT,
    )
