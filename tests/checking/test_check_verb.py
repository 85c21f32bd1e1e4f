"""``distillfss check`` as people and machines see it, and its page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faulty import HEIGHT, WIDTH, picture, save, sound
from PIL import Image

from distillfss.cli import main

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))
from test_pages import Page

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def go(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


def faulty(folder: Path) -> Path:
    sound(folder)
    Image.fromarray(picture(1)[1][:100]).save(folder / "masks" / "p01.png")
    (folder / "images" / "<b>p05.png").write_bytes((folder / "images" / "p05.png").read_bytes())
    mask = picture(2)[1]
    mask[4, 4] = 1
    save(folder, "p02", picture(2)[0], mask)
    return folder


def test_a_sound_folder(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("check", sound(tmp_path / "d"))
    assert code == 0
    first, classes, last = out.splitlines()
    assert first == f"{tmp_path / 'd'}: 6 images, index-png"
    assert classes == "classes (share of what is marked): disc in 6 (100 %)"
    assert last.startswith("nothing to complain about (")


def test_faults_fit_on_one_screen_and_end_with_3(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("check", faulty(tmp_path / "d"))
    assert code == 3
    lines = out.splitlines()
    assert len(lines) < 20
    assert "error       1  masks of another size" in lines
    assert "warning     1  stray pixels; --fix repairs it" in lines
    assert "2 errors, 1 warning (" in out
    assert lines[-1] == f"Look at them: distillfss check {tmp_path / 'd'} --html report.html"


def test_the_next_step_can_be_taken_as_it_is_proposed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = faulty(tmp_path / "d")
    for name in ("report.html", "report-2.html", "report-3.html"):
        proposed = run("check", folder)[1].splitlines()[-1].removeprefix("Look at them: distillfss ").split()
        assert proposed[-1] == name
        assert run(*proposed)[0] == 3  # faults, not that the page exists
        assert (tmp_path / name).is_file()


def test_the_next_step_looks_in_the_same_way(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = faulty(tmp_path / "d")
    given = ["--classes", "disc", "--format", "index-png", "--size", "256"]
    last = run("check", folder, *given)[1].splitlines()[-1]
    assert last == f"Look at them: distillfss check {folder} {' '.join(given)} --html report.html"


def test_warnings_alone_end_with_0(run: Run, tmp_path: Path) -> None:
    folder = sound(tmp_path / "d")
    save(folder, "p00", picture(0)[0], np.zeros_like(picture(0)[1]))
    code, out, _ = run("check", folder)
    assert code == 0
    assert "1 warning (" in out


def test_json_has_the_fields_the_documentation_names(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("check", faulty(tmp_path / "d"), "--test", sound(tmp_path / "t", 3, first=2), "--json")
    assert code == 3
    document = json.loads(out)
    assert sorted(document) == [
        *("findings", "fixed", "html", "kinds", "ok", "schema", "seconds", "summary", "support", "test"),
    ]
    assert document["schema"] == 1
    assert document["ok"] is False
    assert document["fixed"] is None
    assert sorted(document["support"]) == ["classes", "folder", "format", "images", "notices"]
    assert document["test"]["images"] == 3
    assert sum(document["summary"].values()) == len(document["findings"])
    assert {kind: row["count"] for kind, row in document["kinds"].items()} == {
        "unpaired": 1,
        "size-mismatch": 1,
        "leak": 3,
        "stray-pixels": 1,
    }
    for finding in document["findings"]:
        assert sorted(finding) == [
            *("boxes", "cure", "file", "fixable", "image", "kind", "other", "problem", "severity"),
        ]
    text = (Path(__file__).resolve().parents[2] / "docs" / "check.md").read_text()
    for key in [*document, *document["support"], *document["findings"][0]]:
        assert f"`{key}`" in text


def test_findings_in_one_file_for_many_images_name_the_image(run: Run, tmp_path: Path) -> None:
    names = ("a.png", "insta.png")  # letters of the file's own name
    box = {"segmentation": [], "bbox": [1, 2, 3, 4], "category_id": 1}
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [{"id": number, "image_id": number, **box} for number in range(2)],
        "categories": [{"id": 1, "name": "disc"}],
    }
    for seed, name in enumerate(names):
        Image.fromarray(picture(seed)[0]).save(tmp_path / name)
    (tmp_path / "instances.json").write_text(json.dumps(content))
    code, out, _ = run("check", tmp_path)
    assert code == 3
    boxed = "the object {} (disc) has a bounding box but no outline. "
    assert f"  instances.json (a.png): {boxed.format(0)}" in out
    assert "\n               also instances.json (insta.png)\n" in out
    (tmp_path / "instances.json").rename(tmp_path / "a.json")
    out = run("check", tmp_path)[1]
    assert f"  a.json: {boxed.format(0)}" in out
    assert "  also a.json (insta.png)\n" in out


def test_repair_from_the_command_line(run: Run, tmp_path: Path) -> None:
    folder = faulty(tmp_path / "d")
    code, out, _ = run("check", folder, "--fix")
    assert code == 3  # one pair and one image had to be left out
    assert f"5 pairs written to {tmp_path / 'd-fixed'}" in out
    assert run("check", tmp_path / "d-fixed")[0] == 0
    code, _, err = run("check", folder, "--fix")
    assert code == 5
    assert "not empty" in err
    code, _, err = run("check", folder, "--fix", "--out", folder / "inside")
    assert code == 2
    assert not (folder / "inside").exists()
    code, _, err = run("check", folder, "--out", tmp_path / "x")
    assert code == 2
    assert "Add --fix" in err


def test_one_of_a_thing_is_told_as_one(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    Image.fromarray(picture(0)[0]).save(folder / "p.png")
    shapes = [
        {"label": "disc", "points": [[5, 5], [90, 90]], "shape_type": "rectangle"},
        {"label": "disc", "points": [[5, 5]], "shape_type": "point"},
        {"label": "disc", "points": [[500, 500], [600, 600], [500, 600]], "shape_type": "polygon"},
    ]
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    (folder / "p.json").write_text(json.dumps({"shapes": shapes, "imagePath": "p.png", **size}))
    code, out, _ = run("check", folder, "--fix", "--html", tmp_path / "page.html")
    assert code == 0
    for said in ("1 point, line or the like.", "1 object covers the centre of no pixel.", "1 rectangle.", "3 warnings"):
        assert said in out
    assert f"1 pair written to {folder}-fixed, 0 changes (changes.json)" in out
    assert f"1 pair written to {folder}-fixed, 0 changes, 0 left out" in Page((tmp_path / "page.html").read_text()).text
    objects = 2 * [shapes[0]] + 2 * [shapes[1]] + 2 * [shapes[2]]
    (folder / "p.json").write_text(json.dumps({"shapes": objects, "imagePath": "p.png", **size}))
    out = run("check", folder)[1]
    for said in ("2 points, lines or the like.", "2 objects cover the centre of no pixel.", "2 rectangles."):
        assert said in out


def test_repair_that_is_refused_leaves_nothing(run: Run, tmp_path: Path) -> None:
    folder = sound(tmp_path / "d", 2)
    for name in ("p00", "p01"):
        (folder / "masks" / f"{name}.png").write_bytes(b"no picture")
    code, out, err = run("check", folder, "--fix")
    assert (code, out) == (3, "")
    assert f"error: {folder}: nothing in it could be repaired, with 2 files left out, such as p00: " in err
    assert "nothing was written" in err
    assert not (tmp_path / "d-fixed").exists()


def test_a_folder_that_is_none(run: Run, tmp_path: Path) -> None:
    code, _, err = run("check", tmp_path / "nothing", "--fix")
    assert code == 3
    assert "there is no such folder" in err
    assert not (tmp_path / "nothing-fixed").exists()


def test_the_page(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, out, _ = run("check", faulty(tmp_path / "d"), "--html", page)
    assert code == 3
    assert str(page) in out
    parsed = Page(page.read_text())
    assert "script" not in parsed.tags
    assert "b" not in {tag for tag in parsed.tags if tag == "b" and "<b>p05" in page.read_text()}
    assert len(parsed.images) == 2  # an image without mask is shown by its name
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in parsed.images)
    assert all(image["alt"] for image in parsed.images)
    for text in ("masks of another size", "images/<b>p05.png", "stray pixels", "has no mask", "disc"):
        assert text in parsed.text
    code, _, err = run("check", tmp_path / "d", "--html", page)
    assert code == 5
    assert "--overwrite" in err
    code, _, err = run("check", tmp_path / "d", "--html", tmp_path)
    assert code == 5
    assert f"{tmp_path}: is a folder. Name a file, such as {page}" in err
