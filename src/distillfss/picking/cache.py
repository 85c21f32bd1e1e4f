"""Descriptors on disk: an image that has not changed is looked at once."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from distillfss.errors import DataError, OutputError
from distillfss.io.files import atomic_write

SAVE_EVERY = 500
"""New descriptors until the file is written again: what a kill may cost."""


def default_folder() -> Path:
    """The system's place for what a program can compute again."""
    return Path(platformdirs.user_cache_dir("distillfss", appauthor=False)) / "pick"


class DescriptorCache:
    """Descriptors by content of the file's path, size and time of change.

    A cache that cannot be read counts as empty, and one that cannot be written is left: it only saves time.

    Parameters
    ----------
    folder
        Where the cache files lie, one per ``identity``.
    identity
        Everything beside the image that decides a descriptor.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._path = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
        self._known = _read(self._path)
        self._new = 0

    def get(self, image: Path) -> NDArray[np.float32] | None:
        """The descriptor of this file as it is now; None if it is not known, or the file not there."""
        try:
            return self._known.get(file_key(image))
        except DataError:
            return None

    def put(self, image: Path, descriptor: NDArray[np.float32]) -> None:
        """Remember a descriptor; every so often all of them go to disk."""
        self._known[file_key(image)] = descriptor
        self._new += 1
        if self._new >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write what is new."""
        if not self._new:
            return
        buffer = io.BytesIO()
        keys = sorted(self._known)
        np.savez(buffer, keys=np.array(keys), descriptors=np.stack([self._known[key] for key in keys]))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._path, buffer.getvalue())
        except (OSError, OutputError):
            return
        self._new = 0


def file_key(image: Path) -> str:
    """Changes when the file does. Raises ``DataError`` if it is not there."""
    try:
        status = image.stat()
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", cure="Check the path", path=image) from error
    text = f"{image.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys, descriptors = stored["keys"], stored["descriptors"]
    except Exception:  # what a damaged archive makes zipfile, zlib and NumPy raise has no end
        return {}
    if descriptors.ndim != 2 or len(keys) != len(descriptors):
        return {}
    return dict(zip(keys.tolist(), descriptors.astype(np.float32), strict=True))
