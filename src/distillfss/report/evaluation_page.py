"""The page of ``distillfss evaluate --out``: figures, table, worst images."""

from __future__ import annotations

from distillfss.class_matching import match_classes
from distillfss.evaluation import CanPredict, Evaluation, Labelled
from distillfss.quality.estimate import stored_mean
from distillfss.report.page import comparison, headline, percent, render


def evaluation_page(
    evaluation: Evaluation,
    data: Labelled,
    segmenter: CanPredict,
    *,
    model: str,
    labelled: str,
    csv: str,
    worst: int = 12,
) -> str:
    """One self-contained HTML page.

    Parameters
    ----------
    evaluation
        What ``evaluate(segmenter, data)`` returned.
    model, labelled
        What to call the model and the images on the page.
    csv
        Name of the file with one row per image, in the same folder as the page.
    worst
        How many of the worst images to show; they are predicted again.
    """
    table, _ = match_classes(evaluation.class_names, tuple(data.class_names))
    rows = [comparison(data, segmenter, result, table) for result in evaluation.worst(worst)]
    head = headline(evaluation)
    cards = [("Latency", head["latency"], "", "per image, median, without reading the file, on this machine.")]
    expected = stored_mean(getattr(segmenter, "summary", {}))
    if expected is not None:
        interval = f"{percent(expected.low, 0)} to {percent(expected.high, 0)} %"
        text = f"foreground IoU at 384 × 384 by the fit’s own estimate ({interval} in 8 cases of 10)."
        cards.append(("Expected", percent(expected.iou, 0), "%", text))
    return render("evaluation.html", head=head, cards=cards, worst=rows, model=model, labelled=labelled, csv=csv)
