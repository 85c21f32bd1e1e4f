"""Every format: found out by itself, and read to the same pixels as shapely's "contains" of every pixel centre."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import BrightnessSegmenter
from scene import WRITERS, Scene, expected, scene

from distillfss.cli import options
from distillfss.errors import DataError
from distillfss.evaluation import evaluate
from distillfss.io.annotations import FORMATS, detect_format, read_annotations
from distillfss.support import LabelledFolder, SupportSet


def written(name: str, folder: Path) -> Scene:
    write, has = WRITERS[name]
    made = scene(**has)
    write(folder, made)
    return made


def test_every_format_is_named_on_the_command_line() -> None:
    assert tuple(FORMATS) == options.FORMATS
    assert set(WRITERS) | {"index-png", "binary-png", "colour-png"} == set(FORMATS)


@pytest.mark.parametrize("name", WRITERS)
def test_format_is_found_out_and_read_exactly(name: str, tmp_path: Path) -> None:
    made = written(name, tmp_path)
    assert detect_format(tmp_path) == (name, "")
    labels = {"imagej": ("group_2", "group_5")}.get(name, ("leaf", "stem"))
    data = LabelledFolder.open(tmp_path)
    assert data.class_names == labels
    assert data.names == ("a", "b")
    for index, stem in enumerate(data.names):
        want = expected(made.drawings[stem])
        assert set(np.unique(want)) == {0, 1, 2}
        np.testing.assert_array_equal(data[index].mask, want)
        assert data.classes_in(index) == [1, 2]
        assert data.mask_path(index).is_relative_to(tmp_path)
        assert data.image_path(index).stem == stem
    support = SupportSet.from_folder(tmp_path, format=name)
    assert support.class_names == labels
    for sample in support.samples:
        np.testing.assert_array_equal(sample.mask, expected(made.drawings[sample.name]))


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "imagej"])
def test_classes_are_chosen_by_their_names(name: str, tmp_path: Path) -> None:
    made = written(name, tmp_path)
    support = SupportSet.from_folder(tmp_path, ["stem"])
    assert support.class_names == ("stem",)
    for sample in support.samples:
        only = np.zeros_like(sample.mask)
        for label, shape in made.drawings[sample.name]:
            if label == "stem":
                only |= expected([("stem", shape)], ["stem"])
        np.testing.assert_array_equal(sample.mask, only)
    assert [notice for notice in support.notices if "classes that were not chosen" in notice]
    np.testing.assert_array_equal(
        SupportSet.from_folder(tmp_path, ["stem", "leaf"]).samples[0].mask,
        expected(made.drawings["a"], ["stem", "leaf"]),
    )
    with pytest.raises(DataError, match=r"no object is labelled root.*the labels are leaf, stem|root"):
        SupportSet.from_folder(tmp_path, ["root"])


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "imagej"])
def test_labels_of_composed_and_decomposed_letters_are_one_class(name: str, tmp_path: Path) -> None:
    """macOS writes e-diaeresis as two characters, Windows as one; annotators of one folder may have either."""
    made = written(name, tmp_path)
    composed, decomposed = "l\u00ebaf", "le\u0308af"
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            parts = path.read_text(encoding="utf-8").split("leaf")
            text = parts[0] + "".join((decomposed, composed)[i % 2] + part for i, part in enumerate(parts[1:]))
            path.write_text(text, encoding="utf-8")
            assert len(parts) == 1 or decomposed in text
    for classes in (None, [decomposed, "stem"], [composed, "stem"]):
        support = SupportSet.from_folder(tmp_path, classes)
        assert support.class_names == (composed, "stem")
        for sample in support.samples:
            want = expected(made.drawings[sample.name])
            np.testing.assert_array_equal(sample.mask, want)
    assert LabelledFolder.open(tmp_path).named_as([decomposed]).class_names == (composed, "stem")


@pytest.mark.parametrize("name", WRITERS)
def test_overlap_is_counted_once_for_the_folder(name: str, tmp_path: Path) -> None:
    made = written(name, tmp_path)
    pixels = 0
    for objects in made.drawings.values():
        mask = np.zeros_like(expected(objects))
        for label, shape in objects:
            now = expected([(label, shape)])
            pixels += int(((mask > 0) & (now > 0) & (mask != now)).sum())
            mask[now > 0] = now[now > 0]
    assert pixels > 20
    notices = SupportSet.from_folder(tmp_path).notices
    assert [notice for notice in notices if "classes overlap" in notice] == [
        f"{tmp_path}: objects of different classes overlap in {pixels} pixels (in 2 images); the later one wins"
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_an_image_nobody_annotated_is_left_out_and_named(name: str, tmp_path: Path) -> None:
    written(name, tmp_path)
    image = next(tmp_path.rglob("a.png"))
    image.with_name("unseen.png").write_bytes(image.read_bytes())
    found = read_annotations(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a", "b"]
    assert [path.name for path in found.unlabelled] == ["unseen.png"]
    assert any(
        "1 image without annotation left out (unseen.png)" in n for n in SupportSet.from_folder(tmp_path).notices
    )


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_image_is_a_fault_that_names_it(name: str, tmp_path: Path) -> None:
    written(name, tmp_path)
    next(tmp_path.rglob("b.png")).unlink()
    with pytest.raises(DataError, match=r"its image .*b.* is not in the folder") as caught:
        SupportSet.from_folder(tmp_path)
    assert caught.value.path is not None
    assert caught.value.path.exists()


@pytest.mark.parametrize("name", [n for n in WRITERS if n not in ("yolo", "imagej", "geojson")])
def test_an_image_of_another_size_is_refused(name: str, tmp_path: Path) -> None:
    from PIL import Image

    written(name, tmp_path)
    path = next(tmp_path.rglob("b.png"))
    Image.new("RGB", (60, 83)).save(path)
    with pytest.raises(DataError, match=r"is for 83x60 pixels but b.png has 60x83.*EXIF"):
        SupportSet.from_folder(tmp_path)


def test_two_formats_in_one_folder_have_to_be_told_apart(tmp_path: Path) -> None:
    made = written("coco", tmp_path)
    WRITERS["geojson"][0](tmp_path, scene(**WRITERS["geojson"][1]))
    with pytest.raises(DataError, match=r"could be coco or geojson.*--format coco or --format geojson"):
        LabelledFolder.open(tmp_path)
    data = LabelledFolder.open(tmp_path, format="coco")
    np.testing.assert_array_equal(data[0].mask, expected(made.drawings["a"]))


def test_mask_pictures_go_before_other_annotation_and_say_so(tmp_path: Path) -> None:
    from PIL import Image

    written("coco", tmp_path)
    (tmp_path / "masks").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.ones((60, 83), np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    data = LabelledFolder.open(tmp_path)
    assert (data[0].mask == 1).all()
    assert data.notices == (f"{tmp_path}: read as index-png; it holds coco as well (--format)",)


@pytest.mark.parametrize("name", WRITERS)
def test_an_empty_folder_for_masks_is_no_annotation(name: str, tmp_path: Path) -> None:
    """Another tool was used than the one it was made for."""
    made = written(name, tmp_path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "masks" / "notes.txt").touch()
    assert detect_format(tmp_path) == (name, "")
    data = LabelledFolder.open(tmp_path)
    np.testing.assert_array_equal(data[1].mask, expected(made.drawings["b"]))


def test_names_gathered_from_labels_make_room_for_the_models(tmp_path: Path) -> None:
    written("labelme", tmp_path)
    data = LabelledFolder.open(tmp_path).named_as(["stem", "root"])
    assert data.class_names == ("leaf", "stem", "root")
    assert LabelledFolder.open(tmp_path).named_as(["Stem", "root"]).class_names == ("leaf", "stem")
    (tmp_path / "labels.txt").write_text("stem\nleaf\n")
    data = LabelledFolder.open(tmp_path)
    assert data.class_names == data.named_as(["stem", "root"]).class_names == ("stem", "leaf")


@pytest.mark.parametrize("name", ["labelme", "imagej"])
def test_labels_of_which_the_model_has_none_are_refused(name: str, tmp_path: Path) -> None:
    """Not counted as background one and all: that would be a model of 0 %."""
    written(name, tmp_path)
    model = BrightnessSegmenter(("Leaf", "root"), (100, 200))
    with pytest.raises(DataError, match=r"the model's Leaf, root is not among the masks' classes \(") as caught:
        evaluate(model, tmp_path)
    assert caught.value.path == tmp_path
    assert ("if leaf is the model's Leaf, name it like that" in caught.value.cure) == (name == "labelme")
    result = evaluate(BrightnessSegmenter(("group_2", "leaf"), (100, 200)), tmp_path)
    other = {"labelme": "stem", "imagej": "group_5"}[name]
    assert result.notices[0] == f"the model does not know {other}: counted as background"


def test_meta_json_names_and_orders_and_an_unknown_label_is_a_fault(tmp_path: Path) -> None:
    made = written("coco", tmp_path)
    (tmp_path / "meta.json").write_text('{"classes": ["background", "stem", "leaf"]}')
    data = LabelledFolder.open(tmp_path)
    np.testing.assert_array_equal(data[0].mask, expected(made.drawings["a"], ["stem", "leaf"]))
    (tmp_path / "meta.json").write_text('{"classes": ["background", "stem"]}')
    with pytest.raises(DataError, match=r"the label 'leaf' is none of the classes \(stem\)"):
        SupportSet.from_folder(tmp_path)
