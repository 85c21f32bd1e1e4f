"""Follow ``docs/tutorial.md`` word for word on real images, with the masks of a data set for an annotator.

    python benchmarks/follow_tutorial.py DATASETS --dataset dsb2018

Runs every command of the page's ``bash`` blocks in order, in an empty folder, and says how long each took. ``raw``
holds 200 images drawn from the pool, ``test`` 20 others of the pool: the data set's test images are not touched. Before
a command that reads a folder ``pick`` has made, its images are annotated, by copying their masks.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from distillfss.bench.contents import copies_in
from distillfss.bench.protocol import split
from distillfss.support import LabelledFolder

PAGE = Path(__file__).parent.parent / "docs" / "tutorial.md"
RAW, TEST = 200, 20
SETTING_UP = ("source ", "pip ")
"""How the commands begin that are done already where this script runs."""


def commands(page: Path) -> list[str]:
    """The commands of a page, in order."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(SETTING_UP)]


def prepare(dataset: Path, here: Path) -> dict[str, Path]:
    """``raw`` without and ``test`` with annotation; the mask of every image of ``raw``."""
    folder = LabelledFolder.open(dataset)
    pool, _ = split(dataset.name, folder.names, copies_in(folder))
    place = {name: index for index, name in enumerate(folder.names)}
    drawn = [pool[index] for index in np.random.default_rng(0).permutation(len(pool))[: RAW + TEST]]
    for part in ("raw", "test/images", "test/masks"):
        (here / part).mkdir(parents=True)
    for name in drawn[:RAW]:
        shutil.copy(folder.image_path(place[name]), here / "raw")
    for name in drawn[RAW:]:
        shutil.copy(folder.image_path(place[name]), here / "test" / "images")
        shutil.copy(folder.mask_path(place[name]), here / "test" / "masks")
    return {name: folder.mask_path(place[name]) for name in drawn[:RAW]}


def annotate(here: Path, masks: dict[str, Path]) -> None:
    """Give every picked image its mask."""
    for picked in here.glob("*/picked.csv"):
        for image in (picked.parent / "images").iterdir():
            shutil.copy(masks[image.stem], picked.parent / "masks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATASETS")
    parser.add_argument("--dataset", default="dsb2018")
    parser.add_argument("--out", type=Path, help="New folder to work in, kept. A temporary one if left out.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        here = options.out if options.out is not None else Path(temporary) / "tutorial"
        here.mkdir(parents=True)
        masks = prepare(options.data / options.dataset, here)
        whole = time.perf_counter()
        for command in commands(PAGE):
            annotate(here, masks)
            print(f"$ {command}", flush=True)
            started = time.perf_counter()
            done = subprocess.run(["bash", "-c", command], cwd=here)
            print(f"({time.perf_counter() - started:.0f} s)\n", flush=True)
            if done.returncode:
                sys.exit(f"{command!r} ended with {done.returncode}")
        print(f"{(time.perf_counter() - whole) / 60:.1f} minutes in all, without the annotating")


if __name__ == "__main__":
    main()
