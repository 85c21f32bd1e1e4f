"""Options of ``predict`` for large images and special formats."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click

from distillfss.errors import UsageError
from distillfss.formats.options import MASK_FORMATS, NATIVE, FormatOptions
from distillfss.tiles.plan import OVERLAP

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = [
    click.option(
        "--tile",
        metavar="PIXELS|off",
        help="Cut images into tiles of this side. Default: GeoTIFF always, pictures when very large, tiles as large as "
        "the images the model learnt from. off: no pictures; GeoTIFF all the same.",
    ),
    click.option(
        "--overlap",
        type=float,
        default=OVERLAP,
        show_default=True,
        help="Share of a tile its neighbour sees too, 0 to 0.5.",
    ),
    click.option("--bands", metavar="B[,B,B]", help="Bands of a GeoTIFF, from 1: one as grey, or red, green, blue."),
    click.option(
        "--range",
        "value_range",
        metavar="LOW,HIGH",
        help="Values of a GeoTIFF or DICOM file that become black and white. Default: percentiles, or its own window.",
    ),
    click.option(
        "--polygons",
        metavar="geojson,gpkg",
        help="Also write the classes of a GeoTIFF as polygons, in one of these formats or both.",
    ),
    click.option(
        "--masks",
        type=click.Choice(MASK_FORMATS),
        default=NATIVE,
        show_default=True,
        help="Masks of GeoTIFF, DICOM, TIFF stacks and videos: in the same kind of file, or as PNG.",
    ),
    click.option("--every", type=int, default=1, show_default=True, help="Of videos, take every so-manieth frame."),
]

NAMES = ("tile", "overlap", "bands", "value_range", "polygons", "masks", "every")


def format_options(command: Command) -> Command:
    """Add them all to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def parsed(given: dict[str, Any], outputs: Collection[str], *, overwrite: bool) -> FormatOptions:
    """The options as typed.

    Raises
    ------
    UsageError
        One of them makes no sense; it is named.
    """
    return FormatOptions(
        tile=_tile(given["tile"]),
        overlap=given["overlap"],
        bands=_bands(given["bands"]),
        value_range=_range(given["value_range"]),
        polygons=_polygons(given["polygons"]),
        masks=given["masks"],
        every=given["every"],
        # where nothing of what was asked for can be made of a file, it gets a mask
        mask="mask" in outputs or not {"overlay", "csv"} & set(outputs),
        overlay="overlay" in outputs,
        probabilities="probabilities" in outputs,
        areas="csv" in outputs,
        overwrite=overwrite,
    )


def _tile(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "off":
        return 0
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--tile {text}", cure="Give a number of pixels, such as --tile 512, or off") from None


def _bands(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--bands {text}", cure="Give numbers from 1: --bands 4,3,2") from None


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--range {text}", cure="Give two numbers: --range 0,3000 or --range=-100,240") from None
    return low, high


def _polygons(text: str | None) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(part.strip().lower() for part in text.split(","))) if text else ()
    if not set(kinds) <= {"geojson", "gpkg"}:
        raise UsageError(f"--polygons {text}", cure="Give geojson, gpkg, or geojson,gpkg")
    return kinds
