"""Are the next images that ``pick --model`` names worth more than as many drawn by lot?

    python benchmarks/next_five.py DATASETS --datasets kvasir_seg dsb2018 --seeds 0 1 2 --out next.jsonl
    python benchmarks/next_five.py DATASETS --datasets kvasir_seg --instant --pool 200 --out quick.jsonl

Support of 5 shots is drawn by the protocol and fitted; ``pick`` with that model names as many images of the pool again,
and as many are drawn by lot. Both supports are fitted with the defaults and judged on the locked test set; so is a
support of which ``pick`` named the second half without the model, from the pictures alone. A line per data set and
seed; lines that are there are not computed again. ``--instant`` fits instant models, ``--pool`` takes so many images of
the pool by lot: both make it quick.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distillfss import FitConfig, Segmenter, SupportSet, evaluate, fit
from distillfss.bench.contents import copies_in
from distillfss.bench.protocol import draw_support, split
from distillfss.bench.worker import Chosen
from distillfss.picking import pick
from distillfss.support import LabelledFolder

WAYS = ("by_lot", "by_pictures", "by_model")


def compared(root: Path, config: FitConfig, shots: int, most: int | None, cache: Path) -> dict[str, Any]:
    """IoU in per cent with the first support, and with each way to double it."""
    folder, seed = LabelledFolder.open(root), config.seed
    pool, test = split(root.name, folder.names, copies_in(folder))
    if most is not None and len(pool) > most:
        pool = sorted(pool[i] for i in np.random.default_rng([seed, 6]).permutation(len(pool))[:most])
    place = {name: index for index, name in enumerate(folder.names)}
    judges = Chosen(folder, test)

    def fitted(names: Sequence[str]) -> Segmenter:
        samples = [folder[place[name]] for name in names]
        support = SupportSet.from_arrays([s.image for s in samples], [s.mask for s in samples], folder.class_names)
        return fit(support, config)

    def score(model: Segmenter) -> float:
        return round(100 * float(np.nanmean(evaluate(model, judges).paper.iou)), 2)

    shown = {name: [int(c) for c in np.unique(folder[place[name]].mask) if 0 < c < 255] for name in pool}
    first = draw_support(shown, shots, seed)
    model = fitted(first)
    row: dict[str, Any] = {"dataset": root.name, "seed": seed, "first": score(model), "images": len(first)}

    names = {folder.image_path(place[name]): name for name in pool}
    annotated = [folder[place[name]].image for name in first]
    rest = sorted(set(pool) - set(first))
    lot = np.random.default_rng([seed, 5]).permutation(len(rest))[: len(first)]
    more = {"by_lot": [rest[i] for i in lot]}
    for way, asked in (("by_pictures", None), ("by_model", model)):
        found = pick(list(names), len(first), annotated=annotated, model=asked, cache=cache)
        more[way] = [names[choice.path] for choice in found.picks]
    for way in WAYS:
        row[way] = score(fitted([*first, *more[way]]))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--instant", action="store_true")
    parser.add_argument("--pool", type=int)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    done = {(row["dataset"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for dataset in arguments.datasets:
            if (dataset, seed) in done:
                continue
            config = FitConfig(seed=seed, instant=arguments.instant, estimate=False)
            row = compared(arguments.root / dataset, config, arguments.shots, arguments.pool, arguments.out.parent)
            rows.append(row)
            print(json.dumps(row), flush=True)
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    for way in ("by_pictures", "by_model"):
        ahead = [row[way] - row["by_lot"] for row in rows]
        lowest, highest = min(ahead), max(ahead)
        print(f"{way}: {statistics.fmean(ahead):+.1f} over by_lot ({lowest:+.1f} to {highest:+.1f}, {len(ahead)} rows)")


if __name__ == "__main__":
    main()
