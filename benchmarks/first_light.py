"""Accuracy and time of ``fit`` under the protocol: random support, locked test set, median over seeds with range.

    python benchmarks/first_light.py DATASETS --dataset kvasir_seg --shots 5 50 --seeds 0 1 2
    python benchmarks/first_light.py DATASETS --dataset kvasir_seg --shots 5 --init auto scratch --effort 0.5 1

DATASETS is a folder of data sets in the layout of the README. Every fit runs in a process of its own, --jobs of them at
a time; with several, each computes with one thread and its seconds say little. One line of JSON per fit is appended to
--out; a cell that is there already is not computed again. The last lines printed are the table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from distillfss import FitConfig, SupportSet, __version__, evaluate, fit
from distillfss.bench.contents import copies_in
from distillfss.bench.protocol import draw_support, split
from distillfss.io.masks import read_mask
from distillfss.support import LabelledFolder


def commit() -> str:
    """Commit of the checkout, with a mark if files differ from it."""
    here = Path(__file__).parent
    run = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    return subprocess.run(run, capture_output=True, text=True, check=False).stdout.strip()


class Chosen:
    """Some pairs of a labelled folder, in the form ``evaluate`` takes."""

    def __init__(self, folder: LabelledFolder, names: list[str]) -> None:
        place = {name: index for index, name in enumerate(folder.names)}
        self._folder = folder
        self._indices = [place[name] for name in names]
        self.names = names
        self.class_names = folder.class_names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        return self._folder[self._indices[index]]

    def image_path(self, index: int) -> Path:
        return self._folder.image_path(self._indices[index])


class Cell(NamedTuple):
    """What one fit is decided by."""

    dataset: str
    shots: int
    seed: int
    init: str
    effort: float


def one_cell(asked: tuple[Path, Cell]) -> dict[str, Any]:
    """Fit on one random support and evaluate on the locked test set."""
    datasets, (dataset, shots, seed, init, effort) = asked
    root, config = datasets / dataset, FitConfig(seed=seed, init=init, effort=effort)
    folder = LabelledFolder.open(root)
    pool, test = split(root.name, folder.names, copies_in(folder))
    classes = {n: [int(c) for c in np.unique(read_mask(root / "masks" / f"{n}.png")) if 0 < c < 255] for n in pool}
    drawn = Chosen(folder, draw_support(classes, shots, seed))
    samples = [drawn[index] for index in range(len(drawn))]
    support = SupportSet.from_arrays([s.image for s in samples], [s.mask for s in samples], folder.class_names)
    started = time.perf_counter()
    segmenter = fit(support, config)
    fitted = time.perf_counter() - started
    started = time.perf_counter()
    result = evaluate(segmenter, Chosen(folder, test))
    predicted = time.perf_counter() - started
    return {
        "dataset": root.name,
        "shots": shots,
        "seed": seed,
        "support": drawn.names,
        "test_images": len(test),
        "result": result.to_dict(),
        "fit_seconds": round(fitted, 1),
        "evaluate_seconds": round(predicted, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "config": vars(config),
        "commit": commit(),
        "distillfss": __version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--dataset", nargs="+", required=True)
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 50])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--init", nargs="+", default=["auto"], help="auto, scratch, or files of meta-train")
    parser.add_argument("--effort", type=float, nargs="+", default=[1.0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/first_light.jsonl"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    cells = {cell_of(row): row for row in map(json.loads, lines)}
    wanted = [
        Cell(d, k, seed, init, effort)
        for d in arguments.dataset
        for seed in arguments.seeds
        for k in arguments.shots
        for init in arguments.init
        for effort in arguments.effort
    ]
    missing = [cell for cell in wanted if cell not in cells]
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.jobs, start, (threads,), maxtasksperchild=1) as pool:
        for row in pool.imap_unordered(one_cell, [(arguments.datasets, cell) for cell in missing]):
            cells[cell_of(row)] = row
            with arguments.out.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(f"{cell_of(row)}: {headline(row):.1f} in {row['fit_seconds']} s", flush=True)
    print(
        "| data set | shots | start | effort | foreground IoU at 384 px, median (range) | fit seconds, median (range) |"
    )
    print("|---|---|---|---|---|---|")
    kinds = dict.fromkeys(cell._replace(seed=0) for cell in wanted)
    for kind in kinds:
        rows = [cells[kind._replace(seed=seed)] for seed in arguments.seeds]
        iou, seconds = spread([headline(r) for r in rows]), spread([r["fit_seconds"] for r in rows])
        print(f"| {kind.dataset} | {kind.shots} | {kind.init} | {kind.effort:g} | {iou} | {seconds} |")


def start(threads: int) -> None:
    torch.set_num_threads(threads)


def cell_of(row: dict[str, Any]) -> Cell:
    """Which cell a row of results is."""
    return Cell(row["dataset"], row["shots"], row["seed"], row["config"]["init"], row["config"]["effort"])


def headline(row: dict[str, Any]) -> float:
    """Foreground IoU at 384 px in per cent."""
    return 100 * float(row["result"]["foreground_iou_384"])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
