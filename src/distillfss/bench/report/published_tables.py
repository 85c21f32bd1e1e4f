"""Tables of figures that other people published."""

from __future__ import annotations

from collections.abc import Iterable

from distillfss.bench.published import PUBLISHED, SOURCE
from distillfss.bench.report.tables import NOTHING, Table

NOT_OURS = (
    "Not measured here: other splits, other machines, the best of several runs chosen on the test set. Foreground "
    f"IoU in per cent at 384 px, by the number of support images in all. Source: {SOURCE}."
)


def published_table() -> Table:
    """All of them."""
    rows = [
        (item.dataset, item.method, ", ".join(f"{iou:.1f} ({k})" for k, iou in item.iou.items())) for item in PUBLISHED
    ]
    return Table(
        "Published figures of other methods",
        NOT_OURS,
        ("data set", "method", "IoU (images)"),
        tuple(rows),
        words=frozenset({0, 1, 2}),
    )


def published_beside(dataset: str, shots: Iterable[int]) -> Table | None:
    """Those on a data set of ours at these numbers of support images; None if there are none."""
    of_set = [item for item in PUBLISHED if item.name == dataset]
    columns = [k for k in shots if any(k in item.iou for item in of_set)]
    if not columns:
        return None
    rows = [
        (item.method, *(f"{item.iou[k]:.1f}" if k in item.iou else NOTHING for k in columns))
        for item in of_set
        if any(k in item.iou for k in columns)
    ]
    header = ("method", *(f"{k} image{'s' * (k != 1)}" for k in columns))
    return Table(f"{of_set[0].dataset}, as published", NOT_OURS, header, tuple(rows))
