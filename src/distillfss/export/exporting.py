"""From a fitted model to one ONNX file that has been shown to do the same."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillfss import __version__
from distillfss.errors import ExportError, UsageError
from distillfss.export.format import EXTRA, FORMAT, FORMAT_VERSION, OPSET, PRECISIONS
from distillfss.export.seal import EMPTY, KEY, sealed
from distillfss.io.files import atomic_write
from distillfss.segmenter import ONNX_SUFFIX, Segmenter

if TYPE_CHECKING:
    import onnx


PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MAX_BYTES = 2**31 - 2**20
"""Protocol Buffers, which ONNX files are, end at 2 GB."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it was checked.

    Attributes
    ----------
    path, bytes
        The file and its size.
    precision
        ``fp32``, ``fp16`` or ``int8``.
    opset
        Of ONNX's own operators.
    checks
        What the comparisons with PyTorch found; it stands in the file's metadata as well.
    """

    path: Path
    bytes: int
    precision: str
    opset: int
    checks: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {**asdict(self), "path": str(self.path)}


def check_packages() -> None:
    """Refuse, before any work, where something is not installed.

    Raises
    ------
    ExportError
        Naming what is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed", cure=EXTRA)


def export_onnx(
    segmenter: Segmenter,
    path: str | Path,
    precision: str = "fp32",
    calibrate: Sequence[str | Path] = (),
    tell: Tell = lambda text: None,
) -> ExportReport:
    """Write a model as one ONNX file that takes bytes of any size and gives masks of the same size.

    The file is compared with the model before it is written, on images of ten odd sizes.

    Parameters
    ----------
    segmenter
        The model, with its weights in PyTorch.
    path
        Where to, ``*.onnx``. Replaced if it exists.
    precision
        ``fp32``; ``fp16``, weights in half precision, half the size; ``int8``, 8-bit weights and maps.
    calibrate
        Folders of images like those the model will see, with or without masks: the support set and unlabelled images.
        The file is checked on them; without any, on the embedded sample. Needed for ``int8``.
    tell
        Called with what is being done.

    Raises
    ------
    UsageError
        If a setting makes no sense.
    ExportError
        If a package is missing, the network cannot be traced, or the file does not do what the model does.
    DataError
        If a folder cannot be used.
    OutputError
        If the file cannot be written; an existing one stays as it was.
    """
    path = Path(path)
    _check_settings(segmenter, path, precision, calibrate)
    check_packages()
    from distillfss.export import checking
    from distillfss.export.frame import framed
    from distillfss.export.network import network_model
    from distillfss.export.pictures import in_odd_sizes, read_examples, sample_examples
    from distillfss.export.served import OnnxSegmenter
    from distillfss.export.simplify import simplified

    folders, reading = [Path(folder) for folder in calibrate], segmenter.summary.get("reading")
    examples = read_examples(folders, segmenter.class_names, reading=reading) or sample_examples()
    tell("tracing the network")
    network = simplified(network_model(segmenter))
    whole = framed(network, segmenter.size, len(segmenter.class_names))
    odd = list(in_odd_sizes(examples))

    tell("comparing with PyTorch")
    exact = _served(whole, segmenter, path, "fp32", {})
    found = checking.agreement(exact, segmenter, odd, "fp32")
    checking.check(found, "fp32")
    checks: dict[str, Any] = {"fp32": found.to_dict()}
    if precision == "fp16":
        from distillfss.export.half import with_half_weights

        whole = with_half_weights(whole)
        half = _served(whole, segmenter, path, precision, {})
        found = checking.agreement(half, segmenter, odd, precision)
        checking.check(found, precision)
        checks[precision] = found.to_dict()
    elif precision == "int8":
        from distillfss.export.quantisation import quantised

        def serve(network: onnx.ModelProto) -> tuple[onnx.ModelProto, Segmenter]:
            model = framed(network, segmenter.size, len(segmenter.class_names))
            return model, _served(model, segmenter, path, precision, {})

        whole, checks[precision] = quantised(network, segmenter, examples, serve, exact, tell)
    content = _content(whole, segmenter, precision, checks)
    OnnxSegmenter(path, "cpu", content)  # what is written can be read
    atomic_write(path, content)
    return ExportReport(path, len(content), precision, OPSET, checks)


def _check_settings(segmenter: Segmenter, path: Path, precision: str, calibrate: Sequence[str | Path]) -> None:
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}", cure=f"Choose one of {', '.join(PRECISIONS)}")
    if path.suffix.lower() != ONNX_SUFFIX:
        raise UsageError("an ONNX file ends in .onnx", cure=f"Name it {path.stem}{ONNX_SUFFIX}", path=path)
    if precision == "int8" and not calibrate:
        raise UsageError(
            "int8 needs images to measure the network's maps on",
            cure="Name folders with --calibrate: the support set, and unlabelled images if you have them",
        )
    _ = segmenter.parts  # refuses what has none


def _served(
    model: onnx.ModelProto, segmenter: Segmenter, path: Path, precision: str, checks: dict[str, Any]
) -> Segmenter:
    """A model that is not written yet, ready to run."""
    from distillfss.export.served import OnnxSegmenter

    return OnnxSegmenter(path, "cpu", _content(model, segmenter, precision, checks))


def _content(model: onnx.ModelProto, segmenter: Segmenter, precision: str, checks: dict[str, Any]) -> bytes:
    """The bytes of the file, its metadata among them; a valid ONNX model."""
    import onnx

    info = replace(segmenter.info, backbone_embedded=True, parts=())
    names = list(info.class_names)
    onnx.helper.set_model_props(
        model,
        {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "info": json.dumps(info.to_dict()),
            "class_names": json.dumps(names),
            "size": str(info.size),
            "precision": precision,
            "distillfss_version": __version__,
            "checks": json.dumps(checks),
            KEY: EMPTY,
        },
    )
    model.producer_name, model.producer_version = "distillfss", __version__
    model.doc_string = (
        f"Segments {', '.join(names)}. images: uint8 RGB (batch, height, width, 3). "
        "mask: uint8 (batch, height, width), 0 = background"
    )
    if model.ByteSize() > MAX_BYTES:
        raise ExportError(
            f"{model.ByteSize() / 2**30:.1f} GB are more than one ONNX file can hold",
            cure="Fit with a smaller backbone",
        )
    onnx.checker.check_model(model, full_check=True)
    return sealed(bytes(model.SerializeToString()))
