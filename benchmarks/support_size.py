"""What the number of support images costs: peak memory of a fit, and latency of the student it leaves.

    python benchmarks/support_size.py DATASETS --dataset kvasir_seg --shots 1 80

Every fit runs in a process of its own, with few steps: memory and latency do not depend on their number. Latencies of
the models are taken in turn, image by image, in one process, so that a busy machine hits all of them alike.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from distillfss import FitConfig, Segmenter, SupportSet, fit
from distillfss.bench.contents import copies_in
from distillfss.bench.protocol import draw_support, split
from distillfss.support import LabelledFolder

REPEATS = 50


def fit_one(root: Path, shots: int, model: Path) -> None:
    """Fit with a twentieth of the usual steps, save, and print the process' peak memory in MiB."""
    folder = LabelledFolder.open(root)
    pool, _ = split(root.name, folder.names, copies_in(folder))
    place = {name: index for index, name in enumerate(folder.names)}
    samples = [folder[place[name]] for name in draw_support({name: [1] for name in pool}, shots, 0)]
    support = SupportSet.from_arrays([s.image for s in samples], [s.mask for s in samples], folder.class_names)
    fit(support, FitConfig(effort=0.05)).save(model)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def latencies(models: list[Path]) -> list[list[float]]:
    """Milliseconds per model for one 384x384 image, taken in turn after a warm-up."""
    segmenters = [Segmenter.load(model) for model in models]
    image = np.random.default_rng(0).integers(0, 255, (384, 384, 3), dtype=np.uint8)
    found: list[list[float]] = [[] for _ in models]
    for repeat in range(REPEATS + 5):
        for segmenter, times in zip(segmenters, found, strict=True):
            started = time.perf_counter()
            segmenter(image)
            if repeat >= 5:
                times.append(1000 * (time.perf_counter() - started))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--dataset", default="kvasir_seg")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 80])
    parser.add_argument("--fit-into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    root = arguments.datasets / arguments.dataset
    if arguments.fit_into:
        fit_one(root, arguments.shots[0], arguments.fit_into)
        return
    with tempfile.TemporaryDirectory() as folder:
        models = [Path(folder) / f"{shots}.safetensors" for shots in arguments.shots]
        print("| shots | peak memory of fit, MiB | model file, bytes | latency, median ms (10th to 90th percentile) |")
        print("|---|---|---|---|")
        words = [sys.executable, __file__, str(arguments.datasets), "--dataset", arguments.dataset]
        peaks = [
            subprocess.run(
                [*words, "--shots", str(shots), "--fit-into", str(model)], capture_output=True, text=True, check=True
            ).stdout.strip()
            for shots, model in zip(arguments.shots, models, strict=True)
        ]
        for shots, peak, model, times in zip(arguments.shots, peaks, models, latencies(models), strict=True):
            deciles = statistics.quantiles(times, n=10)
            spread = f"{statistics.median(times):.1f} ({deciles[0]:.1f} to {deciles[-1]:.1f})"
            print(f"| {shots} | {peak} | {model.stat().st_size} | {spread} |")


if __name__ == "__main__":
    main()
