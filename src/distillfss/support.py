"""Annotated images: the support set a model is fitted to, and labelled folders it is evaluated on.

Everything that can be wrong with them is found here, before any training: all faulty files are named together, each
with its cure.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.errors import DataError, UsageError
from distillfss.grouping import equal, firsts
from distillfss.io.annotations import AUTO, read_annotations
from distillfss.io.class_names import class_name, perhaps_one
from distillfss.io.decode import to_rgb8
from distillfss.io.faults import raise_faults
from distillfss.io.labelled import (
    BINARY,
    LabelledFolder,
    Sample,
    check_sizes,
    drawing_notices,
    opening_notices,
    read_pair,
)
from distillfss.io.legend import (
    MAX_CLASSES,
    Legend,
    foreground_names,
    is_binary,
    made_names,
    nothing_marked,
    too_many,
    unnamed_value,
    without_foreground,
)
from distillfss.io.masks import IGNORE, mask_from_array
from distillfss.io.pairs import Drawn, Pair, with_image
from distillfss.metrics import resize_mask
from distillfss.notices import Notice, NoticeKind, as_notice, texts
from distillfss.same_pictures import scenes

__all__ = ["LabelledFolder", "Sample", "SupportSet"]


MAX_KEPT_PIXELS = 2048 * 2048
"""A photograph is kept at no more than the largest working resolution: 80 of them must not fill the memory."""


def at_most(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], pixels: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (H, W, 3) and mask (H, W), shrunk together if they have more pixels than that."""
    height, width = mask.shape
    if height * width <= pixels:
        return image, mask
    scale = (pixels / (height * width)) ** 0.5
    size = max(1, int(height * scale)), max(1, int(width * scale))
    shrunk = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.asarray(shrunk), resize_mask(mask, size)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


class SupportSet:
    """The annotated images a model is fitted to, checked and in memory (uint8, each at its own size).

    Attributes
    ----------
    samples
        Images with masks, photographs shrunk to 4 megapixels; 0 background, i + 1 is ``class_names[i]``, 255 ignore.
    class_names
        1 to 20 foreground classes.
    notices
        One line per thing that was converted or assumed.
    remarks
        The same with their kinds, for code that has to choose among them.
    reading
        How GeoTIFF and DICOM images were read, as ``meta.json`` says: ``bands`` and ``range``, where given.
    folder
        Where they were read from; None if from memory.
    groups
        Of every image the name of the patient, film, field it is of, see ``grouped``; empty if nobody told.

    Raises
    ------
    DataError
        If there is no image.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        class_names: Sequence[str],
        notices: Sequence[Notice | str] = (),
        reading: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        groups: Sequence[str] = (),
    ) -> None:
        self.samples = tuple(samples)
        if not self.samples:
            raise DataError("there is no annotated image", cure="Take at least one image with its mask")
        self.class_names = tuple(map(class_name, class_names))
        self.remarks = tuple(as_notice(notice) for notice in notices)
        self.reading = dict(reading or {})
        self.folder = folder
        self.groups = tuple(groups)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        classes: Sequence[str] | None = None,
        format: str = AUTO,
        reading: Mapping[str, Any] | None = None,
    ) -> SupportSet:
        """Read a folder with ``images/``, ``masks/`` (same stems) and, if there is one, ``meta.json``; other formats.

        ``classes`` chooses among the names that ``meta.json`` or the objects' labels give, in an order of its own;
        other objects count as background. Where mask values have no names, or others, it names them: mask value i + 1
        is ``classes[i]``. With neither they are called ``class_1``, ... A mask without foreground is fine as long as
        some class is somewhere; one that is nowhere is told, and never found. ``format`` is a key of
        ``io.annotations.FORMATS`` or ``auto``. ``reading`` is how a model's GeoTIFF and DICOM images were read, and so
        how these are, where ``meta.json`` says nothing.

        Raises
        ------
        DataError
            Anything wrong with the folder or any file; several faults come as one ``SeveralFaultsError`` naming all.
        """
        root = Path(path)
        annotations = read_annotations(root, classes, format)
        faults, legend = list(annotations.faults), annotations.legend.read_as(reading)
        bands_of_a_model = annotations.legend.bands is None and legend.bands is not None
        remarked: list[Drawn] = []
        read: list[tuple[Pair, Sample, NDArray[np.bool_] | None]] = []
        notices: list[Notice | str] = [*opening_notices(root, annotations)]
        empty = np.zeros((0, 0), np.uint8)
        for pair in annotations.pairs:
            try:
                image, drawn = read_pair(pair, legend)
            except DataError as fault:
                faults.append(fault)
            except UsageError as error:
                if not bands_of_a_model:
                    raise
                cure = "Leave it out, or take a file that has them"
                faults.append(DataError(f"{error.problem}; the model reads these", cure=cure, path=pair.image))
            else:
                kept = at_most(image.pixels, drawn.mask, MAX_KEPT_PIXELS)
                valid = image.valid
                if valid is not None:
                    valid = resize_mask(valid.astype(np.uint8), kept[1].shape) > 0
                read.append((pair, Sample(pair.name, *kept, shrunk=(drawn.mask.size / kept[1].size) ** 0.5), valid))
                remarked.append(Drawn(empty, drawn.remarks))
                notices += image.notices
        notices += drawing_notices(root, remarked)
        places, told = [pair.mask for pair, *_ in read], [with_image(pair.mask, pair.image) for pair, *_ in read]
        samples, valid_of = [sample for _, sample, _ in read], [valid for *_, valid in read]
        return cls._checked(samples, valid_of, places, told, legend, faults, notices, root)

    @classmethod
    def from_arrays(
        cls,
        images: Sequence[NDArray[np.generic] | Image.Image],
        masks: Sequence[NDArray[np.generic] | Image.Image],
        classes: Sequence[str] | None = None,
    ) -> SupportSet:
        """Take images (see ``to_rgb8``) and masks (class indices (H, W), integer or bool) from memory, as copies."""
        if len(images) != len(masks):
            raise UsageError(f"{len(images)} images but {len(masks)} masks", cure="Pass one mask for every image")
        if not len(images):
            raise DataError("the support set is empty", cure="Pass at least one image with its mask")
        faults: list[DataError] = []
        samples: list[Sample] = []
        for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
            try:
                with_index = "images"
                pixels = to_rgb8(image)
                with_index = "masks"
                indices = mask_from_array(mask)
                check_sizes(pixels, indices, None)
            except DataError as fault:
                faults.append(DataError(f"{with_index}[{index}]: {fault.problem}", cure=fault.cure))
            else:
                samples.append(Sample(f"image_{index}", pixels, indices))
        legend = Legend(None if classes is None else foreground_names(classes))
        places = [Path(f"masks[{sample.name.removeprefix('image_')}]") for sample in samples]
        everywhere = [None] * len(samples)
        return cls._checked(samples, everywhere, places, [str(place) for place in places], legend, faults, [], None)

    @classmethod
    def _checked(
        cls,
        samples: list[Sample],
        valid_of: Sequence[NDArray[np.bool_] | None],
        places: list[Path],
        told: list[str],
        legend: Legend,
        faults: list[DataError],
        notices: list[Notice | str],
        root: Path | None,
    ) -> SupportSet:
        """Settle what the mask values mean and refuse what cannot be learnt.

        ``valid_of`` says where images hold data, ``places`` names the masks' files in errors, ``told`` the masks in
        notices.
        """
        values = [np.unique(sample.mask).tolist() for sample in samples]
        where = "the masks" if root is None else f"{root}"
        try:
            binary = is_binary(values, legend, places)
        except DataError as fault:
            raise_faults([*faults, fault])
            raise
        if binary:
            notices.append(f"{where}: {BINARY}")
            for sample in samples:
                sample.mask[sample.mask == IGNORE] = 1
        for sample, valid in zip(samples, valid_of, strict=True):
            if valid is not None:
                sample.mask[~valid] = IGNORE
        values = [np.unique(sample.mask).tolist() for sample in samples]
        names = legend.names
        if names is None:
            highest = min(max((v for each in values for v in each if v != IGNORE), default=0), MAX_CLASSES)
            names = made_names([highest])
        made = legend.names is None
        found = (unnamed_value(each, names, place, made=made) for each, place in zip(values, places, strict=True))
        raise_faults([*faults, *(fault for fault in found if fault is not None)])

        unlearnable = too_many(names, root) or nothing_marked(values, root)
        if unlearnable is not None:
            raise unlearnable
        notices += [f"{where}: {problem}; {_lower(cure)}" for problem, cure in perhaps_one(names)]
        present = {value for each in values for value in each}
        absent = [name for value, name in enumerate(names, start=1) if value not in present]
        if absent:
            # Left out, it would renumber the classes after it; kept, the numbers in every mask keep their meaning.
            none = f"{where}: no pixel of {', '.join(absent)} in any mask, so the model will never find it"
            notices.append(Notice(f"{none}; annotate an image that shows it", NoticeKind.NEVER_FOUND))
        for each, mask in zip(values, told, strict=True):
            if not set(each) - {0, IGNORE}:
                problem, cure = without_foreground(each)
                notices.append(f"{mask}: {problem}; {_lower(cure)}")
        reading = {"bands": legend.bands and list(legend.bands), "range": legend.value_range and [*legend.value_range]}
        reading = {key: value for key, value in reading.items() if value is not None}
        return cls(samples, names, notices, reading, root)

    @property
    def notices(self) -> tuple[str, ...]:
        return texts(self.remarks)

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"SupportSet({len(self)} images, classes {', '.join(self.class_names)})"

    def shots(self) -> dict[str, int]:
        """In how many images every class occurs."""
        return {name: len(places) for name, places in zip(self.class_names, self._showing(), strict=True)}

    @functools.cached_property
    def never(self) -> tuple[int, ...]:
        """Places of the classes that no image shows; none if no image shows any class."""
        found = tuple(place for place, showing in enumerate(self._showing()) if not showing)
        return found if len(found) < len(self.class_names) else ()

    def _showing(self) -> list[list[int]]:
        """Of every class the places of the images in which it occurs."""
        values = range(1, len(self.class_names) + 1)
        return [[place for place, each in enumerate(self.samples) if (each.mask == value).any()] for value in values]

    @functools.cached_property
    def scenes(self) -> tuple[int, ...]:
        """For every image the place of the first of its scene: an image and its copies are one (``same_pictures``)."""
        images, masks, names = zip(*((each.image, each.mask, each.name) for each in self.samples), strict=True)
        return tuple(scenes(images, masks, len(self.class_names), names))

    @property
    def firsts(self) -> list[int]:
        """Places of the first images of all scenes: all but the copies."""
        return sorted(set(self.scenes))

    @property
    def different(self) -> int:
        """How many images it has, copies not counted."""
        return len(self.firsts)

    def grouped(self, pattern: str) -> SupportSet:
        """The same images, told which belong together: of one patient, film, field.

        What is found in images of a group by a model that knows the group says nothing of new ones, so a fit holds
        back whole groups to estimate how good it will be. What is learnt is the same.

        Parameters
        ----------
        pattern
            Regular expression, looked for in the images' names (stems). Those in which it finds the same (what its
            parentheses hold, if it has any) are one group.

        Raises
        ------
        UsageError
            If it is no regular expression, or all images are of one group.
        DataError
            If it is not found in some names.
        """
        try:
            expression = re.compile(pattern)
        except re.error as error:
            cure = r"For images called p07_003.png, of patient p07, take '^p\d+'"
            raise UsageError(f"{pattern!r} is no regular expression: {error}", cure=cure) from None
        found = [expression.search(sample.name) for sample in self.samples]
        if missing := [sample.name for sample, match in zip(self.samples, found, strict=True) if match is None]:
            shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            cure = "Take a pattern that is in all names; what it finds there names the group"
            raise DataError(f"the group of {shown} is unknown: {pattern!r} is not in the name", cure=cure)
        groups = ["/".join(part or "" for part in match.groups()) or match[0] for match in found if match]
        if len(set(groups)) == 1:
            raise UsageError(
                f"all {len(groups)} images are of one group, {groups[0]!r}, so there is no other to learn from",
                cure="Do without groups: the estimate is for images of the same one then",
            )
        return SupportSet(self.samples, self.class_names, self.remarks, self.reading, self.folder, groups)

    @functools.cached_property
    def together(self) -> tuple[int, ...]:
        """For every image the place of the first one of its group; of its scene, if nobody told of groups."""
        if not self.groups:
            return self.scenes
        return firsts([*equal(self.groups), *enumerate(self.scenes)], len(self))

    def fewest(self) -> int:
        """In how many different images the rarest class occurs, of those that occur at all; 0 if none does."""
        return min((len({self.scenes[place] for place in places}) for places in self._showing() if places), default=0)

    def typical_side(self) -> int:
        """The side, in pixels of the files, of a square as large as the images typically are: their median.

        Tiles of large images have this side, so that things are seen at the size they were learnt at.
        """
        return round(float(np.median([sample.mask.size**0.5 * sample.shrunk for sample in self.samples])))

    def subset(self, indices: Iterable[int]) -> SupportSet:
        """These images in this order, with the same classes, some of which may then be without a pixel (``shots``).

        Raises ``DataError`` if there is none among them, ``UsageError`` if one is not there.
        """
        chosen = list(indices)
        if (wrong := next((index for index in chosen if not -len(self) <= index < len(self)), None)) is not None:
            raise UsageError(f"there is no image {wrong} among {len(self)}", cure=f"Choose from 0 to {len(self) - 1}")
        samples = [self.samples[index] for index in chosen]
        groups = [self.groups[index] for index in chosen] if self.groups else ()
        return SupportSet(samples, self.class_names, self.remarks, self.reading, self.folder, groups)

    def fingerprint(self) -> str:
        """Hex SHA-256 over class names, pixels and masks in their order, not over file names."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for sample in self.samples:
            digest.update(repr(sample.image.shape).encode())
            digest.update(np.ascontiguousarray(sample.image).data)
            digest.update(np.ascontiguousarray(sample.mask).data)
        return digest.hexdigest()
