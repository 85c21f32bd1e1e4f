"""What a user can ask for, and what became of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillfss.errors import UsageError
from distillfss.outputs.scale import PixelArea
from distillfss.tiles.plan import OVERLAP, SMALLEST_TILE, overlap_pixels

NATIVE, PNG = "native", "png"
MASK_FORMATS = (NATIVE, PNG)
POLYGONS = (".geojson", ".gpkg")

Tick = Callable[[int, int], None]
"""Called with (parts of the file done, parts in all); 0 in all if nobody knows."""


@dataclass(frozen=True)
class FormatOptions:
    """Settings of a prediction.

    Attributes
    ----------
    tile
        Side of a tile in pixels of the image. None: that of the images the model learnt from; pictures are then cut
        only above a size, rasters always. 0: never cut a picture; of rasters as None.
    overlap
        Share of a tile's side that neighbours see too, 0 to 0.5.
    bands
        One or three bands of a raster, from 1. None: red, green and blue, or the first.
    value_range
        Values of a raster or a DICOM file (in its rescaled unit, such as Hounsfield) that become black and white.
    polygons
        Formats of polygons to write beside a raster's mask: ``geojson``, ``gpkg``.
    masks
        ``native``: GeoTIFF for rasters, a TIFF stack for stacks, DICOM segmentation for DICOM, lossless video for
        videos. ``png``: one PNG per picture, slice or frame.
    mask
        Whether a DICOM file's mask is wanted; that of all others is always written.
    overlay, probabilities
        Whether to write these too.
    areas
        Whether areas are counted, which is worth the work where no mask can be written.
    overwrite
        Whether to write again what exists.
    every
        Of a video, every so-manieth frame.
    """

    tile: int | None = None
    overlap: float = OVERLAP
    bands: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None
    polygons: tuple[str, ...] = ()
    masks: str = NATIVE
    mask: bool = True
    overlay: bool = False
    probabilities: bool = False
    areas: bool = False
    overwrite: bool = False
    every: int = 1

    @property
    def about_masks(self) -> dict[str, Any]:
        """What decides about the values in masks and is not as usual, by the option that sets it; JSON-safe."""
        given = {"--tile": self.tile, "--bands": self.bands, "--range": self.value_range}
        made: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        made |= {} if self.overlap == OVERLAP else {"--overlap": self.overlap}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in made.items()}

    def left_alone(self, targets: Iterable[Path]) -> list[Path]:
        """Those of the files or folders that are there already and are to stay as they are."""
        return [] if self.overwrite else [target for target in targets if target.exists()]

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile != 0 and self.tile < SMALLEST_TILE:
            raise UsageError(f"tiles of {self.tile} pixels are too small", cure=f"Use at least {SMALLEST_TILE}")
        overlap_pixels(1000, self.overlap)
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UsageError("the range is empty", cure="Give the lower value first: --range 0,3000")
        if self.bands is not None and (len(self.bands) not in (1, 3) or min(self.bands) < 1):
            raise UsageError("the bands make no picture", cure="Name one band or three, from 1: --bands 4,3,2")
        if self.every < 1:
            raise UsageError(f"every {self.every}th frame", cure="Use 1 for all frames, 2 for every other, ...")


@dataclass(frozen=True)
class Frame:
    """What the mask of one page or frame holds.

    Attributes
    ----------
    shape
        (height, width).
    pixels
        Pixels by mask value, background first.
    pixel_area
        Area a pixel covers, where the file says so.
    number
        Which one of a video's frames it is, from 1, as not all of them need be segmented; None: they follow each other.
    """

    shape: tuple[int, int]
    pixels: list[int]
    pixel_area: PixelArea | None = None
    number: int | None = None


def output_of(path: Path, out: Path) -> str:
    """Which output a file of a prediction into ``out`` belongs to."""
    folders = {"overlays": "overlay", "probabilities": "probabilities"}
    return folders.get(path.relative_to(out).parts[0], "polygons" if path.suffix in POLYGONS else "mask")


@dataclass
class Prediction:
    """What became of one file.

    Attributes
    ----------
    written
        The files, the mask first.
    kept
        Those of them that were there already and were left alone.
    notices
        What was assumed.
    pixels
        Pixels by class name, background among them, summed over slices or frames; "nodata" where there is nothing.
    square_metres
        The same on the ground, where the file says how large its pixels are.
    shape
        (height, width) of a raster.
    frames
        Every page of a stack, every frame of a DICOM file, every segmented frame of a video.
    details
        Whatever else is worth knowing, JSON-safe.
    no_probabilities
        Whether probabilities were asked for, which this kind of file does not get.
    no_mask
        Why there is none though it was asked for; what else was asked for is there.
    """

    written: list[Path]
    notices: list[str] = field(default_factory=list)
    pixels: dict[str, int] = field(default_factory=dict)
    square_metres: dict[str, float] | None = None
    shape: tuple[int, int] | None = None
    frames: list[Frame] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    no_probabilities: bool = False
    kept: list[Path] = field(default_factory=list)
    no_mask: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        report = {
            "written": [str(path) for path in self.written if path not in self.kept],
            "kept": [str(path) for path in self.kept],
            "notices": self.notices,
            "pixels": self.pixels,
            **self.details,
        }
        return report if self.square_metres is None else {**report, "square_metres": self.square_metres}
