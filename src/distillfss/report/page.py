"""Single HTML pages with everything inside: pictures as data URIs, styles inline, no script, no request to anywhere."""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distillfss import __version__
from distillfss.evaluation import CanPredict, Evaluation, ImageResult, Labelled, masks_of
from distillfss.metrics import Scores
from distillfss.report.overlay import (
    ERROR_COLOURS,
    class_colours,
    encode_jpeg,
    error_picture,
    for_display,
    mask_for_display,
    overlay,
)


@dataclass(frozen=True)
class Picture:
    """One embedded picture: a data URI, what it shows (also for those who cannot see it) and its size."""

    uri: str
    alt: str
    width: int
    height: int


def embed(image: np.ndarray, alt: str) -> Picture:
    """An image uint8 (H, W, 3) as it stands in the page."""
    uri = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image)).decode()
    return Picture(uri, alt, image.shape[1], image.shape[0])


def annotated(image: np.ndarray, mask: np.ndarray, alt: str, longest: int = 448) -> Picture:
    """The image with its mask drawn over it, at display size."""
    return embed(overlay(for_display(image, longest), mask_for_display(mask, longest)), alt)


def percent(value: float | None, digits: int = 1) -> str:
    """0.578 → ``57.8``; a score that does not exist → ``–``."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def of_100(figure: str) -> str:
    """A figure of ``percent`` with its sign, which a score that does not exist has none of."""
    return figure if figure == "–" else f"{figure} %"


def comparison(data: Labelled, segmenter: CanPredict, result: ImageResult, table: np.ndarray) -> dict[str, Any]:
    """One row of pictures: image, annotation, prediction, mistakes.

    ``table`` translates the folder's mask values into the model's (``class_matching.match_classes``).
    """
    sample = data[result.index]
    truth = table[sample.mask]
    predicted = masks_of(segmenter, data, result.index, sample)[1]
    shown, shown_truth = for_display(sample.image), mask_for_display(truth)
    shown_mask = mask_for_display(predicted)
    name = result.name
    return {
        "name": name,
        "iou": percent(result.own.mean("iou")),
        "precision": percent(result.own.mean("precision")),
        "recall": percent(result.own.mean("recall")),
        "size": f"{result.width} × {result.height}",
        "pictures": [
            ("image", embed(shown, f"{name}: the image")),
            ("annotation", embed(overlay(shown, shown_truth), f"{name}: what people marked")),
            ("prediction", embed(overlay(shown, shown_mask), f"{name}: what the model marked")),
            ("mistakes", embed(error_picture(shown, shown_truth, shown_mask), f"{name}: where they differ")),
        ],
    }


def class_rows(scores: Scores, baseline: Scores) -> list[dict[str, Any]]:
    """One row per class for the table of scores."""
    colours = class_colours(len(scores.class_names))[1:]
    share = scores.tp + scores.fn
    return [
        {
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*colours[i]),
            "iou": percent(scores.iou[i]),
            "bar": 0.0 if math.isnan(scores.iou[i]) else round(100 * float(scores.iou[i]), 1),
            "baseline": percent(baseline.iou[i]),
            "baseline_bar": 0.0 if math.isnan(baseline.iou[i]) else round(100 * float(baseline.iou[i]), 1),
            "dice": percent(scores.dice[i]),
            "precision": percent(scores.precision[i]),
            "recall": percent(scores.recall[i]),
            "pixels": f"{int(share[i]):,}",
        }
        for i, name in enumerate(scores.class_names)
    ]


def histogram(values: Sequence[float], bins: int = 10) -> list[dict[str, Any]]:
    """Images per interval of IoU, [0, 0.1) … [0.9, 1]; nan left out. Heights relative to the fullest interval."""
    known = np.array([value for value in values if not math.isnan(value)])
    counts = np.histogram(known, bins=bins, range=(0.0, 1.0))[0]
    top = max(1, int(counts.max(initial=0)))
    return [
        {
            "label": f"{100 * i // bins}–{100 * (i + 1) // bins}",
            "count": int(count),
            "height": round(100 * int(count) / top, 1),
        }
        for i, count in enumerate(counts)
    ]


def milliseconds(seconds: float) -> str:
    """A duration for people: ``33 ms`` or ``1.2 s``."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def duration(seconds: float) -> str:
    """A longer duration for people: ``47 s`` or ``3 min 20 s``."""
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"


def headline(evaluation: Evaluation) -> dict[str, Any]:
    """The figures both pages share."""
    return {
        "iou": percent(evaluation.foreground_iou),
        "iou_384": percent(evaluation.foreground_iou_384),
        "baseline": evaluation.baseline,
        "baseline_iou": percent(evaluation.baseline_own.mean("iou")),
        "baseline_iou_384": percent(evaluation.baseline_paper.mean("iou")),
        "dice": percent(evaluation.own.mean("dice")),
        "precision": percent(evaluation.own.mean("precision")),
        "recall": percent(evaluation.own.mean("recall")),
        "latency": milliseconds(evaluation.seconds_per_image),
        "images": len(evaluation.images),
        "classes": class_rows(evaluation.own, evaluation.baseline_own),
        "histogram": histogram([result.own.mean("iou") for result in evaluation.images]),
        "skipped": evaluation.skipped,
        "notices": evaluation.notices,
    }


def render(template: str, **context: Any) -> str:
    """Fill a template of ``report/templates``; everything put in is escaped, and can be encoded as UTF-8."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("distillfss.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["of_100"] = of_100
    errors = [(name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in ERROR_COLOURS]
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = environment.get_template(template).render(version=__version__, made=today, error_colours=errors, **context)
    return page.encode(errors="backslashreplace").decode()  # file names need not be valid text
