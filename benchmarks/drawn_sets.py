"""Data sets that are drawn: what no photograph here has (docs/experiments.md).

    python benchmarks/drawn_sets.py DATASETS
    distillfss bench run --data DATASETS --datasets nodules vessels chests --methods distill decoder -o RESULTS

``nodules``: one or two bright blobs of 4 to 13 pixels in radius among branching lines as bright, grey, 512×512.
``vessels``: dark trees of 1 to 8 pixels in width on a red disc with a bright spot, dark dots as distractors, 512×512.
``chests``: two dark lungs and a heart between them, to the right, under ribs, grey, 512×512; ``left_lungs``: the same
pictures, of which only the lung on the left counts.
``discs``: light ellipses, which are the class, and dark ones, which are not, on mid-grey, 512×512.
The same pictures every time. Needs SciPy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter
from scipy.special import expit

SIDE = 512
Y, X = np.mgrid[:SIDE, :SIDE]
Drawing = ImageDraw.ImageDraw
Random = np.random.Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    random = np.random.default_rng(1)
    write(out / "nodules", ["nodule"], [nodules(random) for _ in range(70)])
    write(out / "vessels", ["vessel"], [vessels(random) for _ in range(60)])
    random = np.random.default_rng(5)
    drawn = [chests(random) for _ in range(60)]
    write(out / "chests", ["left", "right", "heart"], drawn)
    write(out / "left_lungs", ["left"], [(pixels, mask == 1) for pixels, mask in drawn])
    random = np.random.default_rng(6)
    write(out / "discs", ["bright"], [discs(random) for _ in range(60)])


def write(folder: Path, classes: list[str], drawn: list[tuple[NDArray[np.uint8], NDArray[Any]]]) -> None:
    """The layout of a data set."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, (pixels, mask) in enumerate(drawn):
        Image.fromarray(pixels).save(folder / "images" / f"n{number:03d}.png")
        Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"n{number:03d}.png")
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", *classes]}))


def nodules(random: Random) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A picture (512, 512, 3) and its mask."""
    body = ((X - 256) / 235) ** 2 + ((Y - 256) / 180) ** 2 < 1
    centres = [256 - 105 + random.normal(0, 6), 256 + 105 + random.normal(0, 6)]
    left, right = (
        ((X - centre) / (78 + random.normal(0, 5))) ** 2
        + ((Y - 256 - random.normal(0, 8)) / (125 + random.normal(0, 8))) ** 2
        < 1
        for centre in centres
    )
    lung = left | right
    grey = np.where(body, 150 + 6 * texture(4, random), 5.0)
    grey = np.where(lung, 40 + 4 * texture(3, random), grey)
    lines = Image.new("L", (SIDE, SIDE), 0)
    for side in (0, 1):
        for _ in range(4):
            x, y = 256 + (30 if side else -30), 256 + random.normal(0, 30)
            angle = (0 if side else np.pi) + random.uniform(-1, 1)
            tree(ImageDraw.Draw(lines), x, y, angle, random.uniform(4, 8), random)
    share = np.asarray(lines.filter(ImageFilter.GaussianBlur(0.8)), np.float32) / 255 * lung
    grey = grey * (1 - share) + 130 * share
    mask = np.zeros((SIDE, SIDE), bool)
    for _ in range(int(random.integers(1, 3))):
        x, y, radius = inside(lung, random)
        wavy = radius * (1 + 0.12 * np.sin(3 * np.arctan2(Y - y, X - x) + random.uniform(0, 6)))
        distance = np.hypot(Y - y, X - x) - wavy
        share = 1 / (1 + np.exp(distance / 0.8))
        grey = grey * (1 - share) + random.uniform(110, 145) * share
        mask |= distance < 0
    pixels = np.clip(grey + random.normal(0, 7, grey.shape), 0, 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, 2), mask


def vessels(random: Random) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A picture (512, 512, 3) and its mask."""
    disc = np.hypot(X - 256, Y - 256) < 240
    colour = np.array([190, 90, 40]) * (1 + random.normal(0, 0.12, 3))
    pixels = colour * (1 + 0.08 * texture(40, random) + 0.03 * texture(2, random))[..., None]
    x, y = (150 if random.random() < 0.5 else 362) + random.normal(0, 12), 256 + random.normal(0, 15)
    spot = (1 / (1 + np.exp((np.hypot(X - x, Y - y) - 32) / 4)))[..., None]
    pixels = pixels * (1 - spot) + np.array([250, 200, 130]) * spot
    lines = Image.new("L", (2 * SIDE, 2 * SIDE), 0)
    for angle in (-2.2, -1, 0.9, 2.1):
        tree(ImageDraw.Draw(lines), 2 * x, 2 * y, angle + random.normal(0, 0.25), random.uniform(9, 15), random)
    share = np.asarray(lines.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255
    for _ in range(6):
        x, y = random.integers(60, 450, 2)
        dot = 1 / (1 + np.exp((np.hypot(X - x, Y - y) - random.uniform(3, 9)) / 1.5))
        pixels = pixels * (1 - 0.5 * dot[..., None])
    pixels = pixels * (1 - random.uniform(0.3, 0.5) * share[..., None])
    pixels = pixels + random.normal(0, 5, pixels.shape)
    return np.clip(pixels * disc[..., None], 0, 255).astype(np.uint8), (share > 0.5) & disc


def chests(random: Random) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture (512, 512, 3) and its mask."""
    x, y = 256 + random.normal(0, 18), 256 + random.normal(0, 18)
    body = ((X - x) / (200 + random.normal(0, 15))) ** 4 + ((Y - y - 60) / (290 + random.normal(0, 15))) ** 4 < 1
    lit = 140 + random.normal(0, 12) + 10 * texture(30, random) + 5 * texture(3, random)
    grey, mask = np.where(body, lit, 15.0), np.zeros((SIDE, SIDE), np.uint8)
    tilt = random.normal(0, 0.06)
    across = (X - x) * np.cos(tilt) - (Y - y) * np.sin(tilt)
    down = (X - x) * np.sin(tilt) + (Y - y) * np.cos(tilt)
    scale = 1 + random.normal(0, 0.08)
    for value, side in ((1, -1), (2, 1)):
        width, height = 68 + random.normal(0, 6), 150 + random.normal(0, 12)
        middle = side * (98 + random.normal(0, 6))
        wave = 8 * np.sin(down / 35 + random.uniform(0, 6))
        far = np.abs((across / scale - middle + wave) / width) ** 2.5 + np.abs((down / scale - 10) / height) ** 2.5
        lung = (far < 1) & body
        grey = np.where(lung, 70 + random.normal(0, 8) + 8 * texture(6, random), grey)
        mask[lung] = value
    width, height = 62 + random.normal(0, 6), 70 + random.normal(0, 6)
    heart = (((across / scale - 25) / width) ** 2 + ((down / scale - 75) / height) ** 2 < 1) & body
    grey = np.where(heart, 160 + random.normal(0, 8) + 6 * texture(10, random), grey)
    mask[heart] = 3
    for number in range(-5, 8):
        rib = np.abs(down + 0.0012 * across**2 - number * 42 + random.normal(0, 3)) < 7
        grey = grey + 18 * rib * body
    grey = gaussian_filter(grey, 2) + random.normal(0, 5, grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2), mask


def discs(random: Random) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A picture (512, 512, 3) and its mask."""
    grey = 128 + random.normal(0, 6) + 10 * texture(40, random) + 6 * texture(3, random)
    mask, taken = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    for light in (1, -1):
        tries = 0
        while tries < int(random.integers(3, 7)):
            tries += 1
            (x, y), (a, b), turn = random.uniform(40, 472, 2), random.uniform(12, 36, 2), random.uniform(0, 3.14)
            along = (X - x) * np.cos(turn) + (Y - y) * np.sin(turn)
            across = -(X - x) * np.sin(turn) + (Y - y) * np.cos(turn)
            far = (along / a) ** 2 + (across / b) ** 2
            if (taken & (far < 1.6)).any():
                continue
            taken |= far < 1.6
            grey = grey + light * random.uniform(25, 60) * expit(-8 * (far - 1))
            mask |= (far < 1) & (light > 0)
    grey = gaussian_filter(grey, 1) + random.normal(0, 5, grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2), mask


def texture(blur: float, random: Random) -> NDArray[np.float64]:
    """Blurred noise (512, 512) of deviation 1."""
    found = gaussian_filter(random.normal(0, 1, (SIDE, SIDE)), blur)
    return found / found.std()


def tree(drawing: Drawing, x: float, y: float, angle: float, width: float, random: Random, depth: int = 0) -> None:
    """A line that wanders, and at its end two thinner ones."""
    for _ in range(int(random.integers(8, 20))):
        angle += random.normal(0, 0.15)
        start, x, y = (x, y), x + 9 * np.cos(angle), y + 9 * np.sin(angle)
        drawing.line([start, (x, y)], fill=255, width=max(1, int(width)))
        drawing.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    if depth < 5 and width > 1.6:
        for side in (-1, 1):
            turned = angle + side * random.uniform(0.3, 0.7)
            tree(drawing, x, y, turned, width * random.uniform(0.6, 0.85), random, depth + 1)


def inside(area: NDArray[np.bool_], random: Random) -> tuple[int, int, float]:
    """Centre and radius of a disc within an area."""
    while True:
        x, y = (int(place) for place in random.integers(60, 450, 2))
        radius = random.uniform(4, 13)
        low, high, left, right = int(y - radius), int(y + radius), int(x - radius), int(x + radius)
        if area[y, x] and area[low, x] and area[high, x] and area[y, left] and area[y, right]:
            return x, y, radius


if __name__ == "__main__":
    main()
