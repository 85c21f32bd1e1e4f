"""Folders of images with masks, read one pair at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.decode import read_image
from distillfss.io.faults import raise_faults
from distillfss.io.legend import META, Legend, foreground_names, is_binary, made_names, read_legend, unnamed_value
from distillfss.io.masks import IGNORE, read_mask
from distillfss.io.pairs import Pair, find_pairs

BINARY = f"masks hold only 0 and 255, so 255 is taken as the class; declare it with ignore_index in {META} to ignore it"


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its mask.

    Attributes
    ----------
    name
        The file's stem.
    image
        (H, W, 3) uint8 RGB.
    mask
        (H, W) uint8: 0 background, i + 1 the i-th class name, 255 ignore.
    shrunk
        How many pixels of the file, along a side, one of these pixels stands for.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    shrunk: float = 1.0


class LabelledFolder(Sequence[Sample]):
    """``images/`` and ``masks/`` of a folder, read one pair at a time, so thousands of them take no memory.

    Opening looks at file names only; what is wrong inside a file is a ``DataError`` when the pair is read, so that one
    bad file can be skipped. Where it is open what the mask values mean (no names, or one), the masks are looked through
    once, when this is first needed.
    """

    def __init__(self, root: Path, pairs: Sequence[Pair], legend: Legend, note: str = "") -> None:
        self.root = root
        self._note = note
        self._pairs = tuple(pairs)
        self._legend = legend

    @classmethod
    def open(cls, path: str | Path, classes: Sequence[str] | None = None) -> LabelledFolder:
        """Open a folder with ``images/``, ``masks/`` (same stems) and, if there is one, ``meta.json``.

        Parameters
        ----------
        path
            The folder.
        classes
            Names of the foreground classes, mask value i + 1 is ``classes[i]``; they take the place of those in
            ``meta.json``.

        Raises
        ------
        DataError
            Folders missing or unreadable, images without mask or the reverse, two files with one stem, a bad
            ``meta.json``. Several faults come as one ``SeveralFaultsError``.
        """
        root = Path(path)
        pairs, faults = find_pairs(root)
        raise_faults(faults)
        return cls(root, pairs, folder_legend(root, classes))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Foreground classes; ``class_1``, ... as far as the masks go if nobody named them."""
        return self._meaning[0]

    @property
    def notices(self) -> tuple[str, ...]:
        """What was assumed about the masks."""
        binary = f"{self.root}: {BINARY}" if self._meaning[1] else ""
        return tuple(note for note in (self._note, binary) if note)

    @property
    def names(self) -> tuple[str, ...]:
        """Stems, sorted."""
        return tuple(pair.name for pair in self._pairs)

    def named_as(self, classes: Sequence[str]) -> LabelledFolder:
        """The same folder with these names for its classes 1, 2, ..., if nobody named them; else itself."""
        if self._legend.names is not None:
            return self
        legend = replace(self._legend, names=foreground_names(classes))
        note = f"the masks' classes have no names, taken in the model's order: {', '.join(legend.names or ())}"
        return LabelledFolder(self.root, self._pairs, legend, note)

    def image_path(self, index: int) -> Path:
        return self._pairs[index].image

    def mask_path(self, index: int) -> Path:
        return self._pairs[index].mask

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # no slices: they would read every file
        """Read a pair. Raises ``DataError`` if a file is bad, the sizes differ or a mask value has no name."""
        pair = self._pairs[index]
        image, mask, _ = read_pair(pair, self._legend)
        names, binary = self._meaning
        if binary:
            mask[mask == IGNORE] = 1
        fault = unnamed_value(np.unique(mask).tolist(), names, pair.mask)
        if fault is not None:
            raise fault
        return Sample(pair.name, image, mask)

    def classes_in(self, index: int) -> list[int]:
        """The classes in a pair's mask, sorted, without reading its image. Raises ``DataError`` if the mask is bad."""
        values = set(np.unique(read_mask(self._pairs[index].mask)).tolist())
        if self._meaning[1] and IGNORE in values:
            values.add(1)
        return sorted(values - {0, IGNORE})

    @cached_property
    def _meaning(self) -> tuple[tuple[str, ...], bool]:
        """Class names, and whether 255 is the class."""
        names = self._legend.names
        if names is not None and (len(names) > 1 or self._legend.ignore_declared):
            return names, False  # nothing to find out
        values = self._mask_values()
        binary = is_binary(values.values(), self._legend, values)
        if names is not None:
            return names, binary
        return made_names([1] if binary else (value for each in values.values() for value in each)), binary

    def _mask_values(self) -> dict[Path, list[int]]:
        found = {}
        for pair in self._pairs:
            with contextlib.suppress(DataError):  # reported when this pair is read
                found[pair.mask] = np.unique(read_mask(pair.mask)).tolist()
        return found


def folder_legend(root: Path, classes: Sequence[str] | None) -> Legend:
    """``meta.json`` of a folder; names the user gave take the place of its own."""
    legend = read_legend(root)
    return legend if classes is None else replace(legend, names=foreground_names(classes))


def read_pair(pair: Pair, legend: Legend) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[str, ...]]:
    """Image (H, W, 3), raw mask (H, W), notices. Raises ``DataError`` if a file is bad or the sizes differ."""
    image, mask = read_image(pair.image, legend.bands, legend.value_range), read_mask(pair.mask)
    check_sizes(image.pixels, mask, pair.mask)
    return image.pixels, mask, image.notices


def check_sizes(image: NDArray[np.uint8], mask: NDArray[np.uint8], path: Path | None) -> None:
    """Refuse a mask (at ``path``) that has not the size of its image."""
    (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
    if (height, width) == (mask_height, mask_width):
        return
    cure = "Save the mask at the size of the image, without smoothing"
    if (height, width) == (mask_width, mask_height):
        cure = "The sides are swapped: the image is probably turned by its EXIF orientation; turn the mask as well"
    raise DataError(
        f"the mask has {mask_width}x{mask_height} pixels but its image {width}x{height}", cure=cure, path=path
    )
