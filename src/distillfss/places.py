"""Where images are and results go: a folder here, or a bucket or any other address pyarrow or fsspec can reach."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import posixpath
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from distillfss.errors import DataError, OutputError, UsageError
from distillfss.io.files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, atomic_write, list_images
from distillfss.io.opening import SUFFIXES

WHOLE_OR_NOTHING = ("s3", "gcs", "abfs")
"""Kinds of storage where an object appears when its upload is complete."""


@dataclass(frozen=True)
class RemoteImage:
    """An image at an address: ``root`` names the place, ``name`` the file in it."""

    root: str
    name: str

    def __str__(self) -> str:
        return f"{shown(self.root)}/{self.name}"


ImageSource = Path | RemoteImage
"""An image to segment."""


class Place(Protocol):
    """A folder that results go to. Names are relative to it, with ``/`` between their parts."""

    def exists(self, name: str) -> bool: ...

    def names(self, folder: str) -> list[str]:
        """Names of the files in one of its folders, sorted; none if there is no such folder."""
        ...

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all; its folder was made. ``OutputError`` where that is not possible."""
        ...

    def remove(self, name: str) -> None: ...

    def make_folders(self, folders: Iterable[str]) -> None: ...


def is_url(text: str | Path) -> bool:
    """Whether this is an address rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(text)) is not None


def shown(url: str | Path) -> str:
    """An address for people: without what may hold a password (s3://key:secret@bucket?...)."""
    text = str(url)
    return re.sub(r"//[^/@]*@", "//", _split_query(text)[0]).rstrip("/") if is_url(text) else text


def find_images(images: str | Path | Iterable[str | Path]) -> list[ImageSource]:
    """The images meant: those of a folder, file, pattern or address, or the paths themselves."""
    if not isinstance(images, str | Path):
        return [_image_at(str(image)) if is_url(image) else Path(image) for image in images]
    if not is_url(images):
        return list(list_images(images))
    local = _local(str(images))
    return list(list_images(local)) if local else _list_address(str(images))


def open_place(out: str | Path) -> Place:
    """The folder at a path or an address."""
    if not is_url(out):
        return Folder(Path(out))
    local = _local(str(out))
    return Folder(local) if local else Address(str(out))


@contextlib.contextmanager
def as_file(image: ImageSource) -> Iterator[Path]:
    """A local file with the image's bytes; a remote one is fetched and taken away again afterwards.

    Raises
    ------
    DataError
        It cannot be fetched.
    """
    if isinstance(image, Path):
        yield image
        return
    system, root = _filesystem(image.root)
    with tempfile.TemporaryDirectory(prefix="distillfss-") as folder:
        file = Path(folder) / posixpath.basename(image.name)
        try:
            with system.open_input_stream(posixpath.join(root, image.name)) as stream:
                file.write_bytes(stream.read())
        except OSError as error:
            raise DataError(f"cannot be fetched ({_reason(error)})", cure="Check the address") from None
        yield file


class Folder:
    """A folder on this machine, or one that its file system shows as such."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self, name: str) -> bool:
        # unlike Path.exists, False where the folder may not be looked into: writing there then says what is wrong
        return os.path.exists(self.path / name)  # noqa: PTH110

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.path / folder) if entry.is_file())
        except OSError:
            return []

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        atomic_write(self.path / name, data)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def make_folders(self, folders: Iterable[str]) -> None:
        for folder in folders:
            made = self.path / folder
            try:
                made.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"cannot make this folder ({error.strerror})", cure="Choose another folder", path=made
                ) from None


class Address:
    """A folder of a bucket or another remote file system."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._system, self._root = _filesystem(url)
        self._known: dict[str, set[str]] = {}

    def exists(self, name: str) -> bool:
        """As of when its folder was first asked about: one listing instead of a question per file."""
        folder, file = posixpath.split(name)
        if folder not in self._known:
            self._known[folder] = set(self.names(folder))
        return file in self._known[folder]

    def names(self, folder: str) -> list[str]:
        from pyarrow import fs  # type: ignore[import-untyped]

        selector = fs.FileSelector(self._at(folder), allow_not_found=True)
        with self._told(folder):
            return sorted(info.base_name for info in self._system.get_file_info(selector) if info.is_file)

    def read(self, name: str) -> bytes:
        with self._told(name), self._system.open_input_stream(self._at(name)) as stream:
            data: bytes = stream.read()
        return data

    def write(self, name: str, data: bytes) -> None:
        target = self._at(name)
        direct = self._system.type_name in WHOLE_OR_NOTHING
        part = f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}"
        written = target if direct else posixpath.join(posixpath.dirname(target), part)
        with self._told(name):
            with self._system.open_output_stream(written) as stream:
                stream.write(data)
            if not direct:
                self._system.move(written, target)

    def remove(self, name: str) -> None:
        with self._told(name), contextlib.suppress(FileNotFoundError):
            self._system.delete_file(self._at(name))

    def make_folders(self, folders: Iterable[str]) -> None:
        if self._system.type_name in WHOLE_OR_NOTHING:
            return  # a bucket has no folders, only names
        for folder in folders:
            with self._told(folder):
                self._system.create_dir(self._at(folder), recursive=True)

    def _at(self, name: str) -> str:
        return posixpath.join(self._root, name).rstrip("/")

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{RemoteImage(self.url, name)}: cannot be read or written ({_reason(error)})",
                cure="Check the address, the rights and the connection, then run it again",
            ) from None


def _image_at(url: str) -> ImageSource:
    local = _local(url)
    if local:
        return local
    address, query = _split_query(url)
    root, _, name = address.rpartition("/")
    return RemoteImage(root + query, name)


def _list_address(url: str) -> list[ImageSource]:
    from pyarrow import fs

    system, root = _filesystem(url)
    try:
        there = system.get_file_info(root)
        if there.type == fs.FileType.File:
            return [_image_at(url)]
        found = system.get_file_info(fs.FileSelector(root))
    except OSError as error:
        raise DataError(f"{shown(url)}: cannot be listed ({_reason(error)})", cure="Check the address") from None
    names = sorted(info.base_name for info in found if info.is_file)
    pictures = [name for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
    if not pictures:
        raise DataError(f"{shown(url)}: no pictures there", cure=f"Put pictures there ({', '.join(sorted(SUFFIXES))})")
    return [RemoteImage(url, name) for name in pictures]


@functools.cache
def _filesystem(url: str) -> tuple[Any, str]:
    """pyarrow's file system for an address, fsspec's where pyarrow has none of its own, and the path in it."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"{shown(url)} needs pyarrow, which is not installed", cure="pip install 'distillfss[ray]'")
    import pyarrow
    from pyarrow import fs

    try:
        system, path = fs.FileSystem.from_uri(url)
        return system, path
    except pyarrow.ArrowInvalid:
        try:
            import fsspec  # type: ignore[import-untyped]

            other, path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError):  # their messages repeat the address, password and all
            cure = "Give a folder, or an address such as s3://bucket/folder"
            raise UsageError(f"{shown(url)}: neither pyarrow nor fsspec knows this kind", cure=cure) from None
        return fs.PyFileSystem(fs.FSSpecHandler(other)), path
    except OSError as error:
        raise UsageError(f"{shown(url)} cannot be reached ({_reason(error)})", cure="Check the address") from None


def _local(url: str) -> Path | None:
    """The path of a ``file://`` address."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _split_query(url: str) -> tuple[str, str]:
    address, mark, query = url.partition("?")
    return address, mark + query


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(". ")[:200]
