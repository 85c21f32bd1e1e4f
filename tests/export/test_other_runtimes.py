"""The same file in OpenVINO and in a browser."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from export_helpers import picture
from helpers import REPOSITORY
from PIL import Image

from distillfss import Segmenter

PAGE = REPOSITORY / "examples" / "browser"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


@pytest.mark.parametrize("kind", ["one_class", "three_classes", "nine_classes", "two_with_details"])
def test_openvino_gives_the_same_masks(kind: str, request: pytest.FixtureRequest) -> None:
    openvino = pytest.importorskip("openvino")
    path: Path = request.getfixturevalue(f"{kind}_file")
    # on processors that have bfloat16 it would compute in that
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    served = Segmenter.load(path)
    for height, width in ((96, 96), (61, 47), (131, 517), (400, 301)):
        image = picture(height, width)
        found = compiled({"images": image[None]})
        mask, probabilities = served(image, probabilities=True)
        assert found["mask"].shape == (1, height, width)
        assert (found["mask"][0] != mask).mean() < 1e-3
        assert np.quantile(np.abs(found["probabilities"][0].transpose(1, 2, 0) - probabilities), 0.99) < 1e-2


@contextmanager
def served_folder(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a plain file server over a folder, and what it is asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_request(self, code: object = "-", size: object = "-") -> None:
            asked.append(f"{self.command} {self.path.partition('?')[0]}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium (Debian: apt-get install chromium)")
    if not all((PAGE / "vendor" / name).is_file() for name in RUNTIME):
        pytest.skip("no ONNX Runtime for the web (examples/browser/fetch.sh)")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_a_browser_gives_the_same_mask(browser: object, three_classes_file: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(PAGE, site)
    shutil.copy(three_classes_file, site / "model.onnx")
    image = picture(150, 211)
    Image.fromarray(image).save(site / "picture.png")
    with served_folder(site) as (address, asked):
        page = browser.new_page()  # type: ignore[attr-defined]
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/index.html?model=model.onnx&picture=picture.png")
        page.wait_for_function("self.segmented || document.querySelector('#status.error')", timeout=60_000)
        assert page.locator("#status.error").count() == 0, page.locator("#status").inner_text()
        found = page.evaluate(
            "({...self.segmented, mask: Array.from(self.segmented.mask),"
            " legend: document.querySelector('#legend').innerText})"
        )
    assert errors == []
    wanted = Segmenter.load(three_classes_file)(image)
    mask = np.array(found["mask"]).reshape(found["height"], found["width"])
    assert mask.shape == wanted.shape
    assert (mask != wanted).mean() < 1e-3
    assert found["classNames"] == ["class_1", "class_2", "class_3"]
    assert f"class_2: {100 * (mask == 2).mean():.1f} %" in found["legend"]
    # files were fetched, nothing was sent
    assert {request.split()[0] for request in asked} == {"GET"}
    assert {request.split()[1].rpartition("/")[2] for request in asked} <= {
        *("index.html", "segment.js", "metadata.js", "model.onnx", "picture.png", "favicon.ico"),
        *RUNTIME,
    }


def test_a_file_that_is_no_model_is_named_in_the_page(browser: object, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(PAGE, site)
    (site / "model.onnx").write_bytes(b"\x08nothing")
    with served_folder(site) as (address, _):
        page = browser.new_page()  # type: ignore[attr-defined]
        page.goto(f"{address}/index.html?model=model.onnx")
        page.wait_for_selector("#status.error", timeout=60_000)
        assert "no ONNX file" in page.locator("#status").inner_text()
