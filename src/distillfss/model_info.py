"""What every model file says about itself, whatever its format; read without PyTorch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distillfss import __version__
from distillfss.errors import DataError, ModelFileError
from distillfss.io.class_names import class_name
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
    parts
        Of a model that was extended: for each of its students, which of the student's classes are the model's, in the
        order of ``class_names``. Empty for the one student of an ordinary model.
    details
        Whether any of its students draws details (``models.detail``), so that logits have stride 2.
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
    parts: tuple[tuple[bool, ...], ...] = ()
    details: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; a model without parts or details is described as it was before there were any."""
        return {key: value for key, value in asdict(self).items() if value or key not in ("parts", "details")}


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
            class_names=foreground_names(_told_apart(raw["class_names"])) if raw["class_names"] else (),
            backbone=text_of(raw, "backbone"),
            backbone_sha256=text_of(raw, "backbone_sha256"),
            backbone_embedded=bool(raw["backbone_embedded"]),
            size=int(raw["size"]),
            preprocessing=dict(raw["preprocessing"]),
            summary=dict(raw["summary"]),
            library_version=text_of(raw, "library_version"),
            architecture=text_of(raw, "architecture", "distillfss"),
            parts=_parts(raw.get("parts", [])),
            details=bool(raw.get("details", False)),
        )
    except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = printable(error.problem if isinstance(error, DataError) else repr(error))
        raise ModelFileError(f"its description is damaged ({reason})", path=path, cure=FETCH_AGAIN) from error
    if not 1 <= len(info.class_names) <= MAX_CLASSES or not 64 <= info.size <= 2048 or not _parts_fit(info):
        raise ModelFileError("its description holds impossible numbers", path=path, cure=FETCH_AGAIN)
    return info


def _told_apart(names: Any) -> Any:
    """Names of which two are the same only to the eye, as older versions let them be: the later one gets a number."""
    if not isinstance(names, list) or len(set(map(str, names))) < len(names):
        return names
    found: list[str] = []
    for value, name in enumerate((class_name(str(name)) for name in names), start=1):
        found.append(f"{name} ({value})" if name in found else name)
    return found


def _parts(raw: Any) -> tuple[tuple[bool, ...], ...]:
    """Lists of true and false, and nothing else. Raises ``ValueError``."""
    if not isinstance(raw, list) or not all(isinstance(part, list) for part in raw):
        raise ValueError("parts are no lists")
    if not all(isinstance(kept, bool) for part in raw for kept in part):
        raise ValueError("parts hold something else than true and false")
    return tuple(tuple(part) for part in raw)


def _parts_fit(info: ModelInfo) -> bool:
    """Whether the students hold the model's classes and are written as we write them: none without a class."""
    if not info.parts:
        return True
    sizes = all(1 <= len(part) <= MAX_CLASSES and any(part) for part in info.parts)
    ordinary = len(info.parts) == 1 and all(info.parts[0])
    return sizes and not ordinary and sum(map(sum, info.parts)) == len(info.class_names)
