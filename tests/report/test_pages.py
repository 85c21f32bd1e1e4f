"""The pages parse, hold their pictures inside, ask for nothing from outside, and escape what they are given."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers import BrightnessSegmenter, disc_pair, write_pair
from PIL import Image

from distillfss.demo import DemoResult, write_labelled
from distillfss.evaluation import evaluate
from distillfss.report.demo_page import demo_page
from distillfss.report.evaluation_page import evaluation_page
from distillfss.report.page import histogram, percent
from distillfss.sample import support_tiles, unseen_tiles
from distillfss.support import LabelledFolder, SupportSet

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what a page holds; fails on a tag that is closed in the wrong order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.text = ""
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        if tag == "img":
            self.images.append(values)
        self.links += [values[name] or "" for name in ("href", "src") if name in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def check_page(text: str, pictures: int, files: set[str]) -> Page:
    page = Page(text)
    assert len(page.images) == pictures
    for image in page.images:
        kind, _, data = (image["src"] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as decoded:
            decoded.load()
            assert decoded.size == (int(image["width"] or 0), int(image["height"] or 0))
        assert image["alt"]
    assert {link for link in page.links if not link.startswith("data:")} == files
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import|https?://", re.sub(r"data:[^\"]*", "", text))
    return page


def test_demo_page(tmp_path: Path) -> None:
    write_labelled(tmp_path / "support", support_tiles())
    write_labelled(tmp_path / "test", unseen_tiles())
    model = BrightnessSegmenter(("nucleus",), (38,))
    unseen = LabelledFolder.open(tmp_path / "test")
    evaluation = evaluate(model, unseen)
    result = DemoResult(tmp_path, evaluation, 5, 47.2, 0.0123, 1_234_567, "cpu")
    text = demo_page(
        result, SupportSet.from_folder(tmp_path / "support"), unseen, model, model_file="m.safetensors", tile=(128, 128)
    )
    page = check_page(text, pictures=5 + 11 * 4, files=set())
    assert f"{100 * evaluation.foreground_iou:.1f}" in page.text
    assert f"{100 * evaluation.baseline_own.mean('iou'):.1f}" in page.text
    for expected in ("47 s", "12 ms", "1.2 MB", "distillfss fit my-support", "BSD-3-Clause", "m.safetensors"):
        assert expected in page.text


def test_evaluation_page(make_labelled: Callable[..., Path]) -> None:
    folder = make_labelled(count=5)
    (folder / "masks" / "disc004.png").write_bytes(b"no mask")
    data = LabelledFolder.open(folder)
    model = BrightnessSegmenter(("disc",), (230,))
    evaluation = evaluate(model, data)
    text = evaluation_page(evaluation, data, model, model="m", labelled="l", csv="images.csv", worst=3)
    page = check_page(text, pictures=3 * 4, files={"images.csv"})
    assert re.findall(r"<h3>(.*?)</h3>", text) == [image.name for image in evaluation.worst(3)]
    assert "disc004" in page.text
    assert "could not be read" in page.text
    assert "The worst 3 images" in page.text
    assert "wrong class" not in page.text


def test_page_of_several_classes_shows_every_class(tmp_path: Path) -> None:
    image, mask = disc_pair(0)
    write_pair(tmp_path, "one", image, mask)
    (tmp_path / "meta.json").write_text('{"classes": ["background", "disc", "other"]}')
    data = LabelledFolder.open(tmp_path)
    model = BrightnessSegmenter(("other", "disc"), (70, 150))
    text = evaluation_page(evaluate(model, data), data, model, model="m", labelled="l", csv="c")
    page = check_page(text, pictures=4, files=set())
    assert "wrong class" in page.text
    assert re.findall(r'<th scope="row">.*?</span>(.*?)</th>', text) == ["other", "disc"]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"onerror="x'])
def test_names_are_escaped(name: str, tmp_path: Path) -> None:
    write_pair(tmp_path, "one", *disc_pair(0))
    data = LabelledFolder.open(tmp_path, classes=[name])
    model = BrightnessSegmenter((name,), (150,))
    page = check_page(
        evaluation_page(evaluate(model, data), data, model, model=name, labelled=name, csv="c"), pictures=4, files=set()
    )
    assert page.text.count(name) >= 3


def test_a_score_that_does_not_exist_has_no_per_cent_sign(tmp_path: Path) -> None:
    write_pair(tmp_path, "one", *disc_pair(0))
    data = LabelledFolder.open(tmp_path, classes=["disc"])
    model = BrightnessSegmenter(("disc",), (256,))  # finds nothing, so there is no precision
    text = evaluation_page(evaluate(model, data), data, model, model="m", labelled="l", csv="c")
    assert text.count("precision –, recall 0.0 %") == 2
    assert "– %" not in text
    # what lies in the page already is shown on pictures of the whole page too
    assert 'loading="lazy"' not in text


def test_percent_and_histogram() -> None:
    assert [percent(value) for value in (0.5784, 1.0, float("nan"), None)] == ["57.8", "100.0", "–", "–"]
    bins = histogram([0.0, 0.05, 0.55, 1.0, 0.95, 0.9, float("nan")])
    assert [entry["count"] for entry in bins] == [2, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert bins[9]["height"] == 100
    assert bins[0]["label"] == "0–10"
