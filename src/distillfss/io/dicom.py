"""DICOM images as 8-bit RGB: what a radiologist's viewer shows, frame by frame."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError
from distillfss.io.extras import optional
from distillfss.io.geo import stretch
from distillfss.io.legend import chosen_by
from distillfss.io.limits import limits
from distillfss.io.opening import too_many_pixels
from distillfss.io.pixels import PERCENTILES
from distillfss.notices import Notice, NoticeKind

Range = tuple[float, float]

_AGAIN = "Export it again from where it comes from, or remove it"
_MODALITY, _VOI, _MEASURES = "PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"


class DicomImage:
    """A DICOM file with one or several frames.

    Grey values go through the modality transformation (rescale or table), then through the first window or table the
    file holds, or, if it holds none, from the frame's 0.1 to its 99.9 percentile; ``MONOCHROME1`` is inverted. Palettes
    become colours, YCbCr becomes RGB.

    Parameters
    ----------
    path
        The file.
    value_range
        Rescaled values (Hounsfield units in CT) that become black and white, in place of the file's window.

    Attributes
    ----------
    dataset
        The pydicom dataset.
    frames, shape
        Number of frames, and their height and width.
    notices
        What was assumed.

    Raises
    ------
    DataError
        Missing, damaged, no image, or pydicom is not installed.
    """

    def __init__(self, path: str | Path, value_range: Range | None = None) -> None:
        self.path = Path(path)
        self.value_range = value_range
        self.notices: list[str] = []
        pydicom = optional("pydicom", self.path)
        with reading(self.path):
            if self.path.stat().st_size > limits().bytes:
                raise DataError(
                    f"the file has more than {limits().bytes / 2**20:.0f} MiB", cure="Split its frames", path=self.path
                )
            try:
                self.dataset = pydicom.dcmread(self.path)
            except pydicom.errors.InvalidDicomError as error:
                raise DataError("is no DICOM file", cure="Check the file, or remove it", path=self.path) from error
            self._check()
            self.shape = int(self.dataset.Rows), int(self.dataset.Columns)
            self.frames = int(self.dataset.get("NumberOfFrames") or 1)
        if self.shape[0] * self.shape[1] > limits().pixels:
            raise too_many_pixels(self.path, self.shape[1], self.shape[0])
        if value_range is None and self._is_grey and not self._window(0) and not self._voi_table(0):
            self.notices.append(
                f"{self.path}: holds no window, so every frame was stretched from its 0.1 to its 99.9 percentile; "
                f"{chosen_by('range')} chooses the values"
            )

    def _check(self) -> None:
        if self.dataset.get("Modality") == "SEG":
            raise DataError("is a segmentation, not an image", cure="Give the image it was made from", path=self.path)
        if not {"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & {element.keyword for element in self.dataset}:
            kind = getattr(self.dataset.get("SOPClassUID"), "name", "some other document")
            raise DataError(f"holds no image ({kind})", cure="Leave it out", path=self.path)

    @property
    def _is_grey(self) -> bool:
        return str(self.dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME")

    def pixel_square_metres(self, index: int) -> float | None:
        """Area of a pixel of a frame in the patient, where the file says so; enhanced files do by frame."""
        holder = self._group(index, _MEASURES) or self.dataset
        try:
            down, across = (float(side) for side in holder.PixelSpacing)
        except (AttributeError, TypeError, ValueError):
            return None
        return down * across * 1e-6 if down > 0 and across > 0 else None

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One frame, (H, W, 3) uint8.

        Raises
        ------
        DataError
            It cannot be decoded.
        """
        pixels = optional("pydicom.pixels", self.path)
        dataset = self.dataset
        with reading(self.path):
            values = pixels.pixel_array(dataset, index=index)
            if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
                colours = pixels.apply_color_lut(values, dataset)
                return stretch(colours[:, :, :3], (0, np.iinfo(colours.dtype).max))
            if values.ndim == 3:
                return _colours(values)
            shown = self._grey(values, index)
        rgb = np.empty((*shown.shape, 3), np.uint8)
        rgb[...] = shown[:, :, None]
        return rgb

    def _grey(self, values: NDArray[Any], index: int) -> NDArray[np.uint8]:
        """(H, W) stored values to (H, W) uint8, white where the viewer shows white."""
        pixels = optional("pydicom.pixels", self.path)
        padding = self.dataset.get("PixelPaddingValue")
        counted = np.ones(values.shape, bool) if padding is None else values != padding
        # pydicom looks for these on the top level; enhanced files keep them by frame
        holder = self._group(index, _MODALITY) or self.dataset
        values = pixels.apply_modality_lut(values, holder).astype(np.float64)
        table, window = self._voi_table(index), self._window(index)
        if self.value_range is not None:
            shown = stretch(values, self.value_range)
        elif table is not None:
            bits = int(table.VOILUTSequence[0].LUTDescriptor[2])
            shown = stretch(pixels.apply_voi(values.astype(np.int64), table), (0, 2**bits - 1))
        elif window is not None:
            shown = np.rint(255 * through_window(values, *window)).astype(np.uint8)
        else:
            shown = stretch(values, _percentiles(values[counted] if counted.any() else values))
        return 255 - shown if self.dataset.PhotometricInterpretation == "MONOCHROME1" else shown

    def _group(self, index: int, name: str) -> Any:
        """A functional group of an enhanced multi-frame file: the frame's own, or the one all frames share."""
        groups = self.dataset.get("PerFrameFunctionalGroupsSequence") or []
        for item in [*groups[index : index + 1], *(self.dataset.get("SharedFunctionalGroupsSequence") or [])]:
            if item.get(name):
                return item.get(name)[0]
        return None

    def _voi_table(self, index: int) -> Any:
        for holder in (self._group(index, _VOI), self.dataset):
            if holder is not None and holder.get("VOILUTSequence"):
                return holder
        return None

    def _window(self, index: int) -> tuple[float, float, str] | None:
        """Centre, width and function of the first window."""
        for holder in (self._group(index, _VOI), self.dataset):
            if holder is None or holder.get("WindowCenter") is None or holder.get("WindowWidth") is None:
                continue
            centre, width = (np.ravel(holder[name].value) for name in ("WindowCenter", "WindowWidth"))
            if len(centre) and len(width) and float(width[0]) > 0:
                return float(centre[0]), float(width[0]), str(holder.get("VOILUTFunction") or "LINEAR")
        return None


def frames_in(path: Path) -> int:
    """How many frames a file says it has, without reading them. Raises ``DataError`` if it is damaged."""
    pydicom = optional("pydicom", path)
    with reading(path):
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        return int(header.get("NumberOfFrames") or 1)


def header_of(path: Path) -> tuple[int, int, int]:
    """(height, width, bits) of a file's frames, without reading them.

    Raises
    ------
    DataError
        It is damaged or no image.
    """
    pydicom = optional("pydicom", path)
    with reading(path):
        header = pydicom.dcmread(
            path, force=True, stop_before_pixels=True, specific_tags=["Rows", "Columns", "BitsStored"]
        )
        height, width, bits = (int(header.get(tag) or 0) for tag in ("Rows", "Columns", "BitsStored"))
    if height < 1 or width < 1:
        raise DataError("holds no image", cure="Leave it out", path=path)
    return height, width, bits


def through_window(values: NDArray[np.float64], centre: float, width: float, function: str) -> NDArray[np.float64]:
    """A window of the DICOM standard (PS3.3, C.11.2.1.2 and C.11.2.1.3), as 0...1."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def read_dicom(path: str | Path, value_range: Range | None = None) -> tuple[NDArray[np.uint8], tuple[Notice, ...]]:
    """The first frame as (H, W, 3) uint8 RGB, and notices; see ``DicomImage``."""
    image = DicomImage(path, value_range)
    notices = [Notice(notice) for notice in image.notices]
    if image.frames > 1:
        unread = f"{path}: holds {image.frames} frames, only the first was read; split it to use the others"
        notices.append(Notice(unread, NoticeKind.FIRST_ONLY))
    return image.frame(0), tuple(notices)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever pydicom and its decoders raise inside the block into a ``DataError`` about ``path``.

    They meet damaged bytes with nearly any exception, and warn about what is merely odd.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DataError:
            raise
        except FileNotFoundError as error:
            raise DataError("there is no such file", cure="Check the path", path=path) from error
        except PermissionError as error:
            raise DataError("permission denied", cure="Allow reading it (chmod u+r)", path=path) from error
        except MemoryError as error:
            raise DataError("there is not enough memory to decode it", cure="Split its frames", path=path) from error
        except Exception as error:
            raise DataError(f"the DICOM file cannot be decoded ({in_words(error)})", cure=_AGAIN, path=path) from error


_LACKS = re.compile(r"object has no attribute '(\w+)'")
_NO_NUMBER = re.compile(r"(?:invalid literal for int\(\) with base \d+|could not convert string to float): (.*)")
_OF_PYTHON = re.compile(
    r"argument must be|an integer is required|unsupported operand|not supported between|subscriptable|not iterable|"
    r"must be real number|has no len|NoneType|out of range|out of bounds|to unpack|division by zero|embedded null|"
    r"requires a buffer|ufunc|can't decode|cannot reshape|broadcast"
)
"""Of sentences that are about the code which met the file, not about the file."""


def in_words(error: BaseException) -> str:
    """What is wrong with a file, in at most 160 characters, from the error that it led to.

    Sentences of pydicom and highdicom stay as they are; those of Python itself name the field, or the value, alone.
    """
    said = " ".join(str(error).split())
    if lacks := _LACKS.search(said):
        return f"{_field(lacks[1])} is missing"
    if no_number := _NO_NUMBER.search(said):
        return f"{no_number[1][:80]} stands where a number should"
    if isinstance(error, KeyError) and any(map(str, error.args)):
        return f"{said[:80]} is not among what is known, or missing"
    if isinstance(error, KeyError) or not said or _OF_PYTHON.search(said):
        return "a field of its header is empty, or holds what it cannot hold"
    return said[:160]


def _field(name: str) -> str:
    """A field as viewers call it: ``SharedFunctionalGroupsSequence`` is Shared Functional Groups Sequence."""
    datadict = optional("pydicom.datadict")
    tag = datadict.tag_for_keyword(name)
    return "a field of its header" if tag is None else str(datadict.dictionary_description(tag))


def _colours(values: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3) of any depth to 8 bit; all channels share one scale, which keeps the colours."""
    colours = values[:, :, :3]
    return np.ascontiguousarray(colours) if colours.dtype == np.uint8 else stretch(colours, _percentiles(colours))


def _percentiles(values: NDArray[Any]) -> Range:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(q) for q in np.quantile(finite, [q / 100 for q in PERCENTILES], method="inverted_cdf"))
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low, low + 1)
