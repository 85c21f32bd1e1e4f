"""Frozen features of source views on disk: the backbone runs once per view, the heads thousands of times on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillfss.backbones.base import Layer
from distillfss.errors import OutputError

HALF_MAX = 65504.0
"""Largest number of 16 bits: features beyond it are cut off."""


def grid_sides(layers: Sequence[Layer], size: int) -> list[int]:
    """Sides of the feature maps of a square view of ``size`` pixels."""
    return [-(-size // layer.stride) for layer in layers]


def row_bytes(layers: Sequence[Layer], size: int) -> int:
    """Bytes one view takes on disk: features of 16 bits and a mask of 16 bits per pixel."""
    features = sum(layer.channels * side**2 for layer, side in zip(layers, grid_sides(layers, size), strict=True))
    return 2 * (features + size * size)


def reserve(path: Path) -> None:
    """Have the disk set a file's space aside: a full disk is an error now, not a crash when a page is written later."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


@dataclass(frozen=True)
class CachedView:
    """Pyramid (C_l, h_l, w_l) of 16-bit floats and mask (S, S): class number + 1, 0 background, -1 ignored."""

    features: list[Tensor]
    mask: Tensor


class FeatureCache:
    """A file of features, a file of masks and a file that says which views are there; any number of processes fill it.

    A view that was written half when the process was killed is not marked, and made again.

    Parameters
    ----------
    folder
        Where the files lie. What another backbone, size or set of sources left there is replaced.
    identity
        What decides the contents.
    make
        Image (3, S, S) and mask of a view by its number.
    encode
        Backbone: (1, 3, S, S) to a pyramid.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        count: int,
        layers: Sequence[Layer],
        size: int,
        make: Callable[[int], tuple[Tensor, NDArray[np.int16]]],
        encode: Callable[[Tensor], list[Tensor]],
    ) -> None:
        self._make, self._encode = make, encode
        self._shapes = [
            (layer.channels, side, side) for layer, side in zip(layers, grid_sides(layers, size), strict=True)
        ]
        self._ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes]).tolist()
        self._folder, self._identity = folder, identity
        self._file_shapes = {
            "features": ((count, self._ends[-1]), np.float16),
            "masks": ((count, size, size), np.int16),
            "done": ((count,), np.uint8),
        }
        self._files: dict[str, NDArray[np.generic]] = {}

    def prepare(self) -> None:
        """Make the files, or keep those that are right. One process does this before any opens them.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        about = self._folder / "about"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if about.is_file() and about.read_bytes() == self._identity.encode():
                return
            about.unlink(missing_ok=True)
            for name, (shape, dtype) in self._file_shapes.items():
                np.lib.format.open_memmap(self._path(name), mode="w+", dtype=dtype, shape=shape)
                reserve(self._path(name))
            about.write_bytes(self._identity.encode())
        except OSError as error:
            raise OutputError(
                f"the feature cache cannot be written ({error.strerror or error})",
                path=self._folder,
                cure="Choose another folder with --cache, or a smaller --cache-gb",
            ) from error

    def open(self) -> None:
        """Open the files that ``prepare`` made."""
        self._files = {name: np.load(self._path(name), mmap_mode="r+") for name in self._file_shapes}

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def missing(self) -> list[int]:
        """Views that are not there yet."""
        return np.flatnonzero(self._files["done"] == 0).tolist()

    @torch.no_grad()
    def fill(self, number: int) -> None:
        """Encode one view and write it."""
        image, mask = self._make(number)
        pyramid = self._encode(image[None])
        row = torch.cat([layer.flatten().clamp(-HALF_MAX, HALF_MAX) for layer in pyramid])
        self._files["features"][number] = row.half().cpu().numpy()
        self._files["masks"][number] = mask
        self._files["done"][number] = 1

    def areas(self, number: int, classes: int) -> NDArray[np.float32]:
        """Share of the view that each class covers, (classes,)."""
        mask = self._files["masks"][number]
        counts = np.bincount(mask[mask > 0].ravel(), minlength=classes + 1)[1:]
        return (counts / mask.size).astype(np.float32)

    def __getitem__(self, number: int) -> CachedView:
        row = torch.from_numpy(np.asarray(self._files["features"][number]))
        starts = [0, *self._ends[:-1]]
        features = [
            row[start:end].view(shape) for start, end, shape in zip(starts, self._ends, self._shapes, strict=True)
        ]
        return CachedView(features, torch.from_numpy(np.asarray(self._files["masks"][number])))
