"""What single formats have beyond polygons: other shapes, labels with a meaning, folders of several layouts."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi
from scene import HEIGHT, WIDTH, WRITERS, brush, brushed, covered, expected, scene, write_images

from distillfss.errors import DataError
from distillfss.io.annotations import read_annotations
from distillfss.support import LabelledFolder, SupportSet

TRIANGLE = [[10.13, 10.29], [60.41, 12.07], [30.71, 50.83]]


def circle(x: float, y: float, radius: float) -> shapely.Geometry:
    return shapely.Point(x, y).buffer(radius, quad_segs=2000)


def only_mask(folder: Path) -> np.ndarray:
    data = LabelledFolder.open(folder)
    assert len(data) == 1
    return data[0].mask


# --- LabelMe ----------------------------------------------------------------------------------------------------------


def labelme(folder: Path, shapes: list[dict[str, Any]], **more: Any) -> Path:
    write_images(folder, ["a"])
    (folder / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": shapes, **more}))
    return folder


def test_labelme_shapes(tmp_path: Path) -> None:
    shapes = [
        {"label": "leaf", "points": [[50.6, 40.25], [5.25, 3.6]], "shape_type": "rectangle"},
        {"label": "stem", "points": [[60, 30], [63, 34]], "shape_type": "circle"},
        {"label": "stem", "points": [[1, 1]], "shape_type": "point"},
    ]
    labelme(tmp_path, shapes)
    want = np.zeros((HEIGHT, WIDTH), np.uint8)
    want[covered(shapely.box(5.25, 3.6, 50.6, 40.25))] = 1
    want[covered(circle(60, 30, 5))] = 2
    np.testing.assert_array_equal(only_mask(tmp_path), want)
    notices = SupportSet.from_folder(tmp_path).notices
    assert [notice.removeprefix(f"{tmp_path}: ").split(" (")[0] for notice in notices] == [
        "1 objects",
        "1 points, lines or the like",
    ]


def test_labels_that_cut_holes_and_leave_out(tmp_path: Path) -> None:
    inner = [[25.17, 18.23], [40.59, 18.91], [30.37, 30.61]]
    shapes = [
        {"label": "leaf", "points": TRIANGLE},
        {"label": "_background_", "points": inner},
        {"label": "__ignore__", "points": [[0, 50], [20, 50], [20, 60], [0, 60]]},
    ]
    labelme(tmp_path, shapes)
    want = (covered(shapely.Polygon(TRIANGLE)) & ~covered(shapely.Polygon(inner))).astype(np.uint8)
    want[50:60, 0:20] = 255
    np.testing.assert_array_equal(only_mask(tmp_path), want)
    assert SupportSet.from_folder(tmp_path).class_names == ("leaf",)


def test_labelme_without_sizes_and_with_an_image_renamed_together_with_its_file(tmp_path: Path) -> None:
    labelme(tmp_path, [{"label": "leaf", "points": TRIANGLE}], imageHeight=None, imageWidth=None)
    path = tmp_path / "a.json"
    path.write_text(path.read_text().replace("a.png", "IMG_0001.png"))
    np.testing.assert_array_equal(only_mask(tmp_path), covered(shapely.Polygon(TRIANGLE)))


def write_labelme(path: Path, image: str, label: str = "leaf", points: list[list[float]] = TRIANGLE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"imagePath": image, "shapes": [{"label": label, "points": points}]}))


def test_labelmes_image_path_leads_from_the_file(tmp_path: Path) -> None:
    other = [[65.3, 10.1], [80.2, 10.7], [70.9, 40.3]]
    for part, points in (("x", TRIANGLE), ("y", other)):
        write_images(tmp_path / part, ["1"])
        write_labelme(tmp_path / part / "1.json", "1.png", points=points)
    data = LabelledFolder.open(tmp_path)
    assert [data.image_path(index) for index in range(2)] == [tmp_path / "x" / "1.png", tmp_path / "y" / "1.png"]
    for index, points in enumerate((TRIANGLE, other)):
        np.testing.assert_array_equal(data[index].mask, covered(shapely.Polygon(points)))
    for part in "xy":
        (tmp_path / part / "1.json").unlink()
        write_labelme(tmp_path / "ann" / part / "1.json", f"..\\..\\{part}\\1.png")
    assert [pair.image for pair in read_annotations(tmp_path).pairs] == [
        tmp_path / "x" / "1.png",
        tmp_path / "y" / "1.png",
    ]


def test_an_image_of_the_same_name_in_another_folder_is_not_taken(tmp_path: Path) -> None:
    write_images(tmp_path / "x", ["2"])
    write_images(tmp_path / "y", ["1"])
    write_labelme(tmp_path / "x" / "1.json", "1.png")
    write_labelme(tmp_path / "x" / "2.json", "2.png")
    (fault,) = read_annotations(tmp_path).faults
    assert fault.path == tmp_path / "x" / "1.json"
    assert "its image 1.png is not in the folder beside it, where other images are" in fault.problem
    # but where annotation lies in a folder of its own, it is
    (tmp_path / "x" / "2.png").rename(tmp_path / "y" / "2.png")
    assert [pair.image.name for pair in read_annotations(tmp_path).pairs] == ["1.png", "2.png"]


def test_labelmes_files_as_deep_as_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ["a"])
    write_labelme(tmp_path / "json" / "p" / "a.json", "../../images/a.png")
    write_images(tmp_path / "c" / "d" / "e", ["b"])
    write_labelme(tmp_path / "c" / "d" / "e" / "b.json", "b.png")
    data = LabelledFolder.open(tmp_path)
    assert data.names == ("a", "b")
    np.testing.assert_array_equal(data[1].mask, covered(shapely.Polygon(TRIANGLE)))


# --- CVAT -------------------------------------------------------------------------------------------------------------


def test_cvat_boxes_and_ellipses(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    shapes = (
        '<box label="leaf" xtl="10" ytl="10" xbr="40" ybr="30" rotation="30" z_order="1"/>'
        '<ellipse label="leaf" cx="60" cy="40" rx="15" ry="6" rotation="20" z_order="1"/>'
        '<polyline label="leaf" points="1,1;2,2" z_order="3"/>'
    )
    labels = (
        "<meta><task><labels><label><name>stem</name></label><label><name>leaf</name></label></labels></task></meta>"
    )
    image = f'<image id="0" name="sub/a.png" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{labels}{image}</annotations>")
    turned = shapely.affinity.rotate(shapely.box(10, 10, 40, 30), 30, origin="center")
    ellipse = shapely.affinity.rotate(shapely.affinity.scale(circle(60, 40, 1), 15, 6), 20, origin=(60, 40))
    want = (covered(turned) | covered(ellipse)).astype(np.uint8) * 2
    np.testing.assert_array_equal(only_mask(tmp_path), want)


def test_the_example_of_cvats_own_documentation_is_one_piece(tmp_path: Path) -> None:
    """Run lengths go row by row, background first: only then is every row and column of this shape unbroken."""
    write_images(tmp_path, ["a"])
    rle = "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3"
    mask = f'<mask label="car" rle="{rle}" left="20" top="30" width="13" height="15"/>'
    image = f'<image name="a.png" width="{WIDTH}" height="{HEIGHT}">{mask}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations><meta/>{image}</annotations>")
    drawn = only_mask(tmp_path)
    assert drawn.sum() == 5 + 7 + 9 + 11 + 11 + 12 + 12 + 26 + 12 + 12 + 11 + 9 + 7 + 5
    disc = drawn[30:45, 20:33]
    assert disc.sum() == drawn.sum()
    for line in [*disc, *disc.T]:
        assert (np.diff(np.concatenate([[0], line, [0]]).astype(int)) == 1).sum() == 1


# --- YOLO -------------------------------------------------------------------------------------------------------------


def test_yolo_layouts(tmp_path: Path) -> None:
    made = scene(**WRITERS["yolo"][1])
    WRITERS["yolo"][0](tmp_path / "ultra", made)
    (tmp_path / "robo").mkdir()
    shutil.copy(tmp_path / "ultra" / "data.yaml", tmp_path / "robo" / "data.yaml")
    for kind in ("images", "labels"):
        shutil.copytree(tmp_path / "ultra" / kind / "train", tmp_path / "robo" / "train" / kind)
    for folder in (tmp_path / "ultra", tmp_path / "ultra" / "images" / "train", tmp_path / "robo" / "train"):
        data = LabelledFolder.open(folder)
        assert data.class_names == ("leaf", "stem")
        for index, name in enumerate(data.names):
            np.testing.assert_array_equal(data[index].mask, expected(made.drawings[name]))
    for kind in ("images", "labels"):
        shutil.copytree(tmp_path / "robo" / "train" / kind, tmp_path / "robo" / "valid" / kind)
        shutil.copytree(tmp_path / "ultra" / kind / "train", tmp_path / "ultra" / kind / "val")
    for folder in ("robo", "ultra"):
        with pytest.raises(DataError, match=r"holds several parts.*Give one of them"):
            LabelledFolder.open(tmp_path / folder)


def test_an_empty_file_of_yolo_says_that_nothing_is_there(tmp_path: Path) -> None:
    WRITERS["yolo"][0](tmp_path, scene(**WRITERS["yolo"][1]))
    (tmp_path / "labels" / "train" / "b.txt").write_text("")
    data = LabelledFolder.open(tmp_path)
    assert not data[1].mask.any()
    (tmp_path / "labels" / "train" / "b.txt").write_text("7 0 0 1 0 1 1\n")
    with pytest.raises(DataError, match="line 1 has the class 7, 2 are named"):
        data[1]


def write_yolo(folder: Path, images: list[str], texts: dict[str, str]) -> None:
    for image in images:
        write_images(folder / "images" / Path(image).parent, [Path(image).name])
    (folder / "data.yaml").write_text("names: [leaf]\n")
    for name, text in texts.items():
        (folder / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "labels" / name).write_text(text)


OBJECT = "0 " + " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in TRIANGLE) + "\n"


def test_text_files_of_yolo_without_an_image(tmp_path: Path) -> None:
    texts = {
        "a.txt": OBJECT,
        "c.txt": OBJECT,
        "p/d.txt": OBJECT,
        "classes.txt": "leaf\n",
        "e.txt": "",
        "f.txt": "1 2\n",
    }
    write_yolo(tmp_path, ["a", "b"], texts)
    found = read_annotations(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a"]
    assert [(fault.path, fault.problem) for fault in found.faults] == [
        (tmp_path / "labels" / "c.txt", "its image c is not in the folder"),
        (tmp_path / "labels" / "p" / "d.txt", "its image p/d is not in the folder"),
    ]
    assert [path.name for path in found.unlabelled] == ["b.png"]


@pytest.mark.parametrize(("image", "text"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_of_yolo_that_are_spelt_differently(image: Any, text: Any, tmp_path: Path) -> None:
    name = unicodedata.normalize(text, "é")
    write_yolo(tmp_path, ["b", unicodedata.normalize(image, "ü/é")], {f"ü/{name}.txt": OBJECT})
    np.testing.assert_array_equal(only_mask(tmp_path), covered(shapely.Polygon(TRIANGLE)))


def test_yolo_in_pixels_instead_of_fractions(tmp_path: Path) -> None:
    pixels = "0 " + " ".join(f"{x} {y}" for x, y in TRIANGLE) + "\n"
    write_yolo(tmp_path, ["a"], {"a.txt": pixels})
    with pytest.raises(DataError, match=r"all its objects lie outside the image.*are fractions of the image") as caught:
        only_mask(tmp_path)
    assert caught.value.path == tmp_path / "labels" / "a.txt"
    write_yolo(tmp_path, ["a"], {"a.txt": "0 1.1 0.1 1.5 0.1 1.5 0.5\n" + OBJECT})  # one of two is: nothing special
    np.testing.assert_array_equal(only_mask(tmp_path), covered(shapely.Polygon(TRIANGLE)))


# --- Label Studio -----------------------------------------------------------------------------------------------------


def test_label_studio_rectangles_and_ellipses(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    box = {"x": 20, "y": 30, "width": 40, "height": 25, "rotation": 15, "rectanglelabels": ["leaf"]}
    ring = {"x": 70, "y": 60, "radiusX": 12, "radiusY": 20, "rotation": 0, "ellipselabels": ["stem"]}
    results = [
        {"type": "rectanglelabels", "value": box, **size},
        {"type": "ellipselabels", "value": ring, **size},
        {"type": "choices", "value": {"choices": ["good"]}},
    ]
    tasks = [{"data": {"image": "s3://bucket/a.png"}, "annotations": [{"result": results}]}]
    tasks.append({"data": {"image": "b.png"}, "annotations": [{"result": [], "was_cancelled": True}]})
    (tmp_path / "x.json").write_text(json.dumps(tasks))
    x, y = 0.2 * WIDTH, 0.3 * HEIGHT
    turned = shapely.affinity.rotate(shapely.box(x, y, x + 0.4 * WIDTH, y + 0.25 * HEIGHT), 15, origin=(x, y))
    centre = 0.7 * WIDTH, 0.6 * HEIGHT
    ellipse = shapely.affinity.scale(circle(*centre, 1), 0.12 * WIDTH, 0.2 * HEIGHT)
    want = covered(turned).astype(np.uint8)
    want[covered(ellipse)] = 2
    np.testing.assert_array_equal(only_mask(tmp_path), want)
    results[0]["image_rotation"] = 90
    (tmp_path / "x.json").write_text(json.dumps(tasks))
    with pytest.raises(DataError, match="turned in Label Studio"):
        only_mask(tmp_path)


# --- Supervisely ---


def supervisely_object(label: str, kind: str, **shape: Any) -> dict[str, Any]:
    return {"classTitle": label, "geometryType": kind, **shape}


def write_supervisely(folder: Path, image: str, *objects: dict[str, Any]) -> None:
    write_images(folder / "img", [image])
    (folder / "ann").mkdir(exist_ok=True)
    content = {"size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
    (folder / "ann" / f"{image}.png.json").write_text(json.dumps(content))


def test_data_sets_of_supervisely_within_others(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"classes": [{"title": "leaf"}]}))
    drawn = supervisely_object("leaf", "polygon", points={"exterior": TRIANGLE, "interior": []})
    write_supervisely(tmp_path / "one", "a", drawn)
    write_supervisely(tmp_path / "one" / "datasets" / "two", "b", drawn)
    write_supervisely(tmp_path / "one" / "datasets" / "two" / "datasets" / "three", "a")
    write_images(tmp_path / "one" / "datasets" / "two" / "img", ["c"])
    found = read_annotations(tmp_path)
    assert [pair.name for pair in found.pairs] == ["b", "one_datasets_two_datasets_three_img_a.png", "one_img_a.png"]
    want = covered(shapely.Polygon(TRIANGLE))
    for pair, mask in zip(found.pairs, (want, want & False, want), strict=True):
        np.testing.assert_array_equal(pair.drawn().mask, mask)
    assert [path.name for path in found.unlabelled] == ["c.png"]


@pytest.mark.parametrize("inside", [".", "one", "one/img/..", "one/datasets", "one/datasets/two/datasets/three"])
def test_a_part_of_a_supervisely_project_finds_its_classes_above(inside: str, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"classes": [{"title": "stem"}, {"title": "leaf"}]}))
    drawn = supervisely_object("leaf", "polygon", points={"exterior": TRIANGLE, "interior": []})
    write_supervisely(tmp_path / "one", "a", drawn)
    write_supervisely(tmp_path / "one" / "datasets" / "two", "b", drawn)
    write_supervisely(tmp_path / "one" / "datasets" / "two" / "datasets" / "three", "c", drawn)
    found = read_annotations(tmp_path / inside)
    assert found.format == "supervisely"
    assert found.legend.names == ("stem", "leaf")
    names = {"one/datasets": ["b", "c"], "one/datasets/two/datasets/three": ["c"]}
    assert [pair.name for pair in found.pairs] == names.get(inside, ["a", "b", "c"])
    want = 2 * covered(shapely.Polygon(TRIANGLE)).astype(np.uint8)
    for pair in found.pairs:
        np.testing.assert_array_equal(pair.drawn().mask, want)


def test_a_supervisely_data_set_without_its_project(tmp_path: Path) -> None:
    write_supervisely(tmp_path / "x" / "one", "a")
    with pytest.raises(
        DataError, match=r"without the meta\.json of its project.*into this folder or the one above"
    ) as caught:
        read_annotations(tmp_path / "x" / "one")
    assert caught.value.path == tmp_path / "x" / "one"


def test_alpha_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"classes": [{"title": "leaf"}]}))
    write_supervisely(tmp_path / "one", "a", supervisely_object("leaf", "alpha_mask", bitmap={"origin": [0, 0]}))
    with pytest.raises(DataError, match=r"an object of leaf is an alpha mask.*Convert it to a bitmap") as caught:
        only_mask(tmp_path)
    assert caught.value.path == tmp_path / "one" / "ann" / "a.png.json"


def label_studio(folder: Path, *results: dict[str, Any]) -> Path:
    """A task about ``a.png`` with these results."""
    if not folder.exists():
        write_images(folder, ["a"])
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    result = [size | each for each in results]
    tasks = [{"data": {"image": "/data/upload/1/1a2b3c4d-a.png"}, "annotations": [{"result": result}]}]
    (folder / "x.json").write_text(json.dumps(tasks))
    return folder


POINTS = {"points": [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in TRIANGLE], "closed": True}


def test_label_studio_shapes_whose_labels_are_kept_apart(tmp_path: Path) -> None:
    """As ``<Labels>`` with ``<Polygon>`` and the like export them: the shape, and once more with its label."""
    stroke = np.zeros((HEIGHT, WIDTH), bool)
    stroke[3:9, 60:80] = True
    shapes: dict[str, dict[str, Any]] = {
        "polygon": POINTS,
        "brush": {"format": "rle", "rle": brush(stroke)},
        "rectangle": {"x": 50, "y": 50, "width": 20, "height": 30, "rotation": 0},
        "ellipse": {"x": 20, "y": 80, "radiusX": 12, "radiusY": 10, "rotation": 0},
        "keypoint": {"x": 5, "y": 5, "width": 1},
    }
    results: list[dict[str, Any]] = [
        {"type": "choices", "id": "polygon", "value": POINTS | {"choices": ["sharp"]}},
        {"type": "labels", "id": "text", "value": {"start": 0, "end": 3, "text": "abc", "labels": ["noun"]}},
        {"type": "relation", "from_id": "polygon", "to_id": "brush", "direction": "right"},
    ]
    for number, (kind, value) in enumerate(shapes.items()):
        results.append({"type": kind, "id": kind, "value": value})
        labels = ["stem" if number else "leaf"]
        results.append({"type": "labels", "id": kind, "value": value | {"labels": labels}})
    want = covered(shapely.Polygon(TRIANGLE)).astype(np.uint8)
    want[stroke] = 2
    want[covered(shapely.box(0.5 * WIDTH, 0.5 * HEIGHT, 0.7 * WIDTH, 0.8 * HEIGHT))] = 2
    oval = shapely.affinity.scale(circle(0.2 * WIDTH, 0.8 * HEIGHT, 1), 0.12 * WIDTH, 0.1 * HEIGHT)
    want[covered(oval)] = 2
    folder = label_studio(tmp_path / "d", *results)
    np.testing.assert_array_equal(only_mask(folder), want)
    assert LabelledFolder.open(folder).class_names == ("leaf", "stem")


@pytest.mark.parametrize("kind", ["bitmasklabels", "labels"])
def test_label_studio_bitmasks(kind: str, tmp_path: Path) -> None:
    def region(mask: np.ndarray) -> dict[str, Any]:
        black = np.zeros((*mask.shape, 4), np.uint8)
        black[..., 3] = mask * 255
        buffer = io.BytesIO()
        Image.fromarray(black).save(buffer, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        return {"type": kind, "id": "r", "value": {"imageDataURL": url, kind: ["leaf"]}}

    mask = brushed(3)
    np.testing.assert_array_equal(only_mask(label_studio(tmp_path / "d", region(mask))), mask)
    with pytest.raises(DataError, match="a bitmask of 82x60 pixels, not 83x60"):
        only_mask(label_studio(tmp_path / "d", region(mask[:, 1:])))


def test_label_studio_objects_that_cannot_be_had_are_faults(tmp_path: Path) -> None:
    sound = {"type": "polygonlabels", "id": "p", "value": POINTS | {"polygonlabels": ["leaf"]}}
    twice = {"type": "polygonlabels", "id": "q", "value": POINTS | {"polygonlabels": ["leaf", "stem"]}}
    for result, count in (
        ({"type": "polygon", "id": "q", "value": POINTS}, 0),
        ({"type": "magicwand", "id": "q", "value": {"rle": []}}, 0),
        ({"type": "polygon", "value": POINTS}, 0),
        (twice, 2),
    ):
        with pytest.raises(DataError, match=f"x.json: a.png has an object with {count} labels. Give every object one"):
            SupportSet.from_folder(label_studio(tmp_path / "d", sound, result), ["leaf"])
    vector: dict[str, Any] = {
        "type": "vectorlabels",
        "value": {"vertices": [], "closed": True, "vectorlabels": ["leaf"]},
    }
    with pytest.raises(DataError, match=r"an outline drawn as a vector, which is not read \(a.png\)\. Draw it as"):
        only_mask(label_studio(tmp_path / "d", sound, vector))
    vector["value"]["closed"] = False  # a line
    np.testing.assert_array_equal(
        only_mask(label_studio(tmp_path / "d", sound, vector)), covered(shapely.Polygon(TRIANGLE))
    )


# --- ImageJ -----------------------------------------------------------------------------------------------------------


def roi(kind: ROI_TYPE, group: int = 0, position: int = 0) -> ImagejRoi:
    made = ImagejRoi(roitype=kind, left=12, top=8, right=52, bottom=40, position=position)
    made.version, made.group = 228, group
    return made


def test_rois_without_groups_are_one_class(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    (tmp_path / "a.roi").write_bytes(roi(ROI_TYPE.OVAL).tobytes())
    ellipse = shapely.affinity.scale(circle(32, 24, 1), 20, 16)
    np.testing.assert_array_equal(only_mask(tmp_path), covered(ellipse))
    assert LabelledFolder.open(tmp_path).class_names == ("object",)
    assert LabelledFolder.open(tmp_path, ["cell"]).class_names == ("cell",)
    (tmp_path / "a.roi").rename(tmp_path / "a_rois.roi")
    (tmp_path / "a_rois.roi").write_bytes(roi(ROI_TYPE.RECT).tobytes())
    want = np.zeros((HEIGHT, WIDTH), np.uint8)
    want[8:40, 12:52] = 1
    np.testing.assert_array_equal(only_mask(tmp_path), want)


def test_rois_of_other_slices_and_without_a_group(tmp_path: Path) -> None:
    write_images(tmp_path / "images", ["a"])
    for name, made in {"a": roi(ROI_TYPE.RECT, 3), "a_roi": roi(ROI_TYPE.OVAL, 3, position=4)}.items():
        (tmp_path / f"{name}.roi").write_bytes(made.tobytes())
    mask = only_mask(tmp_path)
    assert mask.sum() == 32 * 40
    assert LabelledFolder.open(tmp_path).class_names == ("group_3",)
    (tmp_path / "a_roi.roi").write_bytes(roi(ROI_TYPE.OVAL).tobytes())
    with pytest.raises(DataError, match="is in no group while others are"):
        only_mask(tmp_path)


def zipped(path: Path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "beside",
    [
        {"__MACOSX/": b"", "__MACOSX/._0.roi": b"\0\5\x16\7", ".DS_Store": b"x"},
        {"rois/": b"", "rois/.DS_Store": b"x", "rois/._0.roi": b"x"},
    ],
)
def test_zips_with_folders_and_what_macos_leaves_in_them(beside: dict[str, bytes], tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    zipped(tmp_path / "a.zip", {**beside, "rois/0.roi": roi(ROI_TYPE.RECT).tobytes()})
    want = np.zeros((HEIGHT, WIDTH), np.uint8)
    want[8:40, 12:52] = 1
    np.testing.assert_array_equal(only_mask(tmp_path), want)


def test_a_damaged_zip_of_the_name_of_an_image_is_a_fault(tmp_path: Path) -> None:
    write_images(tmp_path, ["a", "b", "c"])
    zipped(tmp_path / "a.zip", {"0.roi": roi(ROI_TYPE.RECT).tobytes()})
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "b_rois.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.zip").write_bytes(b"")
    (tmp_path / "papers.zip").write_bytes(b"no zip, and of no image")
    with pytest.raises(DataError) as caught:
        LabelledFolder.open(tmp_path)
    faults = caught.value.faults  # type: ignore[attr-defined]
    assert [fault.path for fault in faults] == [tmp_path / "b_rois.zip", tmp_path / "c.zip"]
    assert all("is a damaged zip file" in fault.problem for fault in faults)
    (tmp_path / "a.zip").unlink()
    with pytest.raises(DataError, match=r"b_rois\.zip: is a damaged zip file"):
        LabelledFolder.open(tmp_path)


@pytest.mark.parametrize("name", ["x.zip", "a.zip", "a.roi"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    write_images(tmp_path, ["a", "b"])
    (tmp_path / "b.roi").write_bytes(roi(ROI_TYPE.RECT).tobytes())
    os.mkfifo(tmp_path / name)
    assert LabelledFolder.open(tmp_path).names == ("b",)


@pytest.mark.parametrize("kind", [ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE])
def test_texts_on_an_image_are_no_objects(kind: ROI_SUBTYPE, tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    text = roi(ROI_TYPE.RECT)
    text.subtype = kind
    oval = roi(ROI_TYPE.OVAL)
    zipped(tmp_path / "a.zip", {"0.roi": text.tobytes(), "1.roi": oval.tobytes()})
    ellipse = shapely.affinity.scale(circle(32, 24, 1), 20, 16)
    np.testing.assert_array_equal(only_mask(tmp_path), covered(ellipse))
    (notice,) = SupportSet.from_folder(tmp_path).notices
    assert "1 points, lines or the like" in notice


# --- GeoJSON ----------------------------------------------------------------------------------------------------------


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


# --- COCO -------------------------------------------------------------------------------------------------------------


def test_roboflows_category_above_all_others_is_no_class(tmp_path: Path) -> None:
    WRITERS["coco"][0](tmp_path, scene(**WRITERS["coco"][1]))
    path = tmp_path / "instances.json"
    content = json.loads(path.read_text())
    for each in content["categories"]:
        each["supercategory"] = "plants-x1"
    content["categories"].append({"id": 0, "name": "plants-x1", "supercategory": "none"})
    content["images"].append({"id": 9, "file_name": "c.png", "height": HEIGHT, "width": WIDTH})
    path.write_text(json.dumps(content))
    shutil.copy(tmp_path / "images" / "a.png", tmp_path / "images" / "c.png")
    data = LabelledFolder.open(tmp_path)
    assert data.class_names == ("leaf", "stem")
    assert not data[2].mask.any()  # listed without annotations: nothing is there


def test_images_of_one_name_in_two_folders(tmp_path: Path) -> None:
    made = scene(**WRITERS["coco"][1])
    WRITERS["coco"][0](tmp_path, made)
    for part in ("one", "two"):
        (tmp_path / "images" / part).mkdir()
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "one" / "x.png")
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "two" / "x.png")
    path = tmp_path / "instances.json"
    text = path.read_text()
    path.write_text(text.replace('"a.png"', '"one/x.png"').replace('"b.png"', '"/mnt/data/two/x.png"'))
    data = LabelledFolder.open(tmp_path)
    assert data.names == ("images_one_x.png", "images_two_x.png")
    for index, name in enumerate(("a", "b")):
        np.testing.assert_array_equal(data[index].mask, expected(made.drawings[name]))
    path.write_text(text.replace('"a.png"', '"x.png"').replace('"b.png"', '"two/x.png"'))
    with pytest.raises(DataError, match=r"its image x.png could be .*one.x.png or"):
        LabelledFolder.open(tmp_path)


def coco(folder: Path, spoil: Any) -> None:
    """The scene in COCO JSON with its content changed by ``spoil``."""
    WRITERS["coco"][0](folder, scene(**WRITERS["coco"][1]))
    path = folder / "instances.json"
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("written", [str, float], ids=["text", "float"])
def test_ids_are_compared_as_numbers_however_they_are_written(written: Any, tmp_path: Path) -> None:
    def spoil(content: Any) -> None:
        for each in content["annotations"]:
            each["image_id"], each["category_id"] = written(each["image_id"]), written(each["category_id"])

    coco(tmp_path, spoil)
    data = LabelledFolder.open(tmp_path)
    made = scene(**WRITERS["coco"][1])
    for index, name in enumerate(data.names):
        np.testing.assert_array_equal(data[index].mask, expected(made.drawings[name]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content["images"][1].update(id=0), "the images a.png and b.png have the same id 0"),
        (lambda content: content["images"][1].update(id="0"), "the images a.png and b.png have the same id 0"),
        (lambda content: content["categories"][0].update(id=3), "the categories stem and leaf have the same id 3"),
        (
            lambda content: content["annotations"][5].update(image_id=99),
            "the object 11 is of the image 99, which is not listed. List every image",
        ),
    ],
    ids=["images", "images-as-text", "categories", "unlisted"],
)
def test_ids_that_do_not_say_what_belongs_together(spoil: Any, message: str, tmp_path: Path) -> None:
    coco(tmp_path, spoil)
    with pytest.raises(DataError, match=message) as caught:
        LabelledFolder.open(tmp_path)
    assert caught.value.path == tmp_path / "instances.json"


def test_a_category_that_is_its_own_supercategory_is_a_class_even_unused(tmp_path: Path) -> None:
    def spoil(content: Any) -> None:
        content["categories"].append({"id": 9, "name": "person", "supercategory": "person"})

    coco(tmp_path, spoil)
    assert LabelledFolder.open(tmp_path).class_names == ("leaf", "stem", "person")


def test_faults_and_notices_of_one_file_for_many_images_name_the_image(tmp_path: Path) -> None:
    def spoil(content: Any) -> None:
        content["annotations"] = [each for each in content["annotations"] if each["image_id"] == 1]

    coco(tmp_path, spoil)
    path = tmp_path / "instances.json"
    notices = SupportSet.from_folder(tmp_path).notices
    assert f"{path} (a.png): holds no foreground; annotate the image if something is in it" in notices
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"segmentation": [], "bbox": [1, 2, 3, 4]}
    path.write_text(json.dumps(content))
    problem = "the object 10 (leaf) has a bounding box but no outline (b.png)"
    with pytest.raises(DataError) as caught:
        SupportSet.from_folder(tmp_path)
    assert (caught.value.path, caught.value.problem) == (path, problem)
    with pytest.raises(DataError) as caught:
        LabelledFolder.open(tmp_path).raw_mask(1)
    assert caught.value.problem == problem
    path.rename(tmp_path / "b.json")  # as files of single images are called
    with pytest.raises(DataError) as caught:
        SupportSet.from_folder(tmp_path)
    assert caught.value.problem == problem.removesuffix(" (b.png)")
