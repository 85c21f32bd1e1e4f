"""Preparing releases: the folder that is written, stopping and going on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import mini_releases
import numpy as np
import pytest
from mini_releases import box, photo, save
from pictures import exif
from PIL import Image

from distillfss.bench.releases import RELEASES
from distillfss.bench.releases import writing as module
from distillfss.bench.releases.base import Entry, Found, Release
from distillfss.bench.releases.survey import check, survey
from distillfss.bench.releases.writing import MARK, prepare
from distillfss.errors import DataError, OutputError
from distillfss.support import LabelledFolder

NAMES = [name for name in RELEASES if "fold" not in name]


def miniature(name: str, root: Path) -> dict[str, np.ndarray]:
    expected: dict[str, np.ndarray] = getattr(mini_releases, name.removesuffix("_cracks"))(root)
    return {s: np.minimum(m, 1) for s, m in expected.items()} if name == "pothole_mix" else expected


def of_pictures(tmp_path: Path, images: dict[str, np.ndarray | Path], masks: dict[str, np.ndarray]) -> Release:
    """A release of these pictures and masks."""
    found = Found([Entry(stem, lambda s=stem: (images[s], masks[s])) for stem in images])
    facts = dict.fromkeys(("licence", "where", "cite", "download", "layout", "notes", "title", "domain"), "")
    return Release(name="made", classes=("thing",), find=lambda root: found, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_prepared_folders_open_as_they_should(name: str, tmp_path: Path):
    expected = miniature(name, tmp_path / "raw")
    out = tmp_path / "out"
    done = prepare(RELEASES[name], tmp_path / "raw", out)
    assert sorted(path.name for path in out.iterdir()) == ["images", "masks", "meta.json"]
    folder = LabelledFolder.open(out)
    assert folder.names == tuple(sorted(expected))
    assert folder.class_names == (RELEASES[name].classes or ("capsule", "hazelnut", "screw", "tile", "wood"))
    assert folder.notices == ()
    for sample in folder:
        assert np.array_equal(sample.mask, expected[sample.name])
        assert sample.image.shape[:2] == sample.mask.shape
    meta = json.loads((out / "meta.json").read_text())
    assert meta["release"] == meta["name"] == name
    assert meta["n"] == len(expected) == done.survey.pairs
    assert meta["licence"] == RELEASES[name].licence
    assert meta["source"] == RELEASES[name].where
    assert meta["ignore_index"] == (255 if name == "deepglobe" else None)
    shown = {c: sum(bool((m == v).any()) for m in expected.values()) for v, c in enumerate(folder.class_names, start=1)}
    assert meta["images_per_class"] == shown


def test_the_split_is_recorded_by_stem(tmp_path: Path):
    miniature("weedmap", tmp_path / "raw")
    done = prepare(RELEASES["weedmap"], tmp_path / "raw", tmp_path / "out")
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["split"] == {"000_frame0000": "train", "000_frame0001": "train", "003_frame0000": "test"}
    assert meta["left_out"] == 1
    assert meta["left_out_examples"] == ["003_frame0001: a tile outside the map, all black"]
    assert meta["n_in_source"] == 4
    assert done.left_out == [("003_frame0001", "a tile outside the map, all black")]
    assert dict(done.survey.parts) == {"train": 2, "test": 1}


def test_no_split_is_recorded_where_there_is_none(tmp_path: Path):
    miniature("dsb2018", tmp_path / "raw")
    prepare(RELEASES["dsb2018"], tmp_path / "raw", tmp_path / "out")
    assert "split" not in json.loads((tmp_path / "out" / "meta.json").read_text())


def test_pictures_are_copied_byte_by_byte(tmp_path: Path):
    miniature("kvasir_seg", tmp_path / "raw")
    prepare(RELEASES["kvasir_seg"], tmp_path / "raw", tmp_path / "out")
    name = "cju0qkwl35piu0993l0dewei2.jpg"
    copied = (tmp_path / "out" / "images" / name).read_bytes()
    assert copied == (tmp_path / "raw" / "Kvasir-SEG" / "images" / name).read_bytes()


def test_longer_sides_are_shrunk_together(tmp_path: Path):
    image, mask = photo(0, 40, 60), box(1, 0, 30, 40, 30, (40, 60))
    files = {
        "a": save(tmp_path / "raw" / "a.png", image),
        "b": save(tmp_path / "raw" / "b.jpg", image),
        "c": save(tmp_path / "raw" / "c.png", image[:16, :20]),
    }
    made = of_pictures(tmp_path, files, {"a": mask, "b": mask, "c": mask[:16, :20]})
    prepare(made, tmp_path, tmp_path / "out", max_side=30)
    folder = {sample.name: sample for sample in LabelledFolder.open(tmp_path / "out")}
    by_hand = image.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(folder["a"].image - by_hand).max() <= 1
    assert np.array_equal(folder["a"].mask, box(1, 0, 15, 20, 15, (20, 30)))
    assert folder["b"].image.shape == (20, 30, 3)
    assert (tmp_path / "out" / "images" / "b.jpg").is_file()
    assert np.array_equal(folder["c"].image, image[:16, :20])


def test_masks_belong_to_the_stored_pixels(tmp_path: Path):
    """Loaders of releases pass over EXIF: so a mask of the stored size keeps its picture from being turned."""
    image = np.repeat(np.repeat(photo(0, 2, 3), 8, axis=0), 8, axis=1)  # 16x24 in blocks, which JPEG keeps
    stored = save(tmp_path / "raw" / "a.jpg", image, exif=exif(6), quality=100, subsampling=0)
    upright = save(tmp_path / "raw" / "b.jpg", image, exif=exif(6), quality=100, subsampling=0)
    other = save(tmp_path / "raw" / "c.jpg", image)
    masks = {"a": box(1, 0, 0, 8, 8, (16, 24)), "b": box(1, 0, 0, 8, 8, (24, 16)), "c": box(1, 0, 0, 8, 8, (16, 23))}
    made = of_pictures(tmp_path, {"a": stored, "b": upright}, masks)
    prepare(made, tmp_path, tmp_path / "out")
    first, second = LabelledFolder.open(tmp_path / "out")
    assert np.abs(first.image.astype(int) - image).max() <= 8
    assert np.abs(second.image.astype(int) - image[::-1].swapaxes(0, 1)).max() <= 8
    with pytest.raises(DataError, match=r"c.jpg: has 24x16 pixels but its mask 23x16"):
        prepare(of_pictures(tmp_path, {"c": other}, masks), tmp_path, tmp_path / "other")


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    expected = miniature("pothole_mix", tmp_path / "raw")
    out, release = tmp_path / "out", RELEASES["pothole_mix"]
    written = []

    def stop_at_third(entry: Entry, *rest: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        original(entry, *rest)  # type: ignore[arg-type]
        written.append(entry.stem)

    original = module._write
    monkeypatch.setattr(module, "_write", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        prepare(release, tmp_path / "raw", out)
    assert (out / MARK).is_file()
    assert not (out / "meta.json").exists()
    monkeypatch.setattr(module, "_write", original)
    with pytest.raises(OutputError, match="another preparation of pothole_mix was stopped there"):
        prepare(release, tmp_path / "raw", out, max_side=100)
    before = {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()}
    seen: list[tuple[str, int, int]] = []
    done = prepare(release, tmp_path / "raw", out, progress=lambda *now: seen.append(now))
    assert done.resumed == 2
    assert done.survey.pairs == 6
    assert all(path.stat().st_mtime_ns == moment for path, moment in before.items())
    assert not (out / MARK).exists()
    assert seen == [
        *(("writing pairs", n, 6) for n in range(1, 7)),
        *(("reading masks", n, 6) for n in range(1, 7)),
    ]
    assert sorted(json.loads((out / "meta.json").read_text())["split"]) == sorted(expected)


def test_what_is_there_is_not_overwritten(tmp_path: Path):
    miniature("dsb2018", tmp_path / "raw")
    out, release = tmp_path / "out", RELEASES["dsb2018"]
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"out: is not empty. Choose another folder or add --overwrite"):
        prepare(release, tmp_path / "raw", out)
    with pytest.raises(OutputError, match="which --overwrite does not remove"):
        prepare(release, tmp_path / "raw", out, overwrite=True)
    (out / "thesis.txt").rename(tmp_path / "thesis.txt")
    prepare(release, tmp_path / "raw", out)
    with pytest.raises(OutputError, match="is not empty"):
        prepare(release, tmp_path / "raw", out)
    (tmp_path / "thesis.txt").rename(out / "thesis.txt")
    save(out / "images" / "old.png", photo(0))
    prepare(release, tmp_path / "raw", out, overwrite=True)
    assert LabelledFolder.open(out).names == ("00ae", "01b4")
    assert (out / "thesis.txt").read_text() == "years of work"


def test_checks_compare_with_what_is_known(tmp_path: Path):
    miniature("isic2018", tmp_path / "raw")
    done = prepare(RELEASES["isic2018"], tmp_path / "raw", tmp_path / "out")
    found = {each.name: (each.ok, each.detail) for each in done.checks}
    assert found["files"] == (True, "every mask is sound and fits its image")
    assert found["names"] == (True, "nevus, melanoma, seborrheic keratosis")
    assert found["pairs"] == (False, "3 of 2,594")
    assert found["images with melanoma"] == (False, "1 of 519")
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["checks"]["pairs"] == {"ok": False, "detail": "3 of 2,594"}


def test_a_survey_finds_what_was_broken_since(tmp_path: Path):
    miniature("dsb2018", tmp_path / "raw")
    out = tmp_path / "out"
    prepare(RELEASES["dsb2018"], tmp_path / "raw", out)
    figures = survey(out)
    assert figures.areas == {"nucleus": pytest.approx((56 + 12) / 2 / 192)}
    assert dict(figures.sizes) == {"16x12": 2}
    save(out / "masks" / "01b4.png", box(3, 0, 0, 2, 2, (12, 15)))
    faults = survey(out).faults
    assert faults == (
        f"{out / 'masks' / '01b4.png'}: not of the size of its image",
        f"{out}: mask value 3 without a class name",
    )
    (out / "masks" / "01b4.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert not {each.name: each.ok for each in check(survey(out), None)}["files"]


def test_a_folder_of_anybody(tmp_path: Path):
    """Black and white masks without meta.json: one class without a name."""
    for number in range(3):
        save(tmp_path / "images" / f"{number}.png", photo(number))
        save(tmp_path / "masks" / f"{number}.png", box(255, 0, 0, 6, 4 * number))
    figures = survey(tmp_path)
    assert figures.classes == ("class_1",)
    assert dict(figures.images_per_class) == {"class_1": 2}
    assert figures.areas["class_1"] == pytest.approx((24 + 48) / 2 / 192)
    assert figures.ignored == 0
    assert all(each.ok for each in check(figures, None))


def test_masks_are_8_bit_indices(tmp_path: Path):
    miniature("phenobench", tmp_path / "raw")
    prepare(RELEASES["phenobench"], tmp_path / "raw", tmp_path / "out")
    with Image.open(tmp_path / "out" / "masks" / "05-26_00051_P0034172.png") as mask:
        assert mask.mode == "P"
        assert np.unique(np.asarray(mask)).tolist() == [0, 1, 2]


def test_a_release_is_never_emptied_to_be_written_over(tmp_path: Path):
    """A prepared Kvasir-SEG has the release's own layout, so it can be read again, to be shrunk for instance."""
    mini_releases.kvasir_seg(tmp_path / "raw")
    release, out = RELEASES["kvasir_seg"], tmp_path / "data" / "kvasir_seg"
    prepare(release, tmp_path / "raw", out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for source in (out, out.parent):
        with pytest.raises(OutputError, match="the release is read from this folder"):
            prepare(release, source, out, max_side=32, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    mini_releases.dsb2018(tmp_path / "nuclei")
    for _ in range(2):  # a folder beside the release's own is none of its pictures
        done = prepare(RELEASES["dsb2018"], tmp_path / "nuclei", tmp_path / "nuclei" / "dsb2018", overwrite=True)
    assert done.survey.pairs > 0
