"""How true the estimates of fits are: what each said against what was found on the test set.

    distillfss bench run --data DATASETS --datasets ... --methods distill --shots 5 --seeds 0 1 2 -o RESULTS
    python benchmarks/estimates.py RESULTS... [--shots 5 10 25] [--picture FILE.png]

The expectations are computed anew from what cross-validation found, with the constants of this checkout's
``quality/calibration.py``, for a backbone that learns: results from before it did
are not to be judged by them. Prints a Markdown table; needs matplotlib for the picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean, median
from typing import Any

from distillfss.bench.results import ResultsFolder
from distillfss.quality.calibration import LEARNING, Expected, expected
from distillfss.quality.outcomes import Outcome


def of_row(row: dict[str, Any]) -> tuple[Expected, float]:
    """(what the fit said, what was found) of a finished cell."""
    fields = ("images", "start", "validated", "error", "trivial")
    outcomes = [Outcome(**{name: found[name] for name in fields}) for found in row["estimate"]["classes"].values()]
    return expected(outcomes, LEARNING).mean, row["result"]["foreground_iou_384"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--shots", type=int, nargs="+", help="only these (all)")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    rows = [row for folder in arguments.results for row in ResultsFolder(folder).rows().values() if row.get("estimate")]
    plain = [row for row in rows if (row["method"], row["support"], row["unlabeled"]) == ("distill", "random", 0)]
    pairs = [(row, *of_row(row)) for row in plain if not arguments.shots or row["shots"] in arguments.shots]
    print("| data set | shots | estimate and found, by seed |\n|---|---|---|")
    for dataset, shots in sorted({(cell["dataset"], cell["shots"]) for cell, _, _ in pairs}):
        own = sorted(
            (cell["seed"], said, found)
            for cell, said, found in pairs
            if (cell["dataset"], cell["shots"]) == (dataset, shots)
        )
        told = [
            f"{100 * said.iou:.0f} ({100 * said.low:.0f}–{100 * said.high:.0f}): {100 * found:.1f}"
            for _, said, found in own
        ]
        print(f"| {dataset} | {shots} | {'; '.join(told)} |")
    print()
    for shots in sorted({cell["shots"] for cell, _, _ in pairs}):
        print(f"{shots} shots, {summary([(said, found) for cell, said, found in pairs if cell['shots'] == shots])}")
    print(f"all {summary([(said, found) for _, said, found in pairs])}")
    if arguments.picture:
        draw(pairs, arguments.picture)


def summary(pairs: list[tuple[Expected, float]]) -> str:
    """How far off what was said is, and how often its interval holds what was found."""
    errors = [said.iou - found for said, found in pairs]
    held = [said.low <= found <= said.high for said, found in pairs]
    return (
        f"{len(pairs)} fits: median |error| {100 * median(map(abs, errors)):.1f} points, mean error "
        f"{100 * fmean(errors):+.1f}, {sum(held)} of {len(held)} intervals hold ({100 * fmean(held):.0f} %)"
    )


def draw(pairs: list[tuple[dict[str, Any], Expected, float]], file: Path) -> None:
    """Found over said, with intervals, one colour per data set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color="0.7", linewidth=1)
    for dataset in sorted({cell["dataset"] for cell, _, _ in pairs}):
        own = [(said, found) for cell, said, found in pairs if cell["dataset"] == dataset]
        middle = [100 * said.iou for said, _ in own]
        spans = [[100 * (said.iou - said.low) for said, _ in own], [100 * (said.high - said.iou) for said, _ in own]]
        axes.errorbar(middle, [100 * found for _, found in own], xerr=spans, fmt="o", capsize=2, label=dataset)
    axes.set(xlabel="estimate of the fit, IoU %", ylabel="found on the test set, IoU %", xlim=(0, 100), ylim=(0, 100))
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
