"""Libraries that only some formats need, imported when they are, and the command that installs the missing ones."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from distillfss.errors import DataError

# module → (what it is for, the extra that brings it)
_EXTRAS = {
    "rasterio": ("GeoTIFF and other large rasters", "geo"),
    "rasterio.features": ("polygons", "geo"),
    "rasterio.shutil": ("GeoTIFF and other large rasters", "geo"),
    "rasterio.warp": ("GeoTIFF and other large rasters", "geo"),
    "rasterio.windows": ("GeoTIFF and other large rasters", "geo"),
    "shapely": ("polygons", "geo"),
    "pyogrio": ("polygons", "geo"),
    "pydicom": ("DICOM files", "medical"),
    "pydicom.datadict": ("DICOM files", "medical"),
    "pydicom.pixels": ("DICOM files", "medical"),
    "highdicom": ("DICOM segmentations", "medical"),
    "av": ("videos", "video"),
}


def optional(module: str, path: str | Path | None = None) -> Any:
    """Import an optional library.

    Parameters
    ----------
    module
        Its name, one of those an extra brings.
    path
        The file that needs it, for the message.

    Raises
    ------
    DataError
        If it is not installed, naming the extra.
    """
    purpose, extra = _EXTRAS[module]
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"{purpose} need the library {module.partition('.')[0]}, which is not installed",
            cure=f"pip install 'distillfss[{extra}]'",
            path=path,
        ) from error
