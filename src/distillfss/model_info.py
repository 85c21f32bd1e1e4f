"""What every model file says about itself, whatever its format; read without PyTorch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillfss import __version__
from distillfss.errors import ModelFileError

MAX_CLASSES = 20
FETCH_AGAIN = "Copy the file again from where it was made, or fit the model anew"


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself, beside its tensors.

    Attributes
    ----------
    class_names
        Foreground classes; mask value i + 1 is ``class_names[i]``.
    backbone, backbone_sha256
        Name of the frozen backbone and SHA-256 of the weight file it was read from.
    backbone_embedded
        Whether the backbone's tensors are in the file too.
    size
        Working resolution: images are resized to about ``size * size`` pixels, keeping their aspect ratio.
    preprocessing
        In words and numbers, for whoever serves the model without this library.
    summary
        How it was fitted: shots, seed, steps, seconds, ...
    library_version
        Version that wrote the file.
    architecture
        Which student it is: ``distillfss``, or ``dcama`` for the paper's own.
    """

    class_names: tuple[str, ...]
    backbone: str
    backbone_sha256: str
    backbone_embedded: bool
    size: int
    preprocessing: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    library_version: str = __version__
    architecture: str = "distillfss"


def parsed_info(text: str | None, path: Path) -> ModelInfo:
    """The description as it stands in a file's metadata, as JSON.

    Raises
    ------
    ModelFileError
        If it is missing, damaged or holds impossible numbers.
    """
    try:
        raw = json.loads(text or "")
        info = ModelInfo(
            class_names=tuple(str(name) for name in raw["class_names"]),
            backbone=str(raw["backbone"]),
            backbone_sha256=str(raw["backbone_sha256"]),
            backbone_embedded=bool(raw["backbone_embedded"]),
            size=int(raw["size"]),
            preprocessing=dict(raw["preprocessing"]),
            summary=dict(raw["summary"]),
            library_version=str(raw["library_version"]),
            architecture=str(raw.get("architecture", "distillfss")),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"its description is damaged ({error!r})", path=path, cure=FETCH_AGAIN) from error
    if not 1 <= len(info.class_names) <= MAX_CLASSES or not 64 <= info.size <= 2048:
        raise ModelFileError("its description holds impossible numbers", path=path, cure=FETCH_AGAIN)
    return info
