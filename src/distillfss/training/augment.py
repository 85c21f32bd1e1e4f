"""Views of annotated images: label-safe geometric and photometric changes, each decided by one number."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distillfss.geometry import working_size
from distillfss.metrics import resize_mask
from distillfss.preprocess import at_working_size

if TYPE_CHECKING:
    from distillfss.support import SupportSet

IGNORE = 255
BOTH = (True, True)
"""Mirrored left to right, and upside down."""


@dataclass(frozen=True)
class Strength:
    """How far a view may go from its image. Uniform in the given range unless said otherwise."""

    flip: float = 0.5  # probability, each axis
    rotation: float = 20.0  # degrees, to either side
    zoom: float = 1.4  # factor, log-uniform, in or out
    stretch: float = 1.15  # factor of aspect ratio, log-uniform, to either side
    shift: float = 0.15  # share of the side, to either side
    brightness: float = 0.15  # share of the value range added
    contrast: float = 1.3  # factor, log-uniform, to either side
    saturation: float = 1.4  # factor, log-uniform, to either side
    tint: float = 1.1  # factor per channel, log-uniform, to either side
    blur: float = 0.15  # probability of a blur of 0.5 to 1.5 pixels
    grey: float = 0.0  # probability of losing all colour
    invert: float = 0.12  # probability of a negative, where there is one class only


STRONG = Strength(
    rotation=45.0, zoom=1.8, brightness=0.25, contrast=1.6, saturation=1.8, tint=1.2, blur=0.25, grey=0.1, invert=0.25
)
"""Where the backbone learns: what it is not shown to be indifferent, five images have it learn by heart."""
PLAIN = Strength(0, 0, 1, 1, 0, 0, 1, 1, 1, 0, invert=0)
"""The image as it is."""


@dataclass(frozen=True)
class View:
    """One augmented image: pixels (3, H, W) float 0 to 255, mask (H, W) uint8 with 255 = ignore.

    ``source`` is the place of the image it is of, ``scene`` that of the first image which shows the same.
    """

    image: Tensor
    mask: Tensor
    source: int
    scene: int


class Augmenter:
    """Draws views of a support set on one common canvas, so that they can be batched.

    Parameters
    ----------
    support
        Annotated images of any sizes.
    size
        Working resolution; the canvas has the median aspect ratio of the support.
    strength
        How far views go. Of several classes no negatives are made: being the dark one or the light one is often what
        tells a class from another.
    view_size
        A view shows about ``view_size * view_size`` pixels, at random, of an image that has more; None: all of them.
    alone
        Whether there are no classes beside those of the support.

    Attributes
    ----------
    mirrors
        Whether views may be mirrored left to right, and upside down, see ``training.safe_views``. Both, unless set.
    negatives
        Whether views may be negatives: where there is one class, unless set to False.
    """

    def __init__(
        self,
        support: SupportSet,
        size: int,
        strength: Strength | None = None,
        view_size: int | None = None,
        alone: bool = True,
    ) -> None:
        self.negatives = alone and len(support.class_names) == 1
        self.strength = Strength() if strength is None else strength
        aspects = sorted(s.image.shape[1] / s.image.shape[0] for s in support.samples)
        aspect = aspects[len(aspects) // 2]
        self.whole = working_size(1000, max(1, round(1000 * aspect)), size)
        self.canvas = working_size(1000, max(1, round(1000 * aspect)), min(size, view_size or size))
        self._images = [at_working_size(sample.image, size) for sample in support.samples]
        self._masks = [mask_for_views(sample.mask, size) for sample in support.samples]
        self.mirrors = BOTH
        self._scenes = support.scenes

    def __len__(self) -> int:
        return len(self._images)

    def at(self, strength: Strength) -> Augmenter:
        """The same images, changed as far as ``strength`` says."""
        other = copy.copy(self)
        other.strength = strength
        return other

    def of(self, images: Sequence[Tensor], masks: Sequence[Tensor]) -> Augmenter:
        """Of other images, (3, h, w) at the working resolution, and masks (h, w) uint8; on the same canvas, as far."""
        other = copy.copy(self)
        other._images, other._masks = list(images), list(masks)
        other._scenes = tuple(range(len(images)))
        return other

    def plain(self, source: int) -> View:
        """All of image ``source``, unchanged but for its size."""
        image, mask = self._images[source], self._masks[source]
        return View(*render(image, mask, self.whole, PLAIN, torch.Generator()), source, self._scenes[source])

    def view(self, source: int, seed: int) -> View:
        """A random view of image ``source``; the same seed gives the same view."""
        image, mask, generator = self._images[source], self._masks[source], torch.Generator().manual_seed(seed)
        strength = self.strength if self.negatives else replace(self.strength, invert=0)
        return View(
            *render(image, mask, self.canvas, strength, generator, self.whole, self.mirrors),
            source,
            self._scenes[source],
        )


def render(
    image: Tensor,
    mask: Tensor,
    canvas: Sequence[int],
    strength: Strength,
    generator: torch.Generator,
    whole: Sequence[int] | None = None,
    mirrors: tuple[bool, bool] = BOTH,
) -> tuple[Tensor, Tensor]:
    """One random view: image (3, h, w) and mask (h', w') to (3, H, W) and uint8 (H, W) on the canvas (H, W).

    ``whole`` is the canvas that would show all of the image; None: this one does. ``mirrors`` as in ``Augmenter``.
    """
    grid = sampling_grid(canvas, image.shape[-2:], strength, generator, whole or canvas, mirrors)
    pixels = F.grid_sample(image[None].float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    labels = F.grid_sample(
        mask[None, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
    )
    return photometric(pixels[0], strength, generator), labels[0, 0].to(torch.uint8)


def mask_for_views(mask: NDArray[np.uint8], size: int) -> Tensor:
    """(H, W) uint8 at no more than twice the working resolution: every view of a photograph's mask reads all of it."""
    finest = working_size(mask.shape[0], mask.shape[1], 2 * size)
    if mask.shape[0] > finest[0] and mask.shape[1] > finest[1]:
        mask = resize_mask(mask, finest)
    return torch.from_numpy(np.ascontiguousarray(mask))


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def log_uniform(generator: torch.Generator, factor: float) -> float:
    return math.exp(uniform(generator, -1, 1) * math.log(factor))


def sampling_grid(
    canvas: Sequence[int],
    source: Sequence[int],
    strength: Strength,
    generator: torch.Generator,
    whole: Sequence[int],
    mirrors: tuple[bool, bool] = BOTH,
) -> Tensor:
    """Where every canvas pixel comes from, (1, H, W, 2) in the source's normalised coordinates (-1 to 1)."""
    angle = math.radians(uniform(generator, -strength.rotation, strength.rotation))
    zoom, stretch = log_uniform(generator, strength.zoom), math.sqrt(log_uniform(generator, strength.stretch))
    # drawn for each axis in any case: whether one may be mirrored changes nothing else about a view
    flips = [-1.0 if uniform(generator, 0, 1) < strength.flip and may else 1.0 for may in mirrors]
    shifts = [uniform(generator, -strength.shift, strength.shift) * 2 for _ in range(2)]
    if tuple(canvas) != tuple(whole):
        spare = [1 - part / all_of_it for part, all_of_it in zip(canvas[::-1], whole[::-1], strict=True)]
        shifts = [shift + uniform(generator, -room, room) for shift, room in zip(shifts, spare, strict=True)]
    # Rotation happens in pixels: normalised coordinates of a wide canvas would shear.
    half = torch.tensor([canvas[1] / 2, canvas[0] / 2])
    if strength is PLAIN:
        source_half = half
    else:
        # isotropic fit of the canvas into the source's aspect ratio, so shapes keep theirs
        fit = max(whole[1] / source[1], whole[0] / source[0])
        source_half = torch.tensor([source[1] / 2, source[0] / 2]) * fit
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    scale = torch.tensor([flips[0] * stretch / zoom, flips[1] / (stretch * zoom)])
    matrix = (turn * scale) * half / source_half[:, None]
    theta = torch.cat([matrix, torch.tensor(shifts)[:, None]], dim=1)
    return F.affine_grid(theta[None], [1, 1, *canvas], align_corners=False)


def photometric(image: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """Changes of light and colour that leave every label true. (3, H, W), 0 to 255, in and out."""
    if strength is PLAIN:
        return image
    if strength.invert and uniform(generator, 0, 1) < strength.invert:
        image = 255 - image
    grey = image.mean(0, keepdim=True)
    if strength.grey and uniform(generator, 0, 1) < strength.grey:
        image = grey.expand_as(image)
    image = grey + (image - grey) * log_uniform(generator, strength.saturation)
    image = image * torch.tensor([log_uniform(generator, strength.tint) for _ in range(3)])[:, None, None]
    mean = image.mean()
    image = mean + (image - mean) * log_uniform(generator, strength.contrast)
    image = image + 255 * uniform(generator, -strength.brightness, strength.brightness)
    if uniform(generator, 0, 1) < strength.blur:
        image = gaussian_blur(image, uniform(generator, 0.5, 1.5))
    return image.clamp(0, 255)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """(3, H, W) blurred by a Gaussian of ``sigma`` pixels, cut off at three sigma."""
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(image[None], (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)[0]
