"""ImageJ: ROIs with and without groups, zips as they come from a Mac, and what is no object."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from one_image import circle, only_mask
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi
from scene import HEIGHT, WIDTH, covered, write_images

from distillfss.errors import DataError
from distillfss.support import LabelledFolder, SupportSet


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


def test_names_of_groups_are_chosen_among(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"])
    (tmp_path / "a.roi").write_bytes(roi(ROI_TYPE.RECT, 2).tobytes())
    (tmp_path / "a_rois.roi").write_bytes(roi(ROI_TYPE.OVAL, 5).tobytes())
    both = LabelledFolder.open(tmp_path)
    assert both.class_names == ("group_2", "group_5")
    for meta in (None, '{"classes": ["background", "cell", "debris"]}'):
        names = ("group_2", "group_5") if meta is None else ("cell", "debris")
        if meta is not None:
            (tmp_path / "meta.json").write_text(meta)
        swapped, one = LabelledFolder.open(tmp_path, names[::-1]), LabelledFolder.open(tmp_path, [names[1]])
        assert (swapped.class_names, one.class_names) == (names[::-1], (names[1],))
        assert {1, 2} == set(np.unique(both[0].mask)) - {0}
        np.testing.assert_array_equal(swapped[0].mask, np.array([0, 2, 1], np.uint8)[both[0].mask])
        np.testing.assert_array_equal(one[0].mask, both[0].mask == 2)
    told = LabelledFolder.open(tmp_path, ["nucleus", "dust"])
    np.testing.assert_array_equal(told[0].mask, both[0].mask)
    said = "the names given go before those of meta.json: cell is called nucleus, debris is called dust"
    assert told.notices == (f"{tmp_path}: {said}",)


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
    assert "1 point, line or the like" in notice
