"""Writing files so that they are never half there, and finding the pictures someone means."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from distillfss.errors import DataError, OutputError
from distillfss.io.kinds import Kind, kind_of
from distillfss.io.opening import SUFFIXES
from distillfss.wording import counted

TEMPORARY_PREFIX = ".distillfss-"
TEMPORARY_SUFFIX = ".part"

SHOWN_FOLDERS = 3
_MADE_HERE = (".distillfss-records", "picked.csv")
"""What tells the results of ``predict`` and of ``pick`` from a folder of images."""

_FULL = "Free some space or write to another disk, then run it again; nothing that existed was changed"
_PACKED = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_CURES = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("your disk quota is used up", _FULL),
    errno.EFBIG: (
        "the file would be larger than this disk or process allows",
        "Write to another disk or raise the limit (ulimit -f); nothing that existed was changed",
    ),
    errno.EACCES: ("permission denied", "Choose a folder you may write to, or change the permissions"),
    errno.EPERM: ("permission denied", "Choose a folder you may write to, or change the permissions"),
    errno.EROFS: ("the disk is mounted read-only", "Choose a folder on another disk"),
    errno.ENOENT: ("the folder does not exist", "Create the folder, or check the path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Check the path"),
    errno.EISDIR: ("is a folder", "Give the path of a file"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter name"),
    errno.ELOOP: ("the path is a loop of links", "Check the links along the path"),
}


def atomic_write(path: str | Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file so that whoever looks sees the old one or the whole new one, even after a crash or a power cut.

    The content goes to a hidden file ``.distillfss-*.part`` in the same folder, is forced to disk, and takes the place
    of ``path`` in one step. If anything fails, the hidden file is removed and ``path`` stays as it was. Links are
    followed; an existing file keeps its permissions, and one that is write-protected is left alone.

    Parameters
    ----------
    path
        The file to write; its folder must exist.
    data
        The content, or a function that writes it to the binary file it is given.

    Raises
    ------
    OutputError
        No space, no permission, no such folder, ... Other exceptions of the function pass through.
    """
    asked = Path(path)
    target, mode = _target(asked)
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            if mode is not None:
                temporary.chmod(mode)
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as exc:
        raise _output_error(asked, exc) from exc
    finally:  # after success there is none any more; after Ctrl-C there is
        with contextlib.suppress(OSError):
            temporary.unlink()
    _sync_folder(target.parent)


@contextlib.contextmanager
def atomic_path(path: str | Path, *, suffix: str = "") -> Iterator[Path]:
    """As ``atomic_write``, for libraries that want a file name: write to the one given, it becomes ``path`` at the end.

    Parameters
    ----------
    path
        The file to write; its folder must exist.
    suffix
        What the temporary name ends in, for libraries that look at it.

    Raises
    ------
    OutputError
        An ``OSError`` inside the block, or the file cannot take its place. Other exceptions pass through; then too
        ``path`` stays as it was.
    """
    asked = Path(path)
    target, mode = _target(asked)
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}{suffix}")
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as exc:
        raise _output_error(asked, exc) from exc
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    _sync_folder(target.parent)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A folder to put files into, which becomes ``path`` at the end: so if it is there, all its files are.

    A folder that is there already is replaced then. If anything fails, it stays as it was.

    Raises
    ------
    OutputError
        An ``OSError`` inside the block, or the folder cannot take its place. Other exceptions pass through.
    """
    target = Path(path)
    temporary, old = (target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}") for _ in range(2))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            target.rename(old)
        temporary.rename(target)
    except OSError as exc:
        raise _output_error(target, exc) from exc
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if it is not there. Raises ``OutputError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise _output_error(folder, exc) from exc


def check_writable(path: str | Path, size: int = 4096) -> None:
    """Raise the ``OutputError`` that ``atomic_write`` of ``size`` bytes would, before the work rather than after."""
    asked = Path(path)
    target, _ = _target(asked)
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            file.write(b"\0" * size)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise _output_error(asked, exc) from exc
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def list_images(source: str | Path, also: frozenset[str] = frozenset()) -> list[Path]:
    """The pictures meant by ``source``, sorted by name.

    Parameters
    ----------
    source
        A file (taken whatever its suffix), a folder (its files with a picture's suffix in any case, not hidden, not
        those of sub-folders), or a glob pattern such as ``scans/**/*.png``. DICOM files are found without a suffix too.
    also
        Further suffixes that are taken, in lower case with their dot.

    Raises
    ------
    DataError
        Nothing there, no permission to look, or no picture among what is there.
    """
    path = Path(source)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as exc:
        if glob.has_magic(str(source)):
            return _matching(str(source), also)
        if isinstance(exc, PermissionError):
            raise _no_listing(path) from exc
        raise DataError("there is no such file or folder", cure="Check the path", path=path) from exc
    if not stat.S_ISDIR(mode):
        return [path]
    pictures = pictures_in(path, also)
    if not pictures:
        cure = f"Put pictures there ({', '.join(sorted(SUFFIXES))})"
        if any(child.is_dir() and not child.name.startswith(".") for child in path.iterdir()):
            cure += f", or name those in its sub-folders with a pattern: {_below(path)}"
        raise DataError("no pictures in this folder", cure=cure, path=path)
    return pictures


def left_in_subfolders(source: str | Path, out: Path | None = None, also: frozenset[str] = frozenset()) -> list[str]:
    """A note on pictures that ``list_images`` leaves out because they lie in sub-folders of ``source``; mostly none.

    Looks one level deep, and only until it has seen one picture of each sub-folder.

    Parameters
    ----------
    source
        As in ``list_images``.
    out
        Where results go: no pictures that were left out. Neither are results of earlier runs.
    also
        As in ``list_images``.
    """
    folder = Path(source)
    try:
        if not folder.is_dir():
            return []
        results = None if out is None else out.resolve()
        below = sorted(child for child in folder.iterdir() if not child.name.startswith(".") and child.is_dir())
        left = [child.name for child in below if child.resolve() != results and _holds_pictures(child, also)]
    except (OSError, ValueError):  # whatever is wrong with the folder has been told where it was listed
        return []
    if not left:
        return []
    names = ", ".join(left[:SHOWN_FOLDERS])
    more = f" and {len(left) - SHOWN_FOLDERS} more" if len(left) > SHOWN_FOLDERS else ""
    return [
        f"{folder}: pictures in {counted(len(left), 'sub-folder')} ({names}{more}) are left out; "
        f"this pattern takes them, too: {_below(folder)}"
    ]


def _below(folder: Path) -> str:
    """The pattern of everything in a folder and below it, quoted for a shell."""
    return f"'{glob.escape(str(folder))}/**/*'"


def _holds_pictures(folder: Path, also: frozenset[str]) -> bool:
    """Whether there is a picture in it that is none of our results."""
    if any((folder / name).exists() for name in _MADE_HERE):
        return False
    try:
        with os.scandir(folder) as entries:
            return any(_is_picture(entry.path, also) and not _is_folder(entry) for entry in entries)
    except OSError:  # one that nobody may look into need not hold any
        return False


def no_folder(path: Path) -> DataError:
    """What to say where a folder was named and none is there."""
    if not path.is_file():
        return DataError("there is no such folder", cure="Check the path", path=path)
    packed = any(path.name.lower().endswith(suffix) for suffix in _PACKED)
    cure = "Unpack it, and give its folder" if packed else "Give the folder that the images are in"
    return DataError("is a file, not a folder", cure=cure, path=path)


def pictures_in(folder: Path, also: frozenset[str] = frozenset()) -> list[Path]:
    """Sorted files of ``folder`` that have a picture's suffix; links that lead nowhere count, folders do not."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(e.path) for e in entries if _is_picture(e.path, also) and not _is_folder(e))
    except PermissionError as exc:
        raise _no_listing(folder) from exc
    except OSError as exc:
        raise DataError(f"cannot be listed ({exc.strerror})", cure="Check the path and its disk", path=folder) from exc


def _matching(pattern: str, also: frozenset[str]) -> list[Path]:
    parts = Path(pattern).parts
    fixed = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
    try:  # glob itself passes over folders it may not read, which would look like "nothing there"
        with os.scandir(fixed):
            pass
    except PermissionError as exc:
        raise _no_listing(fixed) from exc
    except OSError as exc:
        raise DataError("there is no such folder", cure="Check the path", path=fixed) from exc
    found = sorted(Path(name) for name in set(glob.glob(pattern, recursive=True)))  # noqa: PTH207 (absolute patterns)
    pictures = [path for path in found if _is_picture(str(path), also) and not path.is_dir()]
    if not pictures:
        raise DataError("no picture matches this pattern", cure="Check the pattern", path=pattern)
    return pictures


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle: a fault of this file, which is told when it is read, not of the whole folder
        return False


def _is_picture(path: str, also: frozenset[str]) -> bool:
    name = os.path.basename(path)  # noqa: PTH119 (thousands of them)
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if name.startswith("."):
        return False
    if suffix in SUFFIXES or suffix in also:
        return True
    # scanners and archives name DICOM files IM0001, or by a long number with dots
    return (not suffix or suffix[1:].isdigit()) and kind_of(path) is Kind.DICOM


def _no_listing(path: Path) -> DataError:
    return DataError("permission denied", cure="Allow reading the folder (chmod u+rx), or ask its owner", path=path)


def _target(path: Path) -> tuple[Path, int | None]:
    """Where the links lead, and the permissions of the file that is there."""
    try:
        target = Path(os.path.realpath(path))
        status = target.stat()
    except FileNotFoundError:
        return target, None
    except OSError as exc:
        raise _output_error(path, exc) from exc
    except ValueError as exc:
        raise OutputError("the path is not valid", cure="Check the path", path=path) from exc
    if stat.S_ISDIR(status.st_mode):
        raise OutputError("is a folder", cure="Give the path of a file", path=path)
    if not stat.S_ISREG(status.st_mode):  # renaming over /dev/null would take it away from the whole system
        raise OutputError("is a device or pipe, not an ordinary file", cure="Give the path of a file", path=path)
    if not os.access(target, os.W_OK):
        raise OutputError(
            "the file that exists is write-protected",
            cure="Choose another name, or allow writing (chmod u+w)",
            path=path,
        )
    return target, stat.S_IMODE(status.st_mode)


def _output_error(path: Path, exc: OSError) -> OutputError:
    reason = exc.strerror or str(exc) or type(exc).__name__
    problem, cure = _CURES.get(
        exc.errno or 0, (f"could not be written ({reason})", "Check the disk, or write to another one")
    )
    return OutputError(problem, cure=cure, path=path)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system lets folders be synced (not on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
