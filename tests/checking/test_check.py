"""Every kind of fault is found in the file that has it, and in no other; a sound folder has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import rasterio
from faulty import HEIGHT, WIDTH, picture, save, sound
from pictures import exif, png16, upright
from PIL import Image
from pydicom.data import get_testdata_file
from rasterio.transform import from_origin

from distillfss.checking import KINDS, check
from distillfss.checking.fixing import CHANGES, UNDECIDED, fix
from distillfss.checking.turning import as_stored
from distillfss.errors import DataError, OutputError
from distillfss.io.masks import read_mask
from distillfss.support import SupportSet


def found(folder: Path, test: Path | None = None, **more: object) -> dict[str, list[str]]:
    """Kind → names of the files."""
    report = check(folder, test, **more)  # type: ignore[arg-type]
    return {kind: [each.file.name for each in group] for kind, group in report.by_kind().items()}


def test_a_sound_folder(tmp_path: Path) -> None:
    report = check(sound(tmp_path / "d"), sound(tmp_path / "t", 4, first=20))
    assert report.findings == []
    assert report.ok
    (row,) = report.support.classes()
    pixels = sum(int(picture(seed)[1].sum()) for seed in range(6))
    assert row == {"name": "disc", "images": 6, "pixels": pixels, "share": 1.0}


def resave(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path = folder / "masks" / f"{name}.png"
    Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


def test_faults_of_single_files_all_at_once(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 12)
    resave(folder, "p00", lambda mask: mask[:-7])
    resave(folder, "p01", lambda mask: np.asarray(Image.fromarray(mask).resize((80, 60), Image.Resampling.NEAREST)))
    resave(folder, "p02", lambda mask: mask * 3)
    resave(folder, "p03", lambda mask: np.asarray(Image.fromarray(mask * 255).resize((161, 121)).resize((160, 120))))
    resave(folder, "p04", np.zeros_like)
    resave(folder, "p05", lambda mask: np.dstack([mask * 255, mask * 90, mask]))
    Image.open(folder / "masks" / "p06.png").point(lambda v: v * 255).save(folder / "masks" / "p06.jpg")
    (folder / "masks" / "p06.png").unlink()
    (folder / "images" / "p07.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "masks" / "p08.png").unlink()
    (folder / "images" / "p09.png").unlink()
    speck = np.zeros((HEIGHT, WIDTH), np.uint8)
    speck[3, 4:6] = 1
    resave(folder, "p10", lambda mask: mask | speck)
    image = np.asarray(Image.open(folder / "images" / "p11.png"))
    (folder / "images" / "p11.png").write_bytes(png16(image.astype(np.uint16) * 250))
    report = check(folder)
    assert {kind: [each.file.name for each in group] for kind, group in report.by_kind().items()} == {
        "unreadable": ["p07.png"],
        "unpaired": ["p08.png", "p09.png"],
        "size-mismatch": ["p00.png", "p01.png"],
        "unknown-class": ["p02.png"],
        "colour-mask": ["p05.png"],
        "smoothed-mask": ["p03.png"],
        "lossy-mask": ["p06.jpg"],
        "empty-mask": ["p04.png"],
        "stray-pixels": ["p10.png"],
        "mixed-depth": ["p11.png"],
        "converted": ["p11.png"],
    }
    by_file = {each.file.name: each for each in report.findings}
    assert by_file["p10.png"].boxes == ((3, 4, 4, 6),)
    assert {name for name, each in by_file.items() if each.fixable} == {"p01.png", "p03.png", "p06.jpg", "p10.png"}
    assert not report.ok
    assert report.summary() == {"error": 9, "warning": 3, "note": 1}


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_on_one_side_only(orientation: int, tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 5)
    image, mask = picture(40, 100, 140)
    path = folder / "images" / "p40.jpg"
    Image.fromarray(image).save(path, quality=95, exif=exif(orientation))
    np.testing.assert_array_equal(as_stored(mask, orientation), upright(mask, orientation))
    Image.fromarray(upright(mask, orientation)).save(folder / "masks" / "p40.png")  # drawn on the upright picture
    assert found(folder) == {"converted": ["p40.jpg"]}
    Image.fromarray(mask).save(folder / "masks" / "p40.png")  # drawn on the stored one
    assert found(folder) == {"exif-turned": ["p40.png"], "converted": ["p40.jpg"]}
    fix(check(folder), tmp_path / "new")
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "masks" / "p40.png"), upright(mask, orientation))


def test_white_in_a_damaged_mask_is_not_guessed_where_there_are_several_classes(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d")
    (folder / "meta.json").unlink()
    resave(folder, "p01", lambda mask: np.where(mask > 0, 2, mask).astype(np.uint8))
    resave(folder, "p03", lambda mask: np.asarray(Image.fromarray(mask * 255).resize((161, 121)).resize((160, 120))))
    report = check(folder)
    (finding,) = (each for each in report.findings if each.severity == "error")
    assert (finding.kind, finding.file.name, finding.fixable) == ("smoothed-mask", "p03.png", False)
    assert dict(fix(report, tmp_path / "new").left_out) == {"p03": finding.problem}


def test_classes_of_the_folder(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 40)
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", "disc", "ring", "dot"]}))
    resave(folder, "p07", lambda mask: np.where(mask > 0, 2, mask).astype(np.uint8))
    report = check(folder)
    assert [(each.kind, each.problem) for each in report.findings] == [
        ("absent-class", "no pixel of dot in any mask"),
        ("imbalance", report.findings[1].problem),
    ]
    share = 100 * int((picture(7)[1] > 0).sum()) / sum(int(picture(seed)[1].sum()) for seed in range(40))
    assert report.findings[1].problem == f"ring is {share:.1f} % of what is annotated, in 1 of 39 images"


def test_chosen_classes_are_looked_at_and_written_alone(tmp_path: Path) -> None:
    """White in a damaged mask may be any of the classes that meta.json names, not the one that was chosen."""
    folder = sound(tmp_path / "d")
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", "disc", "ring"]}))
    resave(folder, "p01", lambda mask: mask * 2)
    ring = int((np.asarray(Image.open(folder / "masks" / "p01.png")) == 2).sum())
    resave(folder, "p02", lambda mask: np.asarray(Image.fromarray(mask * 255).resize((161, 121)).resize((160, 120))))
    report = check(folder, classes=["ring"])
    assert report.support.classes() == [{"name": "ring", "images": 1, "pixels": ring, "share": 1.0}]
    assert report.support.annotations.notices == [f"{folder}: disc of meta.json not chosen: counted as background"]
    (finding,) = (each for each in report.findings if each.severity == "error")
    assert (finding.kind, finding.file.name) == ("smoothed-mask", "p02.png")
    colours = np.zeros((*picture(3)[1].shape, 3), np.uint8)
    colours[picture(3)[1] > 0] = (255, 0, 0)
    Image.fromarray(colours).save(folder / "masks" / "p03.png")
    fixed = fix(check(folder, classes=["ring"]), tmp_path / "new")
    assert set(dict(fixed.left_out)) == {"p03"}  # its colour may be any of the classes as well
    support = SupportSet.from_folder(tmp_path / "new")
    assert support.class_names == ("ring",)
    wanted = {"p00": {0}, "p01": {0, 1}, "p02": {0, 255}, "p04": {0}, "p05": {0}}
    assert {each.name: set(np.unique(each.mask).tolist()) for each in support.samples} == wanted
    assert int((support.samples[1].mask == 1).sum()) == ring


def test_classes_that_are_named_nearly_alike(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d")
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", "disc", "Disc"]}))
    resave(folder, "p03", lambda mask: mask * 2)
    (finding,) = check(folder).findings
    assert (finding.kind, finding.severity, finding.file) == ("alike-classes", "warning", folder / "meta.json")
    assert finding.problem == "disc and Disc differ only in capitals or in what stands between words"
    assert "--classes" in finding.cure


def test_too_small_for_the_working_resolution(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 5)
    image, _ = picture(50, 480, 640)
    mask = np.zeros((480, 640), np.uint8)
    mask[200, 20:600] = mask[202:206, 40:500] = 1
    save(folder, "p50", image, mask)
    assert found(folder) == {"too-small": ["p50.png"]}
    mask[100:300, 100:300] = 1
    save(folder, "p50", image, mask)
    assert found(folder) == {}


def test_255_that_may_mean_two_things(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 5)
    for name in ("p00", "p01", "p02"):
        resave(folder, name, lambda mask: mask * 255)
    report = check(folder)
    assert [each.kind for each in report.findings] == ["ambiguous-255"]
    fixed = fix(report, tmp_path / "decided")
    assert fixed.left_out == [(name, UNDECIDED) for name in ("p00", "p01", "p02")]
    assert {path.stem for path in (tmp_path / "decided" / "masks").iterdir()} == {"p03", "p04"}
    assert check(tmp_path / "decided").ok
    for name in ("p03", "p04"):
        resave(folder, name, lambda mask: mask * 255)
    report = check(folder)
    assert report.findings == []
    assert report.support.binary
    fixed = fix(report, tmp_path / "new")
    assert fixed.written == 5
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "masks" / "p00.png"), picture(0)[1])


def test_classes_beside_255_that_may_mean_two_things_are_classes(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 5)
    (folder / "meta.json").unlink()
    for name in ("p00", "p01", "p02"):
        resave(folder, name, lambda mask: mask * 255)
    resave(folder, "p03", lambda mask: mask * 2)
    half = np.arange(WIDTH) < WIDTH // 2
    resave(folder, "p04", lambda mask: np.where((mask > 0) & half, 255, mask).astype(np.uint8))  # of these, too
    report = check(folder)
    assert [(each.kind, each.file.name) for each in report.findings if each.severity == "error"] == [
        ("ambiguous-255", "p00.png")
    ]
    assert report.support.names == ("class_1", "class_2")
    assert [name for name, _ in fix(report, tmp_path / "new").left_out] == ["p00", "p01", "p02", "p04"]


def test_a_repair_that_leaves_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 3)
    for name in ("p00", "p01", "p02"):
        resave(folder, name, lambda mask: mask * 4)
    with pytest.raises(
        DataError, match="nothing in it could be repaired, with 3 files left out, such as p00: "
    ) as none:
        fix(check(folder), tmp_path / "new")
    assert none.value.path == folder
    resave(folder, "p01", np.zeros_like)
    with pytest.raises(DataError, match="no mask of the whole support set holds any foreground, with 2 files left out"):
        fix(check(folder), tmp_path / "new")
    with pytest.raises(DataError, match=r"holds any foreground \(255 means ignore here\)\. .*nothing was written"):
        fix(check(white(tmp_path / "w"), classes=["disc", "ring"]), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_black_and_white_masks_of_several_values(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 5)
    (folder / "meta.json").unlink()
    half = np.arange(WIDTH) < WIDTH // 2
    resave(folder, "p00", lambda mask: mask * 2)
    resave(folder, "p02", lambda mask: np.where((mask > 0) & half, 2, mask).astype(np.uint8))
    resave(folder, "p03", lambda mask: np.asarray(Image.fromarray(mask * 255).resize((161, 121)).resize((160, 120))))
    for path in sorted((folder / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    report = check(folder)
    assert [(each.kind, each.file.name) for each in report.findings] == [
        ("smoothed-mask", "p03_mask.png"),
        ("ambiguous-value", "p00_mask.png"),
        ("ambiguous-value", "p02_mask.png"),
    ]
    fixed = fix(report, tmp_path / "new")
    assert [name for name, _ in fixed.left_out] == ["p00", "p02", "p03"]
    assert [sample.name for sample in SupportSet.from_folder(tmp_path / "new").samples] == ["p01", "p04"]


def nothing_drawn(folder: Path) -> Path:
    for seed in range(2):
        save(folder, f"p{seed}", picture(seed)[0], np.zeros((HEIGHT, WIDTH), np.uint8))
    return folder


def white(folder: Path) -> Path:
    for seed in range(2):
        save(folder, f"p{seed}", picture(seed)[0], picture(seed)[1] * 255)
    return folder


def coco_without_objects(folder: Path) -> Path:
    folder.mkdir()
    Image.fromarray(picture(0)[0]).save(folder / "p0.png")
    image = {"id": 1, "file_name": "p0.png", "width": WIDTH, "height": HEIGHT}
    categories = [{"id": 1, "name": "disc"}]
    (folder / "a.json").write_text(json.dumps({"images": [image], "annotations": [], "categories": categories}))
    return folder


@pytest.mark.parametrize(
    ("make", "classes", "problem"),
    [
        (nothing_drawn, None, "no mask of the whole support set holds any foreground"),
        (white, ["disc", "ring"], "no mask of the whole support set holds any foreground (255 means ignore here)"),
        (coco_without_objects, None, "no mask of the whole support set holds any foreground"),
        (sound, [f"c{number}" for number in range(21)], "21 classes are named, the limit is 20"),
    ],
)
def test_what_a_fit_refuses_is_an_error(
    make: Callable[[Path], Path], classes: list[str] | None, problem: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "d")
    with pytest.raises(DataError) as refused:
        SupportSet.from_folder(folder, classes)
    report = check(folder, classes=classes)
    (finding,) = (each for each in report.findings if each.severity == "error")
    assert (finding.kind, finding.problem) == ("unlearnable", problem)
    assert (finding.file, finding.problem, finding.cure) == (
        refused.value.path,
        refused.value.problem,
        refused.value.cure,
    )
    assert check(
        sound(tmp_path / "s", 3, first=20), folder, classes=classes and classes[:2]
    ).ok  # to test on it is fine


def test_what_cannot_be_read_may_hold_foreground(tmp_path: Path) -> None:
    folder = nothing_drawn(tmp_path / "d")
    (folder / "masks" / "p1.png").write_bytes(b"no picture")
    assert [each.kind for each in check(folder).findings if each.severity == "error"] == ["unreadable"]


def test_pictures_that_are_there_twice(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 12)
    image, mask = picture(0)
    save(folder, "q_copy", image, mask)
    save(folder, "q_other_mask", image, np.roll(mask, 9, 1))
    Image.fromarray(picture(2)[0]).save(folder / "images" / "q_jpeg.jpg", quality=80)
    Image.fromarray(picture(2)[1]).save(folder / "masks" / "q_jpeg.png")
    save(folder, "q_mirrored", picture(3)[0][:, ::-1], picture(3)[1][:, ::-1])
    save(folder, "q_turned", np.rot90(picture(4)[0]), np.rot90(picture(4)[1]))
    report = check(folder)
    twins = {
        each.file.stem: (each.kind, each.other.stem if each.other else "", each.fixable) for each in report.findings
    }
    assert twins == {
        "q_copy": ("near-duplicate", "p00", True),
        "q_other_mask": ("contradiction", "p00", False),
        "q_jpeg": ("near-duplicate", "p02", False),
        "q_mirrored": ("near-duplicate", "p03", False),
        "q_turned": ("near-duplicate", "p04", False),
    }
    assert "mirrored" in next(each.problem for each in report.findings if each.file.stem == "q_mirrored")


def test_pictures_that_leaked_into_the_test(tmp_path: Path) -> None:
    folder, test = sound(tmp_path / "d", 8), sound(tmp_path / "t", 6, first=30)
    save(test, "same", *picture(5))
    Image.fromarray(picture(6)[0]).save(test / "images" / "like.jpg", quality=85)
    Image.fromarray(picture(6)[1]).save(test / "masks" / "like.png")
    save(test, "twice", *picture(31))  # twins among the test images alone leak nothing
    report = check(folder, test)
    assert {each.file.name: (each.kind, each.other and each.other.stem) for each in report.findings} == {
        "same.png": ("leak", "p05"),
        "like.jpg": ("leak", "p06"),
    }


def test_what_is_wrong_with_the_test_images_is_not_repaired(tmp_path: Path) -> None:
    folder, test = sound(tmp_path / "d", 3), sound(tmp_path / "t", 2, first=30)
    speck = np.zeros((HEIGHT, WIDTH), np.uint8)
    speck[3, 4:6] = 1
    resave(folder, "p01", lambda mask: mask | speck)
    for name in ("p30", "p31"):
        resave(test, name, lambda mask: mask | speck)
    report = check(folder, test)
    assert [(each.file, each.fixable, each.cure) for each in report.findings] == [
        (folder / "masks" / "p01.png", True, "Look at them; --fix takes them away"),
        *(
            (test / "masks" / name, False, f"Look at them; --fix takes them away (check {test} by itself)")
            for name in ("p30.png", "p31.png")
        ),
    ]
    row = report.to_dict()["kinds"]["stray-pixels"]
    assert (row["count"], row["fixable"]) == (3, 1)
    resave(folder, "p01", lambda mask: np.asarray(Image.fromarray(mask).resize((80, 60), Image.Resampling.NEAREST)))
    assert fix(check(folder, folder), tmp_path / "new").left_out == []


def test_repair_writes_a_new_folder_that_can_be_fitted_and_leaves_the_old_one(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 9)
    truth = {seed: picture(seed)[1] for seed in range(9)}
    resave(folder, "p01", lambda mask: np.asarray(Image.fromarray(mask).resize((320, 240), Image.Resampling.NEAREST)))
    resave(folder, "p03", lambda mask: mask * 4)
    Image.open(folder / "masks" / "p06.png").point(lambda v: v * 255).save(folder / "masks" / "p06.jpg", quality=95)
    (folder / "masks" / "p06.png").unlink()
    (folder / "masks" / "p08.png").unlink()
    resave(folder, "p05", lambda mask: np.dstack([mask * 255, mask * 90, mask]))
    save(folder, "q_copy", *picture(0))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = check(folder)
    out = tmp_path / "new"
    fixed = fix(report, out)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert dict(fixed.left_out) == {
        "p03": "mask value 4 without a class name",
        "p08.png": "has no mask masks/p08.png",
        "q_copy": "is p00.png, pixel by pixel",
    }
    assert [name for name, _ in fixed.changed] == ["p01", "p05", "p06"]
    assert json.loads((out / CHANGES).read_text()) == fixed.to_dict()
    assert found(out) == {}
    support = SupportSet.from_folder(out)
    assert support.class_names == ("disc",)
    assert [sample.name for sample in support.samples] == ["p00", "p01", "p02", "p04", "p05", "p06", "p07"]
    assert fixed.written == len(support) == 7
    for sample in support.samples:
        seed = int(sample.name[1:])
        np.testing.assert_array_equal(sample.mask, truth[seed])
        np.testing.assert_array_equal(sample.image, picture(seed)[0])
    with pytest.raises(OutputError, match="not empty"):
        fix(report, out)


def test_repair_leaves_no_stray_pixels(tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 2)
    image = np.asarray(Image.open(folder / "images" / "p00.png"))
    clean = np.zeros((HEIGHT, WIDTH), np.uint8)
    clean[40:100, 30:130] = 1
    mask = clean.copy()
    mask[35:37, 80] = mask[38, 80] = 1  # the lower one lies between the upper ones and the object
    save(folder, "p00", image, mask)
    report = check(folder)
    assert [each.problem for each in report.findings] == ["2 stray pixels: specks or pinholes"]
    fixed = fix(report, tmp_path / "new")
    assert fixed.changed == [("p00", "3 stray pixels taken away")]
    assert found(tmp_path / "new") == {}
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "masks" / "p00.png"), clean)


def test_other_formats_are_checked_and_converted(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for seed in range(4):
        image, _ = picture(seed)
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"p{seed}.png")
        points = [[20, 20], [140, 20], [140, 100], [20, 100]]
        shapes = [{"label": "disc", "points": points, "shape_type": "polygon"}]
        if seed == 1:
            shapes.append({"label": "ring", "points": [[0, 0], [30, 0], [30, 30]], "shape_type": "polygon"})
        if seed == 2:
            shapes.append({"label": "disc", "points": [[5, 5], [15, 15]], "shape_type": "rectangle"})
            shapes.append({"label": "disc", "points": [[5, 5]], "shape_type": "point"})
        size = {"imageHeight": 121 if seed == 3 else 120, "imageWidth": 160}
        (folder / f"p{seed}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"p{seed}.png", **size}))
    Image.fromarray(picture(7)[0]).save(folder / "unseen.png")
    (folder / "p8.json").write_text('{"shapes": 5, "imagePath": "unseen.png"}')
    (folder / "p9.json").write_text('{"shapes": [], "imagePath": "nowhere.png"}')
    kinds = found(folder)
    assert kinds == {
        "unpaired": ["p9.json"],
        "annotation": ["p8.json"],
        "size-mismatch": ["p3.json"],
        "overlap": ["p1.json"],
        "no-area": ["p2.json"],
        "boxes": ["p2.json"],
        "unlabelled": ["unseen.png"],
    }
    fixed = fix(check(folder), tmp_path / "new")
    assert [name for name, _ in fixed.left_out] == ["p3", "p9.json", "p8.json"]
    support = SupportSet.from_folder(tmp_path / "new")
    assert support.class_names == ("disc", "ring")
    whole = np.zeros((120, 160), np.uint8)
    whole[20:100, 20:140] = 1
    np.testing.assert_array_equal(support.samples[0].mask, whole)


def test_maps_are_looked_at_as_they_are_learnt_from(tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    for seed in range(3):
        image, mask = picture(seed)
        save(folder, f"p{seed}", image, mask)
        (folder / "images" / f"p{seed}.png").unlink()
        bands = np.zeros((4, HEIGHT, WIDTH), np.float32)
        bands[1:] = np.moveaxis(image, -1, 0).astype(np.float32) * 10
        profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 4, "dtype": "float32"}
        place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 1, 1)}
        with rasterio.open(folder / "images" / f"p{seed}.tif", "w", **profile, **place) as dataset:
            dataset.write(bands)
    meta = {"classes": ["background", "disc"], "bands": [2, 3, 4], "range": [0, 2550]}
    (folder / "meta.json").write_text(json.dumps(meta))
    assert found(folder) == {}
    speck = np.zeros((HEIGHT, WIDTH), np.uint8)
    speck[3, 4:6] = 1
    resave(folder, "p1", lambda mask: mask | speck)
    assert fix(check(folder), tmp_path / "new").written == 3
    for sample in SupportSet.from_folder(tmp_path / "new").samples:
        image, mask = picture(int(sample.name[1:]))
        np.testing.assert_array_equal(sample.image, image)
        np.testing.assert_array_equal(sample.mask, mask)
    (folder / "meta.json").write_text(json.dumps({**meta, "bands": [2, 3, 5]}))
    report = check(folder)
    assert [(each.kind, each.problem) for each in report.findings if each.kind == "unreadable"] == 3 * [
        ("unreadable", "bands 2,3,5 of a file with 4")
    ]


def test_what_is_drawn_where_a_map_holds_no_data_is_not_counted(tmp_path: Path) -> None:
    image, mask = picture(0)
    save(tmp_path, "a", image, mask)
    (tmp_path / "images" / "a.png").unlink()
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 3, "dtype": "uint8", "nodata": 0}
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 1, 1)}
    half = WIDTH // 2
    bands = np.moveaxis(np.maximum(image, 1), -1, 0).copy()
    bands[:, :, :half] = 0
    with rasterio.open(tmp_path / "images" / "a.tif", "w", **profile, **place) as dataset:
        dataset.write(bands)
    assert 0 < (mask[:, half:] == 1).sum() < (mask == 1).sum()
    assert check(tmp_path).support.pixels[1] == (mask[:, half:] == 1).sum()


@pytest.mark.parametrize(
    ("crs", "left", "misplaced"),
    [
        ("EPSG:32633", 5e5, False),
        ("EPSG:32633", 5e5 + 0.4, False),
        ("EPSG:32633", 5e5 + 3, True),
        ("EPSG:32632", 5e5, True),
    ],
)
def test_a_mask_of_another_place_than_its_map(crs: str, left: float, misplaced: bool, tmp_path: Path) -> None:
    image, mask = picture(0)
    save(tmp_path, "a", image, mask)
    shape = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "dtype": "uint8"}
    maps = {"images": (np.moveaxis(image, -1, 0), "EPSG:32633", 5e5), "masks": (mask[None], crs, left)}
    for folder, (bands, system, west) in maps.items():
        (tmp_path / folder / "a.png").unlink()
        place = {"crs": system, "transform": from_origin(west, 5e6, 1, 1), "count": len(bands)}
        with rasterio.open(tmp_path / folder / "a.tif", "w", **shape, **place) as dataset:
            dataset.write(bands)
    assert [each.kind for each in check(tmp_path).findings] == ["misplaced"] * misplaced


def test_radiographs_are_looked_at(tmp_path: Path) -> None:
    source = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    random = np.random.default_rng(0)
    for seed in range(2):
        mask = np.zeros((128, 128), np.uint8)
        mask[30:60, 30 + seed : 60] = 1
        save(tmp_path, f"p{seed}", np.zeros((8, 8, 3), np.uint8), mask)
        (tmp_path / "images" / f"p{seed}.png").unlink()
        source.PixelData = random.integers(0, 2000, (128, 128), np.int16).tobytes()
        source.save_as(tmp_path / "images" / f"p{seed}.dcm")
    assert set(found(tmp_path)) == {"converted"}  # no window in the file
    assert check(tmp_path).ok


def test_a_folder_of_which_every_annotation_is_at_fault(tmp_path: Path) -> None:
    for seed in range(2):
        Image.fromarray(picture(seed)[0]).save(tmp_path / f"p{seed}.png")
        shapes = [{"points": [[20, 20], [140, 20], [140, 100]]}]
        (tmp_path / f"p{seed}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"p{seed}.png"}))
    assert found(tmp_path) == {"annotation": ["p0.json", "p1.json"], "unlabelled": ["p0.png", "p1.png"]}


def test_every_kind_is_explained() -> None:
    for name, kind in KINDS.items():
        assert name == name.lower()
        assert kind.title
        assert kind.meaning.endswith((".", "?"))
