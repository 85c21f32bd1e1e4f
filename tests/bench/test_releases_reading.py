"""Every release is read to exactly the masks its miniature was made of."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mini_releases
import numpy as np
import pytest
from mini_releases import box, photo, save
from PIL import Image

from distillfss.bench.releases import RELEASES
from distillfss.errors import DataError, UsageError

MINIATURES = [
    "weedmap",
    "dsb2018",
    "kvasir_seg",
    "lung_nodules",
    "isic2018",
    "industrial",
    "deepglobe",
    "phenobench",
    "evican",
]


def masks_of(name: str, root: Path) -> dict[str, np.ndarray]:
    return {stem: mask for stem, _, mask in RELEASES[name].read(root)}


def assert_masks(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for stem, mask in expected.items():
        assert found[stem].dtype == np.uint8
        assert np.array_equal(found[stem], mask), stem


def test_every_release_is_listed_under_its_own_name():
    assert list(RELEASES) == [release.name for release in RELEASES.values()]
    assert sum(release.in_paper for release in RELEASES.values()) == 11  # seven, one of them whole and in four folds


@pytest.mark.parametrize("name", MINIATURES)
def test_masks_pixel_by_pixel(name: str, tmp_path: Path):
    expected = getattr(mini_releases, name)(tmp_path)
    assert_masks(masks_of(name, tmp_path), expected)


@pytest.mark.parametrize("name", MINIATURES)
def test_an_empty_folder_is_told_the_layout(name: str, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        RELEASES[name].look(tmp_path)
    assert caught.value.cure == f"Expected for {name}: {RELEASES[name].layout}"
    assert caught.value.path == tmp_path


def test_pothole_mix_as_in_the_paper_and_with_cracks_apart(tmp_path: Path):
    expected = mini_releases.pothole_mix(tmp_path)
    assert_masks(masks_of("pothole_mix_cracks", tmp_path), expected)
    assert_masks(masks_of("pothole_mix", tmp_path), {s: np.minimum(m, 1) for s, m in expected.items()})
    parts = {entry.stem: entry.part for entry in RELEASES["pothole_mix"].look(tmp_path).entries}
    assert parts["test__cnr-road-dataset__007"] == "test"
    assert parts["crack500__0215"] == "train"
    assert parts["gaps384__train_1227"] == "validation"


def test_weedmap_takes_three_channels_and_leaves_out_what_is_off_the_map(tmp_path: Path):
    mini_releases.weedmap(tmp_path)
    read = {stem: picture for stem, picture, _ in RELEASES["weedmap"].read(tmp_path)}
    assert np.array_equal(read["000_frame0001"], photo(1))
    assert "003_frame0001" not in read
    parts = {entry.stem: entry.part for entry in RELEASES["weedmap"].look(tmp_path).entries}
    assert parts == {
        "000_frame0000": "train",
        "000_frame0001": "train",
        "003_frame0000": "test",
        "003_frame0001": "test",
    }


def test_weedmap_processed_by_the_authors(tmp_path: Path):
    """Their corners of tiles: no mask folder, a corner's number after the frame's."""
    for name in ("000", "003"):
        base = tmp_path / "0_rotations_processed_003_test" / "RedEdge" / name
        for channel in ("R", "G", "B", "NIR"):
            save(base / "tile" / channel / "frame0009_2.png", box(200, 0, 0, 12, 8))
        raw = np.array([0, 10000, 2], np.uint16)[box(2, 3, 3, 2, 2)]
        save(base / "groundtruth" / f"{name}_frame0009_2_GroundTruth_iMap.png", raw)
    expected = {f"{name}_frame0009_2": box(2, 3, 3, 2, 2) for name in ("000", "003")}
    assert_masks(masks_of("weedmap", tmp_path), expected)


def test_weedmap_faults(tmp_path: Path):
    (tmp_path / "Tiles" / "Sequoia" / "006").mkdir(parents=True)
    with pytest.raises(DataError, match="Sequoia maps only; the benchmark uses the RedEdge maps 000 and 003"):
        RELEASES["weedmap"].look(tmp_path)
    mini_releases.weedmap(tmp_path)
    base = tmp_path / "Tiles" / "RedEdge" / "000"
    truth = base / "groundtruth" / "000_frame0000_GroundTruth_iMap.png"
    save(truth, np.full((12, 16), 7, np.uint16))
    with pytest.raises(
        DataError, match=r"iMap.png: the unknown class number 7 in 192 pixels. Known are 0, 1, 10000, 2"
    ):
        masks_of("weedmap", tmp_path)
    truth.unlink()
    with pytest.raises(DataError, match=r"its ground truth .*000_frame0000_GroundTruth_iMap.png is missing") as caught:
        RELEASES["weedmap"].look(tmp_path)
    assert caught.value.path == base / "tile" / "R" / "frame0000.png"
    (base / "tile" / "B" / "frame0001.png").unlink()
    with pytest.raises(DataError, match="missing"):
        RELEASES["weedmap"].look(tmp_path)


def test_nuclei_that_overlap_count_once_and_keep_their_holes(tmp_path: Path):
    mini_releases.dsb2018(tmp_path)
    masks = masks_of("dsb2018", tmp_path / "stage1_train")
    assert set(np.unique(masks["00ae"])) == {0, 1}
    assert int(masks["00ae"].sum()) == 30 + 30 - 4
    assert masks["00ae"][4, 5] == 1  # in both
    assert masks["01b4"][8, 11] == 1
    assert masks["01b4"][9, 12] == 0  # the hole


def test_dsb2018_faults(tmp_path: Path):
    mini_releases.dsb2018(tmp_path)
    extra = tmp_path / "stage1_train" / "00ae" / "masks" / "z.png"
    save(extra, box(255, 0, 0, 2, 2, (5, 5)))
    with pytest.raises(DataError, match=r"z.png: has 5x5 pixels but the masks before it 16x12"):
        masks_of("dsb2018", tmp_path)
    extra.unlink()
    for mask in (tmp_path / "stage1_train" / "01b4" / "masks").iterdir():
        mask.unlink()
    with pytest.raises(DataError, match="masks: no pictures in this folder"):
        RELEASES["dsb2018"].look(tmp_path)


def test_kvasir_faults(tmp_path: Path):
    mini_releases.kvasir_seg(tmp_path)
    base = tmp_path / "Kvasir-SEG"
    mask = base / "masks" / "cju0qkwl35piu0993l0dewei2.jpg"
    content = mask.read_bytes()
    mask.unlink()
    with pytest.raises(DataError, match=r"its mask masks/cju0qkwl35piu0993l0dewei2.jpg is missing"):
        RELEASES["kvasir_seg"].look(tmp_path)
    mask.write_bytes(content)
    (base / "images" / "cju0qoxqj9q6s0835b43399p4.jpg").unlink()
    with pytest.raises(DataError, match=r"kavsir_bboxes.json: names cju0qoxqj9q6s0835b43399p4, which images/"):
        RELEASES["kvasir_seg"].look(tmp_path)
    (base / "kavsir_bboxes.json").write_text("5")
    with pytest.raises(DataError, match=r"kavsir_bboxes.json: is no table of pictures"):
        RELEASES["kvasir_seg"].look(tmp_path)
    (base / "kavsir_bboxes.json").unlink()
    assert [entry.stem for entry in RELEASES["kvasir_seg"].look(base).entries] == ["cju0qkwl35piu0993l0dewei2"]


def test_isic_leaves_out_other_kinds_and_says_so(tmp_path: Path):
    mini_releases.isic2018(tmp_path)
    assert RELEASES["isic2018"].look(tmp_path).left_out == [("ISIC_0000018", "kind DF is none of the paper's")]
    table = tmp_path / "ISIC_2019_Training_GroundTruth.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1].replace("1.0", "0.0"), *lines[2:]]))
    with pytest.raises(DataError, match=r"GroundTruth.csv: line 2 does not name one kind"):
        RELEASES["isic2018"].look(tmp_path)
    table.write_text("image,MEL,NV\n")
    with pytest.raises(DataError, match="has no column image"):
        RELEASES["isic2018"].look(tmp_path)
    table.unlink()
    with pytest.raises(DataError, match=r"holds no ISIC_2019_Training_GroundTruth.csv"):
        RELEASES["isic2018"].look(tmp_path)


def test_an_unknown_colour_is_named_with_its_place(tmp_path: Path):
    mini_releases.pothole_mix(tmp_path)
    path = tmp_path / "pothole-mix" / "testing" / "pothole600" / "masks" / "0300.png"
    rgb = np.asarray(Image.open(path)).copy()
    rgb[3, 9:11] = (255, 3, 0)
    save(path, rgb)
    with pytest.raises(DataError) as caught:
        masks_of("pothole_mix", tmp_path)
    assert caught.value.path == path
    assert caught.value.problem == "the unknown colour (255, 3, 0) in 2 pixels, first at column 9, row 3"
    assert "Known are (0, 0, 0), (255, 0, 0), (0, 255, 0)" in caught.value.cure


def test_pothole_mix_of_version_1_lacks_its_test_part(tmp_path: Path):
    mini_releases.pothole_mix(tmp_path)
    (tmp_path / "pothole-mix" / "testing").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"pothole-mix: holds no testing. Expected for pothole_mix: pothole-mix/"):
        RELEASES["pothole_mix"].look(tmp_path)


def test_industrial_folds(tmp_path: Path):
    mini_releases.industrial(tmp_path)
    assert RELEASES["industrial"].look(tmp_path).classes == ("capsule", "hazelnut", "screw", "tile", "wood")
    found = RELEASES["industrial_fold0"].look(tmp_path)
    assert found.classes == ("capsule", "wood")  # the classes 0 and 4
    masks = masks_of("industrial_fold0", tmp_path)
    assert {stem: int(mask.max()) for stem, mask in masks.items()} == {"capsule__bad__000": 1, "wood__bad__000": 2}
    assert RELEASES["industrial_fold3"].look(tmp_path).classes == ("tile",)


def test_industrial_with_the_pictures_beside_the_table(tmp_path: Path):
    """As the authors' instructions leave it: ``mv data/* .``"""
    expected = mini_releases.industrial(tmp_path)
    for folder in (tmp_path / "data").iterdir():
        folder.rename(tmp_path / folder.name)
    assert_masks(masks_of("industrial", tmp_path), expected)
    (tmp_path / "wood" / "bad" / "000.bmp").unlink()
    with pytest.raises(DataError, match=r"000.png: its mask 000.bmp is missing"):
        RELEASES["industrial"].look(tmp_path)
    (tmp_path / "tile" / "bad" / "000.png").unlink()
    with pytest.raises(DataError, match=r"data.json: names data/tile/bad/000.png, which is missing"):
        RELEASES["industrial"].look(tmp_path)
    (tmp_path / "data.json").write_text('{"clsName": ["a"]}')
    with pytest.raises(DataError, match=r"data.json: lacks 'clsDic'"):
        RELEASES["industrial"].look(tmp_path)
    (tmp_path / "data.json").write_text('{"clsName": ["a"], "clsDic": {"a": {"bad": ["data/../../x.png"]}}}')
    with pytest.raises(DataError, match="outside its folder"):
        RELEASES["industrial"].look(tmp_path)
    (tmp_path / "data.json").write_text('{"clsName": ["a"], "clsDic": {"a": {"bad": [""]}}}')
    with pytest.raises(DataError, match="outside its folder"):
        RELEASES["industrial"].look(tmp_path)
    (tmp_path / "data.json").write_text("[]")
    with pytest.raises(DataError, match=r"data.json: has another form than expected"):
        RELEASES["industrial"].look(tmp_path)


def test_deepglobe_refuses_red(tmp_path: Path):
    mini_releases.deepglobe(tmp_path)
    path = tmp_path / "train" / "119_mask.png"
    rgb = np.asarray(Image.open(path)).copy()
    rgb[5, 2] = (250, 90, 0)
    save(path, rgb)
    with pytest.raises(
        DataError, match=r"119_mask.png: the unknown colour \(255, 0, 0\) in 1 pixel, .* column 2, row 5"
    ):
        masks_of("deepglobe", tmp_path)
    save(tmp_path / "train" / "120_sat.jpg", photo(3))
    with pytest.raises(DataError, match=r"120_sat.jpg: its mask .*120_mask.png is missing"):
        RELEASES["deepglobe"].look(tmp_path)


def test_phenobench_refuses_other_numbers(tmp_path: Path):
    mini_releases.phenobench(tmp_path)
    save(tmp_path / "PhenoBench/val/semantics/05-26_00051_P0034172.png", np.full((12, 15), 5, np.uint8))
    with pytest.raises(DataError, match=r"the unknown class number 5 in 180 pixels. Known are 0, 1, 2, 3, 4"):
        masks_of("phenobench", tmp_path)
    save(tmp_path / "PhenoBench/val/semantics/05-26_00051_P0034172.png", photo(0, 12, 15))
    with pytest.raises(DataError, match="a mask in the colour space RGB where class numbers are expected"):
        masks_of("phenobench", tmp_path)


def test_evican_faults(tmp_path: Path):
    mini_releases.evican(tmp_path)
    table = tmp_path / "annotations_EVICAN2" / "instances_val2019_EVICAN2.json"
    content = json.loads(table.read_text())
    table.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "HeLa"}]}))
    with pytest.raises(DataError, match=r"has the category hela, known are Cell and Nucleus. Take the EVICAN2 anno"):
        RELEASES["evican"].look(tmp_path)
    content["annotations"][0]["segmentation"]["counts"] = [3, 4]
    table.write_text(json.dumps(content))
    with pytest.raises(DataError, match="its run lengths do not make 16x12 pixels"):
        masks_of("evican", tmp_path)
    content["annotations"][0]["segmentation"] = [["x"] * 8]
    table.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"val2019_EVICAN2.json: a segmentation of 20_A549.jpg cannot be drawn"):
        masks_of("evican", tmp_path)
    (tmp_path / "Images" / "EVICAN_val2019" / "20_A549.jpg").unlink()
    with pytest.raises(DataError, match=r"names 20_A549.jpg, which EVICAN_val2019 does not hold"):
        RELEASES["evican"].look(tmp_path)
    table.write_text("[")
    with pytest.raises(DataError, match="is no COCO annotation"):
        RELEASES["evican"].look(tmp_path)


def test_evican_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mini_releases.evican(tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(UsageError, match=r"needs pycocotools. Install it: pip install 'distillfss\[bench\]'"):
        masks_of("evican", tmp_path)


def test_evican_with_the_folders_of_the_papers_loader(tmp_path: Path):
    expected = mini_releases.evican(tmp_path)
    for part in ("train", "val"):
        (tmp_path / "Images" / f"EVICAN_{part}2019").rename(tmp_path / "Images" / part)
    assert_masks(masks_of("evican", tmp_path), expected)
