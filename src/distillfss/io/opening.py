"""Guarded opening of picture files: which formats, how large, and what an error of the decoder means for a person.

Pillow reads some fifty formats, several of which start other programs or are hardly tested. Only the few that
pictures and masks really come in are allowed, and the size a file declares is checked before a pixel is decoded.
"""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from distillfss.errors import DataError
from distillfss.io.limits import MAX_MEGABYTES_VARIABLE, MAX_MEGAPIXELS_VARIABLE, limits
from distillfss.io.png import check_complete, check_parts
from distillfss.io.tiff import check_pieces

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
# Of files taken from a folder; the content, not the suffix, decides how a file is read.
_SUFFIXES = "jpg jpeg jpe jfif mpo png tif tiff bmp dib webp gif ppm pgm pbm pnm dcm dicom"
SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())

_FORMAT_LIST = "JPEG, PNG, TIFF, BMP, WebP, GIF or PPM"
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
}

_WARNINGS = threading.Lock()


@contextmanager
def decoding(path: Path | None) -> Iterator[None]:
    """Turn whatever a decoder raises inside the block into a ``DataError`` about ``path``.

    Decoders fed with damaged bytes raise nearly anything (``SyntaxError``, ``struct.error``, ``zlib.error``, ...), so
    the net is wide; only calls into Pillow belong inside the block.
    """
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError as exc:
        raise too_many_pixels(path) from exc
    except MemoryError as exc:
        raise DataError(
            "there is not enough memory to decode this picture", cure="Shrink it or cut it into tiles", path=path
        ) from exc
    except PermissionError as exc:
        raise _not_permitted(path) from exc
    except Exception as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise DataError(
            f"the picture is truncated or damaged ({reason[:120]})",
            cure="Copy it again from its source, or remove it",
            path=path,
        ) from exc


@contextmanager
def open_picture(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture lazily; its size is known and allowed, its pixels are not decoded yet.

    Raises
    ------
    DataError
        The file is missing, unreadable, no picture of an allowed format, or too large.
    """
    with open_file(path) as file:
        yield identify(file, Path(path))


def open_file(path: str | Path) -> BinaryIO:
    """Open an ordinary file of an allowed size for reading; waits for nothing.

    Raises
    ------
    DataError
        The file is missing, unreadable, empty, too large, or a folder, pipe or device.
    """
    path = Path(path)
    try:
        _check_status(path.stat(), path)
        # it may have become a pipe in between, which would wait for ever without the flag
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except PermissionError as exc:
        raise _not_permitted(path) from exc
    except (OSError, ValueError) as exc:
        missing = isinstance(exc, FileNotFoundError | NotADirectoryError)
        reason = "there is no such file" if missing else f"cannot be opened ({getattr(exc, 'strerror', None) or exc})"
        raise DataError(reason, cure="Check the file and its disk", path=path) from exc
    file = os.fdopen(handle, "rb")
    try:
        _check_status(os.fstat(handle), path)
    except DataError:
        file.close()
        raise
    return file


def identify(file: BinaryIO, path: Path | None) -> Image.Image:
    """The picture in an open file, not decoded yet. Raises ``DataError`` about ``path`` if it is none of ours."""
    start = file.read(8)
    file.seek(0)
    with decoding(path):
        try:
            with quiet():
                image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as exc:
            raise _unidentified(path, start) from exc
    width, height = image.size
    if width * height > limits().pixels:
        raise too_many_pixels(path, width, height)
    if image.format == "PNG" and check_parts(file, path):
        check_complete(file, path)
    if image.format == "TIFF":
        with decoding(path):
            check_pieces(image, file, path)
    return image


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Python warnings inside the block: Pillow's about odd metadata and, from 89 megapixels on, about size.

    The lock is there because ``catch_warnings`` changes the filters of all threads, and two of them could leave them
    changed for good. So only short work belongs inside: reading headers, not decoding pixels.
    """
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def too_many_pixels(path: Path | None, width: int = 0, height: int = 0) -> DataError:
    size = f"{width}x{height} pixels are" if width else "the picture is"
    limit = limits().pixels / 1e6
    return DataError(
        f"{size} more than the limit of {limit:g} megapixels (a decompression bomb, or a very large scan)",
        cure=f"Shrink the picture or cut it into tiles, or raise {MAX_MEGAPIXELS_VARIABLE} if you trust it",
        path=path,
    )


def _check_status(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise DataError("is a folder, not a picture", cure="Give the path of one picture", path=path)
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever, /dev/zero never ends
        raise DataError("is not an ordinary file", cure="Give the path of a picture file", path=path)
    if status.st_size == 0:
        raise DataError("the file is empty (0 bytes)", cure="Copy it again from its source, or remove it", path=path)
    limit = limits().bytes
    if status.st_size > limit:
        raise DataError(
            f"the file has {status.st_size / 2**20:,.0f} MB, the limit is {limit / 2**20:,.0f} MB",
            cure=f"Shrink the picture or cut it into tiles, or raise {MAX_MEGABYTES_VARIABLE} if you trust it",
            path=path,
        )


def _not_permitted(path: Path | None) -> DataError:
    return DataError("permission denied", cure="Allow reading it (chmod u+r), or ask its owner", path=path)


def _unidentified(path: Path | None, start: bytes) -> DataError:
    for signature, name in _SIGNATURES.items():
        if start.startswith(signature):
            return DataError(
                f"starts like a {name} file but cannot be read: it is truncated, damaged, or of an unusual layout",
                cure="Copy it again from its source; if it opens elsewhere, save it as 8- or 16-bit grey or RGB PNG",
                path=path,
            )
    return DataError(f"is not a {_FORMAT_LIST} picture", cure="Convert it to PNG or JPEG, or remove it", path=path)
