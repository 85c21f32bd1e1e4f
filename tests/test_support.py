"""Support sets and labelled folders: what they hold, and every fault found before any training."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import (
    as_nobody,
    exif,
    folder_for_everyone,
    make_folder,
    png16,
    png_chunk,
    png_header,
    random_rgb,
    two_classes,
)
from PIL import Image

from distillfss.errors import DataError, UsageError
from distillfss.io.faults import SeveralFaultsError
from distillfss.notices import NoticeKind
from distillfss.support import LabelledFolder, SupportSet

BOTH = {"classes": ["background", "crop", "weed"]}
DATASETS = Path(__file__).resolve().parents[1].parent / "shared" / "datasets"


def refused(root: Path, classes: list[str] | None = None) -> DataError:
    with pytest.raises(DataError) as caught:
        SupportSet.from_folder(root, classes)
    assert caught.value.exit_code == 3
    assert caught.value.cure
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes: b.png has both, a.png the first, c.png none of them but ignored pixels."""
    masks = {"b": two_classes(24, 32, 1, 2), "a": two_classes(30, 40, 1), "c": two_classes(24, 32, 255)}
    return make_folder(tmp_path / "weeds", masks, BOTH)


# --- what is there ---------------------------------------------------------------------------------------------------


def test_support_set_of_a_folder(folder: Path) -> None:
    support = SupportSet.from_folder(folder)
    assert support.class_names == ("crop", "weed")
    assert [sample.name for sample in support.samples] == ["a", "b", "c"]
    assert len(support) == 3
    assert support.shots() == {"crop": 2, "weed": 1}
    np.testing.assert_array_equal(support.samples[0].mask, two_classes(30, 40, 1))
    np.testing.assert_array_equal(support.samples[1].image, random_rgb(24, 32, seed=0))
    for sample in support.samples:
        assert sample.image.dtype == sample.mask.dtype == np.uint8
        assert sample.image.shape == (*sample.mask.shape, 3)
    (notice,) = support.notices
    assert notice == (
        f"{folder / 'masks' / 'c.png'}: holds no foreground, only 255 (not to be counted); "
        "if 255 is the class, as in black-and-white masks, use 1 in all masks; else annotate the image"
    )


def test_labelled_folder_reads_the_same_pairs(folder: Path) -> None:
    support, labelled = SupportSet.from_folder(folder), LabelledFolder.open(str(folder))
    assert labelled.class_names == support.class_names
    assert labelled.names == ("a", "b", "c")
    assert labelled.image_path(1) == folder / "images" / "b.png"
    assert labelled.mask_path(1) == folder / "masks" / "b.png"
    assert len(labelled) == 3
    assert labelled.notices == ()
    for one, other in zip(labelled, support.samples, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)
    assert labelled[-1].name == "c"
    with pytest.raises(IndexError):
        labelled[3]


def test_names_given_replace_those_of_meta(folder: Path) -> None:
    for classes in (["one", "two"], ["background", "one", "two"]):
        assert SupportSet.from_folder(folder, classes).class_names == ("one", "two")
        assert LabelledFolder.open(folder, classes).class_names == ("one", "two")


def test_names_that_take_the_place_of_those_of_meta_are_told(folder: Path) -> None:
    said = f"{folder}: the names given go before those of meta.json: "
    for classes, told in (
        (["one", "two"], ["crop is called one, weed is called two"]),
        (["crop", "two"], ["weed is called two"]),
        (["weed", "two"], ["crop is called weed, weed is called two"]),
        (["crop", "weed", "third"], []),
        (["crop", "weed"], []),
    ):
        for read in (SupportSet.from_folder(folder, classes), LabelledFolder.open(folder, classes)):
            assert read.class_names == tuple(classes)
            assert [notice for notice in read.notices if notice.startswith(said)] == [said + each for each in told]
        np.testing.assert_array_equal(LabelledFolder.open(folder, classes)[1].mask, two_classes(24, 32, 1, 2))


def test_names_of_meta_are_chosen_among(folder: Path) -> None:
    """A mask's value keeps the meaning that meta.json gives it, as labels do in other formats."""
    said = f"{folder}: crop of meta.json not chosen: counted as background"
    for classes, values, left in ((["weed"], (0, 1), True), (["weed", "crop"], (2, 1), False)):
        support, labelled = SupportSet.from_folder(folder, classes), LabelledFolder.open(folder, classes)
        masks = [two_classes(30, 40, values[0]), two_classes(24, 32, *values), two_classes(24, 32, 255)]
        for name, sample, other, mask in zip("abc", support.samples, labelled, masks, strict=True):
            assert sample.name == other.name == name
            np.testing.assert_array_equal(sample.mask, mask)
            np.testing.assert_array_equal(other.mask, mask)
        assert [labelled.classes_in(index) for index in range(3)] == [
            sorted({*np.unique(mask).tolist()} - {0, 255}) for mask in masks
        ]
        for read in (support, labelled):
            assert read.class_names == tuple(classes)
            assert (said in read.notices) == left
            assert not any("go before" in notice for notice in read.notices)


def test_a_chosen_class_does_not_make_255_foreground(tmp_path: Path) -> None:
    """Of the masks of two classes only one is looked at; 255 in the others means what it always did."""
    masks = {"a": two_classes(24, 32, 1, 255), "b": two_classes(24, 32, 1, 255), "c": two_classes(24, 32, 2)}
    root = make_folder(tmp_path / "d", masks, BOTH)
    for read in (SupportSet.from_folder(root, ["weed"]).samples, LabelledFolder.open(root, ["weed"])):
        assert [np.unique(each.mask).tolist() for each in read] == [[0, 255], [0, 255], [0, 1]]
    for name in "abc":
        Image.fromarray(two_classes(24, 32, 1, 255)).save(root / "masks" / f"{name}.png")
    assert np.unique(LabelledFolder.open(root, ["weed"])[0].mask).tolist() == [0, 255]
    assert (
        "no mask of the whole support set holds any foreground (255 means ignore here)"
        in refused(root, ["weed"]).problem
    )


def test_a_value_that_meta_does_not_name_stays_a_fault_where_some_are_chosen(folder: Path) -> None:
    Image.fromarray(two_classes(30, 40, 2, 3)).save(folder / "masks" / "a.png")
    assert "mask value 3 without a class name" in refused(folder, ["weed"]).problem
    with pytest.raises(DataError, match="mask value 3 without a class name"):
        LabelledFolder.open(folder, ["weed"])[0]


def test_names_that_are_nearly_alike_are_told(folder: Path) -> None:
    support = SupportSet.from_folder(folder, ["Öl-Fleck", "O\u0308lfleck"])
    assert support.class_names == ("Öl-Fleck", "Ölfleck")
    said = (
        f"{folder}: Öl-Fleck and Ölfleck differ only in capitals or in what stands between words; "
        "name them alike if they are one class, or choose with --classes"
    )
    assert said in support.notices
    assert not any("differ only" in notice for notice in SupportSet.from_folder(folder).notices)
    assert SupportSet(support.samples, ["O\u0308l"]).class_names == ("Öl",)


def test_names_are_made_up_where_there_are_none(folder: Path) -> None:
    (folder / "meta.json").unlink()
    assert SupportSet.from_folder(folder).class_names == ("class_1", "class_2")
    assert LabelledFolder.open(folder).class_names == ("class_1", "class_2")


def test_subset_keeps_classes_and_order(folder: Path) -> None:
    support = SupportSet.from_folder(folder)
    part = support.subset([2, 0])
    assert [sample.name for sample in part.samples] == ["c", "a"]
    assert part.class_names == support.class_names
    assert part.shots() == {"crop": 1, "weed": 0}


def test_a_set_without_images_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"there is no annotated image\. Take at least one image with its mask"):
        SupportSet.from_folder(folder).subset([])
    with pytest.raises(DataError, match="there is no annotated image"):
        SupportSet([], ("crop",))


def test_arrays_and_folder_give_the_same_set(folder: Path) -> None:
    support = SupportSet.from_folder(folder)
    images, masks = [s.image for s in support.samples], [s.mask.astype(np.int64) for s in support.samples]
    again = SupportSet.from_arrays(images, masks, ["crop", "weed"])
    assert again.fingerprint() == support.fingerprint()  # file names do not count
    assert again.class_names == support.class_names
    assert not np.shares_memory(again.samples[0].image, images[0])
    assert SupportSet.from_arrays(images, masks).class_names == ("class_1", "class_2")
    pillow = SupportSet.from_arrays([Image.fromarray(i) for i in images], masks, ["crop", "weed"])
    assert pillow.fingerprint() == support.fingerprint()


def test_fingerprint_changes_with_everything_that_decides_a_fit(folder: Path) -> None:
    support = SupportSet.from_folder(folder)
    prints = {support.fingerprint()}
    assert prints == {SupportSet.from_folder(folder).fingerprint()}
    prints.add(support.subset([0, 2, 1]).fingerprint())
    prints.add(support.subset([0, 1]).fingerprint())
    prints.add(SupportSet.from_folder(folder, ["weed", "crop"]).fingerprint())
    support.samples[0].image[0, 0, 0] ^= 1
    prints.add(support.fingerprint())
    support.samples[0].mask[0, 0] ^= 1
    prints.add(support.fingerprint())
    wide, tall = np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)  # the same bytes in another shape
    for image in (wide, tall):
        prints.add(SupportSet.from_arrays([image], [np.ones(image.shape[:2], np.uint8)]).fingerprint())
    assert len(prints) == 8
    assert all(len(each) == 64 for each in prints)


def test_files_without_a_picture_suffix_and_hidden_ones_do_not_count(folder: Path) -> None:
    for name in ("notes.txt", ".DS_Store", "._a.png", ".distillfss-1.part"):
        (folder / "images" / name).write_bytes(b"x")
        (folder / "masks" / name).write_bytes(b"x")
    assert len(SupportSet.from_folder(folder)) == 3


def test_composed_and_decomposed_names_are_the_same(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": two_classes(24, 32, 1)})
    (root / "images" / "a.png").rename(root / "images" / "caf\u00e9.png")
    (root / "masks" / "a.png").rename(root / "masks" / "cafe\u0301.png")
    assert len(SupportSet.from_folder(root)) == 1


# --- the meaning of 255 ----------------------------------------------------------------------------------------------


def test_black_and_white_masks_hold_one_class(tmp_path: Path) -> None:
    masks = {"a": two_classes(24, 32, 255), "b": np.zeros((24, 32), np.uint8)}
    root = make_folder(tmp_path / "d", masks)
    for classes, names in ((None, ("class_1",)), (["polyp"], ("polyp",))):
        support, labelled = SupportSet.from_folder(root, classes), LabelledFolder.open(root, classes)
        for each in (support.samples[0], labelled[0]):
            np.testing.assert_array_equal(each.mask, two_classes(24, 32, 1))
        assert support.class_names == labelled.class_names == names
        for notices in (support.notices, labelled.notices):
            assert notices[0].startswith(f"{root}: masks hold only 0 and 255, so 255 is taken as the class")


def test_255_is_ignored_where_another_value_is_the_class(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": two_classes(24, 32, 255), "b": two_classes(24, 32, 1)})
    support, labelled = SupportSet.from_folder(root), LabelledFolder.open(root)
    for each in (support.samples[0], labelled[0]):
        np.testing.assert_array_equal(each.mask, two_classes(24, 32, 255))
    assert labelled.notices == ()
    assert [notice for notice in support.notices if "taken as the class" in notice] == []


def test_255_declared_as_ignored_leaves_nothing_to_learn(tmp_path: Path) -> None:
    meta = {"classes": ["background", "polyp"], "ignore_index": 255}
    root = make_folder(tmp_path / "d", {"a": two_classes(24, 32, 255)}, meta)
    error = refused(root)
    assert "any foreground (255 means ignore here)" in error.problem
    np.testing.assert_array_equal(LabelledFolder.open(root)[0].mask, two_classes(24, 32, 255))


def test_black_and_white_arrays() -> None:
    support = SupportSet.from_arrays([random_rgb()], [two_classes(24, 32, 255)], ["polyp"])
    np.testing.assert_array_equal(support.samples[0].mask, two_classes(24, 32, 1))
    assert support.notices[0].startswith("the masks: masks hold only 0 and 255")


# --- bad folders -----------------------------------------------------------------------------------------------------


def test_folders_within_folders_are_named(folder: Path) -> None:
    for part in ("images", "masks"):
        for place, path in enumerate(sorted((folder / part).iterdir())):
            inside = folder / part / f"site{place}"
            inside.mkdir()
            path.rename(inside / path.name)
    found = refused(folder)
    assert found.path == folder / "images"
    assert found.problem == "its pictures are in folders within it (site0, site1, site2), which are not looked into"
    assert "such as site0_STEM.png" in found.cure


@pytest.mark.parametrize(("part", "called"), [("images", "Images"), ("images", "img"), ("masks", "Labels")])
def test_folders_of_other_names_are_pointed_out(part: str, called: str, folder: Path) -> None:
    (folder / part).rename(folder / called)
    found = refused(folder)
    assert found.problem == f"has no folder {part}/"
    assert found.cure.startswith(f"Rename {called}/ to {part}/, if that is it. Put the images into images/")
    for path in (folder / called).iterdir():
        path.unlink()
    assert refused(folder).cure.startswith("Put the images into images/")


@pytest.mark.parametrize(("name", "kind"), [("roofs.gpkg", "a GeoPackage"), ("images/roofs.SHP", "a shapefile")])
def test_layers_of_gis_programs_are_to_be_exported(name: str, kind: str, folder: Path) -> None:
    shutil.rmtree(folder / "masks")
    (folder / name).touch()
    found = refused(folder)
    assert found.problem == "has no folder masks/"
    assert found.cure.startswith(f"Export {Path(name).name} as GeoJSON ({kind} cannot be read)")


def test_missing_folders(folder: Path, tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "missing").problem
    assert "is a file, not a folder" in refused(folder / "meta.json").problem
    packed = tmp_path / "export.tar.GZ"
    packed.touch()
    assert refused(packed).cure == "Unpack it, and give its folder"
    assert "the folder above" in refused(folder / "images").cure
    for part in ("masks", "images"):
        shutil.rmtree(folder / part)
        error = refused(folder)
        assert f"has no folder {part}/" in error.problem
        assert "images/" in error.cure
        assert "masks/" in error.cure


@pytest.mark.parametrize("part", ["images", "masks"])
def test_empty_folder(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    (folder / part).mkdir()
    error = refused(folder)
    assert error.path == folder / part
    assert "no pictures" in error.problem


def test_image_without_mask_and_mask_without_image(folder: Path) -> None:
    (folder / "masks" / "a.png").unlink()
    error = refused(folder)
    assert error.path == folder / "images" / "a.png"
    assert "has no mask masks/a.png" in error.problem
    assert "Add the mask" in error.cure
    assert f"'distillfss check {folder} --fix' copy what is annotated" in error.cure
    (folder / "masks" / "a.png").write_bytes((folder / "masks" / "b.png").read_bytes())
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DataError) as caught:
        LabelledFolder.open(folder)
    assert caught.value.path == folder / "masks" / "b.png"
    assert "Add the image, or remove the mask" in caught.value.cure


def test_image_of_a_format_that_is_not_read(folder: Path) -> None:
    (folder / "images" / "a.png").rename(folder / "images" / "a.heic")
    error = refused(folder)
    assert "images/a.heic is of a format" in error.problem
    assert "Convert" in error.cure


@pytest.mark.parametrize("part", ["images", "masks"])
def test_duplicate_stems(folder: Path, part: str) -> None:
    with Image.open(folder / part / "a.png") as image:
        image.save(folder / part / "a.tif")
    error = refused(folder)
    assert error.path == folder / part / "a.tif"
    assert "a.png and a.tif have the same name up to the suffix" in error.problem
    assert "Rename or remove" in error.cure


@pytest.mark.parametrize("part", ["images", "masks", "."])
def test_folder_without_read_permission(part: str) -> None:
    with folder_for_everyone() as place:
        root = make_folder(place / "d", {"a": two_classes(24, 32, 1)})
        with as_nobody():
            assert len(SupportSet.from_folder(root)) == 1
        (root / part).chmod(0)
        with as_nobody():
            error = refused(root)
            with pytest.raises(DataError):
                LabelledFolder.open(root)
        assert "permission denied" in error.problem
        assert str(root / part) in str(error)
        assert "chmod" in error.cure


def test_corrupt_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"classes": [')
    for opening in (SupportSet.from_folder, LabelledFolder.open):
        with pytest.raises(DataError) as caught:
            opening(folder)
        assert caught.value.path == folder / "meta.json"
        assert "not valid JSON" in caught.value.problem


# --- bad files -------------------------------------------------------------------------------------------------------


def replace_image(folder: Path, stem: str, image: Image.Image, **options: object) -> Path:
    image.save(folder / "images" / f"{stem}.png", **options)
    return folder / "images" / f"{stem}.png"


def test_sizes_differ(folder: Path) -> None:
    replace_image(folder, "a", Image.fromarray(random_rgb(30, 41)))
    error = refused(folder)
    assert error.path == folder / "masks" / "a.png"
    assert "the mask has 40x30 pixels but its image 41x30" in error.problem
    assert "size of the image" in error.cure


def test_exif_rotation_on_the_image_but_not_on_its_mask(folder: Path) -> None:
    replace_image(folder, "a", Image.fromarray(random_rgb(30, 40)), exif=exif(6))
    error = refused(folder)
    assert "40x30" in error.problem
    assert "30x40" in error.problem
    assert "EXIF" in error.cure
    replace_image(folder, "a", Image.fromarray(random_rgb(40, 30)), exif=exif(6))
    support = SupportSet.from_folder(folder)  # stored lying, upright it fits
    assert support.samples[0].image.shape == (30, 40, 3)
    assert any("EXIF orientation 6" in notice and "a.png" in notice for notice in support.notices)


def test_value_without_name(folder: Path) -> None:
    Image.fromarray(two_classes(30, 40, 1, 7)).save(folder / "masks" / "a.png")
    error = refused(folder)
    assert error.path == folder / "masks" / "a.png"
    assert "mask value 7 without a class name" in error.problem
    assert "crop, weed" in error.cure
    labelled = LabelledFolder.open(folder)
    with pytest.raises(DataError, match="mask value 7 without a class name"):
        labelled[0]
    assert labelled[1].name == "b"


def test_colour_mask_truncated_image_and_bomb(folder: Path) -> None:
    Image.fromarray(random_rgb(30, 40)).save(folder / "masks" / "a.png")
    assert "colour mask" in refused(folder).problem
    Image.fromarray(two_classes(30, 40, 1)).save(folder / "masks" / "a.png")
    image = folder / "images" / "a.png"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    error = refused(folder)
    assert error.path == image
    assert "truncated" in error.problem
    image.write_bytes(png_header(50_000, 50_000) + png_chunk(b"IDAT", b""))
    assert "megapixels" in refused(folder).problem


def test_all_faulty_files_are_listed_at_once(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {f"{i:02}": two_classes(24, 32, 1) for i in range(14)}, BOTH)
    for i in range(12):
        (root / "images" / f"{i:02}.png").write_bytes(b"no picture")
    (root / "masks" / "12.png").unlink()
    Image.fromarray(two_classes(24, 32, 1, 2, 3)).save(root / "masks" / "13.png")
    error = refused(root)
    assert isinstance(error, SeveralFaultsError)
    assert len(error.faults) == 14
    assert {fault.path.name for fault in error.faults} == {f"{i:02}.png" for i in range(14)}
    headline, total, *lines = str(error).splitlines()
    assert headline == f"{root / 'images' / '12.png'}: {error.problem}. {error.cure}"
    assert total == "14 faults in all:"
    assert len(lines) == 11
    assert lines[1].startswith(f"  - {root / 'images' / '00.png'}: is not a JPEG")
    assert lines[1].endswith("Convert it to PNG or JPEG, or remove it")
    assert lines[-1] == "  - and 4 more"


def test_labelled_folder_reports_a_bad_file_when_it_is_read(folder: Path) -> None:
    (folder / "images" / "b.png").write_bytes(b"no picture")
    (folder / "masks" / "c.png").write_bytes(b"no mask")
    (folder / "meta.json").unlink()
    labelled = LabelledFolder.open(folder)
    assert labelled.class_names == ("class_1", "class_2")  # the bad mask does not hinder looking at the others
    assert labelled[0].name == "a"
    for index, path in ((1, folder / "images" / "b.png"), (2, folder / "masks" / "c.png")):
        with pytest.raises(DataError) as caught:
            labelled[index]
        assert caught.value.path == path


# --- nothing to learn ------------------------------------------------------------------------------------------------


def test_no_foreground_in_the_whole_set(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": np.zeros((24, 32), np.uint8), "b": np.zeros((24, 32), np.uint8)})
    for classes in (None, ["polyp"]):
        error = refused(root, classes)
        assert error.path == root
        assert "no mask of the whole support set holds any foreground" in error.problem
        assert "Annotate" in error.cure


def test_class_without_a_pixel(folder: Path) -> None:
    support = SupportSet.from_folder(folder, ["crop", "weed", "stone"])
    assert support.class_names == ("crop", "weed", "stone")
    assert support.shots()["stone"] == 0
    (said,) = (remark.text for remark in support.remarks if remark.kind is NoticeKind.NEVER_FOUND)
    assert "no pixel of stone in any mask, so the model will never find it" in said
    assert said in support.notices
    assert LabelledFolder.open(folder, ["crop", "weed", "stone"])[0].name == "a"  # fine to evaluate on
    root = make_folder(folder / "gap", {"a": two_classes(24, 32, 1, 3)})
    support = SupportSet.from_folder(root)
    assert support.class_names == ("class_1", "class_2", "class_3")
    assert set(np.unique(support.samples[0].mask)) == {0, 1, 3}  # the numbers keep their meaning
    assert any("no pixel of class_2" in note for note in support.notices)


def test_20_classes_but_not_21(tmp_path: Path) -> None:
    mask = np.arange(22, dtype=np.uint8).repeat(4).reshape(1, -1).repeat(8, axis=0)
    names = [f"kind {i}" for i in range(1, 22)]
    root = make_folder(tmp_path / "d", {"a": mask})
    error = refused(root, names)
    assert "21 classes are named, the limit is 20" in error.problem
    assert "mask value 21" in refused(root).problem
    assert len(LabelledFolder.open(root).class_names) == 21  # evaluation and meta-training know no limit
    Image.fromarray(np.minimum(mask, 20)).save(root / "masks" / "a.png")
    assert len(SupportSet.from_folder(root, names[:20]).class_names) == 20
    assert SupportSet.from_folder(root).class_names[-1] == "class_20"


def test_instance_or_smoothed_masks_get_a_hint(tmp_path: Path) -> None:
    mask = np.arange(200, dtype=np.uint8).reshape(10, 20)
    error = refused(make_folder(tmp_path / "d", {"a": mask}))
    assert "single objects" in error.cure
    assert "smoothing" in error.cure


# --- arrays ----------------------------------------------------------------------------------------------------------


def test_bad_arrays_are_named_by_their_place() -> None:
    good, mask = random_rgb(), two_classes(24, 32, 1)
    cases = [
        ([good, good.astype(np.float32)], [mask, mask], "images[1]: a picture of type float32"),
        ([good, good], [mask, mask[..., None]], "masks[1]: a mask of shape 24x32x1"),
        ([good, good], [mask, mask.T], "masks[1]: the mask has 24x32 pixels but its image 32x24"),
        (["a.png"], [mask], "images[0]: a picture of Python type str. Pass a Pillow image (PIL.Image.open(path)) or a"),
        ([good], [np.zeros_like(mask)], "no mask of the whole support set"),
        ([], [], "the support set is empty"),
    ]
    for images, masks, text in cases:
        with pytest.raises(DataError) as caught:
            SupportSet.from_arrays(images, masks)
        assert text in str(caught.value)
        assert caught.value.cure
    with pytest.raises(DataError, match=r"^masks\[1\]: mask value 5 without"):
        SupportSet.from_arrays([good, good], [mask, two_classes(24, 32, 5)], ["crop"])
    with pytest.raises(UsageError, match="2 images but 1 masks"):
        SupportSet.from_arrays([good, good], [mask])


def test_16_bit_support(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"a": two_classes(24, 32, 1)})
    deep = np.random.default_rng(0).integers(0, 4096, (24, 32, 3)).astype(np.uint16)
    (root / "images" / "a.png").write_bytes(png16(deep))
    support = SupportSet.from_folder(root)
    assert support.fingerprint() == SupportSet.from_arrays([deep], [two_classes(24, 32, 1)]).fingerprint()
    assert support.notices[0].startswith(f"{root / 'images' / 'a.png'}: 16-bit values")


# --- promises --------------------------------------------------------------------------------------------------------


def test_reading_data_does_not_import_torch() -> None:
    code = "import sys, distillfss.support, distillfss.io.masks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_opening_looks_at_no_picture(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for i in range(3000):
            (tmp_path / part / f"{i}.png").touch()
    start = time.perf_counter()
    assert len(LabelledFolder.open(tmp_path, ["a", "b"])) == 3000
    assert time.perf_counter() - start < 2


@pytest.mark.real_data
def test_real_pictures() -> None:
    root = DATASETS / "pothole"
    if not root.is_dir():
        pytest.skip("no folder shared/datasets beside the checkout")
    labelled, support = LabelledFolder.open(root), SupportSet.from_folder(root)
    assert len(labelled) == len(support) == 67
    assert labelled.class_names == support.class_names == ("pothole",)
    assert support.shots() == {"pothole": 67}
    assert support.notices == labelled.notices == ()
    share = np.mean([(sample.mask == 1).mean() for sample in labelled])
    assert share == pytest.approx(0.039, abs=0.0005)  # mean area stated in meta.json
    assert {sample.image.shape[:2] for sample in support.samples} == {(307, 512), (304, 512), (308, 512)}


def test_photographs_are_kept_at_four_megapixels(tmp_path: Path) -> None:
    image = np.zeros((3000, 4000, 3), np.uint8)
    image[1500:, 2000:] = 200
    mask = (image[..., 0] > 0).astype(np.uint8)
    root = make_folder(tmp_path / "d", {"a": mask})
    Image.fromarray(image).save(root / "images" / "a.png")
    sample = SupportSet.from_folder(root).samples[0]
    assert sample.image.shape == (1773, 2364, 3)
    assert sample.mask.shape == (1773, 2364)
    assert float(((sample.image[..., 0] > 100) == (sample.mask == 1)).mean()) > 0.999


def test_a_subset_of_images_that_are_not_there(folder: Path) -> None:
    support = SupportSet.from_folder(folder)
    with pytest.raises(UsageError, match=rf"there is no image 99 among {len(support)}"):
        support.subset([0, 99])
    assert [sample.name for sample in support.subset([-1]).samples] == [support.samples[-1].name]
