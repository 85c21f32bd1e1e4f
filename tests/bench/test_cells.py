"""What a cell is: drawn from a plan, with an identity that everything that decides it is part of."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import make_arena
from helpers import write_pair
from pictures import make_folder, two_classes

from distillfss.bench import contents
from distillfss.bench.cells import Cell, Plan, find_method, make_cells
from distillfss.bench.contents import look_into
from distillfss.bench.methods.base import MethodSettings
from distillfss.bench.protocol import split
from distillfss.bench.worker import Recorder, compute
from distillfss.errors import DataError, UsageError
from distillfss.evaluation import evaluate
from distillfss.io.labelled import LabelledFolder
from distillfss.io.masks import read_mask
from distillfss.metrics import resize_mask
from distillfss.support import SupportSet

MADE = "class Method:\n    def __init__(self, settings): pass\n"


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return make_arena(tmp_path)


def plan_of(arena: Path, **more: object) -> Plan:
    plan = Plan(
        data=arena / "data",
        datasets=["discs"],
        methods=["mine:Bright"],
        shots=[1],
        seeds=[0],
        protocol="locked",
        support="random",
        unlabeled=0,
        settings=MethodSettings(),
    )
    return replace(plan, **more)  # type: ignore[arg-type]


def cells_of(arena: Path, **more: object) -> list[Cell]:
    return make_cells(plan_of(arena, **more), arena / "contents.json")


def test_cells_are_all_combinations_seed_by_seed(arena: Path):
    make_arena(arena, ["discs", "more"])
    cells = cells_of(
        arena, datasets=["discs", "more"], methods=["mine:Bright", "mine:Dark"], shots=[1, 2], seeds=[0, 1]
    )
    assert len(cells) == len({cell.key for cell in cells}) == 16
    assert [cell.seed for cell in cells] == [0] * 8 + [1] * 8
    assert [(c.dataset, c.shots, c.method) for c in cells[:4]] == [
        ("discs", 1, "mine:Bright"),
        ("discs", 1, "mine:Dark"),
        ("discs", 2, "mine:Bright"),
        ("discs", 2, "mine:Dark"),
    ]
    assert {cell.settings["seed"] for cell in cells[8:]} == {1}
    assert cells[0].title == "discs, mine:Bright, 1 shot, seed 0"


def test_a_cell_holds_names_of_the_pool_and_of_the_locked_test_set(arena: Path):
    (cell,) = cells_of(arena, shots=[3], unlabeled=2)
    pool, test = split("discs", [f"disc{i:03d}" for i in range(10)])
    assert list(cell.test_names) == test
    assert set(cell.support_names) | set(cell.unlabeled_names) <= set(pool)
    assert len(cell.support_names) == 3
    assert len(set(cell.unlabeled_names) - set(cell.support_names)) == 2
    assert Cell.from_dict(json.loads(json.dumps(cell.to_dict()))) == cell


def test_the_key_depends_on_everything_that_decides_the_result(arena: Path):
    (cell,) = cells_of(arena)
    assert cells_of(arena)[0].key == cell.key
    others = [
        cells_of(arena, methods=["mine:Dark"]),
        cells_of(arena, shots=[2]),
        cells_of(arena, seeds=[1]),
        cells_of(arena, unlabeled=1),
        cells_of(arena, protocol="paper"),
        cells_of(arena, support="even"),
        cells_of(arena, settings=MethodSettings(effort=0.5)),
        [replace(cell, identity={"limit": 127})],
        [replace(cell, versions={**cell.versions, "torch": "2.6.0"})],
        [replace(cell, fingerprint="0")],
    ]
    keys = [other[0].key for other in others]
    assert len({cell.key, *keys}) == len(others) + 1


def test_the_fingerprint_is_of_pictures_masks_and_deciding_words(arena: Path):
    folder, cache = arena / "data" / "discs", arena / "contents.json"
    before = look_into(folder, cache)
    meta = folder / "meta.json"
    meta.write_text(json.dumps({"classes": ["background", "disc"], "title": "corrected", "licence": "CC0"}))
    after = look_into(folder, cache)
    assert (after.fingerprint, after.title) == (before.fingerprint, "corrected")
    meta.write_text(json.dumps({"classes": ["background", "disc"], "split": {"disc000": "test"}}))
    official = look_into(folder, cache)
    assert official.fingerprint != before.fingerprint
    assert official.official == {"disc000": "test"}
    meta.write_text(json.dumps({"classes": ["background", "disc"], "split": {}}))
    assert look_into(folder, cache).official is None
    image = folder / "images" / "disc000.png"
    write_pair(folder, "disc000", np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8))
    os.utime(image, ns=(1, 1))
    changed = look_into(folder, cache)
    assert changed.fingerprint != before.fingerprint
    assert (before.classes["disc000"], changed.classes["disc000"]) == ([1], [])


def test_files_are_read_once_while_the_folder_stays_as_it_is(arena: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    digest = contents._digest_files
    monkeypatch.setattr(contents, "_digest_files", lambda data: (read.append("once"), digest(data))[1])
    first, second = (look_into(arena / "data" / "discs", arena / "contents.json") for _ in range(2))
    assert (first, read) == (second, ["once"])
    assert str(arena) not in (arena / "contents.json").read_text()
    (arena / "contents.json").write_text('{"cut off')
    assert look_into(arena / "data" / "discs", arena / "contents.json") == first


def test_classes_in_a_mask_without_its_image(tmp_path: Path):
    masks = {"a": two_classes(24, 32, 2, 1), "b": two_classes(24, 32, 2), "c": two_classes(24, 32)}
    folder = LabelledFolder.open(make_folder(tmp_path / "two", masks, {"classes": ["background", "x", "y"]}))
    assert [folder.classes_in(index) for index in range(3)] == [[1, 2], [2], []]
    # black and white: 255 is the class
    binary = make_folder(tmp_path / "binary", {"a": two_classes(24, 32, 255), "b": two_classes(24, 32)})
    assert [LabelledFolder.open(binary).classes_in(index) for index in range(2)] == [[1], []]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (MethodSettings(backbone="nope"), "unknown backbone 'nope'"),
        (MethodSettings(init="nope.safetensors"), "there is no file 'nope.safetensors' for teachers to start from"),
    ],
)
def test_what_would_let_every_cell_fail_is_refused(arena: Path, settings: MethodSettings, told: str):
    with pytest.raises(UsageError, match=told):
        cells_of(arena, settings=settings)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("class Method:\n    def __init__(self", r"cannot be loaded \(SyntaxError"),
        ("raise RuntimeError('no licence')", r"cannot be loaded \(RuntimeError: no licence\).*import odd"),
        (
            "import sys\nsys.exit(3)",
            r"cannot be loaded \(SystemExit: 3\)\. Put what it does as a program under 'if __name",
        ),
        (MADE + "    def identity(self): raise SystemExit(3)", r"cannot be made \(SystemExit: 3\)"),
        ("class Method:\n    pass", r"'odd:Method' cannot be made \(TypeError"),
        (MADE, r"cannot be made \(AttributeError.*identity"),
        (MADE + "    def identity(self): return {'rate': float('nan')}", r"cannot be made \(ValueError.*that are none"),
        (MADE + "    def identity(self): return 3", r"cannot be made \(TypeError"),
    ],
)
def test_what_is_wrong_with_a_method_of_ones_own_is_told(
    arena: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
):
    (arena / "odd.py").write_text(code)
    monkeypatch.delitem(sys.modules, "odd", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(UsageError, match=told):
        cells_of(arena, methods=["odd:Method"])


def test_what_is_not_there_is_named_with_the_cure(arena: Path):
    with pytest.raises(UsageError, match=r"no data set 'disks'.*There are: discs"):
        cells_of(arena, datasets=["disks"])
    with pytest.raises(UsageError, match=r"no data set '\.\./data/discs'"):
        cells_of(arena, datasets=["../data/discs"])
    with pytest.raises(UsageError, match=r"no method 'nonsense'.*Choose from prototype"):
        find_method("nonsense")
    with pytest.raises(UsageError, match=r"cannot be loaded.*no attribute 'Nobody'"):
        find_method("mine:Nobody")
    with pytest.raises(UsageError, match=r"cannot be loaded.*No module named 'nowhere'"):
        find_method("nowhere:Method")
    with pytest.raises(UsageError, match=r"jitter is turned twice"):
        find_method("distill@jitter=0,jitter=1")
    with pytest.raises(UsageError, match="linear has no knobs to turn"):
        find_method("linear@jitter=0")
    with pytest.raises(UsageError, match=r"no knob 'size'.*Choose from .*jitter"):
        find_method("distill@jitter=0,size=256")
    with pytest.raises(UsageError, match=r"jitter is 'none'.*Write a number like the default, 0\.3"):
        find_method("distill@jitter=none")
    with pytest.raises(UsageError, match=r"use_teacher is '0'.*yes or no"):
        find_method("distill@use_teacher=0")
    (arena / "data" / "discs" / "meta.json").write_text(
        '{"classes": ["background", "disc"], "split": {"disc000": "test"}}'
    )
    with pytest.raises(DataError, match='discs: its official split names 0 images "train" and 1 "test"'):
        cells_of(arena, protocol="paper")


def test_picked_support_is_what_the_selection_chooses_from_the_pool(arena: Path):
    from distillfss.picking import pick

    (cell,) = cells_of(arena, shots=[3], support="picked")
    pool, _ = split("discs", [f"disc{i:03d}" for i in range(10)])
    paths = [arena / "data" / "discs" / "images" / f"{name}.png" for name in pool]
    wanted = pick(paths, 3, cache=arena / "other")
    assert list(cell.support_names) == [p.path.stem for p in wanted.picks]


def test_more_shots_than_there_are_images_are_told(arena: Path):
    told: list[str] = []
    plan = plan_of(arena, shots=[100, 1, 50], seeds=[0, 1])
    cells = make_cells(plan, arena / "contents.json", note=told.append)
    most = len(next(cell for cell in cells if cell.shots == 100).support_names)
    assert told == [f"discs: 100 shots are the same {most} images as 50, all there are"]


def test_fewer_images_without_annotation_than_asked_for_are_told_once(arena: Path):
    told: list[str] = []
    plan = plan_of(arena, shots=[1, 3], seeds=[0, 1], unlabeled=500)
    cells = make_cells(plan, arena / "contents.json", note=told.append)
    pool = len(split("discs", [f"disc{i:03d}" for i in range(10)])[0])
    assert {len(cell.unlabeled_names) for cell in cells} == {pool - 1, pool - 3}
    assert told == [
        f"discs: {pool - 3} to {pool - 1} images without annotation where 500 are asked for, the pool has no more "
        "beside the support"
    ]
    told.clear()
    make_cells(replace(plan, unlabeled=pool - 3), arena / "contents.json", note=told.append)
    assert told == []
    make_cells(replace(plan, shots=[1], unlabeled=pool), arena / "contents.json", note=told.append)
    assert told[0].startswith(f"discs: {pool - 1} images without annotation where {pool} are asked for")


def add_ring(arena: Path, name: str) -> None:
    """The lower half of a picture becomes a second class, ``ring``."""
    folder = arena / "data" / "discs"
    (folder / "meta.json").write_text(json.dumps({"classes": ["background", "disc", "ring"]}))
    mask = read_mask(folder / "masks" / f"{name}.png")
    mask[len(mask) // 2 :] = 2
    pixels = np.random.default_rng(int(name[-3:])).integers(0, 256, (*mask.shape, 3), np.uint8)
    write_pair(folder, name, pixels, mask)


def test_a_class_that_only_test_images_show_is_told_once(arena: Path):
    pool, test = split("discs", [f"disc{i:03d}" for i in range(10)])
    add_ring(arena, test[0])
    told: list[str] = []
    plan = plan_of(arena, shots=[1, 2], seeds=[0, 1])
    cells = make_cells(plan, arena / "contents.json", note=told.append)
    assert told == [
        f"discs: ring is in 1 of {len(test)} test images and in no image of the pool: 0 in the mean of every method"
    ]
    result = compute(cells[0], arena / "data", 1)[0]["result"]
    assert (result["unlearnt"], result["unseen"]) == (["ring"], [])
    assert result["classes"]["ring"]["iou_384"] == 0
    add_ring(arena, pool[0])
    told.clear()
    (cell, *_) = make_cells(plan, arena / "contents.json", note=told.append)
    assert not any("ring" in text for text in told)
    assert compute(cell, arena / "data", 1)[0]["result"]["unlearnt"] == []


def test_masks_are_kept_in_the_order_of_the_data_sets_classes(arena: Path):
    names = [f"disc{i:03d}" for i in range(10)]
    add_ring(arena, split("discs", names)[1][0])
    (cell,) = cells_of(arena, methods=["mine:Swapped"])
    row, masks = compute(cell, arena / "data", 1)
    assert sorted(masks) == sorted(cell.test_names)
    assert {value for mask in masks.values() for value in np.unique(mask)} == {1}
    # the method says (ring, disc) and marks its second class
    assert row["result"]["classes"]["disc"]["iou_384"] > 0
    assert row["result"]["classes"]["ring"]["iou_384"] == 0


def test_classes_that_a_predictor_does_not_know_are_not_in_its_masks():
    recorder = Recorder(Known(("weed", "crop")), 64)
    recorder.masks += recorder.predict(np.zeros((1, 3, 3), np.uint8), [(1, 3)])
    (mask,) = recorder.masks_as(("soil", "crop", "weed"))
    assert (mask.tolist(), mask.dtype) == ([[0, 3, 2]], np.uint8)


class Known:
    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.class_names = class_names

    def predict(self, pixels: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
        return [np.array([[0, 1, 2]])]


class Looking(Known):
    """Marks what is bright, and remembers how much of an image it was shown at once."""

    def __init__(self) -> None:
        super().__init__(("bright",))
        self.shown: set[tuple[int, ...]] = set()

    def predict(self, pixels: np.ndarray, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
        self.shown.add(pixels.shape[:2])
        return [resize_mask((pixels[..., 0] > 127).astype(np.uint8), size) for size in sizes]


def test_large_images_are_cut_into_tiles_for_every_method(monkeypatch: pytest.MonkeyPatch):
    """As predict cuts them: seen whole, there would be nothing to see in them."""
    monkeypatch.setattr("distillfss.formats.frames.WHOLE_PIXELS", 5000)
    image = np.kron(np.random.default_rng(0).integers(0, 2, (18, 20, 1)), np.full((10, 10, 3), 255)).astype(np.uint8)
    truth = image[..., 0] // 255
    support = SupportSet.from_arrays([image, image[:40, :40]], [truth, truth[:40, :40]], ["bright"])
    method = Looking()
    recorder = Recorder(method, 64)
    result = evaluate(recorder, support, keep=recorder.masks.append)
    assert method.shown == {(64, 64), (40, 40)}
    assert result.foreground_iou == 1.0
    np.testing.assert_array_equal(recorder.masks[0], resize_mask(truth, (384, 384)))
    assert len(recorder.masks) == 2
