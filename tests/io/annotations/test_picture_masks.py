"""Black-and-white masks per class, and colour masks with a palette."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scene import HEIGHT, WIDTH, write_images

from distillfss.errors import DataError
from distillfss.io.annotations import detect_format, read_annotations
from distillfss.support import LabelledFolder, SupportSet

CRACK, HOLE = (slice(5, 30), slice(10, 50)), (slice(20, 50), slice(40, 70))


def areas() -> tuple[np.ndarray, np.ndarray]:
    crack, hole = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    crack[CRACK], hole[HOLE] = 255, 255
    return crack, hole


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(params=["folders", "suffixes"])
def per_class(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Images a, a_1 and b; a shows both classes, a_1 a hole only, b is not annotated."""
    write_images(tmp_path / "images", ["a", "a_1", "b"])
    place: Callable[[str, str], Path] = {
        "folders": lambda name, stem: tmp_path / "masks" / name / f"{stem}.png",
        "suffixes": lambda name, stem: tmp_path / "masks" / f"{stem}_{name}.png",
    }[request.param]
    crack, hole = areas()
    save(place("crack", "a"), crack)
    save(place("hole", "a"), hole // 255)
    save(place("hole", "a_1"), hole)
    return tmp_path


def test_a_mask_per_class(per_class: Path) -> None:
    assert detect_format(per_class) == ("binary-png", "")
    data = LabelledFolder.open(per_class)
    assert data.class_names == ("crack", "hole")
    assert data.names == ("a", "a_1")
    want = np.zeros((HEIGHT, WIDTH), np.uint8)
    want[CRACK], want[HOLE] = 1, 2  # the later class wins
    np.testing.assert_array_equal(data[0].mask, want)
    np.testing.assert_array_equal(data[1].mask, areas()[1] // 255 * 2)
    support = SupportSet.from_folder(per_class)
    assert support.notices == (
        f"{per_class}: 1 image without annotation left out (b.png)",
        f"{per_class}: objects of different classes overlap in 100 pixels (in 1 image); the later one wins",
    )
    (per_class / "meta.json").write_text(json.dumps({"classes": ["background", "hole", "crack"]}))
    want[HOLE], want[CRACK] = 1, 2
    np.testing.assert_array_equal(LabelledFolder.open(per_class)[0].mask, want)


def test_masks_per_class_of_a_name_in_composed_and_decomposed_letters(per_class: Path) -> None:
    for path in sorted((per_class / "masks").rglob("*.png")):
        letter = "\u00f6" if path.stem.startswith("a_1") else "o\u0308"
        new = per_class / "masks" / str(path.relative_to(per_class / "masks")).replace("hole", f"h{letter}le")
        new.parent.mkdir(exist_ok=True)
        path.rename(new)
    for folder in (per_class / "masks").iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    data = LabelledFolder.open(per_class)
    assert data.class_names == ("crack", "h\u00f6le")
    assert [data.classes_in(index) for index in range(2)] == [[1, 2], [2]]


def test_grey_values_in_a_mask_per_class_are_a_fault(per_class: Path) -> None:
    path = next((per_class / "masks").rglob("*a_1*"))
    grey = areas()[1]
    grey[20, 40:70] = 130
    save(path, grey)
    with pytest.raises(DataError, match="holds 3 values where black and white are expected") as caught:
        LabelledFolder.open(per_class)[1]
    assert caught.value.path == path
    save(path, grey[1:])
    with pytest.raises(DataError, match="the mask has 83x59 pixels but its image 83x60"):
        LabelledFolder.open(per_class)[1]


LAYOUTS = {"suffix": "masks/{}_mask.png", "folder": "masks/mask/{}.png"}


def of_values(folder: Path, place: str, *values: list[int]) -> Path:
    """Images a, b, ... with one mask each, which holds these values beside 0."""
    stems = "abcdefgh"[: len(values)]
    write_images(folder / "images", list(stems))
    for stem, of_mask in zip(stems, values, strict=True):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for row, value in enumerate(of_mask):
            mask[10 * row : 10 * row + 8, 10:50] = value
        save(folder / place.format(stem), mask)
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_that_differ_from_mask_to_mask_may_be_classes(layout: str, tmp_path: Path) -> None:
    folder = of_values(tmp_path, LAYOUTS[layout], [2], [1], [255], [], [1])
    odd = folder / LAYOUTS[layout].format("a")
    with pytest.raises(DataError) as caught:
        SupportSet.from_folder(folder)
    assert caught.value.path == odd
    assert caught.value.problem == f"the object is 1 in {folder / LAYOUTS[layout].format('b')} but 2 here" + (
        " (a.png)" if layout == "suffix" else ""
    )
    was = odd.relative_to(folder / "masks")
    assert caught.value.cure == (
        f"If the values are classes, name the masks after their images: masks/a.png, not {was}; "
        "else use 255 in all of them"
    )
    data = LabelledFolder.open(folder)
    with pytest.raises(DataError, match="but 2 here"):
        data[0]
    assert [np.unique(data[place].mask).tolist() for place in range(1, 5)] == [[0, 1], [0, 1], [0], [0, 1]]
    for stem in "abcde":
        (folder / LAYOUTS[layout].format(stem)).rename(folder / "masks" / f"{stem}.png")
    assert detect_format(folder)[0] == "index-png"  # the cure works
    assert SupportSet.from_folder(folder).class_names == ("class_1", "class_2")


@pytest.mark.parametrize("values", [[1], [255], [7], [200]])
def test_any_one_value_is_the_object(values: list[int], tmp_path: Path) -> None:
    support = SupportSet.from_folder(of_values(tmp_path, LAYOUTS["suffix"], values, values, values))
    assert support.class_names == ("mask",)
    assert [np.unique(sample.mask).tolist() for sample in support.samples] == 3 * [[0, 1]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_several_small_values_in_a_mask_may_be_classes(layout: str, tmp_path: Path) -> None:
    folder = of_values(tmp_path, LAYOUTS[layout], [1, 2], [1], [1, 2, 3, 255])
    data = LabelledFolder.open(folder)
    for place, listed in ((0, "0, 1, 2"), (2, "0, 1, 2, 3, 255")):
        with pytest.raises(DataError, match=f"holds the values {listed} where black and white are expected") as caught:
            data[place]
        stem = "abc"[place]
        was = (folder / LAYOUTS[layout].format(stem)).relative_to(folder / "masks")
        assert f"name the masks after their images: masks/{stem}.png, not {was};" in caught.value.cure
    assert data[1].name == "b"


def test_folders_that_differ_in_values_may_be_no_classes(tmp_path: Path) -> None:
    folder = of_values(tmp_path, "masks/north/{}.png", [1], [1])
    write_images(folder / "images", ["c"])
    south = np.zeros((HEIGHT, WIDTH), np.uint8)
    south[HOLE] = 2
    save(folder / "masks" / "south" / "c.png", south)
    with pytest.raises(DataError, match=r"a\.png but 2 here, and no image has two masks") as caught:
        SupportSet.from_folder(folder)
    assert caught.value.path == folder / "masks" / "south" / "c.png"
    assert "masks/c.png, not south/c.png; if north,south are the classes" in caught.value.cure
    assert SupportSet.from_folder(folder, ["north", "south"]).shots() == {"north": 2, "south": 1}
    save(folder / "masks" / "south" / "a.png", south)  # with two masks of an image, they are classes
    assert SupportSet.from_folder(folder).shots() == {"north": 2, "south": 2}
    (folder / "masks" / "south" / "a.png").unlink()
    save(folder / "masks" / "south" / "c.png", south * 64)  # no class has a number like that
    assert SupportSet.from_folder(folder).shots() == {"north": 2, "south": 1}


@pytest.mark.parametrize("suffix", ["mask", "Seg"])
def test_a_suffix_that_is_no_class_stands_for_the_one_that_is_named(suffix: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images", ["a", "b"])
    crack, hole = areas()
    for stem, mask in (("a", crack), ("b", hole)):
        save(tmp_path / "masks" / f"{stem}_{suffix}.png", mask)
    assert LabelledFolder.open(tmp_path).class_names == (suffix,)
    for folder in (LabelledFolder.open(tmp_path, classes=["crack"]), SupportSet.from_folder(tmp_path, ["crack"])):
        assert folder.class_names == ("crack",)
    (tmp_path / "meta.json").write_text(json.dumps({"classes": ["background", "polyp"]}))
    data = LabelledFolder.open(tmp_path)
    assert data.class_names == ("polyp",)
    np.testing.assert_array_equal(data[1].mask, hole > 0)
    # of two classes nobody knows which it is, and another word may be a class
    with pytest.raises(DataError, match=f"no object is labelled crack, hole.*{suffix}"):
        SupportSet.from_folder(tmp_path, ["crack", "hole"])
    for stem in "ab":
        (tmp_path / "masks" / f"{stem}_{suffix}.png").rename(tmp_path / "masks" / f"{stem}_dent.png")
    with pytest.raises(DataError, match=r"the label 'dent' is none of the classes \(polyp\)"):
        SupportSet.from_folder(tmp_path)


def test_a_mask_per_class_without_image(per_class: Path) -> None:
    (per_class / "images" / "a_1.png").unlink()
    faults = read_annotations(per_class).faults
    if (per_class / "masks" / "hole").is_dir():
        assert [fault.problem for fault in faults] == ["has no image of its name in images/"]
    else:  # the longest name of an image decides, so this now is the class "1_hole" of a
        assert LabelledFolder.open(per_class).class_names == ("1_hole", "crack", "hole")


PALETTES = {
    "palette.json": '{"crack": [255, 0, 0], "hole": "#00ff7F", "ignore": [255, 255, 255]}',
    "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncrack:255,0,0::\nhole:0,255,127::\n"
    "ignore:255,255,255::\n",
    "class_dict.csv": "name,r,g,b\ncrack,255,0,0\nhole,0,255,127\nignore,255,255,255\n",
}


def coloured(folder: Path, layout: tuple[str, str]) -> np.ndarray:
    write_images(folder / layout[0], ["a"])
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[CRACK], rgb[HOLE], rgb[-3:] = (255, 0, 0), (0, 255, 127), 255
    save(folder / layout[1] / "a.png", rgb)
    want = np.zeros((HEIGHT, WIDTH), np.uint8)
    want[CRACK], want[HOLE], want[-3:] = 1, 2, 255
    return want


@pytest.mark.parametrize("layout", [("images", "masks"), ("JPEGImages", "SegmentationClass")])
@pytest.mark.parametrize("palette", PALETTES)
def test_colours(palette: str, layout: tuple[str, str], tmp_path: Path) -> None:
    want = coloured(tmp_path, layout)
    (tmp_path / palette).write_text(PALETTES[palette])
    assert detect_format(tmp_path) == ("colour-png", "")
    data = LabelledFolder.open(tmp_path)
    assert data.class_names == ("crack", "hole")
    np.testing.assert_array_equal(data[0].mask, want)
    chosen = LabelledFolder.open(tmp_path, ["hole"])
    np.testing.assert_array_equal(chosen[0].mask, np.array([0, 0, 1, *[255] * 253], np.uint8)[want])


def test_a_palette_whose_names_have_decomposed_letters(tmp_path: Path) -> None:
    want = coloured(tmp_path, ("images", "masks"))
    (tmp_path / "palette.json").write_text(PALETTES["palette.json"].replace("hole", "ho\u0308le"))
    for classes in (None, ["crack", "ho\u0308le"], ["crack", "h\u00f6le"]):
        data = LabelledFolder.open(tmp_path, classes)
        assert data.class_names == ("crack", "h\u00f6le")
        np.testing.assert_array_equal(data[0].mask, want)


def test_palette_pictures_are_read_by_their_colours(tmp_path: Path) -> None:
    want = coloured(tmp_path, ("images", "masks"))
    path = tmp_path / "masks" / "a.png"
    indexed = Image.open(path).quantize(4, dither=Image.Dither.NONE)
    assert np.unique(np.asarray(indexed)).tolist() == [0, 1, 2, 3]
    indexed.save(path)
    (tmp_path / "palette.json").write_text(PALETTES["palette.json"])
    np.testing.assert_array_equal(LabelledFolder.open(tmp_path)[0].mask, want)


def test_a_colour_that_is_not_in_the_palette(tmp_path: Path) -> None:
    coloured(tmp_path, ("images", "masks"))
    (tmp_path / "palette.json").write_text('{"crack": [255, 0, 0], "rest": [255, 255, 255]}')
    with pytest.raises(DataError, match=r"not in the palette: 1, in 900 pixels, .*\(0, 255, 127\), nearest to"):
        LabelledFolder.open(tmp_path)[0]


@pytest.mark.parametrize("text", ["[]", "{}", '{"a": 5}', '{"a": "red"}', '{"a": [1, 2]}', '{"a": [1, 2, 256]}', "{"])
def test_palettes_that_make_no_sense(text: str, tmp_path: Path) -> None:
    coloured(tmp_path, ("images", "masks"))
    (tmp_path / "palette.json").write_text(text)
    with pytest.raises(DataError) as caught:
        LabelledFolder.open(tmp_path)
    assert caught.value.path == tmp_path / "palette.json"


@pytest.mark.parametrize(
    ("name", "text", "problem", "cure"),
    [
        ("palette.json", '{"crack": [255, 0, 0, 255]}', "[255, 0, 0, 255] is no colour", '{"crack": [255, 0, 0], '),
        ("palette.json", '{"crack": "#f00"}', "'#f00' is no colour", '"hole": "#00ff00"}'),
        ("palette.json", "{", "is not valid JSON", '{"crack": [255, 0, 0], '),
        ("class_dict.csv", "name;r;g;b\ncrack;255;0;0\n", "'name;r;g;b' is no name with three values", "with commas: "),
        ("labelmap.txt", "crack:255,0\n", "['255', '0'] is no colour", "as CVAT does: crack:255,0,0::"),
    ],
)
def test_the_cure_says_how_a_palette_looks(name: str, text: str, problem: str, cure: str, tmp_path: Path) -> None:
    coloured(tmp_path, ("images", "masks"))
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        LabelledFolder.open(tmp_path)
    assert caught.value.path == tmp_path / name
    assert problem in caught.value.problem
    assert cure in caught.value.cure


def test_two_classes_of_one_colour(tmp_path: Path) -> None:
    coloured(tmp_path, ("images", "masks"))
    (tmp_path / "palette.json").write_text('{"a": [1, 2, 3], "b": [1, 2, 3]}')
    with pytest.raises(DataError, match="the same colour"):
        LabelledFolder.open(tmp_path)
