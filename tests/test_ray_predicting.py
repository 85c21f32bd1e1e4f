"""Prediction over the nodes of a Ray cluster, one of which goes away in the middle."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
from helpers import REPOSITORY, BrightnessSegmenter, disc_pair
from PIL import Image

from distillfss.errors import UsageError
from distillfss.io.masks import read_mask
from distillfss.predict_plan import PlanSettings
from distillfss.quality.judging import Answer, Judged
from distillfss.ray_predicting import predict_on_ray

IMAGES = 12
SECONDS = 300
"""Far more than it takes: a machine that is busy otherwise is no fault of the run."""


class Watched(BrightnessSegmenter):
    """Leaves a file named after process and call in ``folder``, and holds the second image until ``go`` is there."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def predict(self, pixels: np.ndarray, sizes: Any) -> list[np.ndarray]:
        (self.folder / f"{os.getpid()}-{self.calls}").touch()
        end = time.monotonic() + SECONDS
        while self.calls == 1 and not (self.folder / "go").exists() and time.monotonic() < end:
            time.sleep(0.02)
        return super().predict(pixels, sizes)

    def answer(self, pixels: np.ndarray, probabilities: bool = False) -> Answer:
        """Image 3 is like nothing it has seen."""
        odd = np.array_equal(pixels, disc_pair(3)[0])
        return Answer(self.predict(pixels, [pixels.shape[:2]])[0], judged=Judged(0.5, 2.0 if odd else 0.5))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each; the nodes take over the environment as it is now."""
    pytest.importorskip("pyarrow", reason="Ray Data is not installed: pip install 'distillfss[ray]'")
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(REPOSITORY / "src"))
        for module in (sys.modules[__name__], helpers):  # workers cannot import tests
            ray.cloudpickle.register_pickle_by_value(module)
        made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            made.second = made.add_node(**node)
            made.wait_for_nodes()
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(IMAGES):
        Image.fromarray(disc_pair(number)[0]).save(folder / f"im{number:02d}.png")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"the model")
    return file


def watched(folder: Path) -> Callable[[Path, str], Watched]:
    def load(model: Path, device: str) -> Watched:
        assert (model.read_bytes(), model.suffix) == (b"the model", ".safetensors")
        return Watched(folder)

    return load


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"


def test_no_cluster_is_a_usage_error(images: Path, tmp_path: Path, model: Path) -> None:
    pytest.importorskip("pyarrow")
    settings = PlanSettings(str(tmp_path / "out"), ("mask",), ("bright",))
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        predict_on_ray(model, settings, images, address="127.0.0.1:1")


def test_done_images_are_skipped_and_an_address_is_read_and_written(
    cluster: Any, tmp_path: Path, images: Path, model: Path
) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "go").touch()
    # fsspec's name for local files: read and written as any remote place is
    settings = PlanSettings(f"local://{tmp_path}/out", ("mask", "csv"), ("bright",))

    def run(**more: Any) -> Any:
        return predict_on_ray(
            model, settings, f"local://{images}", address=cluster.address, load=watched(calls), **more
        )

    first = run()
    assert (first.written, run().skipped_existing) == (IMAGES, IMAGES)
    assert [str(image).split("/")[-1] for image in first.unlike] == ["im03.png"]
    (tmp_path / "out" / "im03.png").unlink()
    before = len(list(calls.iterdir()))
    again = run(workers=1)
    assert (again.written, again.skipped_existing, again.files) == (1, IMAGES - 1, {"mask": 1, "csv": 0})
    assert len(list(calls.iterdir())) == before + 1
    for number in range(IMAGES):
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / f"im{number:02d}.png"), disc_pair(number)[1])
    assert len((tmp_path / "out" / "areas.csv").read_text().splitlines()) == 1 + 2 * IMAGES


def test_a_node_that_goes_away_loses_nothing(cluster: Any, tmp_path: Path, images: Path, model: Path) -> None:
    (images / "im99.png").write_bytes(b"no picture")
    calls, out = tmp_path / "calls", tmp_path / "out"
    calls.mkdir()
    settings = PlanSettings(str(out), ("mask", "csv", "coco"), ("bright",), coco_segmentation="rle")
    killed: list[int] = []

    def holding() -> set[int]:
        """Processes that have one image behind them and another at hand."""
        return {int(path.name.split("-")[0]) for path in calls.iterdir() if path.name.endswith("-1")}

    def kill_a_node() -> None:
        end = time.monotonic() + SECONDS
        while len(holding()) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        cluster.remove_node(cluster.second, allow_graceful=False)
        while time.monotonic() < end and not killed:
            killed.extend(process for process in holding() if not alive(process))
            time.sleep(0.05)
        (calls / "go").touch()

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    ticks: list[tuple[int, int]] = []
    summary = predict_on_ray(
        model,
        settings,
        images,
        address=cluster.address,
        load=watched(calls),
        progress=lambda done, total: ticks.append((done, total)),
    )
    killer.join()

    assert len(killed) == 1
    assert (summary.total, summary.written, summary.skipped_existing) == (IMAGES + 1, IMAGES, 0)
    assert [path.name for path, _ in summary.failed] == ["im99.png"]
    assert ticks == [(done, IMAGES + 1) for done in range(IMAGES + 2)]
    # the images of the lost worker's batch were done again
    assert sum("-" in path.name for path in calls.iterdir()) > IMAGES
    for number in range(IMAGES):
        np.testing.assert_array_equal(read_mask(out / f"im{number:02d}.png"), disc_pair(number)[1])
    with (out / "areas.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == "bright"]
    assert [int(row["pixels"]) for row in rows] == [int(disc_pair(number)[1].sum()) for number in range(IMAGES)]
    assert len(json.loads((out / "coco.json").read_text())["annotations"]) == IMAGES
    assert not list(tmp_path.rglob(".distillfss-*.part"))
