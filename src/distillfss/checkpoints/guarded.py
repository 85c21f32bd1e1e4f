"""Weight files of strangers: what is checked before anything is allocated. Nothing in a file is ever executed.

A safetensors file is a length, a JSON header of that length, and bytes. The library checks that every tensor lies
inside the file, so that no header can ask for more memory than the file is long. What it leaves open is checked here:
pipes and devices, the size of file and header, how many tensors there are, and number types that NumPy does not have.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from distillfss.errors import ModelFileError
from distillfss.io.description import printable

MAX_FILE_BYTES = 32 * 2**30
"""Largest weight file that is read. A ViT-L has 1.2 GB; the largest DINOv3, with 7 billion parameters, 27 GB."""
MAX_REPEATED_BYTES = 2**30
"""What the expanded tensors of a checkpoint may claim beyond what it stores, together (``torch.Tensor.expand``)."""
MAX_HEADER_BYTES = 16 * 2**20
"""A ViT-L's header has 50 kB."""
MAX_TENSORS = 50_000

DTYPES = frozenset(
    getattr(torch, name)
    for name in ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
)


def check_file(path: Path, limit: int = MAX_FILE_BYTES) -> int:
    """Size in bytes of an ordinary file that is not larger than the limit.

    Raises
    ------
    ModelFileError
        It is missing, no file, may not be looked at, or is too large.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelFileError("there is no such file", path=path, cure="Check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"it cannot be read ({reason})", path=path, cure="Check it") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever, /dev/zero never ends
        raise ModelFileError("this is not a file", path=path, cure="Give the path of a weight file")
    if status.st_size > limit:
        problem = f"{status.st_size / 2**20:.0f} MB is too large for a model (limit {limit // 2**20} MB)"
        raise ModelFileError(problem, path=path, cure="Give a weight file")
    return status.st_size


@contextmanager
def open_tensors(path: Path, what: str, cure: str, limit: int = MAX_FILE_BYTES) -> Iterator[Any]:
    """Open a safetensors file lazily: no tensor is read yet. Yields what ``safetensors.safe_open`` yields.

    Parameters
    ----------
    path
        The file.
    what, cure
        What errors call it (``model file``), and what they advise.
    limit
        Largest file, in bytes.

    Raises
    ------
    ModelFileError
        Missing, too large, damaged, or with a header that makes no sense; also for what the block meets in the file.
    """
    size = check_file(path, limit)
    try:
        with path.open("rb") as start:
            (header,) = struct.unpack("<Q", start.read(8).ljust(8, b"\0"))
        if MAX_HEADER_BYTES < header <= size:
            raise ModelFileError(f"its header has {header / 2**20:.0f} MB", path=path, cure=cure)
        with safe_open(path, framework="pt", device="cpu") as file:
            if len(file.keys()) > MAX_TENSORS:
                raise ModelFileError(f"there are {len(file.keys())} tensors in it", path=path, cure=cure)
            yield file
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error})", path=path, cure="Check it") from error
    except SafetensorError as error:
        raise ModelFileError(
            f"this is no {what}, or it is damaged or cut short ({printable(str(error))})", path=path, cure=cure
        ) from error


def read_all(file: Any, path: Path, cure: str) -> dict[str, Tensor]:
    """All tensors of an open file. Raises ``ModelFileError`` for number types that nothing here can compute with."""
    tensors = {}
    for name in file.keys():  # noqa: SIM118  (no mapping)
        if not name.isprintable() or len(name) > 500:
            raise ModelFileError(f"a tensor is called {printable(name)}", path=path, cure=cure)
        try:
            tensor = file.get_tensor(name)
        except (SafetensorError, OSError):
            raise
        except Exception as error:  # types that this version of PyTorch lacks, dimensions it cannot count
            reason = printable(str(error))
            raise ModelFileError(f"tensor {name} cannot be read ({reason})", path=path, cure=cure) from error
        check_tensor(name, tensor, path, cure)
        tensors[name] = tensor
    return tensors


def check_tensor(name: str, tensor: Tensor, path: Path, cure: str) -> None:
    """Refuse what is no plain table of numbers on the CPU, of a type that something here computes with."""
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.is_quantized or tensor.device.type != "cpu" or tensor.dtype not in DTYPES:
        kind = f"{tensor.dtype} {tensor.layout} on {tensor.device.type}".replace("torch.", "")
        raise ModelFileError(f"tensor {printable(name)} is of a kind that is not read ({kind})", path=path, cure=cure)


def format_version(metadata: Mapping[str, str], newest: int, path: Path, cure: str) -> None:
    """Refuse a file of ours without a format version, or with a newer one than ``newest``."""
    version = metadata.get("format_version", "")
    if not (version.isascii() and version.isdecimal() and len(version) < 10):
        raise ModelFileError("its format version is missing", path=path, cure=cure)
    if int(version) > newest:
        raise ModelFileError(
            f"its format version {version} is newer than {newest}, which this distillfss reads",
            path=path,
            cure="Update distillfss: pip install --upgrade distillfss",
        )
