"""GeoJSON in pixels: names of classes, collections, and objects that lie elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from one_image import TRIANGLE, only_mask
from scene import covered, write_images

from distillfss.errors import DataError
from distillfss.support import LabelledFolder


def test_geojson_without_classes_is_one_class(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    geometry = {"type": "Polygon", "coordinates": [[*TRIANGLE, TRIANGLE[0]]]}
    features: list[dict[str, Any]] = [{"type": "Feature", "geometry": geometry, "properties": {}} for _ in range(2)]
    path = tmp_path / "a.png.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    np.testing.assert_array_equal(only_mask(tmp_path), covered(shapely.Polygon(TRIANGLE)))
    assert LabelledFolder.open(tmp_path).class_names == ("object",)
    assert LabelledFolder.open(tmp_path, ["cell"]).class_names == ("cell",)
    np.testing.assert_array_equal(LabelledFolder.open(tmp_path, ["cell"])[0].mask, only_mask(tmp_path))
    features[0]["properties"] = {"classification": {"name": "Tumor"}}
    features.append({"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": "Ignore*"}}})
    path.write_text(json.dumps(features))
    with pytest.raises(DataError, match="has no class"):
        only_mask(tmp_path)
    del features[1]
    path.write_text(json.dumps(features))
    np.testing.assert_array_equal(only_mask(tmp_path) == 255, covered(shapely.Polygon(TRIANGLE)))


def write_features(folder: Path, *objects: tuple[list[list[float]], dict[str, Any]]) -> None:
    write_images(folder, ["a"])
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [points]}, "properties": properties}
        for points, properties in objects
    ]
    (folder / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_derived_classes_of_qupath_are_classes_of_their_own(tmp_path: Path) -> None:
    other = [[65.3, 10.1], [80.2, 10.7], [70.9, 40.3]]
    positive, negative = ({"classification": {"names": ["Tumor", each]}} for each in ("Positive", "Negative"))
    write_features(tmp_path, (TRIANGLE, positive), (other, negative))
    assert LabelledFolder.open(tmp_path).class_names == ("Tumor: Negative", "Tumor: Positive")
    want = covered(shapely.Polygon(other)) + 2 * covered(shapely.Polygon(TRIANGLE)).astype(np.uint8)
    np.testing.assert_array_equal(only_mask(tmp_path), want)
    write_features(tmp_path, (TRIANGLE, positive), (other, {"classification": {"name": "Stroma", "names": ["Stroma"]}}))
    assert LabelledFolder.open(tmp_path).class_names == ("Stroma", "Tumor: Positive")


def test_a_number_is_the_name_of_a_class_even_0(tmp_path: Path) -> None:
    other = [[65.3, 10.1], [80.2, 10.7], [70.9, 40.3]]
    write_features(tmp_path, (TRIANGLE, {"class": 0}), (other, {"class": 1}))
    assert LabelledFolder.open(tmp_path).class_names == ("0", "1")
    want = covered(shapely.Polygon(TRIANGLE)) + 2 * covered(shapely.Polygon(other)).astype(np.uint8)
    np.testing.assert_array_equal(only_mask(tmp_path), want)


def test_polygons_in_collections(tmp_path: Path) -> None:
    write_features(tmp_path, (TRIANGLE, {"class": "leaf"}))
    path = tmp_path / "a.geojson"
    content = json.loads(path.read_text())
    other = [[65.3, 10.1], [80.2, 10.7], [70.9, 40.3]]
    line = {"type": "LineString", "coordinates": TRIANGLE}
    more = {"type": "MultiPolygon", "coordinates": [[other]]}
    inner = {"type": "GeometryCollection", "geometries": [line, more]}
    first = content["features"][0]
    first["geometry"] = {"type": "GeometryCollection", "geometries": [first["geometry"], inner]}
    path.write_text(json.dumps(content))
    want = covered(shapely.Polygon(TRIANGLE)) | covered(shapely.Polygon(other))
    np.testing.assert_array_equal(only_mask(tmp_path), want)


def test_geojson_of_which_nothing_lies_in_the_image(tmp_path: Path) -> None:
    far = [[691000.0, 5334000.0], [691100.0, 5334000.0], [691100.0, 5334100.0]]
    write_features(tmp_path, (far, {"class": "leaf"}))
    with pytest.raises(
        DataError, match=r"all its objects lie outside the image, the first at 691000\.0, 5334000\.0 of 83x60"
    ):
        only_mask(tmp_path)
    write_features(tmp_path, (far, {"class": "leaf"}), (TRIANGLE, {"class": "leaf"}))
    np.testing.assert_array_equal(only_mask(tmp_path), covered(shapely.Polygon(TRIANGLE)))


@pytest.mark.parametrize("key", ["class", "Class", "LABEL", "class_name", "CLASSNAME"])
def test_the_class_is_found_by_its_usual_names(key: str, tmp_path: Path) -> None:
    told = [{key: "road", "landuse": "x"}, {key: "roof", "landuse": "y"}, {key: "roof", "landuse": "y"}]
    write_features(tmp_path, *((TRIANGLE, each) for each in told))
    assert LabelledFolder.open(tmp_path).class_names == ("road", "roof")


def test_objects_that_differ_in_something_else_are_not_taken_for_one_class(tmp_path: Path) -> None:
    told = [{"fid": place, "landuse": use, "area": 1.5 * place} for place, use in enumerate(["road", "roof", "roof"])]
    write_features(tmp_path, *((TRIANGLE, each) for each in told))
    with pytest.raises(DataError) as caught:
        LabelledFolder.open(tmp_path)
    assert caught.value.problem == "no object has a class, and they differ in landuse (2 values)"
    assert caught.value.cure.startswith('Rename the property that says the class to "class"')
    # whoever names the one class says that they are all of it
    assert LabelledFolder.open(tmp_path, classes=["built"]).class_names == ("built",)
    # numbers of the objects, what is the same of all, and what QuPath says are no classes
    told = [{"fid": place, "landuse": "road", "isLocked": bool(place)} for place in range(3)]
    write_features(tmp_path, *((TRIANGLE, each) for each in told))
    opened = LabelledFolder.open(tmp_path)
    assert opened.class_names == ("object",)
    assert opened.notices == (
        f"{tmp_path}: no object has a class, so all are one, object; name it with --classes, or give each its class",
    )
    assert LabelledFolder.open(tmp_path, ["roof"]).notices == ()
