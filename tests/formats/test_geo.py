"""Rasters in and out: place, bands, scaling, nodata, polygons, areas."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import tifffile
from helpers import BrightnessSegmenter
from PIL import Image
from rasterio.transform import Affine, from_origin

from distillfss.errors import DataError, OutputError, UsageError
from distillfss.formats.area_rows import AreaRows
from distillfss.formats.options import FormatOptions
from distillfss.formats.raster import predict_raster
from distillfss.io.decode import read_image
from distillfss.io.geo import RasterSource, stretch
from distillfss.io.pixels import stretch_to_8bit
from distillfss.outputs import OutputSettings
from distillfss.places import open_place

UTM = {"crs": "EPSG:32633", "transform": from_origin(500000, 5000000, 0.5, 0.5)}


def write(path: Path, bands: np.ndarray, **profile: object) -> Path:
    """A GeoTIFF of (bands, H, W)."""
    count, height, width = bands.shape
    shape = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.open(path, "w", **shape, **profile) as dataset:
        dataset.write(bands)
    return path


def blocks(seed: int = 0, bands: int = 3, high: int = 256) -> np.ndarray:
    """(bands, 150, 200) of constant 10x10 squares."""
    values = np.random.default_rng(seed).integers(0, high, (bands, 15, 20))
    return np.kron(values, np.ones((1, 10, 10), np.int64)).astype(np.uint8 if high == 256 else np.uint16)


def test_the_mask_lies_where_the_image_lies(tmp_path: Path) -> None:
    bands = blocks()
    path = write(tmp_path / "map.tif", bands, **UTM)
    done = predict_raster(BrightnessSegmenter(("a", "b"), (100, 200)), path, tmp_path / "out", FormatOptions(tile=64))
    wanted = (bands[0] >= 100).astype(np.uint8) + (bands[0] >= 200)
    assert done.written == [tmp_path / "out" / "map.tif"]
    with rasterio.open(done.written[0]) as mask:
        np.testing.assert_array_equal(mask.read(1), wanted)
        assert mask.crs == rasterio.CRS.from_epsg(32633)
        assert mask.transform == UTM["transform"]
        assert (mask.nodata, mask.count, mask.dtypes[0]) == (255, 1, "uint8")
        assert mask.profile["compress"] == "deflate"
        assert mask.profile["tiled"]
        assert mask.colormap(1)[1] == (230, 159, 0, 255)
        assert mask.tags()["DISTILLFSS_CLASSES"] == "0=background, 1=a, 2=b"
    assert done.pixels == {name: int((wanted == value).sum()) for value, name in enumerate(("background", "a", "b"))}
    assert done.notices == []


def test_ground_control_points_and_no_place_at_all(tmp_path: Path) -> None:
    points = [
        rasterio.control.GroundControlPoint(row=r, col=c, x=10 + c / 100, y=50 - r / 100)
        for r, c in ((0, 0), (0, 199), (149, 0))
    ]
    path = write(tmp_path / "gcp.tif", blocks(), nodata=0)
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = points, rasterio.CRS.from_epsg(4326)
    plain = write(tmp_path / "plain.tif", blocks(), nodata=0)
    for each in (path, plain):
        predict_raster(BrightnessSegmenter(), each, tmp_path / "out", FormatOptions(tile=64))
    with rasterio.open(tmp_path / "out" / "gcp.tif") as mask:
        assert [(p.row, p.col, p.x, p.y) for p in mask.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in points]
    for kind in ("gpkg", "geojson"):
        with pytest.raises(DataError, match="by ground control points or RPCs alone") as caught:
            predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64, polygons=(kind,)))
        assert caught.value.path == path
    assert not list((tmp_path / "out").glob("gcp.g*"))
    with rasterio.open(tmp_path / "out" / "plain.tif") as mask:
        assert mask.crs is None
        assert mask.transform == Affine.identity()


def test_a_transform_without_coordinate_system(tmp_path: Path) -> None:
    place = from_origin(10, 20, 2, 2)
    path = write(tmp_path / "map.tif", blocks(), transform=place)
    done = predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64))
    with rasterio.open(done.written[0]) as mask:
        assert mask.crs is None
        assert mask.transform == place
        np.testing.assert_array_equal(mask.read(1), blocks()[0] >= 128)
    assert done.square_metres is None


def test_nodata_is_nodata_again(tmp_path: Path) -> None:
    bands = np.maximum(blocks(), 1)
    bands[:, :40, :70] = 0
    bands[0, 100:120] = 0  # only one of three bands: still a pixel that was measured
    path = write(tmp_path / "map.tif", bands, nodata=0, **UTM)
    done = predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64, probabilities=True))
    void = np.zeros((150, 200), bool)
    void[:40, :70] = True
    with rasterio.open(tmp_path / "out" / "map.tif") as mask:
        np.testing.assert_array_equal(mask.read(1) == 255, void)
        np.testing.assert_array_equal(mask.read(1)[~void], (bands[0] >= 128)[~void])
    assert done.pixels["nodata"] == 40 * 70
    rows = AreaRows(open_place(tmp_path / "out"), OutputSettings(["bright"]), overwrite=False)
    rows.add(path, done)
    rows.write()
    told = pd.read_csv(tmp_path / "out" / "areas.csv").set_index("class")["share"]
    assert told["bright"] == pytest.approx((bands[0] >= 128)[~void].mean(), abs=5e-7)
    assert told.sum() == pytest.approx(1, abs=1e-6)
    with rasterio.open(tmp_path / "out" / "probabilities" / "map.tif") as likely:
        values = likely.read()
        assert likely.descriptions == ("background", "bright")
        assert likely.nodata == 65535
        assert (values[:, void] == 65535).all()
        np.testing.assert_array_equal(values[1][~void], np.where(bands[0] >= 128, 65534, 0)[~void])


def test_values_that_are_no_numbers_and_transparent_pixels_count_as_nodata(tmp_path: Path) -> None:
    floats = blocks().astype(np.float32)
    floats[1, 50:60, 50:60] = np.nan
    path = write(tmp_path / "float.tif", floats, **UTM)
    with RasterSource(path) as source:
        window = source.read(0, 0, 150, 200)
    assert window.valid is not None
    np.testing.assert_array_equal(~window.valid, np.isnan(floats[1]))
    rgba = np.concatenate([blocks(), np.full((1, 150, 200), 255, np.uint8)])
    rgba[3, :20] = 0
    path = write(tmp_path / "alpha.tif", rgba, photometric="RGB", alpha="yes", **UTM)
    with RasterSource(path) as source:
        window = source.read(10, 0, 20, 200)
        assert source.bands == (1, 2, 3)
    assert window.valid is not None
    assert window.valid.sum(axis=1).tolist() == [0] * 10 + [200] * 10
    np.testing.assert_array_equal(window.pixels, np.moveaxis(rgba[:3, 10:30], 0, -1))


@pytest.mark.parametrize(("asked", "taken"), [(None, (1, 2, 3)), ((4, 3, 2), (4, 3, 2)), ((5,), (5, 5, 5))])
def test_choice_of_bands(tmp_path: Path, asked: tuple[int, ...] | None, taken: tuple[int, ...]) -> None:
    bands = blocks(bands=5)
    path = write(tmp_path / "many.tif", bands, photometric="MINISBLACK", **UTM)
    with RasterSource(path, asked) as source:
        pixels = source.read(3, 7, 100, 90).pixels
        assert bool(source.notices) == (asked is None)
        how = '; --bands of predict, or "bands" in meta.json beside annotated images, chooses others'
        assert all(notice.endswith(how) for notice in source.notices)
    for channel, band in enumerate(taken):
        np.testing.assert_array_equal(pixels[:, :, channel], bands[band - 1, 3:103, 7:97])


def test_of_two_bands_the_first_is_seen_and_that_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "two.tif", blocks(bands=2), photometric="MINISBLACK", **UTM)
    with RasterSource(path) as source:
        assert source.bands == (1,)
        assert source.notices[0].startswith(f"{path}: 2 bands, of which 1 is seen, as grey; --bands of predict")


def test_the_file_says_which_bands_are_red_green_and_blue(tmp_path: Path) -> None:
    path = write(tmp_path / "bgrn.tif", blocks(bands=4), photometric="MINISBLACK", **UTM)
    names = ("blue", "green", "red", "undefined")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in names]
    with RasterSource(path) as source:
        assert source.bands == (3, 2, 1)
        assert source.notices == []


def test_palette(tmp_path: Path) -> None:
    index = (blocks(bands=1) % 4).astype(np.uint8)
    path = write(tmp_path / "palette.tif", index, photometric="PALETTE", **UTM)
    colours = {0: (1, 2, 3, 255), 1: (200, 0, 9, 255), 2: (7, 80, 90, 255), 3: (255, 254, 253, 255)}
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, colours)
    with RasterSource(path) as source:
        pixels = source.read(0, 0, 150, 200).pixels
    np.testing.assert_array_equal(pixels, np.array([c[:3] for c in colours.values()])[index[0]])


@pytest.mark.parametrize("high", [256, 65536])
def test_a_grey_file_whose_zero_is_white_is_seen_as_a_plain_tiff_is(tmp_path: Path, high: int) -> None:
    band = blocks(bands=1, high=high)
    path = write(tmp_path / "map.tif", band, photometric="MINISWHITE", **UTM)
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, band[0], photometric="miniswhite")
    seen, wanted = read_image(path).pixels, read_image(plain).pixels
    assert np.abs(seen.astype(int) - wanted).max() <= (0 if high == 256 else 1)
    assert seen[band[0] == band.min()].min() == 255
    with RasterSource(path, bands=(1,), value_range=(0, high - 1)) as source:
        chosen = source.read(0, 0, 150, 200).pixels
    np.testing.assert_allclose(chosen[:, :, 0], 255 - band[0] * (255 / (high - 1)), atol=0.51)


def test_two_levels_whose_zero_is_white_come_as_a_palette(tmp_path: Path) -> None:
    band = (blocks(bands=1) >= 128).astype(np.uint8)
    path = write(tmp_path / "map.tif", band, photometric="MINISWHITE", nbits=1, **UTM)
    np.testing.assert_array_equal(read_image(path).pixels[:, :, 0], 255 * (1 - band[0]))


@pytest.mark.parametrize("photometric", ["MINISBLACK", "MINISWHITE"])
@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_are_seen_as_a_plain_tiff_shows_them(tmp_path: Path, bits: int, photometric: str) -> None:
    band = (blocks(bands=1) >> (8 - bits)).astype(np.uint8)
    path = write(tmp_path / "map.tif", band, nbits=bits, photometric=photometric, **UTM)
    with Image.open(path) as image:
        wanted = np.asarray(image.convert("L"))
    assert (wanted.min(), wanted.max()) == (0, 255)
    with RasterSource(path) as source:
        np.testing.assert_array_equal(source.read(0, 0, 150, 200).pixels[:, :, 0], wanted)
        assert source.notices == []


def test_sixteen_bits_are_stretched_as_those_of_pictures_are(tmp_path: Path) -> None:
    bands = blocks(bands=3, high=4000)
    bands[0, 0, 0] = 65535  # one hot pixel must not turn the rest black
    path = write(tmp_path / "deep.tif", bands, **UTM)
    with RasterSource(path) as source:
        pixels = source.read(0, 0, 150, 200).pixels
        low, high = source.value_range or (0, 0)
        assert f"values {low:g} to {high:g}" in source.notices[0]
        assert '; --range of predict, or "range" in meta.json beside annotated images, chooses' in source.notices[0]
    difference = pixels.astype(int) - stretch_to_8bit(np.moveaxis(bands, 0, -1))
    assert np.abs(difference).max() <= 1
    assert np.mean(difference == 0) > 0.99
    with RasterSource(path, value_range=(1000, 3000)) as source:
        chosen = source.read(0, 0, 150, 200).pixels
        assert source.notices == []
    wanted = np.clip((np.moveaxis(bands, 0, -1).astype(np.float64) - 1000) / 2000 * 255, 0, 255)
    np.testing.assert_allclose(chosen, wanted, atol=0.51)


@pytest.mark.parametrize(
    ("kind", "low", "step"), [("float64", 1e6, 1e-3), ("uint32", 4e9, 1), ("int32", -2e9, 1), ("uint16", 60000, 1)]
)
def test_a_narrow_range_of_large_numbers_keeps_its_grey_levels(kind: str, low: float, step: float) -> None:
    levels = np.arange(256)
    values = (low + levels * step).astype(kind).reshape(1, 16, 16)
    seen = stretch(values, (float(values.min()), float(values.max())))
    np.testing.assert_array_equal(seen.ravel(), levels)
    assert (values.ravel() == (low + levels * step).astype(kind)).all()  # and stays as it was


def test_what_is_no_number_or_out_of_range_when_stretched() -> None:
    values = np.array([np.nan, -np.inf, np.inf, -5, 0, 5, 10, 99], np.float32)
    before = values.copy()
    assert stretch(values, (0, 10)).tolist() == [0, 0, 255, 0, 0, 128, 255, 255]
    np.testing.assert_array_equal(values, before)


def test_crops_of_one_map_agree(tmp_path: Path) -> None:
    """The tiles of a cut-out lie where those of the whole map do, wherever it was cut out."""
    bands = np.random.default_rng(1).integers(0, 256, (3, 260, 280)).astype(np.uint8)

    class Contextual(BrightnessSegmenter):
        def logits(self, tile: np.ndarray) -> np.ndarray:
            grey = tile.mean(axis=2)
            return np.stack([np.full(grey.shape, grey.mean()), grey])[None]

    whole = write(tmp_path / "whole.tif", bands, **UTM)
    row, column = 37, 11
    moved = from_origin(500000 + 0.5 * column, 5000000 - 0.5 * row, 0.5, 0.5)
    crop = write(tmp_path / "crop.tif", bands[:, row:240, column:270], crs=UTM["crs"], transform=moved)
    with RasterSource(whole) as one, RasterSource(crop) as other:
        assert (other.origin[0] - one.origin[0], other.origin[1] - one.origin[1]) == (row, column)
    masks = []
    for path in (whole, crop):
        predict_raster(Contextual(), path, tmp_path / "out", FormatOptions(tile=64))
        with rasterio.open(tmp_path / "out" / path.name) as dataset:
            masks.append(dataset.read(1))
    inner = masks[1][64:-64, 64:-64]
    np.testing.assert_array_equal(inner, masks[0][row + 64 : 240 - 64, column + 64 : 270 - 64])
    assert 0.2 < inner.mean() < 0.8


def test_polygons_as_geojson_and_geopackage(tmp_path: Path) -> None:
    red = np.zeros((150, 200), np.uint8)
    red[20:60, 30:90] = 150  # a class-1 rectangle
    red[30:40, 40:50] = 0  # with a hole
    red[100:110, 100:110] = 250  # and a class-2 square
    path = write(tmp_path / "map.tif", np.stack([red] * 3), **UTM)
    options = FormatOptions(tile=64, polygons=("geojson", "gpkg"))
    done = predict_raster(BrightnessSegmenter(("a", "b"), (100, 200)), path, tmp_path / "out", options)
    assert done.details["polygons"] == {"geojson": 2, "gpkg": 2}
    features = json.loads((tmp_path / "out" / "map.geojson").read_text())["features"]
    by_class = {feature["properties"]["class"]: feature for feature in features}
    one = by_class["a"]
    assert (one["properties"]["value"], one["properties"]["pixels"]) == (1, 40 * 60 - 100)
    outer, hole = (np.array(ring) for ring in one["geometry"]["coordinates"])
    # RFC 7946: longitude and latitude, outer rings anticlockwise, holes clockwise
    assert np.abs(outer - (15.0003, 45.153)).max() < 0.001

    def signed(ring: np.ndarray) -> float:
        x, y = (ring - ring[0]).T
        return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))

    assert signed(outer) > 0 > signed(hole)
    east, north = rasterio.warp.transform("EPSG:4326", "EPSG:32633", outer[:, 0], outer[:, 1])
    assert (round(min(east), 1), round(max(east), 1)) == (500015.0, 500045.0)
    assert (round(min(north), 1), round(max(north), 1)) == (4999970.0, 4999990.0)
    with sqlite3.connect(tmp_path / "out" / "map.gpkg") as database:
        rows = database.execute("select class, value, pixels, square_metres from classes order by value").fetchall()
        extent = database.execute("select min_x, min_y, max_x, max_y, srs_id from gpkg_contents").fetchone()
    assert [row[:3] for row in rows] == [("a", 1, 2300), ("b", 2, 100)]
    # UTM shrinks lengths by 0.9996 on its central meridian
    assert rows[1][3] == pytest.approx(100 * 0.25 / 0.9996**2, rel=1e-4)
    assert extent == (500015.0, 4999945.0, 500055.0, 4999990.0, 32633)


MARS = (
    'PROJCS["Mars Equirect",GEOGCS["Mars 2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000_IAU",3396190,169.8944]],'
    'PRIMEM["Reference_Meridian",0],UNIT["degree",0.0174532925199433]],PROJECTION["Equirectangular"],'
    'PARAMETER["standard_parallel_1",0],PARAMETER["central_meridian",180],UNIT["metre",1]]'
)


@pytest.mark.parametrize("system", [MARS, 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_coordinate_systems_that_are_not_of_the_earth(tmp_path: Path, system: str) -> None:
    path = write(tmp_path / "map.tif", blocks(), crs=system, transform=UTM["transform"])
    with pytest.raises(DataError, match="no longitude and latitude on Earth") as caught:
        predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64, polygons=("geojson",)))
    assert caught.value.path == path
    assert not (tmp_path / "out" / "map.geojson").exists()
    done = predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64, polygons=("gpkg",)))
    assert done.square_metres is None
    with sqlite3.connect(tmp_path / "out" / "map.gpkg") as database:
        found = database.execute("select sum(pixels), count(square_metres) from classes").fetchone()
        extent = database.execute("select min_x, max_y from gpkg_contents").fetchone()
    assert found == (int((blocks()[0] >= 128).sum()), 0)
    assert extent == (500000, 5000000)


def test_square_metres_from_degrees(tmp_path: Path) -> None:
    """Against the area of a strip of the WGS 84 ellipsoid between two parallels."""
    step = 1e-4
    path = write(tmp_path / "map.tif", np.full((1, 150, 200), 255, np.uint8), crs="EPSG:4326",
                 transform=from_origin(10, 60, step, step))  # fmt: skip
    done = predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64))

    def zone(latitude: float) -> float:
        a, f = 6378137.0, 1 / 298.257223563
        e = np.sqrt(f * (2 - f))
        s = np.sin(np.radians(latitude))
        return (a * (1 - f)) ** 2 / 2 * (s / (1 - (e * s) ** 2) + np.log((1 + e * s) / (1 - e * s)) / (2 * e))

    wanted = np.radians(200 * step) * (zone(60) - zone(60 - 150 * step))
    assert done.square_metres is not None
    assert done.square_metres["bright"] == pytest.approx(wanted, rel=1e-4)
    assert done.square_metres["background"] == 0
    plain = write(tmp_path / "plain.tif", blocks(), nodata=0)
    assert predict_raster(BrightnessSegmenter(), plain, tmp_path / "out").square_metres is None


def test_what_exists_is_left_alone_and_the_rest_is_made_from_it(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", blocks(), **UTM)
    predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64))
    before = (tmp_path / "out" / "map.tif").stat()
    other = BrightnessSegmenter(limits=(300,))  # finds nothing
    done = predict_raster(other, path, tmp_path / "out", FormatOptions(tile=64, overlay=True, polygons=("gpkg",)))
    assert other.calls == 0
    assert done.pixels["bright"] == int((blocks()[0] >= 128).sum())
    assert done.details["polygons"]["gpkg"] > 10
    predict_raster(other, path, tmp_path / "out", FormatOptions(tile=64, probabilities=True))
    after = (tmp_path / "out" / "map.tif").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    predict_raster(other, path, tmp_path / "out", FormatOptions(tile=64, overwrite=True))
    with rasterio.open(tmp_path / "out" / "map.tif") as mask:
        assert mask.read(1).max() == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["map.gpkg", "map.tif", "overlays", "probabilities"]


@pytest.mark.parametrize("more", [FormatOptions(tile=64, polygons=("gpkg",)), FormatOptions(64, probabilities=True)])
def test_a_mask_of_other_classes_is_not_taken_for_the_models_own(tmp_path: Path, more: FormatOptions) -> None:
    path = write(tmp_path / "map.tif", blocks(), **UTM)
    predict_raster(BrightnessSegmenter(("a", "b"), (100, 200)), path, tmp_path / "out", FormatOptions(tile=64))
    before = (tmp_path / "out" / "map.tif").read_bytes()
    other = BrightnessSegmenter(("b",))
    with pytest.raises(UsageError, match=r"other classes than the model's \(0=background, 1=a, 2=b") as caught:
        predict_raster(other, path, tmp_path / "out", more)
    assert (caught.value.path, caught.value.cure) == (path, "Choose another folder, or add --overwrite")
    assert (tmp_path / "out" / "map.tif").read_bytes() == before
    assert not list(tmp_path.glob("out/**/*.gpkg"))
    done = predict_raster(other, path, tmp_path / "out", replace(more, overwrite=True))
    assert done.pixels["b"] == int((blocks()[0] >= 128).sum())


def test_png_and_overlay(tmp_path: Path) -> None:
    bands = blocks()
    path = write(tmp_path / "map.tif", bands, **UTM)
    options = FormatOptions(tile=64, masks="png", overlay=True)
    done = predict_raster(BrightnessSegmenter(), path, tmp_path / "out", options)
    assert [p.name for p in done.written] == ["map.png", "map.jpg"]
    np.testing.assert_array_equal(np.asarray(Image.open(done.written[0])), bands[0] >= 128)
    with Image.open(done.written[1]) as drawn:
        assert drawn.size == (200, 150)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["map.png", "overlays"]


def test_training_reads_them_too(tmp_path: Path) -> None:
    bands = np.maximum(blocks(), 1)
    bands[:, :, 150:] = 0
    image = read_image(write(tmp_path / "map.tif", bands, nodata=0, **UTM))
    shown = np.moveaxis(bands, 0, -1)
    np.testing.assert_array_equal(image.pixels[:, :150], shown[:, :150])
    mean = np.rint(shown[:, :150].reshape(-1, 3).mean(axis=0))
    np.testing.assert_array_equal(image.pixels[:, 150:], np.broadcast_to(mean, (150, 50, 3)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (FormatOptions(bands=(1, 2, 9)), "bands 1,2,9 of a file with 3"),
        (FormatOptions(tile=64, polygons=("geojson",)), "says nowhere where on Earth"),
    ],
)
def test_impossible_wishes_name_the_file_and_the_cure(tmp_path: Path, options: FormatOptions, expected: str) -> None:
    path = write(tmp_path / "plain.tif", blocks(), nodata=0)
    with pytest.raises((UsageError, DataError), match=expected) as caught:
        predict_raster(BrightnessSegmenter(), path, tmp_path / "out", options)
    assert caught.value.path == path
    assert caught.value.cure
    assert list((tmp_path / "out").iterdir()) == []  # said before the work, not after


def test_damaged_files_name_themselves_and_leave_nothing_behind(tmp_path: Path) -> None:
    whole = write(
        tmp_path / "map.tif", np.random.default_rng(0).integers(0, 255, (3, 150, 200)).astype(np.uint8), **UTM
    )
    data = whole.read_bytes()
    for name, content in (("cut.tif", data[: len(data) // 2]), ("text.tif", b"no raster"), ("head.tif", data[:20])):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64))
        assert caught.value.path == path
    assert list((tmp_path / "out").iterdir()) == []
    complex_numbers = write(tmp_path / "complex.tif", blocks().astype(np.complex64), **UTM)
    with pytest.raises(DataError, match="complex numbers"):
        RasterSource(complex_numbers)


def test_a_full_disk_is_told_and_leaves_the_old_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "map.tif", blocks(), **UTM)
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "map.tif"
    old.write_bytes(b"precious")
    monkeypatch.setattr("distillfss.io.geo_write._checksum", lambda dataset, rows: -1)
    with pytest.raises(OutputError, match="cannot be read back"):
        predict_raster(BrightnessSegmenter(), path, tmp_path / "out", FormatOptions(tile=64, overwrite=True))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["map.tif"]
    assert old.read_bytes() == b"precious"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", blocks(), **UTM)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        predict_raster(BrightnessSegmenter(), path, tmp_path / "file" / "out", FormatOptions(tile=64))
    assert caught.value.path == tmp_path / "file" / "out"


@pytest.mark.parametrize(
    "other",
    [
        {"crs": "EPSG:32634", "transform": UTM["transform"]},
        {"crs": UTM["crs"], "transform": from_origin(500100, 5000000, 0.5, 0.5)},
        {"crs": UTM["crs"], "transform": UTM["transform"], "cut": 10},
    ],
)
def test_the_mask_of_another_map_of_the_same_name_is_not_taken(tmp_path: Path, other: dict) -> None:
    """Else its polygons and areas would be those of the new map."""
    path, options = write(tmp_path / "map.tif", blocks(), **UTM), FormatOptions(tile=64)
    predict_raster(BrightnessSegmenter(), path, tmp_path / "out", options)
    cut = other.pop("cut", 0)
    write(path, blocks()[:, cut:], **other)
    wanted = replace(options, polygons=("gpkg",))
    with pytest.raises(UsageError, match="of other ground: its size, place or coordinate system is not the image's"):
        predict_raster(BrightnessSegmenter(), path, tmp_path / "out", wanted)
    assert not (tmp_path / "out" / "map.gpkg").exists()
    predict_raster(BrightnessSegmenter(), path, tmp_path / "out", replace(wanted, overwrite=True))
    assert (tmp_path / "out" / "map.gpkg").exists()
