"""Which mask belongs to which image: ``images/STEM.*`` and ``masks/STEM.*`` of a folder."""

from __future__ import annotations

import contextlib
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.files import no_folder, pictures_in
from distillfss.io.masks import read_mask

_LAYOUT = (
    "Put the images into images/ and, under the same names, their masks into masks/; "
    "of other annotation formats, say which (--format)"
)

_OF_GIS = {".gpkg": "a GeoPackage", ".shp": "a shapefile"}
"""What GIS programs save and nothing here reads."""

_OTHER_NAMES = {
    "images": ("image", "img", "imgs", "imagery", "photos", "pictures"),
    "masks": ("mask", "labels", "label", "annotations", "gt", "groundtruth", "ground_truth", "segmentation"),
}

_NO_MASK = (
    "Add the mask (all 0 if nothing is to be found in the image), or let '{command}' copy what is "
    "annotated so far. From the other images fit can learn too (--unlabeled FOLDER)"
)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A mask (H, W) uint8 as its file gives it, and how often what was noticed while drawing it."""

    mask: NDArray[np.uint8]
    remarks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """Some of the classes of a mask picture, in an order of their own; the others are background.

    Attributes
    ----------
    named
        How many classes have names: values above them stay what they are, and so a fault.
    values
        Those of the classes chosen.
    """

    named: int
    values: tuple[int, ...]

    def of(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The mask (H, W) with the i-th class chosen as value i + 1."""
        table = np.arange(256, dtype=np.uint8)
        table[1 : self.named + 1] = 0
        table[list(self.values)] = range(1, len(self.values) + 1)
        return table[mask]


@dataclass(frozen=True)
class Pair:
    """An image file and the file its annotation lies in.

    Attributes
    ----------
    name
        Of the pair, unique in its folder: the image's stem.
    mask
        The mask picture, or another annotation file, which may hold those of many images.
    draw
        Makes the mask where the file is no mask picture.
    choice
        What is taken of the mask picture; None for all of it.
    """

    name: str
    image: Path
    mask: Path
    draw: Callable[[], Drawn] | None = None
    choice: Choice | None = None

    def drawn(self) -> Drawn:
        """The mask. Raises ``DataError`` if it is bad."""
        if self.draw is not None:
            return self.draw()
        mask = read_mask(self.mask)
        return Drawn(mask if self.choice is None else self.choice.of(mask))


def called_after(file: Path, image: Path) -> bool:
    """Whether a file of annotation has the name of its image; one that has not may be about many."""
    return file.stem in (image.stem, image.name)


def with_image(file: Path, image: Path) -> str:
    """A file of annotation as people read it, with the image it is about where its name does not say so."""
    return str(file) if called_after(file, image) else f"{file} ({image.name})"


def find_pairs(folder: Path, images: str = "images", masks: str = "masks") -> tuple[list[Pair], list[DataError]]:
    """Pair the files of two folders in ``folder`` by stem, sorted, and list what could not be paired.

    Raises
    ------
    DataError
        The folder, or one of those two, is missing, unreadable or holds no pictures.
    """
    if not _is_folder(folder):
        raise no_folder(folder)
    images_folder, masks_folder = folder / images, folder / masks
    for part in (images_folder, masks_folder):
        if not _is_folder(part):
            inside = folder.name in ("images", "masks") and _is_folder(folder.parent / "masks")
            cure = "Give the folder above, which holds images/ and masks/" if inside else _LAYOUT
            if (other := _called_otherwise(folder, part.name)) is not None:
                cure = f"Rename {other}/ to {part.name}/, if that is it. {_LAYOUT}"
            elif (layer := _of_gis(folder)) is not None:
                kind = _OF_GIS[layer.suffix.lower()]
                cure = f"Export {layer.name} as GeoJSON ({kind} cannot be read), beside the GeoTIFFs it is drawn on"
            raise DataError(f"has no folder {part.name}/", cure=cure, path=folder)
    pictures, drawn = pictures_in(images_folder), pictures_in(masks_folder)
    for part, found in ((images_folder, pictures), (masks_folder, drawn)):
        if not found:
            raise _no_pictures(part)

    faults: list[DataError] = []
    image_of, mask_of = _by_stem(pictures, faults), _by_stem(drawn, faults)
    for stem in sorted(image_of.keys() | mask_of.keys()):
        if stem not in mask_of:
            faults.append(
                DataError(
                    f"has no mask masks/{image_of[stem].stem}.png",
                    cure=_NO_MASK.format(command=shlex.join(["distillfss", "check", str(folder), "--fix"])),
                    path=image_of[stem],
                )
            )
        elif stem not in image_of:
            faults.append(_no_image(mask_of[stem], images_folder))
    pairs = [Pair(image_of[s].stem, image_of[s], mask_of[s]) for s in sorted(image_of.keys() & mask_of.keys())]
    return pairs, faults


def _by_stem(paths: list[Path], faults: list[DataError]) -> dict[str, Path]:
    first: dict[str, Path] = {}
    for path in paths:
        # macOS writes é as two characters and other systems as one; both are the same name to a person
        stem = unicodedata.normalize("NFC", path.stem)
        if stem in first:
            problem = f"{first[stem].name} and {path.name} have the same name up to the suffix"
            faults.append(DataError(problem, cure="Rename or remove one of them", path=path))
        else:
            first[stem] = path
    return first


def _no_image(mask: Path, images_folder: Path) -> DataError:
    others = sorted(path.name for path in images_folder.iterdir() if path.stem == mask.stem)
    if others:
        problem = f"its image images/{others[0]} is of a format that is not read"
        return DataError(problem, cure=f"Convert images/{others[0]} to PNG or JPEG", path=mask)
    return DataError("has no image of the same name in images/", cure="Add the image, or remove the mask", path=mask)


def _of_gis(folder: Path) -> Path | None:
    """A layer in the folder, or in one within it, that has to be exported first."""
    with contextlib.suppress(OSError):
        found = [path for path in [*folder.glob("*"), *folder.glob("*/*")] if path.suffix.lower() in _OF_GIS]
        return min(found, default=None)
    return None


def _called_otherwise(folder: Path, name: str) -> str | None:
    """A folder that may be meant: of this name in capitals, or of one that others use."""
    names = (name, *_OTHER_NAMES.get(name, ()))
    with contextlib.suppress(OSError, DataError):  # of a folder that cannot be listed nothing is to be said here
        there = sorted(path.name for path in folder.iterdir() if path.name != name and path.is_dir())
        return next((each for each in there if each.casefold() in names and pictures_in(folder / each)), None)
    return None


def _no_pictures(folder: Path) -> DataError:
    within = sorted(
        path.name for path in folder.iterdir() if path.name[0] != "." and path.is_dir() and pictures_in(path)
    )
    if not within:
        return DataError("no pictures in this folder", cure=_LAYOUT, path=folder)
    shown = ", ".join(within[:3]) + (f" and {len(within) - 3} more" if len(within) > 3 else "")
    cure = (
        f"Put all of them into this one, under names that differ, such as {within[0]}_STEM.png, images and masks alike"
    )
    return DataError(
        f"its pictures are in folders within it ({shown}), which are not looked into", cure=cure, path=folder
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError as exc:
        raise DataError(
            "permission denied", cure="Allow reading the folder above it (chmod u+rx), or ask its owner", path=path
        ) from exc
    except ValueError:
        return False
