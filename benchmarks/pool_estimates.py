"""What estimates are worth, from many quick fits of pools: how wide must their intervals be?

    python benchmarks/pool_estimates.py DATASETS --datasets kvasir_seg dsb2018 --draws 8 --out pools.jsonl
    python benchmarks/pool_estimates.py --judge pools.jsonl
    python benchmarks/pool_estimates.py --solve pools.jsonl

No locked test image is read. In every draw the look-alike groups of a pool are halved by lot; the support is drawn from
one half by the protocol and gets an instant model, which takes seconds (``--whole``: a whole fit, which takes minutes),
and up to 40 images of the other half say what was to be found. A line per data set, shots and draw; lines that are
there are not computed again.

``--judge`` holds the constants of ``quality/calibration.py`` against the lines; ``--solve`` finds those that make the
lines likeliest, of all pools and without each of them, every pool with the same weight. It needs SciPy.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss import FitConfig, SupportSet, evaluate, fit
from distillfss.bench.contents import copies_in
from distillfss.bench.protocol import GROUPS, draw_support, places, split
from distillfss.bench.worker import Chosen
from distillfss.quality import calibration
from distillfss.quality.calibration import INSTANT, LEARNING, Gain, expected
from distillfss.quality.outcomes import Outcome
from distillfss.support import LabelledFolder

OTHERS = 40
FIELDS = ("images", "start", "validated", "error", "trivial")


class Pool:
    """A data set without its test images, in groups of images that look alike."""

    def __init__(self, root: Path) -> None:
        self.folder = LabelledFolder.open(root)
        copies = copies_in(self.folder)
        self.names, _ = split(root.name, self.folder.names, copies)
        self.place = {name: index for index, name in enumerate(self.folder.names)}
        alike = defaultdict(list)
        for name, place in places(GROUPS.get(root.name, lambda name: name), self.names, copies).items():
            alike[place].append(name)
        self.groups = sorted(sorted(group) for group in alike.values())

    def halves(self, draw: int) -> tuple[list[str], list[str]]:
        """Names to learn from, and names to find out by."""
        order = np.random.default_rng([draw, 11]).permutation(len(self.groups))
        half = len(order) // 2
        learnt, others = ([name for i in part for name in self.groups[i]] for part in (order[:half], order[half:]))
        return learnt, others

    def classes(self, names: Sequence[str]) -> Mapping[str, list[int]]:
        return {name: [int(c) for c in np.unique(self.folder[self.place[name]].mask) if 0 < c < 255] for name in names}


def looked_at(pool: Pool, shots: int, draw: int, instant: bool) -> list[dict[str, Any]]:
    """Per class, what cross-validation found, and what the others say."""
    learnt, others = pool.halves(draw)
    names = draw_support(pool.classes(learnt), shots, draw)
    support = SupportSet([pool.folder[pool.place[name]] for name in names], pool.folder.class_names)
    model = fit(support, FitConfig(seed=draw, instant=instant))
    iou = evaluate(model, Chosen(pool.folder, others[:OTHERS])).paper.iou
    told = model.summary["estimate"]["classes"]
    return [
        {**{field: told[name][field] for field in FIELDS}, "found": float(found)}
        for name, found in zip(pool.folder.class_names, iou, strict=True)
        if not math.isnan(found)
    ]


def judge(lines: Sequence[Mapping[str, Any]], gain: Gain) -> None:
    """Print how far estimates are off, and how many intervals hold: of models' means, and of single classes."""
    for what in ("mean", "class"):
        print(
            f"| {what} | number | mean error | median error | deviation | width | held |\n|---|---|---|---|---|---|---|"
        )
        rows = defaultdict(list)
        for line in lines:
            told = expected([Outcome(**{field: row[field] for field in FIELDS}) for row in line["classes"]], gain)
            found = [row["found"] for row in line["classes"]]
            whole = [(told.mean, statistics.fmean(found))]
            pairs = whole if what == "mean" else list(zip(told.classes, found, strict=True))
            for key in ("all", line["dataset"], f"{line['shots']} shots"):
                rows[key] += pairs
        for key, pairs in sorted(rows.items()):
            errors = [100 * (said.iou - found) for said, found in pairs]
            width = statistics.median(100 * (said.high - said.low) for said, _ in pairs)
            held = 100 * statistics.fmean(said.low <= found <= said.high for said, found in pairs)
            print(
                f"| {key} | {len(pairs)} | {statistics.fmean(errors):+.1f} | {statistics.median(map(abs, errors)):.1f} "
                f"| {statistics.pstdev(errors):.1f} | {width:.0f} | {held:.0f} % |"
            )
        print()


SOLVED = ("OF_TASK", "OF_CLASS", "NOISE", "NEW_FOR_ALL", "NEW_FOR_ONE")
LOOSELY = np.log([0.5, 0.7, 1.0, 0.3, 0.3])
"""Where the constants are held, weakly: what a few pools do not tell must not run away."""


def solve(lines: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """The constants of ``SOLVED``, and the gain of an instant model, that make the lines likeliest."""
    from scipy.optimize import minimize

    weight = {name: 1 / sum(line["dataset"] == name for line in lines) for name in {line["dataset"] for line in lines}}

    def unlikely(constants: NDArray[np.float64]) -> float:
        for name, value in zip(SOLVED, np.exp(constants[:-1]), strict=True):
            setattr(calibration, name, float(value))
        total = 0.1 * float(np.square(constants[:-1] - LOOSELY).sum())
        for line in lines:
            rows = [row for row in line["classes"] if row["images"]]
            outcomes = [Outcome(**{field: row[field] for field in FIELDS}) for row in rows]
            mean, covariance = calibration.posterior(outcomes, Gain(float(constants[-1])))
            found = np.clip([row["found"] for row in rows], calibration.LEAST_IOU, 1 - calibration.LEAST_IOU)
            off = np.log(found / (1 - found)) - mean
            likelihood = np.linalg.slogdet(covariance)[1] + off @ np.linalg.solve(covariance, off)
            total += weight[line["dataset"]] * 0.5 * float(likelihood) / len(rows)
        return total

    start = np.append(LOOSELY, 0.2)
    found: NDArray[np.float64] = minimize(unlikely, start, method="Nelder-Mead", options={"maxfev": 3000}).x
    return np.append(np.exp(found[:-1]), found[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--datasets", nargs="+")
    parser.add_argument("--shots", type=int, nargs="+", default=[2, 5, 10, 25])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--whole", action="store_true", help="whole fits in place of instant models")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--solve", type=Path)
    arguments = parser.parse_args()
    if arguments.solve:
        lines = [json.loads(line) for line in arguments.solve.read_text().splitlines()]
        print("pools:", ", ".join(SOLVED), "and gain")
        for without in (None, *sorted({line["dataset"] for line in lines})):
            solved = solve([line for line in lines if line["dataset"] != without])
            print("all:" if without is None else f"without {without}:", *(f"{value:.2f}" for value in solved))
        return
    if arguments.judge:
        lines = [json.loads(line) for line in arguments.judge.read_text().splitlines()]
        judge(lines, LEARNING if arguments.whole else INSTANT)
        return
    out = arguments.out
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(line["dataset"], line["shots"], line["draw"]) for line in lines}
    pools = {name: Pool(arguments.root / name) for name in arguments.datasets}
    for draw in range(arguments.draws):
        for name, pool in pools.items():
            for shots in arguments.shots:
                if (name, shots, draw) in done:
                    continue
                line = {
                    "dataset": name,
                    "shots": shots,
                    "draw": draw,
                    "classes": looked_at(pool, shots, draw, not arguments.whole),
                }
                with out.open("a") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
