"""GeoJSON in coordinates of the world beside the maps it was drawn on, and in pixels all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform_geom
from scene import covered

from distillfss.errors import DataError
from distillfss.io.polygons import write_polygons
from distillfss.support import LabelledFolder, SupportSet

HEIGHT, WIDTH = 150, 200
OUTER = [[20.3, 20.7], [120.4, 30.2], [90.8, 120.6]]
HOLE = [[50.21, 40.13], [80.37, 45.29], [75.73, 70.41]]
CRS84 = "urn:ogc:def:crs:OGC:1.3:CRS84"
UTM = ("EPSG:32632", from_origin(691000, 5334000, 0.5, 0.5))
COARSE = ("EPSG:4326", from_origin(10, 60, 0.5, 0.5))


def write_map(path: Path, place: tuple[str, Affine] | None, values: np.ndarray | None = None) -> None:
    """A GeoTIFF of one band, at no place if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        values = np.random.default_rng(0).integers(1, 255, (HEIGHT, WIDTH)).astype(np.uint8)
    where = {} if place is None else {"crs": place[0], "transform": place[1]}
    shape = {"driver": "GTiff", "count": 1, "height": HEIGHT, "width": WIDTH, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", **shape, **where) as dataset:
        dataset.write(values, 1)


def on_earth(rings: list[list[list[float]]], place: tuple[str, Affine], crs: str) -> list[Any]:
    a, b, c, d, e, f = tuple(place[1])[:6]
    there = [[(a * x + b * y + c, d * x + e * y + f) for x, y in [*ring, ring[0]]] for ring in rings]
    return list(transform_geom(place[0], crs, {"type": "Polygon", "coordinates": there})["coordinates"])


def write_geojson(path: Path, *polygons: list[Any], crs: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    features = [
        {"type": "Feature", "properties": {"class": "field"}, "geometry": {"type": "Polygon", "coordinates": rings}}
        for rings in polygons
    ]
    member = {} if crs is None else {"crs": {"type": "name", "properties": {"name": crs}}}
    path.write_text(json.dumps({"type": "FeatureCollection", **member, "features": features}))


def wanted(*holes: list[list[float]]) -> np.ndarray:
    return covered(shapely.Polygon(OUTER, holes), HEIGHT, WIDTH).astype(np.uint8)


def only_mask(folder: Path) -> np.ndarray:
    (sample,) = LabelledFolder.open(folder)
    return sample.mask


@pytest.mark.parametrize(
    "place",
    [
        UTM,
        ("EPSG:32733", from_origin(500000, 9000000, 10, 10)),
        ("EPSG:4326", from_origin(11.57, 48.14, 1e-5, 1e-5)),
        ("EPSG:3857", Affine(1.6, 1.2, 1288000, 1.2, -1.6, 6130000)),  # turned
    ],
)
def test_polygons_of_predictions_give_back_the_mask(place: tuple[str, Affine], tmp_path: Path) -> None:
    mask = (np.random.default_rng(1).random((HEIGHT, WIDTH)) > 0.6).astype(np.uint8)
    mask[30:90, 40:120] = 2
    write_map(tmp_path / "mask.tif", place, mask)
    write_map(tmp_path / "data" / "a.tif", place)
    write_polygons(tmp_path / "mask.tif", tmp_path / "data" / "a.geojson", ("field", "road"), tmp_path / "a.tif")
    (sample,) = SupportSet.from_folder(tmp_path / "data").samples
    np.testing.assert_array_equal(sample.mask, mask)


@pytest.mark.parametrize("crs", [CRS84, "EPSG:4326", "urn:ogc:def:crs:EPSG::32632", "urn:ogc:def:crs:EPSG:6.9:3857"])
@pytest.mark.parametrize("place", [UTM, ("EPSG:4326", from_origin(11.57, 48.14, 1e-5, 1e-5))])
def test_a_coordinate_system_that_is_named(crs: str, place: tuple[str, Affine], tmp_path: Path) -> None:
    write_map(tmp_path / "a.tif", place)
    system = "EPSG:4326" if crs == CRS84 else f"EPSG:{crs.rpartition(':')[2]}"
    write_geojson(tmp_path / "a.geojson", on_earth([OUTER, HOLE], place, system), crs=crs)
    np.testing.assert_array_equal(only_mask(tmp_path), wanted(HOLE))


def test_degrees_that_might_be_pixels_count_as_what_the_file_says(tmp_path: Path) -> None:
    write_map(tmp_path / "a.tif", COARSE)
    rings = [[[20, 10], [60, 10], [60, 50], [20, 50], [20, 10]]]
    write_geojson(tmp_path / "a.geojson", rings, crs=CRS84)
    want = np.zeros((HEIGHT, WIDTH), np.uint8)
    want[20:100, 20:100] = 1
    np.testing.assert_array_equal(only_mask(tmp_path), want)
    write_geojson(tmp_path / "a.geojson", rings)
    with pytest.raises(DataError, match="could be in pixels, or in longitude and latitude") as caught:
        only_mask(tmp_path)
    assert caught.value.path == tmp_path / "a.geojson"


@pytest.mark.parametrize("place", [None, UTM, COARSE, ("EPSG:4326", from_origin(11.57, 48.14, 1e-5, 1e-5))])
def test_pixels_of_a_map_stay_pixels(place: tuple[str, Affine] | None, tmp_path: Path) -> None:
    write_map(tmp_path / "a.tif", place)
    # reaches to where no latitude is
    write_geojson(tmp_path / "a.geojson", [OUTER, HOLE])
    np.testing.assert_array_equal(only_mask(tmp_path), wanted(HOLE))


def test_degrees_of_a_whole_region_beside_a_small_map(tmp_path: Path) -> None:
    write_map(tmp_path / "a.tif", UTM)
    elsewhere = [[[12.5, 48.5], [12.6, 48.5], [12.6, 48.6], [12.5, 48.5]]]
    write_geojson(tmp_path / "a.geojson", elsewhere, on_earth([OUTER], UTM, "EPSG:4326"))
    np.testing.assert_array_equal(only_mask(tmp_path), wanted())


def test_coordinates_of_the_world_need_an_image_with_a_place(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    write_geojson(tmp_path / "a.geojson", on_earth([OUTER], COARSE, "EPSG:4326"), crs=CRS84)
    with pytest.raises(DataError, match=r"OGC:CRS84.* but a\.png does not say where on Earth it lies") as caught:
        only_mask(tmp_path)
    assert caught.value.path == tmp_path / "a.geojson"
    (tmp_path / "a.png").unlink()
    write_map(tmp_path / "a.tif", None)
    with pytest.raises(DataError, match=r"but a\.tif does not say where on Earth it lies"):
        only_mask(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_degrees_beside_an_image_that_is_not_of_that_place(name: str, tmp_path: Path) -> None:
    """The second field covers the centre of a pixel, so it would be learnt from as one."""
    if name == "a.png":
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    else:
        write_map(tmp_path / name, UTM)
    corners = ((8.41, 49.03), (8.4951, 49.4951))
    fields = [[[[x, y], [x + 0.01, y], [x + 0.01, y + 0.008], [x, y + 0.008], [x, y]]] for x, y in corners]
    write_geojson(tmp_path / "a.geojson", *fields)
    where = "does not say where on Earth it lies" if name == "a.png" else "shows another part of the Earth"
    with pytest.raises(DataError, match=f"none of its objects is as large as a pixel.*, but {name} {where}") as caught:
        only_mask(tmp_path)
    assert caught.value.path == tmp_path / "a.geojson"
    assert "export the annotation in pixels" in caught.value.cure
    write_geojson(tmp_path / "a.geojson", *fields, [[[8, 49], [9, 49], [9, 50], [8, 50], [8, 49]]])
    assert only_mask(tmp_path).sum() == 1  # the third is a pixel


@pytest.mark.parametrize("crs", ["EPSG:999999", "/vsicurl/http://example.org/x", "a.prj", "+proj=utm"])
def test_coordinate_systems_nobody_knows(crs: str, tmp_path: Path) -> None:
    write_map(tmp_path / "a.tif", UTM)
    write_geojson(tmp_path / "a.geojson", [OUTER], crs=crs)
    with pytest.raises(DataError, match=r"is in the coordinate system '.*', which is not known") as caught:
        only_mask(tmp_path)
    assert caught.value.path == tmp_path / "a.geojson"


def test_points_that_the_maps_system_does_not_reach(tmp_path: Path) -> None:
    write_map(tmp_path / "a.tif", UTM)
    write_geojson(tmp_path / "a.geojson", [[[11, 48], [12, 48], [11.5, 95]]], crs=CRS84)
    with pytest.raises(DataError, match=r"a\.geojson: .*Export it in longitude and latitude"):
        only_mask(tmp_path)


@pytest.mark.parametrize("crs", [None, CRS84, "EPSG:32632"])
def test_one_layer_over_many_maps(crs: str | None, tmp_path: Path) -> None:
    """As QGIS exports it; a map in which nothing is drawn counts as not annotated."""
    system, transform = UTM
    for place, name in enumerate(["a", "b", "c"]):
        write_map(tmp_path / "images" / f"{name}.tif", (system, transform @ Affine.translation(WIDTH * place, 0)))
    earth = "OGC:CRS84" if crs in (None, CRS84) else crs
    moved = [[x + 150, y] for x, y in OUTER]  # over the border of a and b
    write_geojson(tmp_path / "labels.geojson", on_earth([moved], UTM, earth), crs=crs)
    data = LabelledFolder.open(tmp_path)
    assert data.names == ("a", "b")
    for index, shift in enumerate((0, WIDTH)):
        shape = shapely.Polygon([[x - shift, y] for x, y in moved])
        np.testing.assert_array_equal(data[index].mask, covered(shape, HEIGHT, WIDTH))
    assert any("1 image without annotation left out (c.tif)" in notice for notice in data.notices)
    further = [[x + 150 + WIDTH, y] for x, y in OUTER]  # in b and c
    write_geojson(tmp_path / "labels.geojson", *(on_earth([each], UTM, earth) for each in (moved, further)), crs=crs)
    support = SupportSet.from_folder(tmp_path)
    assert [sample.name for sample in support.samples] == ["a", "b", "c"]
    assert not any("no pixel" in notice or "outside" in notice for notice in support.notices)


def test_a_layer_that_meets_no_map_is_refused(tmp_path: Path) -> None:
    write_map(tmp_path / "a.tif", UTM)
    elsewhere = (UTM[0], UTM[1] @ Affine.translation(9000, 0))
    write_geojson(tmp_path / "labels.geojson", on_earth([OUTER], elsewhere, UTM[0]), crs=UTM[0])
    with pytest.raises(DataError) as caught:
        SupportSet.from_folder(tmp_path)
    assert caught.value.problem == "its image labels is not in the folder"
    assert caught.value.cure.endswith("or export the layer with its crs: it meets none of the maps")
