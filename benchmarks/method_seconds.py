"""Seconds of a whole fit of several methods, side by side, from fits of few steps.

    OMP_NUM_THREADS=1 python benchmarks/method_seconds.py DATASETS --dataset kvasir_seg neu_seg --shots 5 25

A fit's seconds are a constant (features of the support, the first views) plus a slope times the effort. Both are found
from fits at two small efforts, method by method in turn, so that a busy machine hits all of them alike. Processor
seconds, because others may be using the machine. What the opponents' budgets in ``bench/methods`` rest on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from distillfss import SupportSet
from distillfss.bench.cells import find_method
from distillfss.bench.contents import look_into
from distillfss.bench.methods.base import MethodSettings
from distillfss.bench.protocol import draw_support, split
from distillfss.bench.worker import Chosen
from distillfss.support import LabelledFolder

EFFORTS = (0.04, 0.12)


def support_of(root: Path, shots: int) -> SupportSet:
    """The benchmark's support of seed 0."""
    folder = LabelledFolder.open(root)
    with tempfile.TemporaryDirectory() as place:
        contents = look_into(root, Path(place) / "contents.json")
    pool, _ = split(root.name, list(contents.classes), contents.copies)
    drawn = Chosen(folder, draw_support({name: contents.classes[name] for name in pool}, shots, 0))
    return SupportSet([drawn[index] for index in range(len(drawn))], folder.class_names)


def seconds(method: str, support: SupportSet, effort: float) -> float:
    """Processor seconds of one fit."""
    chosen = find_method(method)(MethodSettings(effort=effort))
    started = time.process_time()
    chosen.fit(support)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--dataset", nargs="+", default=["kvasir_seg", "neu_seg"])
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 25])
    parser.add_argument("--methods", nargs="+", default=["distill", "decoder", "unet"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.dataset:
        for shots in arguments.shots:
            support = support_of(arguments.datasets / name, shots)
            whole: dict[str, float] = {}
            for method in arguments.methods:
                seconds(method, support, EFFORTS[0] / 4)  # what is loaded and set up once is no part of a fit
                low, high = (seconds(method, support, effort) for effort in EFFORTS)
                slope = (high - low) / (EFFORTS[1] - EFFORTS[0])
                whole[method] = low + slope * (1 - EFFORTS[0])
            first = whole[arguments.methods[0]]
            row = {"dataset": name, "shots": shots, "images": len(support), "classes": len(support.class_names)}
            for method, value in whole.items():
                row |= {method: round(value, 1), f"{method} / {arguments.methods[0]}": round(value / first, 2)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
