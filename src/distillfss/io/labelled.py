"""Folders of images with masks, read one pair at a time."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.annotations import AUTO, Annotations, read_annotations
from distillfss.io.annotations.drawing import sentences
from distillfss.io.decode import DecodedImage, read_image
from distillfss.io.faults import raise_faults
from distillfss.io.legend import META, Legend, foreground_names, is_binary, made_names, unnamed_value
from distillfss.io.masks import IGNORE
from distillfss.io.pairs import Drawn, Pair, called_after

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
    """Images and their annotation, read one pair at a time, so thousands of them take no memory.

    Opening looks at file names only; what is wrong inside a file is a ``DataError`` when the pair is read, so that one
    bad file can be skipped. Where it is open what the mask values mean (no names, or one), the masks are looked through
    once, when this is first needed.
    """

    def __init__(self, root: Path, annotations: Annotations, note: str = "") -> None:
        self.root = root
        self._note = note
        self._annotations = annotations
        self._pairs = tuple(annotations.pairs)
        self._legend = annotations.legend

    @classmethod
    def open(cls, path: str | Path, classes: Sequence[str] | None = None, format: str = AUTO) -> LabelledFolder:
        """Open a folder with ``images/``, ``masks/`` (same stems) and, if there is one, ``meta.json``; other formats.

        Parameters
        ----------
        path
            The folder.
        classes
            Which of the classes that ``meta.json`` or the objects' labels name are the foreground, in this order; the
            others count as background. Where mask values have no names, or others: those of the values 1, 2, ...
        format
            Key of ``io.annotations.FORMATS``, or ``auto``.

        Raises
        ------
        DataError
            Folders missing or unreadable, images without mask or the reverse, two files with one stem, a bad
            ``meta.json``. Several faults come as one ``SeveralFaultsError``.
        """
        root = Path(path)
        annotations = read_annotations(root, classes, format)
        raise_faults(annotations.faults)
        return cls(root, annotations)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Foreground classes; ``class_1``, ... as far as the masks go if nobody named them."""
        return self._meaning[0]

    @property
    def notices(self) -> tuple[str, ...]:
        """What was assumed about the masks."""
        binary = f"{self.root}: {BINARY}" if self._meaning[1] else ""
        return tuple(note for note in (self._note, binary, *opening_notices(self.root, self._annotations)) if note)

    @property
    def format(self) -> str:
        """Key of ``io.annotations.FORMATS``."""
        return self._annotations.format

    @property
    def legend(self) -> Legend:
        """What the folder says about its masks."""
        return self._legend

    @property
    def names(self) -> tuple[str, ...]:
        """Stems, sorted."""
        return tuple(pair.name for pair in self._pairs)

    def named_as(self, classes: Sequence[str]) -> LabelledFolder:
        """The same folder with these names for its classes 1, 2, ..., if nobody named them; else itself.

        Names that were gathered from the objects' labels stay, those of ``classes`` that none of them has are added:
        another folder may show them. One with none of ``classes`` is about something else, or names it otherwise.
        """
        have = self._legend.names
        if have is not None and not (self._annotations.collected and set(have) & set(foreground_names(classes))):
            return self
        if have is not None:
            names = (*have, *(name for name in foreground_names(classes) if name not in have))
            return LabelledFolder(
                self.root,
                replace(self._annotations, legend=replace(self._legend, names=names, ignore_declared=True)),
                self._note,
            )
        legend = replace(self._legend, names=foreground_names(classes))
        note = f"the masks' classes have no names, taken in the model's order: {', '.join(legend.names or ())}"
        return LabelledFolder(self.root, replace(self._annotations, legend=legend), note)

    def read_as(self, reading: Any) -> LabelledFolder:
        """The same folder, GeoTIFF and DICOM files read as ``SupportSet.reading`` or a model's says.

        What the folder's own ``meta.json`` says goes before it.
        """
        annotations = replace(self._annotations, legend=self._legend.read_as(reading))
        return LabelledFolder(self.root, annotations, self._note)

    def refuse_white(self) -> None:
        """Refuse masks of 0 and 255 alone where several classes are named: all that is marked would count as ignored.

        Masks are looked through until one holds a class. Masks of 0 alone are a test of false alarms, and 255 may be
        declared to mean "ignore".

        Raises
        ------
        DataError
            It is so.
        """
        if self._legend.ignore_declared or not self._legend.settled:
            return
        white = False
        for pair in self._pairs:
            with contextlib.suppress(DataError):  # reported when this pair is read
                values = set(np.unique(replace(pair, choice=None).drawn().mask).tolist())
                if values - {0, IGNORE}:
                    return
                white = white or IGNORE in values
        if white:
            raise DataError(
                "no mask of the whole folder holds any foreground (255 means ignore here)",
                cure=f"Save the masks with the values of the classes ({_values(self.class_names)}), or use a model of "
                f'one class; if nothing is to be found, declare "ignore_index": 255 in {META}',
                path=self.root,
            )

    @property
    def reading(self) -> tuple[tuple[int, ...] | None, tuple[float, float] | None]:
        """Bands and range of its maps and scans."""
        return self._legend.bands, self._legend.value_range

    def image_path(self, index: int) -> Path:
        return self._pairs[index].image

    def mask_path(self, index: int) -> Path:
        """The file the annotation of an image lies in; other images may share it."""
        return self._pairs[index].mask

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # no slices: they would read every file
        """Read a pair. Raises ``DataError`` if a file is bad, the sizes differ or a mask value has no name."""
        pair = self._pairs[index]
        image, drawn = read_pair(pair, self._legend)
        mask = drawn.mask
        names, binary = self._meaning
        if binary:
            mask[mask == IGNORE] = 1
        if image.valid is not None:
            mask[~image.valid] = IGNORE
        fault = unnamed_value(np.unique(mask).tolist(), names, pair.mask)
        if fault is not None:
            raise fault
        return Sample(pair.name, image.pixels, mask)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels (H, W, 3) of an image, read as ``meta.json`` says, without its mask. Raises ``DataError``."""
        return read_image(self._pairs[index].image, self._legend.bands, self._legend.value_range).pixels

    def raw_mask(self, index: int) -> NDArray[np.uint8]:
        """A pair's mask (H, W) as its file gives it, without its image. Raises ``DataError`` if it is bad."""
        return _drawn(self._pairs[index]).mask

    def classes_in(self, index: int) -> list[int]:
        """The classes in a pair's mask, sorted, without reading its image. Raises ``DataError`` if the mask is bad."""
        values = set(np.unique(self.raw_mask(index)).tolist())
        if self._meaning[1] and IGNORE in values:
            values.add(1)
        return sorted(values - {0, IGNORE})

    @cached_property
    def _meaning(self) -> tuple[tuple[str, ...], bool]:
        """Class names, and whether 255 is the class."""
        names = self._legend.names
        if names is not None and self._legend.settled:
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
                found[pair.mask] = np.unique(pair.drawn().mask).tolist()
        return found


def _values(names: Sequence[str]) -> str:
    return ", ".join(f"{value} {name}" for value, name in enumerate(names[:5], start=1)) + ", ..." * (len(names) > 5)


def opening_notices(root: Path, annotations: Annotations) -> list[str]:
    """What opening a folder has to say."""
    left = annotations.unlabelled
    shown = ", ".join(path.name for path in left[:3]) + (", ..." if len(left) > 3 else "")
    said = f"{root}: {len(left)} image{'s' * (len(left) != 1)} without annotation left out ({shown})"
    return [*annotations.notices, *([said] if left else [])]


def drawing_notices(root: Path, drawn: Iterable[Drawn]) -> list[str]:
    """What drawing the masks of a folder has to say, once for all of them."""
    remarks: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for each in drawn:
        remarks.update(each.remarks)
        images.update(each.remarks.keys())
    return [f"{root}: {sentence}" for sentence in sentences(remarks, images)]


def read_pair(pair: Pair, legend: Legend) -> tuple[DecodedImage, Drawn]:
    """Image, and its mask as drawn. Raises ``DataError`` if a file is bad or the sizes differ.

    Where the image holds no data the mask says nothing, whatever is drawn there; but first 255 has to be settled.
    """
    image, drawn = read_image(pair.image, legend.bands, legend.value_range), _drawn(pair)
    check_sizes(image.pixels, drawn.mask, pair.mask)
    return image, drawn


def _drawn(pair: Pair) -> Drawn:
    """The mask of a pair; what is wrong in a file that may hold many images is told with the name of this one."""
    try:
        return pair.drawn()
    except DataError as fault:
        if fault.path != pair.mask or called_after(pair.mask, pair.image) or pair.image.name in fault.problem:
            raise
        raise type(fault)(f"{fault.problem} ({pair.image.name})", cure=fault.cure, path=fault.path) from fault


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
