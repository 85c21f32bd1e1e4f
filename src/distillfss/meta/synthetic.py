"""Scenes without objects: textures of photographs in random shapes, to teach similarity below the level of things.

Natural photographs teach that foreground is an animal or a vehicle. Scratches, nuclei and leaves are none: they are
small, many, thin, or just darker than their surroundings. A scene fixes what its foreground and background look like
(two textures, a shape, a size, an opacity); every view draws the shapes anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Texture = Callable[[np.random.Generator], NDArray[np.uint8]]
"""An image (H, W, 3) uint8, drawn by the given generator."""

SHAPES = ("blobs", "ellipses", "lines", "patches")


def scene_view(scene: int, view: int, seed: int, size: int, texture: Texture) -> tuple[Tensor, Tensor]:
    """One view of a scene.

    Parameters
    ----------
    scene, view, seed
        Decide everything: the look by scene, the places by view.
    size
        Side of the view in pixels.
    texture
        Where textures come from.

    Returns
    -------
    image, mask
        (3, size, size) float 0 to 255, and uint8 (size, size) of 0 and 1.
    """
    look = np.random.default_rng([seed, 11, scene])
    place = np.random.default_rng([seed, 12, scene, view])
    shape = SHAPES[int(look.integers(len(SHAPES)))]
    scale = float(np.exp(look.uniform(math.log(0.02), math.log(0.35))))  # of the side
    opacity = float(look.uniform(0.25, 1.0))
    softness = float(look.uniform(0.5, 2.0))
    ground, figure = texture(look), texture(look)
    zooms = look.uniform(0.3, 1.0, 2)
    shade = float(look.uniform(-90, 90)) if look.random() < 0.5 else 0.0
    colourless = look.random() < 0.4
    mask = shapes(shape, scale, size, place)
    background = crop(ground, float(zooms[0]), size, place)
    if look.random() < 0.4:
        foreground = background  # a defect: the same material, lighter or darker
        shade = math.copysign(30 + abs(shade), shade or float(look.uniform(-1, 1)))
    else:
        foreground = crop(figure, float(zooms[1]), size, place)
    alpha = blur(mask.float(), softness) * opacity
    image = background * (1 - alpha) + (foreground + shade) * alpha
    image = (image - 128) * float(place.uniform(0.8, 1.25)) + 128 + float(place.uniform(-20, 20))
    if colourless:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    image = image + torch.from_numpy(place.normal(0, look.uniform(0, 8), (1, size, size)).astype(np.float32))
    return image.clamp(0, 255), mask.to(torch.uint8)


def crop(image: NDArray[np.uint8], zoom: float, size: int, random: np.random.Generator) -> Tensor:
    """A random square of ``zoom`` times the shorter side, flipped at random, as (3, size, size) float."""
    height, width = image.shape[:2]
    side = max(8, int(zoom * min(height, width)))
    top, left = (int(random.integers(0, n - side + 1)) if n > side else 0 for n in (height, width))
    part = torch.from_numpy(np.ascontiguousarray(image[top : top + side, left : left + side])).permute(2, 0, 1)
    if random.random() < 0.5:
        part = part.flip(2)
    if random.random() < 0.5:
        part = part.flip(1)
    return F.interpolate(part[None].float(), (size, size), mode="bilinear", antialias=True, align_corners=False)[0]


def blur(image: Tensor, sigma: float) -> Tensor:
    """(H, W) blurred by a Gaussian of ``sigma`` pixels, edges repeated."""
    radius = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    padded = F.pad(image[None, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel), kernel.transpose(2, 3))[0, 0]


def shapes(kind: str, scale: float, size: int, random: np.random.Generator) -> Tensor:
    """(size, size) bool: at least one shape of about ``scale`` times the side, never more than 60 % of the picture."""
    for _ in range(8):
        mask = _SHAPES[kind](scale * float(np.exp(random.normal(0, 0.15))), size, random)
        if 0.002 < float(mask.float().mean()) < 0.6:
            return mask
    return _ellipses(0.2, size, random)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    steps = (torch.arange(size) + 0.5) / size
    return steps[:, None], steps[None]


def _blobs(scale: float, size: int, random: np.random.Generator) -> Tensor:
    """Where smooth noise is high."""
    cells = max(3, round(1 / max(scale, 0.02)))
    noise = torch.from_numpy(random.normal(size=(1, 1, cells, cells)).astype(np.float32))
    smooth = F.interpolate(noise, (size, size), mode="bicubic", align_corners=False)[0, 0]
    return smooth > torch.quantile(smooth.flatten()[::7], float(random.uniform(0.6, 0.95)))


def _ellipses(scale: float, size: int, random: np.random.Generator) -> Tensor:
    """Cells, stones, fruit: many when small."""
    y, x = _grid(size)
    most = max(1, min(40, round(0.3 / scale**1.5)))
    mask = torch.zeros(size, size, dtype=torch.bool)
    for _ in range(int(random.integers(1, most + 1))):
        row, column = random.uniform(0, 1, 2)
        angle, stretch = random.uniform(0, math.pi), math.exp(random.uniform(0, 0.7))
        radius = scale * random.uniform(0.35, 0.65)
        along = (x - column) * math.cos(angle) + (y - row) * math.sin(angle)
        across = (y - row) * math.cos(angle) - (x - column) * math.sin(angle)
        mask |= (along / stretch) ** 2 + (across * stretch) ** 2 < radius**2
    return mask


def _lines(scale: float, size: int, random: np.random.Generator) -> Tensor:
    """Cracks, scratches, vessels, roads: wandering strokes about a fifth as wide as ``scale``."""
    y, x = _grid(size)
    width = max(1.2 / size, scale / 10)
    mask = torch.zeros(size, size, dtype=torch.bool)
    for _ in range(int(random.integers(1, 5))):
        point, heading = random.uniform(0.05, 0.95, 2), random.uniform(0, 2 * math.pi)
        for _ in range(int(random.integers(3, 10))):
            heading += random.normal(0, 0.35)
            end = point + random.uniform(0.05, 0.15) * np.array([math.sin(heading), math.cos(heading)])
            mask |= _near_segment(y, x, point, end, width)
            point = end
    return mask


def _near_segment(y: Tensor, x: Tensor, a: NDArray[np.float64], b: NDArray[np.float64], width: float) -> Tensor:
    dy, dx = b - a
    share = (((y - a[0]) * dy + (x - a[1]) * dx) / max(dy * dy + dx * dx, 1e-9)).clamp(0, 1)
    return (y - a[0] - share * dy) ** 2 + (x - a[1] - share * dx) ** 2 < width**2


def _patches(scale: float, size: int, random: np.random.Generator) -> Tensor:
    """Fields, buildings: turned rectangles."""
    y, x = _grid(size)
    mask = torch.zeros(size, size, dtype=torch.bool)
    for _ in range(int(random.integers(1, max(2, min(12, round(0.3 / scale))) + 1))):
        row, column = random.uniform(0.05, 0.95, 2)
        angle, stretch = random.uniform(0, math.pi), math.exp(random.uniform(-0.7, 0.7))
        along = (x - column) * math.cos(angle) + (y - row) * math.sin(angle)
        across = (y - row) * math.cos(angle) - (x - column) * math.sin(angle)
        half = scale * random.uniform(0.4, 0.7)
        mask |= (along.abs() < half * stretch) & (across.abs() < half / stretch)
    return mask


_SHAPES: dict[str, Callable[[float, int, np.random.Generator], Tensor]] = {
    "blobs": _blobs,
    "ellipses": _ellipses,
    "lines": _lines,
    "patches": _patches,
}
