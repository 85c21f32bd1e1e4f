"""What every model file says about itself, whatever its format; read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillfss import __version__
from distillfss.errors import DataError, ModelFileError
from distillfss.io.description import description, printable, text_of
from distillfss.io.legend import foreground_names

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
        raw = description(text or "")
        info = ModelInfo(
            class_names=foreground_names(raw["class_names"]) if raw["class_names"] else (),
            backbone=text_of(raw, "backbone"),
            backbone_sha256=text_of(raw, "backbone_sha256"),
            backbone_embedded=bool(raw["backbone_embedded"]),
            size=int(raw["size"]),
            preprocessing=dict(raw["preprocessing"]),
            summary=dict(raw["summary"]),
            library_version=text_of(raw, "library_version"),
            architecture=text_of(raw, "architecture", "distillfss"),
        )
    except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = printable(error.problem if isinstance(error, DataError) else repr(error))
        raise ModelFileError(f"its description is damaged ({reason})", path=path, cure=FETCH_AGAIN) from error
    if not 1 <= len(info.class_names) <= MAX_CLASSES or not 64 <= info.size <= 2048:
        raise ModelFileError("its description holds impossible numbers", path=path, cure=FETCH_AGAIN)
    return info
