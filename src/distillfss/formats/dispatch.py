"""Which files need more than "one picture in, one PNG out", and who deals with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from distillfss.errors import DataError
from distillfss.formats.options import PNG, FormatOptions, Prediction, Tick
from distillfss.io.kinds import Kind, kind_of
from distillfss.io.limits import limits
from distillfss.tiles.scores import CanSegment

Targets = Callable[[Path, Path, FormatOptions], list[Path]]
Predict = Callable[[CanSegment, Path, Path, FormatOptions, Tick | None], Prediction]


@dataclass(frozen=True)
class Handler:
    """What deals with one kind of file.

    Attributes
    ----------
    kind
        Its name.
    targets
        The files or folders that will be written, from the file, the folder for the masks and the options; the mask's
        first.
    predict
        Segments the file: model, file, folder for the masks, options, progress.
    counts_again
        Whether ``predict`` can say what is in a mask that exists, and leaves that as it is.
    probabilities
        Whether it can write these; asked for them, ``predict`` refuses where not.
    polygons
        Whether it can write these; asked for them, ``predict`` passes them over where not.
    """

    kind: str
    targets: Targets
    predict: Predict
    counts_again: bool = False
    probabilities: bool = False
    polygons: bool = False


def special_handler(path: str | Path) -> Handler | None:
    """Who deals with a file; None for ordinary pictures, and for what is no picture at all.

    Looks at the first bytes only. The library that is needed is imported when the handler works.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind is Kind.PICTURE and _declared_pixels(path) > limits().pixels:
        able = {"counts_again": True, "probabilities": True, "polygons": True}
        return Handler("large picture", _large_targets, _predict_large, **able)
    return _HANDLERS.get(kind, lambda: None)()


def _raster() -> Handler:
    from distillfss.formats.raster import predict_raster, raster_targets

    able = {"counts_again": True, "probabilities": True, "polygons": True}
    return Handler(Kind.RASTER, raster_targets, predict_raster, **able)


def _stack() -> Handler:
    from distillfss.formats.stack import predict_stack, stack_targets

    return Handler(Kind.STACK, stack_targets, predict_stack)


def _dicom() -> Handler:
    from distillfss.formats.dicom import dicom_targets, predict_dicom

    return Handler(Kind.DICOM, dicom_targets, predict_dicom)


def _video() -> Handler:
    from distillfss.formats.video import predict_video, video_targets

    return Handler(Kind.VIDEO, video_targets, predict_video)


_HANDLERS: dict[Kind, Callable[[], Handler | None]] = {
    Kind.RASTER: _raster,
    Kind.STACK: _stack,
    Kind.DICOM: _dicom,
    Kind.VIDEO: _video,
}


def _large_targets(path: Path, out: Path, options: FormatOptions) -> list[Path]:
    from distillfss.formats.raster import raster_targets

    return raster_targets(path, out, replace(options, masks=PNG))


def _predict_large(
    segmenter: CanSegment, path: Path, out: Path, options: FormatOptions, tick: Tick | None
) -> Prediction:
    """PNG, JPEG or TIFF too large to be decoded at once: read and written in strips, always by tiles."""
    from distillfss.formats.raster import predict_raster
    from distillfss.io.opening import decoding

    with decoding(path):
        turned = _header(path)[1] != 1
    if turned:
        raise DataError(
            "is very large and turned by its EXIF orientation, which is not applied to such pictures",
            cure="Turn it upright for good (exiftran -ai, or mogrify -auto-orient)",
            path=path,
        )
    return predict_raster(segmenter, path, out, replace(options, masks=PNG), tick)


def _declared_pixels(path: Path) -> int:
    """Width times height as the header says; 0 if it cannot be read, which is reported when the picture is."""
    try:
        return _header(path)[0]
    except Exception:  # whatever Pillow raises on damaged bytes
        return 0


def _header(path: Path) -> tuple[int, int]:
    """Pixels and EXIF orientation of a PNG, JPEG or TIFF."""
    from PIL import Image

    from distillfss.io.opening import quiet

    if not path.is_file():
        return 0, 1
    limit = Image.MAX_IMAGE_PIXELS
    with quiet():
        try:
            Image.MAX_IMAGE_PIXELS = None  # nothing is decoded here
            with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
                return image.width * image.height, int(image.getexif().get(0x0112, 1))
        finally:
            Image.MAX_IMAGE_PIXELS = limit
