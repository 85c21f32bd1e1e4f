"""A data set of the benchmark may be annotated in any format that ``fit`` reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import make_arena
from helpers import disc_pair
from PIL import Image

from distillfss.bench.cells import Cell, Plan, make_cells
from distillfss.bench.contents import find_dataset, look_into, open_dataset
from distillfss.bench.methods.base import MethodSettings
from distillfss.bench.worker import compute
from distillfss.cli import main
from distillfss.errors import DataError, UsageError


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``data/discs`` with PNG masks and ``data/twin``, the same in COCO."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    make_arena(tmp_path)
    write_coco(tmp_path / "data" / "discs", tmp_path / "data" / "twin")
    return tmp_path


def write_coco(source: Path, target: Path) -> Path:
    """The images of a folder with index masks, and one file of run lengths: column by column, background first."""
    shutil.copytree(source / "images", target / "images")
    names = json.loads((source / "meta.json").read_text())["classes"]
    images, annotations = [], []
    for number, path in enumerate(sorted((source / "masks").iterdir())):
        mask = np.asarray(Image.open(path))
        images.append({"id": number, "file_name": path.name, "height": mask.shape[0], "width": mask.shape[1]})
        for value in range(1, len(names)):
            flat = (mask == value).T.ravel().tolist()
            counts, current = [0], 0
            for bit in flat:
                if bit != current:
                    counts.append(0)
                    current = bit
                counts[-1] += 1
            segmentation = {"size": list(mask.shape), "counts": counts}
            place = {"id": len(annotations), "image_id": number, "category_id": value}
            if any(flat):
                annotations.append({**place, "segmentation": segmentation})
    categories = [{"id": value, "name": name} for value, name in enumerate(names) if value]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (target / "instances.json").write_text(json.dumps(content))
    return target / "instances.json"


def cells_of(arena: Path, name: str, **more: object) -> list[Cell]:
    settings = {"methods": ["mine:Bright", "mine:Dark"], "shots": [1, 3], "support": "random", **more}
    plan = Plan(
        arena / "data", [name], seeds=[0], protocol="locked", unlabeled=1, settings=MethodSettings(), **settings
    )  # type: ignore[arg-type]
    return make_cells(plan, arena / "contents.json")


@pytest.mark.parametrize("support", ["random", "picked"])
def test_a_coco_folder_gives_the_cells_of_its_png_twin(arena: Path, support: str):
    ours, theirs = (cells_of(arena, name, support=support) for name in ("discs", "twin"))
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert other.fingerprint != one.fingerprint
        renamed = {**other.to_dict(), "dataset": one.dataset, "fingerprint": one.fingerprint}
        assert renamed == one.to_dict()


def test_and_their_results(arena: Path):
    for one, other in zip(cells_of(arena, "discs"), cells_of(arena, "twin"), strict=True):
        (row, masks), (row_too, masks_too) = (compute(cell, arena / "data", 1) for cell in (one, other))
        assert row["result"] == row_too["result"]
        assert row["result"]["foreground_iou_384"] > (0.95 if one.method == "mine:Bright" else -1)
        assert all(np.array_equal(masks[name], masks_too[name]) for name in one.test_names)


def test_the_fingerprint_is_of_what_is_drawn(arena: Path):
    folder, cache = arena / "data" / "twin", arena / "contents.json"
    before = look_into(folder, cache)
    path = folder / "instances.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, indent=1))
    assert look_into(folder, cache) == before
    content["annotations"][0]["segmentation"]["counts"][1] -= 1
    content["annotations"][0]["segmentation"]["counts"][2] += 1
    path.write_text(json.dumps(content))
    moved = look_into(folder, cache)
    assert moved.fingerprint != before.fingerprint
    content["categories"][0]["name"] = "saucer"
    path.write_text(json.dumps(content))
    renamed = look_into(folder, cache)
    assert renamed.class_names == ("saucer",)
    assert len({renamed.fingerprint, moved.fingerprint, before.fingerprint}) == 3


def test_every_file_of_an_image_counts(arena: Path):
    """Black-and-white masks, one per class: the second file of an image is part of what was read."""
    folder = arena / "data" / "binary"
    for number in range(10):
        image, mask = disc_pair(number)
        for place, array in {
            "images": image,
            "masks/disc": mask * np.uint8(255),
            "masks/rim": np.roll(mask, 30, axis=1) * np.uint8(255),
        }.items():
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / place / f"d{number}.png")
    before = look_into(folder, arena / "contents.json")
    assert before.class_names == ("disc", "rim")
    assert before.classes["d3"] == [1, 2]
    Image.new("L", (80, 60)).save(folder / "masks" / "rim" / "d3.png")
    after = look_into(folder, arena / "contents.json")
    assert after.classes["d3"] == [1]
    assert after.fingerprint != before.fingerprint


def test_the_classes_of_yolo_lie_above(arena: Path):
    """``data.yaml`` of the whole release, one part of which is the data set."""
    root = arena / "release"
    shutil.copytree(arena / "data" / "discs" / "images", root / "train" / "images")
    (root / "train" / "labels").mkdir()
    for path in (root / "train" / "images").iterdir():
        (root / "train" / "labels" / f"{path.stem}.txt").write_text("1 0.2 0.2 0.8 0.2 0.8 0.8 0.2 0.8\n")
    (root / "data.yaml").write_text("names: [cup, disc]\n")
    before = look_into(find_dataset(root, "train"), arena / "contents.json")
    assert before.class_names == ("cup", "disc")
    assert before.classes["disc000"] == [2]
    (root / "data.yaml").write_text("names: [cup, ring]\n")
    after = look_into(find_dataset(root, "train"), arena / "contents.json")
    assert after.class_names == ("cup", "ring")
    assert after.fingerprint != before.fingerprint


def test_what_is_no_data_set_and_what_could_be_two(arena: Path):
    (arena / "data" / "notes").mkdir()
    with pytest.raises(UsageError, match=r"no data set 'notes'.*There are: discs, twin$"):
        find_dataset(arena / "data", "notes")
    shapes = {"version": "5", "shapes": [], "imagePath": "disc000.png", "imageHeight": 60, "imageWidth": 80}
    (arena / "data" / "twin" / "disc000.json").write_text(json.dumps(shapes))
    with pytest.raises(DataError, match=r"could be coco or labelme.*take the other out of the folder"):
        open_dataset(arena / "data" / "twin")


def test_the_verbs_take_it(arena: Path, capsys: pytest.CaptureFixture[str]):
    words = [
        "--data",
        "data",
        "--datasets",
        "discs",
        "twin",
        "--methods",
        "mine:Bright",
        "--shots",
        "1",
        "--seeds",
        "0",
    ]
    assert main(["bench", "run", *words, "--json"]) == 0
    capsys.readouterr()
    rows = [json.loads(line) for line in Path("results/results.jsonl").read_text().splitlines()]
    assert [row["dataset"] for row in rows] == ["discs", "twin"]
    assert rows[0]["result"] == rows[1]["result"]
    assert main(["bench", "datasets", "--in", "data", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["datasets"]
    assert main(["bench", "datasets", "--in", "data/twin", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"] == listed[1:]
    keys = ("pairs", "classes", "images_per_class", "mean_area_per_class", "sizes")
    assert [row["name"] for row in listed] == ["discs", "twin"]
    assert [listed[0][key] for key in keys] == [listed[1][key] for key in keys]
    assert main(["bench", "report", "results", "--out", "page", "--json"]) == 0
    page = Path("page/report.html").read_text()
    assert page.count("Median image: ") == 2
