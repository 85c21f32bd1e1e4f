"""What a reader of a format makes of a folder, and what all of them need: the pictures, and text files with limits."""

from __future__ import annotations

import contextlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from distillfss.errors import DataError
from distillfss.io.annotations.drawing import NameTable, name_table
from distillfss.io.faults import FormatFaultError
from distillfss.io.legend import META, Legend, read_legend
from distillfss.io.opening import SUFFIXES
from distillfss.io.pairs import Pair

MOST_BYTES = 256 << 20
"""Largest annotation file that is parsed: in memory it takes some ten times as much."""
DEEPEST = 3
"""Folders below the one given in which pictures are looked for."""
NO_PICTURES = frozenset({"masks", "ann", "segmentationclass", "segmentationobject", "labels"})
"""Folders whose pictures are masks."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """A folder as the reader of its format sees it.

    Attributes
    ----------
    format
        Key of ``FORMATS``.
    pairs
        Images with their annotation, sorted by name.
    faults
        What could not be paired.
    legend
        What the mask values mean.
    collected
        Whether the class names were gathered from the objects' labels: another folder may hold others.
    unlabelled
        Pictures nobody annotated, where the format does not make that a fault.
    notices
        What was assumed.
    """

    format: str
    pairs: list[Pair]
    faults: list[DataError]
    legend: Legend
    collected: bool = False
    unlabelled: list[Path] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Format:
    """A format: what it is for people, whether a folder is of it, and its reader (folder, chosen classes)."""

    title: str
    detect: Callable[[Path], bool]
    read: Callable[[Path, Sequence[str] | None], Annotations]


class Pictures:
    """The pictures of a folder and up to three levels below, found by the names annotation files give them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = sorted(_walk(folder, 0))
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in self.paths:
            self._by_name.setdefault(_key(path.name), []).append(path)
            self._by_stem.setdefault(_key(path.stem), []).append(path)

    def named(self, name: str, path: Path) -> Path:
        """The picture a file calls by this name or path; only the end of the path has to fit.

        Raises
        ------
        DataError
            There is none, or several fit equally well; about the annotation file ``path``.
        """
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
        found = self._by_name.get(_key(parts[-1]), []) if parts else []
        if len(found) > 1:
            wanted = [_key(part) for part in parts]
            fits = [_common([_key(p) for p in each.relative_to(self.folder).parts], wanted) for each in found]
            found = [each for each, fit in zip(found, fits, strict=True) if fit == max(fits)]
        return _only(found, name, path)

    def with_stem(self, stem: str, path: Path) -> Path:
        """The picture of this name without its suffix, like ``named``; a name with a suffix is taken as well."""
        found = self._by_stem.get(_key(stem), []) or self._by_name.get(_key(stem), [])
        return _only(found, stem, path)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as exc:
        raise DataError(
            f"cannot be listed ({exc.strerror})", cure="Check the path and the permissions", path=folder
        ) from exc
    for entry in inside:
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            if Path(entry.name).suffix.lower() in SUFFIXES:
                yield Path(entry.path)
        elif depth < DEEPEST and entry.name.casefold() not in NO_PICTURES:
            yield from _walk(Path(entry.path), depth + 1)


def _only(found: list[Path], name: str, path: Path) -> Path:
    if not found:
        raise DataError(f"its image {name} is not in the folder", cure="Put the image there", path=path)
    if len(found) > 1:
        raise DataError(
            f"its image {name} could be {found[0]} or {found[1]}", cure="Rename or remove one of them", path=path
        )
    return found[0]


def _common(have: Sequence[str], wanted: Sequence[str]) -> int:
    """How many parts agree from the end."""
    count = 0
    for one, other in zip(reversed(have), reversed(wanted), strict=False):
        if one != other:
            break
        count += 1
    return count


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def is_dir(path: Path) -> bool:
    """Whether this is a folder; one that may not be looked at is none."""
    return os.path.isdir(path)  # noqa: PTH112 (pathlib's raises where permission is denied)


def is_file(path: Path) -> bool:
    """Whether this is a file that may be looked at."""
    return os.path.isfile(path)  # noqa: PTH113


def files_with(folder: Path, *suffixes: str) -> list[Path]:
    """Files with these suffixes in the folder and the folders in it, sorted; hidden ones and ``meta.json`` are not."""
    found: list[Path] = []
    try:
        for place in (folder, *sorted(each for each in folder.iterdir() if is_dir(each) and each.name[0] != ".")):
            with os.scandir(place) as entries:
                found += [
                    Path(entry.path)
                    for entry in entries
                    if entry.name.lower().endswith(suffixes) and entry.name[0] != "." and entry.name != META
                ]
    except OSError:
        return sorted(found)
    return sorted(found)


def damaged_json(folder: Path) -> list[DataError]:
    """What is wrong with JSON files of the folder: they may be why it seems to be of no format."""
    meta = [folder / META] if is_file(folder / META) else []
    faults = []
    for path in [*meta, *files_with(folder, ".json")]:
        try:
            read_json(path)
        except DataError as fault:
            faults.append(fault)
    return faults


def read_json(path: Path) -> Any:
    """A JSON file. Raises ``DataError`` if it is missing, too large or no JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise FormatFaultError(f"is not valid JSON ({exc})", cure="Export the annotation again", path=path) from exc


def read_text(path: Path) -> str:
    """A text file. Raises ``DataError`` if it is missing, too large or no text."""
    return read_bytes(path).decode("utf-8-sig", errors="replace")


def read_bytes(path: Path) -> bytes:
    """A file within the limit on annotation files."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(
                f"has {size / 2**20:.0f} MB, the limit for annotation files is {MOST_BYTES >> 20}",
                cure="Export only the images you need",
                path=path,
            )
        if not path.is_file():  # a pipe would wait for ever
            raise DataError("is no ordinary file", cure="Check the path", path=path)
        return path.read_bytes()
    except OSError as exc:
        raise DataError(f"cannot be read ({exc.strerror})", cure="Check the file", path=path) from exc


def json_keys(path: Path) -> frozenset[str]:
    """Keys of the object in a JSON file; of a list, those of its first object and ``[]``; empty if it is none."""
    try:
        status = path.stat()
    except OSError:
        return frozenset()
    return _json_keys(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100_000)  # every format asks of every file
def _json_keys(path: Path, size: int, changed: int) -> frozenset[str]:
    try:
        content = read_json(path)
    except DataError:
        return frozenset()
    if isinstance(content, dict):
        return frozenset(map(str, content))
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return frozenset([*map(str, content[0]), "[]"])
    return frozenset()


def assemble(
    format_name: str,
    pictures: Pictures,
    pairs: Iterable[Pair],
    faults: Sequence[DataError],
    table: NameTable,
    notices: Sequence[str] = (),
) -> Annotations:
    """Sort the pairs, give those of one stem names that differ, and list the pictures nobody annotated."""
    faults = list(faults)
    by_image: dict[Path, Pair] = {}
    for pair in pairs:
        if pair.image in by_image:
            cure = "Leave one of them"
            faults.append(DataError(f"annotates {pair.image.name} a second time", cure=cure, path=pair.mask))
        else:
            by_image[pair.image] = pair
    stems: dict[str, list[Pair]] = {}
    for pair in by_image.values():
        stems.setdefault(_key(pair.image.stem), []).append(pair)
    named = []
    for stem, group in stems.items():
        for pair in group:
            longer = "_".join(pair.image.relative_to(pictures.folder).parts) if len(group) > 1 else stem
            named.append(Pair(longer, pair.image, pair.mask, pair.draw))
    return Annotations(
        format_name,
        sorted(named, key=lambda pair: pair.name),
        faults,
        table.legend,
        table.collected,
        [path for path in pictures.paths if path not in by_image],
        list(notices),
    )


def settle(
    folder: Path,
    labels: Iterable[str],
    declared: Sequence[str] | None,
    chosen: Sequence[str] | None,
) -> NameTable:
    """The classes of a folder whose ``meta.json``, if there is one, is ours."""
    return name_table(folder, labels=labels, declared=declared, legend=read_legend(folder), chosen=chosen)


def text_of(value: Any, what: str, path: Path) -> str:
    """A text from a parsed file. Raises ``DataError`` if it is none."""
    if not isinstance(value, str):
        raise malformed(path, f"{what} is no text")
    return value


def malformed(path: Path, what: str) -> DataError:
    """The fault of a file that is valid JSON or XML but not what its format says."""
    return FormatFaultError(f"is not as its format says: {what}", cure="Export the annotation again", path=path)


@contextlib.contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the structure of a parsed file into a ``DataError`` about it."""
    try:
        yield
    except DataError as exc:
        if exc.path is not None:
            raise
        raise type(exc)(exc.problem, cure=exc.cure, path=path) from exc
    except KeyError as exc:
        raise malformed(path, f"{exc.args[0]} is missing") from exc
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as exc:
        raise malformed(path, " ".join(str(exc).split())[:120]) from exc
