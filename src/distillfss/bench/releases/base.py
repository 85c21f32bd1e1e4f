"""What every official release has in common: its facts, how its pairs are found, and what a wrong layout is told.

Nothing here or in the modules beside it uses the network: a person downloads and unpacks a release, and the code says
which folder or file of it is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.files import pictures_in

TRAIN, TEST, VALIDATION = "train", "test", "validation"
"""Parts of a release's own split: support is drawn from the first, the second is tested."""

Picture = Path | NDArray[np.uint8]
"""A picture file that may be taken as it is, or pixels (H, W, 3) uint8 RGB put together from several files."""


class LeftOut(Exception):  # noqa: N818  (no fault: the release holds it, the benchmark does not use it)
    """Raised by ``Entry.read`` for a picture that is no part of the benchmark; the message says why."""


@dataclass(frozen=True)
class Entry:
    """One annotated picture of a release, found but not decoded yet.

    Attributes
    ----------
    stem
        Name of its image and mask in the prepared folder; the release's own, with a prefix where two would collide.
    read
        Returns the picture and its mask (H, W) uint8: 0 background, i + 1 the i-th class, 255 ignore.
    part
        ``train``, ``test`` or ``validation`` where the release, or the paper, says so; else empty. It becomes the
        ``split`` of ``meta.json``, by stem.
    """

    stem: str
    read: Callable[[], tuple[Picture, NDArray[np.uint8]]]
    part: str = ""


@dataclass(frozen=True)
class Found:
    """What was found in a downloaded release.

    Attributes
    ----------
    entries
        Sorted by stem, every stem once.
    classes
        Names the release itself gives, where they are not known beforehand; else empty.
    left_out
        Name of a picture and why it is no part of the data set.
    """

    entries: Sequence[Entry]
    classes: tuple[str, ...] = ()
    left_out: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Release:
    """An official release: where it is to be had, what it holds, and how it is read.

    Attributes
    ----------
    name
        Key in ``RELEASES`` and name of the prepared data set.
    classes
        Foreground classes in the order of the mask values 1, 2, ...; empty if only the release itself names them.
    licence, where, cite, download
        For people: terms, page or DOI, paper, size of the download.
    layout
        The files and folders that are expected, told when one is missing.
    find
        Finds the pairs under a folder. Raises ``DataError`` that names what is missing.
    pairs
        Totals that are known to be complete; empty if nobody states one.
    parts
        Known numbers of pairs by part of the split.
    images_per_class
        Known numbers of images that show a class.
    areas
        Known range of the mean share of the picture a class covers where it occurs.
    ignore
        Whether masks hold 255 for pixels that are not to be counted.
    in_paper
        Whether it is one of the seven data sets of the DistillFSS paper (arXiv 2512.05613).
    """

    name: str
    title: str
    domain: str
    classes: tuple[str, ...]
    licence: str
    where: str
    cite: str
    download: str
    layout: str
    notes: str
    find: Callable[[Path], Found]
    pairs: tuple[int, ...] = ()
    parts: Mapping[str, int] = field(default_factory=dict)
    images_per_class: Mapping[str, int] = field(default_factory=dict)
    areas: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ignore: bool = False
    in_paper: bool = True

    def look(self, root: Path) -> Found:
        """Find the pairs of a downloaded release without decoding any; what is missing is told with the layout."""
        if not root.exists():
            raise DataError("there is no such folder", cure="Check the path", path=root)
        if not root.is_dir():
            raise DataError("is a file, not a folder", cure="Unpack the download and give its folder", path=root)
        try:
            found = self.find(root)
        except Misplaced as fault:
            raise DataError(fault.problem, cure=f"Expected for {self.name}: {self.layout}", path=fault.path) from None
        if not found.entries:
            raise DataError("no annotated picture found", cure=f"Expected for {self.name}: {self.layout}", path=root)
        return replace(found, entries=distinct(found.entries))

    def read(self, root: Path) -> Iterator[tuple[str, Picture, NDArray[np.uint8]]]:
        """Stem, picture and mask (H, W) of every pair, one at a time."""
        for entry in self.look(root).entries:
            try:
                picture, mask = entry.read()
            except LeftOut:
                continue
            yield entry.stem, picture, mask


class Misplaced(DataError):  # noqa: N818
    """A file or folder of the release is not where it belongs; ``Release.look`` adds the expected layout."""

    def __init__(self, problem: str, path: Path) -> None:
        super().__init__(problem, cure="", path=path)


def locate(root: Path, *parts: str, depth: int = 3) -> Path:
    """The one folder at ``root`` or at most ``depth`` levels below it that holds all of ``parts``.

    Archives unpack into one more folder than their page says, or one fewer; both are found.

    Raises
    ------
    Misplaced
        None holds them all (the message names what the nearest one lacks), or several do.
    """
    level, near = [root], root
    for _ in range(depth + 1):
        holding = [folder for folder in level if all((folder / part).exists() for part in parts)]
        if len(holding) > 1:
            names = ", ".join(str(folder.relative_to(root)) for folder in holding[:3])
            raise Misplaced(f"holds several folders with {' and '.join(parts)} ({names}): give one of them", root)
        if holding:
            return holding[0]
        near = next((folder for folder in level if any((folder / part).exists() for part in parts)), near)
        level = [below for folder in level for below in folders_in(folder)]
    missing = [part for part in parts if not (near / part).exists()]
    raise Misplaced(f"holds no {' and no '.join(missing)}", near)


def folders_in(folder: Path) -> list[Path]:
    """Sorted sub-folders, without hidden ones and the litter of macOS archives."""
    try:
        below = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise DataError(f"cannot be listed ({error.strerror})", cure="Allow reading it", path=folder) from None
    return sorted(below)


def pictures(folder: Path) -> list[Path]:
    """Sorted picture files of a folder that must be there and hold some."""
    if not folder.is_dir():
        raise Misplaced(f"holds no folder {folder.name}", folder.parent)
    found = pictures_in(folder)
    if not found:
        raise Misplaced("no pictures in this folder", folder)
    return found


def beside(folder: Path, names: Sequence[str], image: Path, what: str = "mask") -> Path:
    """The first of these names that exists in ``folder``; the mask of ``image``, which must have one."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    where = folder.relative_to(image.parent.parent) if folder.is_relative_to(image.parent.parent) else folder
    raise Misplaced(f"its {what} {where / names[0]} is missing", image)


def distinct(entries: Sequence[Entry]) -> list[Entry]:
    """Sorted entries; where two have one stem, the part of the split goes before it.

    Raises
    ------
    DataError
        If that does not help: the release holds a picture twice.
    """
    counts = Counter(entry.stem for entry in entries)
    named = [replace(e, stem=f"{e.part}__{e.stem}") if counts[e.stem] > 1 and e.part else e for e in entries]
    twice = [stem for stem, count in Counter(entry.stem for entry in named).items() if count > 1]
    if twice:
        raise DataError(f"the name {twice[0]} stands for two pictures", cure="Remove the copies from the download")
    return sorted(named, key=lambda entry: entry.stem)
