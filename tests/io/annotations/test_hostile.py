"""Damaged and hostile annotation files: read right or refused with our error, and nothing large is allocated."""

from __future__ import annotations

import json
import os
import random
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scene import WRITERS, scene

from distillfss.errors import DataError, UsageError
from distillfss.io.annotations import FORMATS, base, read_annotations
from distillfss.support import SupportSet

JUNK: list[Any] = [
    None,
    -1,
    10**30,
    "",
    "../../etc/passwd",
    [],
    {},
    [[]],
    True,
    1e308,
    float("nan"),
    "\0",
    [None],
    {"a": 1},
]


def write(name: str, folder: Path) -> None:
    made, has = WRITERS[name]
    made(folder, scene(**has))


def spoilt(value: Any, luck: random.Random) -> Any:
    """The same JSON with one place replaced by junk or gone."""
    if isinstance(value, dict) and value and luck.random() < 0.9:
        key = luck.choice(sorted(value))
        if luck.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: spoilt(value[key], luck)}
    if isinstance(value, list) and value and luck.random() < 0.9:
        place = luck.randrange(len(value))
        return [*value[:place], spoilt(value[place], luck), *value[place + 1 :]]
    return luck.choice(JUNK)


def outcomes(folder: Path, name: str) -> list[DataError | None]:
    """None for every mask that could be read, the fault for all else; anything but a ``DataError`` passes through."""
    try:
        found = read_annotations(folder, format=name)
    except DataError as fault:
        return [fault]
    made: list[DataError | None] = [*found.faults]
    for pair in found.pairs:
        try:
            mask = pair.drawn().mask
        except DataError as fault:
            made.append(fault)
        else:
            assert mask.dtype == np.uint8
            assert mask.size < 10**6
            made.append(None)
    return made


def check_faults(made: list[DataError | None]) -> None:
    for fault in made:
        assert fault is None or (fault.path is not None and fault.cure)


@pytest.mark.parametrize("name", ["coco", "labelme", "label-studio", "supervisely", "geojson"])
def test_spoilt_json(name: str, tmp_path: Path) -> None:
    write(name, tmp_path)
    path = min(p for p in tmp_path.rglob("*json") if p.name != "meta.json")
    content = json.loads(path.read_text())
    made: list[DataError | None] = []
    for seed in range(120):
        path.write_text(json.dumps(spoilt(content, random.Random(seed))))
        made += outcomes(tmp_path, name)
    check_faults(made)
    assert made.count(None) > 20
    assert len(made) - made.count(None) > 20


@pytest.mark.parametrize("name", WRITERS)
def test_files_cut_short_or_with_flipped_bytes(name: str, tmp_path: Path) -> None:
    write(name, tmp_path)
    paths = [p for p in tmp_path.rglob("*") if p.suffix in (".json", ".xml", ".txt", ".yaml", ".zip", ".geojson")]
    path = max(paths, key=lambda each: each.stat().st_size)
    whole = path.read_bytes()
    luck = random.Random(0)
    made: list[DataError | None] = []
    for _ in range(40):
        damaged = bytearray(whole[: luck.randrange(len(whole))] if luck.random() < 0.4 else whole)
        for _ in range(luck.randrange(4)):
            if damaged:
                damaged[luck.randrange(len(damaged))] = luck.randrange(256)
        path.write_bytes(bytes(damaged))
        made += outcomes(tmp_path, name)
    check_faults(made)
    assert None in made
    assert len(made) > made.count(None)


def test_a_picture_of_ten_to_the_tenth_pixels_is_refused(tmp_path: Path) -> None:
    for name in ("coco", "labelme", "cvat", "supervisely"):
        write(name, tmp_path / name)
        for path in [p for p in (tmp_path / name).rglob("*") if p.suffix in (".json", ".xml")]:
            text = path.read_text().replace("83", "100000").replace("60", "100000")
            path.write_text(text)
        with pytest.raises(DataError, match="100000x100000 pixels but"):
            SupportSet.from_folder(tmp_path / name)
    write("coco", tmp_path / "rle")
    path = tmp_path / "rle" / "instances.json"
    content = json.loads(path.read_text())
    for each in content["annotations"]:
        each["segmentation"] = {"size": [60, 83], "counts": [0, 10**12]}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"run lengths that make 1000000000000 pixels, not 83x60"):
        SupportSet.from_folder(tmp_path / "rle")


def test_entities_in_xml_are_refused(tmp_path: Path) -> None:
    write("cvat", tmp_path)
    path = tmp_path / "annotations.xml"
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    path.write_text(path.read_text().replace("<annotations>", f"{bomb}<annotations>", 1))
    with pytest.raises(DataError, match="is not XML that can be read"):
        read_annotations(tmp_path)
    stolen = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    path.write_text(path.read_text().replace(bomb, stolen))
    with pytest.raises(DataError, match="is not XML that can be read"):
        read_annotations(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("suffix", [".xml", ".json"])
def test_a_pipe_beside_the_annotation_is_not_waited_for(suffix: str, tmp_path: Path) -> None:
    write("coco", tmp_path)
    os.mkfifo(tmp_path / f"pipe{suffix}")
    looked: list[str] = []
    # in a thread, so that waiting for ever is a failure and no more
    looking = threading.Thread(target=lambda: looked.append(read_annotations(tmp_path).format), daemon=True)
    looking.start()
    looking.join(30)
    assert looked == ["coco"]


def test_yaml_that_would_run_code(tmp_path: Path) -> None:
    write("yolo", tmp_path)
    (tmp_path / "data.yaml").write_text(f"names: !!python/object/apply:os.mkdir ['{tmp_path}/owned']\n")
    with pytest.raises(DataError, match="it needs names"):
        read_annotations(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_zip_bombs_of_rois(tmp_path: Path) -> None:
    write("imagej", tmp_path)
    with zipfile.ZipFile(tmp_path / "rois" / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.roi", bytes(80 << 20))
    (fault,) = read_annotations(tmp_path).faults
    assert "unpacks to more than ROIs ever are" in str(fault)


def test_files_beyond_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("coco", tmp_path)
    monkeypatch.setattr(base, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="the limit for annotation files"):
        base.read_json(tmp_path / "instances.json")


def test_names_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    """Only pictures inside the folder are ever opened, whatever an annotation calls its image."""
    write("coco", tmp_path / "data")
    Image.new("RGB", (83, 60)).save(tmp_path / "secret.png")
    path = tmp_path / "data" / "instances.json"
    path.write_text(
        path.read_text().replace('"a.png"', f'"{tmp_path}/secret.png"').replace('"b.png"', '"../secret.png"')
    )
    faults = read_annotations(tmp_path / "data").faults
    assert len(faults) == 2
    assert all("is not in the folder" in fault.problem for fault in faults)


def test_boxes_are_no_outlines(tmp_path: Path) -> None:
    write("coco", tmp_path / "coco")
    path = tmp_path / "coco" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"segmentation": [], "bbox": [1, 2, 3, 4]}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"has a bounding box but no outline"):
        SupportSet.from_folder(tmp_path / "coco")
    write("yolo", tmp_path / "yolo")
    (tmp_path / "yolo" / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError, match=r"line 1 is a bounding box, not an outline"):
        SupportSet.from_folder(tmp_path / "yolo")


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("label-studio", ".png", ".jpg", "its image .*/a.jpg is not in the folder"),
        ("geojson", "]}", "", "is not valid JSON"),
        ("labelme", '"label"', '"name"', "is not as its format says: label is missing"),
    ],
)
def test_where_every_file_is_at_fault_the_faults_are_told(
    name: str, old: str, new: str, problem: str, tmp_path: Path
) -> None:
    write(name, tmp_path)
    for path in tmp_path.rglob("*json"):
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=problem) as caught:
        SupportSet.from_folder(tmp_path)
    assert caught.value.path is not None
    assert caught.value.path.is_file()


@pytest.mark.parametrize("name", ["coco", "labelme", "label-studio", "supervisely"])
@pytest.mark.parametrize("how", ["cut short", "UTF-16"])
@pytest.mark.parametrize("named", [False, True], ids=["auto", "named"])
def test_a_damaged_file_that_hides_the_format_is_named(name: str, how: str, named: bool, tmp_path: Path) -> None:
    write(name, tmp_path)
    paths = sorted(tmp_path.glob("*.json"))
    for path in paths:
        text = path.read_text()
        path.write_bytes(text[:-9].encode() if how == "cut short" else text.encode("utf-16"))
    with pytest.raises(DataError, match=r"json: is not valid JSON .*Export the annotation again") as caught:
        read_annotations(tmp_path, format=name if named else "auto")
    assert caught.value.path == paths[0]


def test_a_folder_in_which_nothing_is_drawn(tmp_path: Path) -> None:
    write("labelme", tmp_path)
    for path in tmp_path.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"shapes": []}))
    with pytest.raises(DataError, match=r"no object is drawn in the whole folder\. Annotate at least one image"):
        SupportSet.from_folder(tmp_path)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no format 'voc'.*auto, index-png"):
        read_annotations(tmp_path, format="voc")
    for name in FORMATS:
        with pytest.raises(DataError):
            read_annotations(tmp_path, format=name)


def test_without_the_library_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    write("geojson", tmp_path)
    monkeypatch.setitem(sys.modules, "rasterio.features", None)
    with pytest.raises(UsageError, match=r"reading polygons needs rasterio. Install it: pip install 'distillfss\[ann"):
        SupportSet.from_folder(tmp_path)
