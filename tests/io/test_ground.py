"""What pixels cover on the ground, against closed forms of the ellipsoid, where projections have their edges too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.warp
from helpers import BrightnessSegmenter
from rasterio.transform import Affine, from_origin

from distillfss.formats.options import FormatOptions
from distillfss.formats.raster import predict_raster
from distillfss.io.areas import Ground

A, ECCENTRICITY = 6378137.0, 0.0818191908426215
"""WGS 84."""


def belt(south: float, north: float) -> float:
    """Square metres between two latitudes (degrees) all round the Earth (Snyder 1987, 3-12)."""

    def q(latitude: float) -> float:
        s = math.sin(math.radians(latitude))
        es = ECCENTRICITY * s
        return (1 - ECCENTRICITY**2) * (s / (1 - es**2) - math.log((1 - es) / (1 + es)) / (2 * ECCENTRICITY))

    return math.pi * A**2 * (q(north) - q(south))


@contextmanager
def raster(
    folder: Path, crs: str, transform: Affine, width: int = 400, height: int = 300
) -> Iterator[rasterio.DatasetReader]:
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8"}
    with rasterio.open(folder / "map.tif", "w", crs=crs, transform=transform, **profile) as file:
        file.write(np.full((1, height, width), 200, np.uint8))
    with rasterio.open(folder / "map.tif") as file:
        yield file


@pytest.mark.parametrize(
    ("west", "north", "side"),
    [
        (10.0, 50.0, 1e-5),
        (179.9998, -17.0, 1e-6),  # crosses 180 degrees in the middle
        (-180.0, 60.0, 0.01),
        (-30.0, 70.0, 0.1),  # 40 by 30 degrees
        (-180.0, 90.0, 0.6),  # nearly the whole northern half
        (0.0, 90.0, 0.9),  # all of the Earth, from 0 to 360 degrees as climate's grids have it
        (-180.0, 90.0, 0.9),
    ],
)
def test_pixels_of_degrees(tmp_path: Path, west: float, north: float, side: float) -> None:
    with raster(tmp_path, "EPSG:4326", from_origin(west, north, side, side)) as file:
        ground = Ground.of(file)
        assert ground is not None
        for row in (1, 100, 299 if side < 0.5 else 149):
            top = north - row * side
            wanted = belt(top - side, top) * side / 360
            np.testing.assert_allclose(ground.row_areas(row), wanted, rtol=3e-4 if side > 0.05 else 1e-5)


def test_pixels_of_metres_across_180_degrees(tmp_path: Path) -> None:
    """Zone 60 of UTM ends there, three degrees from its middle, where lengths come out longer than on the ground."""
    east = 819_000.0  # of 180 degrees at 18 degrees south
    with raster(tmp_path, "EPSG:32760", from_origin(east - 60, 8_008_000.0, 0.3, 0.3)) as file:
        ground = Ground.of(file)
        assert ground is not None
        scale = 0.9996 * (1 + ((east - 500_000) / 0.9996 / 6_367_000) ** 2 / 2)
        np.testing.assert_allclose(ground.row_areas(150), 0.09 / scale**2, rtol=2e-5)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:3832"])  # Mercator about 0 and about 150 degrees
def test_pixels_of_maps_of_half_the_earth(tmp_path: Path, crs: str) -> None:
    """Of Mercator's maps, too, a row is a belt."""
    side = 80_000.0
    with raster(tmp_path, crs, from_origin(-200 * side, 100 * side, side, side), 400, 200) as file:
        ground = Ground.of(file)
        assert ground is not None
        for row in (20, 150):
            ends = [(100 - row) * side, (99 - row) * side]
            _, (north, south) = rasterio.warp.transform(crs, "EPSG:4326", [0.0, 0.0], ends)
            wanted = belt(south, north) * side / (2 * math.pi * A)
            np.testing.assert_allclose(ground.row_areas(row), wanted, rtol=1e-6)


def test_pixels_about_the_pole(tmp_path: Path) -> None:
    """All of a polar map, the pole in its middle, covers what lies inside its rim."""
    side = 20_000.0
    with raster(tmp_path, "EPSG:3413", from_origin(-100 * side, 100 * side, side, side), 200, 200) as file:
        ground = Ground.of(file)
        assert ground is not None
        found = np.stack([ground.row_areas(row) for row in range(200)])
        across = (np.arange(200) - 99.5) * side
        inside = np.hypot(across[:, None], across) < 99 * side
        (_,), (latitude,) = rasterio.warp.transform("EPSG:3413", "EPSG:4326", [99 * side], [0.0])
        assert found[inside].sum() == pytest.approx(belt(latitude, 90), rel=1e-3)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32760", from_origin(819_000 - 60, 8_008_000.0, 0.3, 0.3)),
        ("EPSG:4326", from_origin(179.999, 71.0, 5e-6, 5e-6)),
        ("EPSG:3413", from_origin(-1_300_000, 1_300_000, 10, 10)),  # Wrangel Island
        ("EPSG:3857", from_origin(-1e6, 9e6, 5000, 5000)),  # from Iceland to the Black Sea
    ],
)
def test_table_and_polygons_say_the_same(tmp_path: Path, crs: str, transform: Affine) -> None:
    with raster(tmp_path, crs, transform):
        pass
    options = FormatOptions(tile=128, polygons=("gpkg",))
    done = predict_raster(BrightnessSegmenter(), tmp_path / "map.tif", tmp_path / "out", options)
    about, _, _, columns = pyogrio.raw.read(tmp_path / "out" / "map.gpkg")
    metres = columns[list(about["fields"]).index("square_metres")]
    assert done.square_metres is not None
    assert metres.sum() == pytest.approx(done.square_metres["bright"], rel=2e-3)


def test_a_raster_without_a_place_has_no_ground(tmp_path: Path) -> None:
    local = 'LOCAL_CS["a wall",UNIT["metre",1]]'
    with raster(tmp_path, local, from_origin(0, 0, 1, 1)) as file:
        assert Ground.of(file) is None
