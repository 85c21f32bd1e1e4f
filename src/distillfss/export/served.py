"""An exported file behind the interface of ``Segmenter``: ONNX Runtime and NumPy, no PyTorch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distillfss import __version__
from distillfss.errors import ModelFileError, OutputError, UsageError
from distillfss.export.format import EXTRA, FORMAT, FORMAT_VERSION, INPUT, LOGITS, MASK, PROBABILITIES, WANTED
from distillfss.export.seal import KEY, is_intact
from distillfss.io.files import atomic_write
from distillfss.model_info import FETCH_AGAIN, ModelInfo, parsed_info
from distillfss.quality.judging import Answer
from distillfss.segmenter import ONNX_SUFFIX, Segmenter

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import Tensor, nn

    from distillfss.backbones import Backbone
    from distillfss.models.standardize import Standardize

_NOT_OURS = "Give a file written by `distillfss export`"
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


class OnnxSegmenter(Segmenter):
    """A model that ``distillfss export`` wrote, with the interface of ``Segmenter``.

    As many threads as OMP_NUM_THREADS says, or as the machine has cores.

    Parameters
    ----------
    path
        The file.
    device
        ``auto``, ``cpu`` or ``cuda``.
    content
        What is in the file, if it has not been written yet.

    Attributes
    ----------
    path
        The file.
    metadata
        All the file says about itself, as text.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign or too new, or ONNX Runtime is not installed.
    UsageError
        If the device is not there.
    """

    def __init__(self, path: Path, device: str = "auto", content: bytes | None = None) -> None:
        self.path = path
        self._content = content
        self._session, self.device = open_session(path, device, content)
        # older files, and those of one class, compute probabilities always
        self._may_skip = WANTED in {each.name for each in self._session.get_overridable_initializers()}
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._describe(_checked_info(self.metadata, path))
        if KEY in self.metadata and not is_intact(self._bytes(), self.metadata):
            raise ModelFileError("its content is not what was written", path=path, cure=FETCH_AGAIN)

    def predict(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        own = (pixels.shape[0], pixels.shape[1])
        wanted = [tuple(size) for size in sizes]
        if all(size == own for size in wanted):
            (mask,) = self._run(pixels, MASK)
            return [mask if number == 0 else mask.copy() for number in range(len(wanted))]
        (logits,) = self._run(pixels, LOGITS)
        return [resized(logits, size).argmax(0).astype(np.uint8) for size in sizes]

    def answer(self, pixels: NDArray[np.uint8], probabilities: bool = False) -> Answer:
        """As ``Segmenter.answer``, but an ONNX file does not know what its support was like, nor how sure it is."""
        return Answer(*self._mask_and_probabilities(pixels)) if probabilities else Answer(self._mask(pixels))

    def logits(self, pixels: NDArray[np.uint8]) -> Tensor:
        import torch

        return torch.from_numpy(self.scores(pixels))

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``logits`` (1, n + 1, h, w) as an array: all that tiles need, without PyTorch."""
        return self._run(pixels, LOGITS)[0][None]

    def _mask_and_probabilities(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        mask, probabilities = self._run(pixels, MASK, PROBABILITIES)
        return mask, np.ascontiguousarray(probabilities.transpose(1, 2, 0))

    def _run(self, pixels: NDArray[np.uint8], *outputs: str) -> list[NDArray[Any]]:
        """Outputs of one image, without the axis of the batch."""
        feeds: dict[str, NDArray[Any]] = {INPUT: np.ascontiguousarray(pixels[None])}
        if self._may_skip:
            feeds[WANTED] = np.array(PROBABILITIES in outputs)
        found = self._session.run(list(outputs), feeds)
        return [array[0] for array in found]

    @property
    def fingerprint(self) -> str:
        """That of the file: its masks may differ by some pixels from those of the model it was made from."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def _bytes(self) -> bytes:
        return self.path.read_bytes() if self._content is None else self._content

    @property
    def parts(self) -> tuple[Backbone, Standardize, nn.Module]:
        raise UsageError(
            "an ONNX file cannot be taken apart again", cure="Use the .safetensors file that it was made from"
        )

    @property
    def embeds_backbone(self) -> bool:
        return True

    def save(self, path: str | Path, embed_backbone: bool = True) -> None:
        """Write the same file once more, whole or not at all. The backbone is always in it.

        Raises
        ------
        OutputError
            If it cannot be written, or the name does not end in ``.onnx``.
        """
        path = Path(path)
        if path.suffix.lower() != ONNX_SUFFIX:
            raise OutputError("this is an ONNX model", cure=f"Name the file *{ONNX_SUFFIX}", path=path)
        atomic_write(path, self._bytes())


def open_session(path: Path, device: str = "auto", content: bytes | None = None) -> tuple[InferenceSession, str]:
    """A file, or its content, ready to run, and the device it runs on.

    Raises
    ------
    ModelFileError
        If it is missing or damaged, or ONNX Runtime is not installed.
    UsageError
        If the device is not there.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelFileError("ONNX Runtime, which runs this file, is not installed", path=path, cure=EXTRA) from error
    if content is None and not path.is_file():
        problem = "this is not a file" if path.exists() else "there is no such file"
        raise ModelFileError(problem, path=path, cure=_NOT_OURS)
    there = [name for name, provider in PROVIDERS.items() if provider in onnxruntime.get_available_providers()]
    if device == "auto":
        device = there[0]
    if device not in there:
        raise UsageError(
            f"ONNX Runtime has no device {device!r} here", cure=f"Use --device auto, or one of: {', '.join(there)}"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised anyway
    options.inter_op_num_threads = 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    # or its threads go on spinning while the next image is read
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = onnxruntime.InferenceSession(content or str(path), options, providers=[PROVIDERS[device]])
    except Exception as error:  # ONNX Runtime's errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"this is no ONNX model, or it is damaged ({reason})", path=path, cure=FETCH_AGAIN
        ) from error
    return session, device


def _checked_info(metadata: Mapping[str, str], path: Path) -> ModelInfo:
    if metadata.get("format") != FORMAT:
        raise ModelFileError("this ONNX file is no distillfss model", path=path, cure=_NOT_OURS)
    version = metadata.get("format_version", "")
    if not version.isdecimal():
        raise ModelFileError("its format version is missing", path=path, cure=FETCH_AGAIN)
    if int(version) > FORMAT_VERSION:
        raise ModelFileError(
            f"its format version {version} is newer than {FORMAT_VERSION}, which distillfss {__version__} reads",
            path=path,
            cure="Update distillfss: pip install --upgrade distillfss",
        )
    return parsed_info(metadata.get("info"), path)


def resized(maps: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
    """(C, h, w) to (C, *size), bilinear with half-pixel centres, as ``models.mixer.resize``."""
    for axis, length in zip((1, 2), size, strict=True):
        have = maps.shape[axis]
        place = np.maximum((np.arange(length) + 0.5) * (have / length) - 0.5, 0)
        before = place.astype(np.int64)
        after = np.minimum(before + 1, have - 1)
        share = (place - before).astype(np.float32)
        share = share[:, None] if axis == 1 else share
        maps = maps.take(before, axis) * (1 - share) + maps.take(after, axis) * share
    return maps
