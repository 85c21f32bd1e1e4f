"""What a file says about the size of its pixels, against geodesy done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.transform import from_origin

from distillfss.outputs.scale import GEOTIFF, RESOLUTION, page_area, pixel_area


def geotiff(path: Path, crs: str, transform: rasterio.Affine, width: int = 40, height: int = 30) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8", crs=crs, transform=transform
    ) as raster:
        raster.write(np.zeros((3, height, width), np.uint8))
    return path


def on_the_ellipsoid(south: float, north: float, degrees: float) -> float:
    """Area of WGS 84 between two parallels, ``degrees`` of longitude wide: the integral, summed up in small steps."""
    a, f = 6378137.0, 1 / 298.257223563
    e2 = f * (2 - f)
    latitudes = np.radians(np.linspace(south, north, 20001))
    strip = a * a * (1 - e2) * np.cos(latitudes) / (1 - e2 * np.sin(latitudes) ** 2) ** 2
    return float(np.trapezoid(strip, latitudes) * np.radians(degrees))


def test_a_projected_grid_counts_as_it_is(tmp_path: Path) -> None:
    found = pixel_area(geotiff(tmp_path / "utm.tif", "EPSG:32632", from_origin(500000, 5200000, 0.25, 0.5)))
    assert found is not None
    assert (found.square_metres, found.source) == (pytest.approx(0.125, rel=1e-12), GEOTIFF)


def test_feet(tmp_path: Path) -> None:
    found = pixel_area(geotiff(tmp_path / "ny.tif", "EPSG:2263", from_origin(980000, 200000, 2, 2)))
    assert found is not None
    assert found.square_metres == pytest.approx(4 * (1200 / 3937) ** 2, rel=1e-9)


def test_a_turned_grid(tmp_path: Path) -> None:
    sine, cosine = np.sin(0.5), np.cos(0.5)
    turned = rasterio.Affine(0.3 * cosine, -0.3 * sine, 500000, -0.2 * sine, -0.2 * cosine, 5200000)
    found = pixel_area(geotiff(tmp_path / "turned.tif", "EPSG:32632", turned))
    assert found is not None
    assert found.square_metres == pytest.approx(0.06, rel=1e-9)


@pytest.mark.parametrize("north", [0.01, 47.5, -33.0, 69.0])
def test_degrees(north: float, tmp_path: Path) -> None:
    side = 2e-5
    found = pixel_area(geotiff(tmp_path / "degrees.tif", "EPSG:4326", from_origin(11, north, side, side), 400, 300))
    assert found is not None
    expected = on_the_ellipsoid(north - 300 * side, north, 400 * side) / (400 * 300)
    assert found.square_metres == pytest.approx(expected, rel=1e-5)


def test_web_mercator_is_not_taken_at_its_word(tmp_path: Path) -> None:
    """At 60 degrees its metres are half as long as they say."""
    radius, latitude = 6378137.0, 60.0
    y = radius * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    found = pixel_area(geotiff(tmp_path / "web.tif", "EPSG:3857", from_origin(1e6, y, 1, 1), 100, 100))
    assert found is not None
    south = np.degrees(2 * np.arctan(np.exp((y - 100) / radius)) - np.pi / 2)
    expected = on_the_ellipsoid(south, latitude, np.degrees(100 / radius)) / 100**2
    assert found.square_metres == pytest.approx(expected, rel=1e-5)
    assert found.square_metres == pytest.approx(0.25, rel=0.01)


def test_a_local_system_and_another_planet_have_no_square_metres(tmp_path: Path) -> None:
    mars = 'GEOGCS["Mars",DATUM["Mars",SPHEROID["Mars",3396190,169.9]],PRIMEM["0",0],UNIT["degree",0.01745329251994]]'
    for number, system in enumerate(['LOCAL_CS["site",UNIT["metre",1]]', mars]):
        assert pixel_area(geotiff(tmp_path / f"{number}.tif", system, from_origin(10, 20, 0.1, 0.1))) is None


def test_no_place_on_earth_no_area(tmp_path: Path) -> None:
    plain = rasterio.Affine.identity()
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        assert pixel_area(geotiff(tmp_path / "none.tif", "EPSG:32632", plain)) is None


@pytest.mark.parametrize(
    ("dpi", "unit", "side"),
    [
        (300, 2, 0.0254 / 300),
        (118.11, 3, 0.01 / 118.11),
        (72, 3, 0.01 / 72),
        (72, 2, None),
        (96, 2, None),
        (300, 1, None),
    ],
)
def test_resolution_tags(dpi: float, unit: int, side: float | None, tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, np.zeros((4, 5, 3), np.uint8), photometric="rgb", resolution=(dpi, dpi), resolutionunit=unit)
    found = pixel_area(path)
    if side is None:
        assert found is None
    else:
        assert found is not None
        assert (found.square_metres, found.source) == (pytest.approx(side**2, rel=1e-5), RESOLUTION)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8), resolution=(100, 400), resolutionunit=3)
    found = pixel_area(tmp_path / "a.tif")
    assert found is not None
    assert found.square_metres == pytest.approx(1e-4 * 0.25e-4, rel=1e-9)


@pytest.mark.parametrize(("unit", "metres"), [("um", 1e-6), ("\\u00B5m", 1e-6), ("mm", 1e-3), ("parsec", None)])
def test_imagej(unit: str, metres: float | None, tmp_path: Path) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.zeros((4, 5), np.uint8), imagej=True, resolution=(2, 2), metadata={"unit": unit})
    found = pixel_area(path)
    assert (found is None) if metres is None else (found and found.square_metres == pytest.approx((metres / 2) ** 2))


def test_other_formats_say_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4)).save(tmp_path / "a.jpg", dpi=(300, 300))
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png", dpi=(300, 300))
    assert pixel_area(tmp_path / "a.jpg") is None
    assert pixel_area(tmp_path / "a.png") is None


def test_a_page_that_says_nothing_has_the_size_of_the_first_if_it_is_as_large() -> None:
    first = {256: 40, 257: 30, 282: 2.0, 283: 4.0, 270: "ImageJ=1.53\nunit=um\n"}
    found = page_area({256: 40, 257: 30}, first)
    assert found is not None
    assert (found.square_metres, found.source) == (pytest.approx(0.125e-12), RESOLUTION)
    assert page_area({256: 20, 257: 15}, first) is None
    own = page_area({256: 20, 257: 15, 282: 100.0, 283: 100.0, 296: 3}, {256: 40, 257: 30, 282: 1.0, 283: 1.0, 296: 1})
    assert own is not None
    assert own.square_metres == pytest.approx(1e-8)
