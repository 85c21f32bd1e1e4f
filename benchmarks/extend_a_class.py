"""A class left out, and added again with `extend`: what it costs the others, and what a joint fit would have given.

    python benchmarks/extend_a_class.py DATASETS/neu_seg scratches [--seeds 0 1 2] [--effort 0.25] [--judge 60]

Support and judges are drawn from the pool; no test image is looked at. The old model learns from the support images
that show another class, without the left-out one in the masks (its pixels are background there). The extension learns
from those that show it, annotated for it alone. The joint fit learns from all of them with all classes. All three are
made with every one of the seeds: what an extension comes to depends on the model that is extended.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from distillfss import FitConfig, Segmenter, SupportSet, evaluate, extend, fit
from distillfss.bench.protocol import GROUPS, draw_support, split
from distillfss.bench.worker import Chosen
from distillfss.support import LabelledFolder, Sample


def drawn(folder: LabelledFolder, shots: int, judges: int) -> tuple[list[Sample], Chosen]:
    """The support (``shots`` images per class), and other images of the pool to judge by."""
    name = folder.root.name
    pool, _ = split(name, folder.names)
    place = {stem: index for index, stem in enumerate(folder.names)}
    classes = {s: [int(c) for c in np.unique(folder[place[s]].mask) if 0 < c < 255] for s in pool}
    chosen = draw_support(classes, shots, 100)
    group = GROUPS.get(name, lambda stem: stem)
    taken = {group(stem) for stem in chosen}
    rest = [stem for stem in pool if group(stem) not in taken]
    order = np.random.default_rng([0, 77]).permutation(len(rest))[:judges]
    return [folder[place[stem]] for stem in chosen], Chosen(folder, [rest[i] for i in order])


def only(samples: Sequence[Sample], names: Sequence[str], kept: Sequence[str]) -> SupportSet:
    """The images that show a class of ``kept``, with masks of these classes alone."""
    table = np.zeros(256, np.uint8)
    table[255] = 255
    for value, name in enumerate(kept, start=1):
        table[names.index(name) + 1] = value
    masks = [table[sample.mask] for sample in samples]
    shown = [i for i, mask in enumerate(masks) if ((mask > 0) & (mask < 255)).any()]
    return SupportSet.from_arrays([samples[i].image for i in shown], [masks[i] for i in shown], kept)


def timed(what: str, make: Callable[[], Segmenter], judges: Chosen) -> Segmenter:
    started, cpu = time.perf_counter(), time.process_time()
    model = make()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    scores = evaluate(model, judges).paper
    found = ", ".join(f"{name} {100 * iou:.1f}" for name, iou in zip(scores.class_names, scores.iou, strict=True))
    print(f"{what}: {found}; {seconds:.0f} s, {cpu:.0f} s of processor time", flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("left_out")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--judge", type=int, default=60)
    parser.add_argument("--effort", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    folder = LabelledFolder.open(arguments.dataset)
    names, config = folder.class_names, FitConfig(effort=arguments.effort)
    samples, judges = drawn(folder, arguments.shots, arguments.judge)
    others = [name for name in names if name != arguments.left_out]
    for seed in arguments.seeds:
        seeded = replace(config, seed=seed)
        old = timed(f"without, seed {seed}", partial(fit, only(samples, names, others), seeded), judges)
        timed(
            f"extended, seed {seed}", partial(extend, old, only(samples, names, [arguments.left_out]), seeded), judges
        )
        timed(f"joint, seed {seed}", partial(fit, only(samples, names, names), seeded), judges)


if __name__ == "__main__":
    main()
