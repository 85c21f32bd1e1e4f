"""The teacher without any fine-tuning on the target sets: meta-trained, untrained, and prototypes on the same features.

    python benchmarks/teachers.py DATASETS --dataset kvasir_seg dsb2018 --shots 1 5 --seeds 0 1 2

DATASETS is a folder of data sets in the layout of the README. Random support by the protocol, locked test set,
foreground IoU at 384 px, mean over classes. The last lines printed are the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from first_light import commit
from torch import Tensor

from distillfss import __version__
from distillfss.backbones import load_backbone, weights_sha256
from distillfss.bench.contents import copies_in
from distillfss.bench.protocol import draw_support, split
from distillfss.io.masks import read_mask
from distillfss.metrics import resize_mask
from distillfss.models.classes import merge_classes
from distillfss.models.mixer import resize
from distillfss.models.probe import probe_weights
from distillfss.models.prototypes import prototype_layers, prototype_logits
from distillfss.models.shares import mask_shares
from distillfss.models.standardize import standardized
from distillfss.models.standardize import statistics as feature_statistics
from distillfss.models.teacher import Teacher
from distillfss.preprocess import at_working_size
from distillfss.runtime import keep_freed_memory
from distillfss.support import LabelledFolder, SupportSet
from distillfss.training.augment import Augmenter
from distillfss.training.initial import initialise
from distillfss.training.targets import class_masks

SIZE = 384
Answer = Callable[[list[Tensor]], Tensor]
Method = Callable[[list[Tensor], Tensor], Answer]
"""Support features and class masks (S, n, H, W) to what answers a query's pyramid with logits (1, n, 2, h, w)."""


def by_teacher(teacher: Teacher) -> Method:
    def prepare(support: list[Tensor], masks: Tensor) -> Answer:
        tokens = teacher.support_tokens(support, masks, probe_weights(support, masks, teacher.layers))
        return lambda query: teacher(query, tokens)[0]

    return prepare


def by_prototypes(layers: tuple[int, ...]) -> Method:
    def prepare(support: list[Tensor], masks: Tensor) -> Answer:
        chosen = [support[i] for i in layers]
        shares = mask_shares(masks, [(s.shape[-2], s.shape[-1]) for s in chosen])
        return lambda query: prototype_logits([query[i] for i in layers], chosen, shares)

    return prepare


class Target:
    """A data set: which images show which class, and the test images' features, encoded once."""

    def __init__(self, root: Path, backbone: Any) -> None:
        self.folder = LabelledFolder.open(root)
        self.place = {name: index for index, name in enumerate(self.folder.names)}
        pool, test = split(root.name, self.folder.names, copies_in(self.folder))
        self.classes = {
            n: [int(c) for c in np.unique(read_mask(root / "masks" / f"{n}.png")) if 0 < c < 255] for n in pool
        }
        self.backbone = backbone
        self.test = []
        for name in test:
            sample = self.folder[self.place[name]]
            features = [f.half() for f in backbone(at_working_size(sample.image, SIZE)[None])]
            self.test.append((features, resize_mask(sample.mask, (SIZE, SIZE))))

    def score(self, methods: dict[str, Method], shots: int, seed: int) -> dict[str, list[float]]:
        """IoU of every class, by method."""
        samples = [self.folder[self.place[n]] for n in draw_support(self.classes, shots, seed)]
        names = self.folder.class_names
        support = SupportSet.from_arrays([s.image for s in samples], [s.mask for s in samples], names)
        augmenter = Augmenter(support, SIZE)
        views = [augmenter.plain(source) for source in range(len(augmenter))]
        raw = [self.backbone(view.image[None]) for view in views]
        means, stds = feature_statistics(raw)
        shown = [torch.cat(layer) for layer in zip(*(standardized(f, means, stds) for f in raw), strict=True)]
        masks = class_masks(torch.stack([view.mask for view in views]), len(names))
        answers = {name: method(shown, masks) for name, method in methods.items()}
        counts = {name: np.zeros((2, len(names)), np.int64) for name in methods}
        for features, truth in self.test:
            query = standardized([f.float() for f in features], means, stds)
            for name, answer in answers.items():
                found = resize(merge_classes(answer(query)), truth.shape)[0].argmax(0).numpy()
                for c in range(1, len(names) + 1):
                    p, t, known = found == c, truth == c, truth != 255
                    counts[name][:, c - 1] += [(p & t & known).sum(), ((p | t) & known).sum()]
        return {name: (both[0] / np.maximum(both[1], 1)).tolist() for name, both in counts.items()}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--dataset", nargs="+", required=True)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--init", default="auto", help="auto, or a file of meta-train")
    parser.add_argument("--out", type=Path, default=Path("results/teachers.jsonl"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    backbone = load_backbone(arguments.backbone)
    teachers = {}
    for name, init in (("meta-trained", arguments.init), ("untrained", "scratch")):
        torch.manual_seed(0)
        teachers[name] = Teacher(backbone.layers).eval()
        initialise(teachers[name], init, arguments.backbone, weights_sha256(arguments.backbone))
    methods = {name: by_teacher(teacher) for name, teacher in teachers.items()}
    methods["prototypes"] = by_prototypes(prototype_layers(backbone.layers))
    rows: list[dict[str, Any]] = []
    for dataset in arguments.dataset:
        target = Target(arguments.datasets / dataset, backbone)
        for shots in arguments.shots:
            for seed in arguments.seeds:
                found = target.score(methods, shots, seed)
                row = {"dataset": dataset, "shots": shots, "seed": seed, "iou": found, "commit": commit()}
                rows.append({**row, "test_images": len(target.test), "distillfss": __version__})
                with arguments.out.open("a") as stream:
                    stream.write(json.dumps(rows[-1]) + "\n")
                print(
                    dataset, shots, seed, {n: round(100 * statistics.fmean(v), 1) for n, v in found.items()}, flush=True
                )
    print(f"| data set | shots | {' | '.join(methods)} |")
    print("|---|---|" + "---|" * len(methods))
    for dataset in arguments.dataset:
        for shots in arguments.shots:
            cells = []
            for name in methods:
                mine = [r for r in rows if (r["dataset"], r["shots"]) == (dataset, shots)]
                values = [100 * statistics.fmean(r["iou"][name]) for r in mine]
                cells.append(f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})")
            print(f"| {dataset} | {shots} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
