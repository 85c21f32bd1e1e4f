"""Copies of a picture, also mirrored or turned, are on one side of the locked split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import make_arena
from helpers import write_pair
from PIL import Image

from distillfss.bench.cells import Plan, make_cells
from distillfss.bench.contents import copies_in, look_into
from distillfss.bench.methods.base import MethodSettings
from distillfss.bench.paper_protocol import paper_split
from distillfss.bench.protocol import PROTOCOLS, hash_share, split
from distillfss.grouping import joined
from distillfss.io.labelled import LabelledFolder

SIDE = 64


def texture(seed: int, side: int = SIDE) -> np.ndarray:
    """Structure at the scale that a small picture keeps, (side, side, 3)."""
    small = np.random.default_rng(seed).integers(40, 216, (16, 16), np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).convert("RGB"))


def changed(pixels: np.ndarray, how: Image.Transpose | None, light: float = 0.0) -> np.ndarray:
    """Turned, and lit from one side."""
    picture = Image.fromarray(pixels)
    turned = np.asarray(picture if how is None else picture.transpose(how), np.float64)
    return np.clip(turned + light * np.linspace(-1, 1, turned.shape[1])[None, :, None], 0, 255).astype(np.uint8)


def folder_with_copies(root: Path) -> tuple[Path, list[list[str]]]:
    """12 pictures, copies of three of them, and what belongs together."""
    pictures = {f"own{seed:02d}": texture(seed) for seed in range(12)}
    copies = {
        "straight": changed(texture(3), None, 20),
        "mirrored": changed(texture(3), Image.Transpose.FLIP_LEFT_RIGHT),
        "a_quarter": changed(texture(5), Image.Transpose.ROTATE_90, 15),
        "transverse": changed(texture(5), Image.Transpose.TRANSVERSE),
        "larger": np.asarray(Image.fromarray(changed(texture(7), Image.Transpose.ROTATE_180)).resize((96, 96))),
        "black1": np.zeros((SIDE, SIDE, 3), np.uint8),
        "black2": np.zeros((SIDE, SIDE, 3), np.uint8),
        "grey": np.full((SIDE, SIDE, 3), 90, np.uint8),
    }
    for name, pixels in {**pictures, **copies}.items():
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[10:20, 10:20] = 1
        write_pair(root, name, pixels, mask)
    (root / "meta.json").write_text('{"classes": ["background", "thing"]}')
    groups = [["own03", "straight", "mirrored"], ["own05", "a_quarter", "transverse"], ["own07", "larger"]]
    return root, sorted(map(sorted, [*groups, ["black1", "black2"]]))


def likeness(one: np.ndarray, other: np.ndarray, common: np.ndarray) -> float:
    """Correlation of two pictures on 32x32 cells without lighting and without what is common, in the best position."""
    first, second = (bare(pixels) - common for pixels in (one, other))
    turned = [np.rot90(each, k) for each in (second, second[::-1]) for k in range(4)]
    return max(float((first * t).sum() / np.sqrt((first**2).sum() * (t**2).sum() + 1e-12)) for t in turned)


def bare(pixels: np.ndarray) -> np.ndarray:
    """Without lighting and of length 1, float64, one cell after the other."""
    grey = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    step = len(grey) // 32
    cells = grey.reshape(32, step, 32, step).mean((1, 3))
    wide = np.pad(cells, 2, mode="reflect")
    fine = np.array([[cells[y, x] - wide[y : y + 5, x : x + 5].mean() for x in range(32)] for y in range(32)])
    length = np.sqrt((fine**2).sum())
    return fine / length if length > 0.25 * 32 else np.zeros_like(fine)


def test_copies_are_found_as_by_brute_force(tmp_path: Path):
    root, groups = folder_with_copies(tmp_path / "set")
    data = LabelledFolder.open(root)
    assert copies_in(data) == groups
    names = list(data.names)
    pixels = {name: data[index].image for index, name in enumerate(names)}
    shown = [bare(each) for each in pixels.values()]
    common = np.mean([each for each in shown if each.any()], 0)
    reach = np.eye(len(names), dtype=bool)
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            if shown[i].any() and shown[j].any():
                reach[i, j] |= likeness(pixels[one], pixels[other], common) > 0.9
            reach[i, j] |= np.array_equal(pixels[one], pixels[other])
    for _ in names:
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    found = {tuple(sorted(names[j] for j in np.flatnonzero(row))) for row in reach if row.sum() > 1}
    assert sorted(map(list, found)) == groups


def test_likeness_is_handed_on(tmp_path: Path):
    """Ends that are not alike are together if what lies between them is like both."""
    one, other = (texture(seed).astype(np.float64) - 128 for seed in (100, 101))
    angle = np.radians(20)
    for name, sign in {"left": -1, "middle": 0, "right": 1}.items():
        mixed = np.cos(sign * angle) * one + np.sin(sign * angle) * other
        write_pair(tmp_path, name, np.clip(mixed + 128, 0, 255).astype(np.uint8), np.zeros((SIDE, SIDE), np.uint8))
    assert copies_in(LabelledFolder.open(tmp_path)) == [["left", "middle", "right"]]
    (tmp_path / "images" / "middle.png").unlink()
    (tmp_path / "masks" / "middle.png").unlink()
    assert copies_in(LabelledFolder.open(tmp_path)) == []


def test_an_unreadable_image_is_no_copy(tmp_path: Path):
    root, groups = folder_with_copies(tmp_path)
    (root / "images" / "larger.png").write_bytes(b"no picture")
    assert copies_in(LabelledFolder.open(root)) == [group for group in groups if "larger" not in group]


def test_copies_stay_on_one_side_whatever_the_order():
    names = [f"image_{number}" for number in range(400)]
    alone = split("anything", names)
    random = np.random.default_rng(0)
    order = [names[i] for i in random.permutation(400)]
    copies = [order[0:2], order[2:5], order[5:30], *([name, f"{name}x"] for name in order[30:60])]
    everything = [*names, *(f"{name}x" for name in order[30:60])]
    pool, test = split("anything", everything, copies)
    assert sorted([*pool, *test]) == sorted(everything)
    for group in copies:
        tested = hash_share(min(group)) < 0.2
        assert (set(group) <= set(test), set(group) <= set(pool)) == (tested, not tested)
    untouched = set(names) - {name for group in copies for name in group}
    assert untouched & set(test) == untouched & set(alone[1])
    again = [list(reversed(group)) for group in reversed(copies)]
    assert split("anything", everything[::-1], again) == (pool, test)
    assert split("anything", everything, [*copies, *copies]) == (pool, test)
    assert split("anything", everything, joined([["image_0", "image_1"], *copies])) != alone


def test_without_copies_the_split_is_that_of_the_names():
    for dataset, names in {
        "anything": [f"image_{number}" for number in range(300)],
        "dubai_aerial": [f"t{tile}_part_{part}" for tile in range(1, 9) for part in range(5)],
        "pothole": [f"dataset{drive}_{frame:02d}" for drive in range(1, 4) for frame in range(30)],
    }.items():
        # copies within a group, and of one picture alone, change nothing either
        assert split(dataset, names, [names[:1], [], ["not there", names[1]]]) == split(dataset, names)
        if dataset != "anything":
            assert split(dataset, names, [names[:2], names[2:4]]) == split(dataset, names)


def test_a_copy_joins_the_groups_of_names():
    """Tiles t1 and t3 are whole groups; one copy between them makes them one, placed by the name of t1."""
    names = [f"t{tile}_part_{part}" for tile in range(1, 9) for part in range(5)]
    pool, test = split("dubai_aerial", names, [["t3_part_4", "t1_part_2"]])
    both = {name for name in names if name[:2] in ("t1", "t3")}
    tested = hash_share("t1") < 0.2
    assert both <= set(test if tested else pool)
    apart = split("dubai_aerial", names)
    assert {n for n in apart[1] if n not in both} == {n for n in test if n not in both}


def test_groups_with_a_member_in_common_become_one():
    assert joined([["b", "a"], ["c"], ["d", "b"], ["e", "f"], ["f", "a"]]) == [["a", "b", "d", "e", "f"], ["c"]]
    assert joined([]) == joined([[]]) == []


def plan_of(data: Path, name: str, protocol: str) -> Plan:
    return Plan(data, [name], ["mine:Bright"], [1], [0], protocol, "random", 0, MethodSettings())


def test_a_run_keeps_copies_together_and_the_paper_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    make_arena(tmp_path)
    data = tmp_path / "data"
    root, groups = folder_with_copies(data / "set")
    cache = tmp_path / "contents.json"
    contents = look_into(root, cache)
    assert [list(group) for group in contents.copies] == groups
    names = list(contents.classes)
    assert split("set", names) != split("set", names, groups), "the folder must have copies on both sides"
    (cell,) = make_cells(plan_of(data, "set", "locked"), cache)
    assert list(cell.test_names) == split("set", names, groups)[1]
    for group in groups:
        assert len(set(group) & set(cell.test_names)) in (0, len(group))
    (paper,) = make_cells(plan_of(data, "set", "paper"), cache)
    assert list(paper.test_names) == paper_split(names)[1]
    assert PROTOCOLS["paper"].divide("set", names, None, groups) == paper_split(names)
    # what was found is kept: pictures are not opened again
    monkeypatch.setattr(LabelledFolder, "image", lambda *_: pytest.fail("an image was read again"))
    assert make_cells(plan_of(data, "set", "locked"), cache) == [cell]


def test_the_key_of_a_cell_changes_only_with_the_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Copies are no part of a cell, only what they do to its names is."""
    from distillfss.bench import cells

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    make_arena(tmp_path)
    found = look_into(tmp_path / "data" / "discs", tmp_path / "contents.json")

    def key(copies: tuple[tuple[str, ...], ...]) -> str:
        monkeypatch.setattr(cells, "look_into", lambda *_: replace(found, copies=copies))
        (cell,) = make_cells(plan_of(tmp_path / "data", "discs", "locked"), tmp_path / "contents.json")
        return cell.key

    pool, test = split("discs", list(found.classes))
    assert key(()) == key(((pool[0], pool[1]),)) == key(((test[0], test[1]),))
    assert key(()) != key(((pool[0], test[0]),))
