"""The pictures of docs/extend.md: nuclei of the embedded sample, and dust fibres drawn over some of them.

    python benchmarks/extend_sample.py folders TRY
    cd TRY
    distillfss fit nuclei --out nuclei.safetensors --size 256 --effort 0.5
    distillfss extend nuclei.safetensors fibres --out both.safetensors
    cd -
    python benchmarks/extend_sample.py picture TRY docs/pictures/extend.jpg

``nuclei`` and ``fibres`` are what is learnt from, the latter annotated for fibres alone; ``look`` is annotated for both
and judges.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from distillfss import Segmenter
from distillfss.report.overlay import for_display, mask_for_display, overlay
from distillfss.sample import Tile, support_tiles, unseen_tiles

LEARNT, SHOWN, SIDE = 4, 3, 300


def fibre(tile: Tile, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The tile's image with a bright, curved thread over it, and where the thread is."""
    random = np.random.default_rng(seed)
    side = tile.mask.shape[0]
    along = np.linspace(-0.1, 1.1, 400)[:, None] * side
    start, turn = random.uniform(0.25, 0.75), random.uniform(0, np.pi)
    across = side * (start - 0.5) + side * 0.12 * np.sin(along / side * random.uniform(3, 7) + random.uniform(0, 6))
    middle = np.hstack([along - side / 2, across])
    turned = middle @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) + side / 2
    rows, columns = np.indices(tile.mask.shape)
    distance = np.full(tile.mask.shape, np.inf)
    for row, column in turned:
        distance = np.minimum(distance, np.hypot(rows - row, columns - column))
    bright = np.percentile(tile.image, 97) * random.uniform(0.7, 1.2)
    share = np.clip(2.2 - distance, 0, 1)[:, :, None]
    image = tile.image * (1 - share) + bright * share
    return np.clip(image, 0, 255).astype(np.uint8), distance < 1.7


def write(folder: Path, name: str, image: np.ndarray, mask: np.ndarray, classes: list[str]) -> None:
    for kind, array in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array.astype(np.uint8)).save(folder / kind / f"{name}.png")
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", *classes]}))


def folders(root: Path) -> None:
    for tile in support_tiles():
        write(root / "nuclei", tile.name, tile.image, tile.mask, ["nucleus"])
    for number, tile in enumerate(unseen_tiles()):
        image, where = fibre(tile, number)
        if number < LEARNT:
            write(root / "fibres", tile.name, image, where, ["fibre"])
        else:
            write(root / "look", tile.name, image, np.where(where, 2, tile.mask), ["nucleus", "fibre"])


def picture(root: Path, out: Path) -> None:
    """Rows of images; columns: as it is, the model before, the model after, the annotation."""
    models = [Segmenter.load(root / name) for name in ("nuclei.safetensors", "both.safetensors")]
    rows = []
    for path in sorted((root / "look" / "images").iterdir())[:SHOWN]:
        image = np.array(Image.open(path).convert("RGB"))
        truth = np.array(Image.open(root / "look" / "masks" / path.name))
        shown = for_display(image, SIDE)
        masks = [*(model(image) for model in models), truth]
        rows.append(np.hstack([shown, *(overlay(shown, mask_for_display(mask, SIDE)) for mask in masks)]))
    Image.fromarray(np.vstack(rows)).save(out, optimize=True, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["folders", "picture"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    arguments = parser.parse_args()
    if arguments.what == "folders":
        folders(arguments.folder)
    else:
        picture(arguments.folder, arguments.out)


if __name__ == "__main__":
    main()
