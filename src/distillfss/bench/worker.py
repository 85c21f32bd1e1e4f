"""Computes one cell in a process of its own: ``python -m distillfss.bench.worker``, started by ``process.run_fresh``.

The cell comes as JSON on standard input; the outcome goes to standard output, see ``process``. Whatever else is printed
goes to standard error.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distillfss.bench.cells import Cell
    from distillfss.bench.methods.base import Predictor
    from distillfss.evaluation import Evaluation
    from distillfss.io.labelled import LabelledFolder, Sample

SURE = 10.0
"""Logit of what a method without logits marks in a tile."""
WATCH = "DISTILLFSS_BENCH_WATCH"
"""Environment variable with the number of a pipe that closes when whoever waits for the outcome is gone."""


class Chosen:
    """Some pairs of a labelled folder, in the form ``evaluate`` takes."""

    def __init__(self, folder: LabelledFolder, names: Sequence[str]) -> None:
        place = {name: index for index, name in enumerate(folder.names)}
        self._folder = folder
        self._indices = [place[name] for name in names]
        self.names = tuple(names)
        self.class_names = folder.class_names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int, /) -> Sample:
        return self._folder[self._indices[index]]

    def image(self, index: int) -> NDArray[np.uint8]:
        return self._folder.image(self._indices[index])

    def image_path(self, index: int) -> Path:
        return self._folder.image_path(self._indices[index])


class Recorder:
    """A predictor whose masks at 384×384 are kept, and the time it took.

    Images that ``predict`` cuts into tiles, maps and large pictures, are cut for every method alike; else they would be
    judged by pictures in which hardly anything is to be seen.

    Parameters
    ----------
    predictor
        Of any method.
    side
        Side of a tile: that of the support's images, as of our own models.
    """

    def __init__(self, predictor: Predictor, side: int) -> None:
        self.class_names = tuple(predictor.class_names)
        self.summary = {"support_side": side}
        self.masks: list[NDArray[np.uint8]] = []
        self.seconds = 0.0
        self._predictor = predictor

    def predict(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        started = time.perf_counter()
        masks = self._predictor.predict(pixels, sizes)
        self.seconds += time.perf_counter() - started
        return masks

    def scores(self, tile: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of a tile (T, T, 3) what tiles are blended by (1, n + 1, h, w): logits, or ``SURE`` of what is marked."""
        import numpy as np

        from distillfss.tiles.scores import as_array

        logits = getattr(self._predictor, "logits", None)
        if logits is None:
            (mask,) = self.predict(tile, [(tile.shape[0], tile.shape[1])])
            marked = np.asarray(mask)[None] == np.arange(len(self.class_names) + 1)[:, None, None]
            return SURE * marked[None].astype(np.float32)
        started = time.perf_counter()
        found = as_array(logits(tile))
        self.seconds += time.perf_counter() - started
        return found

    def masks_as(self, class_names: Sequence[str]) -> list[NDArray[np.uint8]]:
        """The kept masks, with the classes in the order of a data set, which may be another than the predictor's.

        Raises ``DataError`` if the predictor has a class that is not among ``class_names``.
        """
        import numpy as np

        from distillfss.class_matching import match_classes

        table, _ = match_classes(self.class_names, class_names)
        back = np.zeros(256, np.uint8)
        for value in range(1, len(class_names) + 1):
            if table[value]:  # 0: the predictor does not know this class
                back[table[value]] = value
        return [back[np.asarray(mask, np.uint8)] for mask in self.masks]


def compute(cell: Cell, data: Path, threads: int) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
    """Fit the method and test it.

    Returns
    -------
    dict
        What a row of results holds beside the cell itself.
    dict
        The predicted mask of every test image at 384×384, uint8, with the classes in the data set's order.
    """
    import numpy as np
    import torch

    from distillfss.bench.cells import find_method
    from distillfss.bench.contents import find_dataset, open_dataset
    from distillfss.bench.methods.base import MethodSettings
    from distillfss.bench.surroundings import Beside, deciding_versions
    from distillfss.errors import UsageError
    from distillfss.evaluation import evaluate
    from distillfss.support import MAX_KEPT_PIXELS, Sample, SupportSet, at_most

    torch.set_num_threads(threads)
    if deciding_versions() != cell.versions:
        problem = f"this worker has {deciding_versions()}, the run is of {cell.versions}"
        raise UsageError(problem, cure="Install the same versions on every machine")
    folder = open_dataset(find_dataset(data, cell.dataset))
    learnt = Chosen(folder, cell.support_names)
    samples, shown = [], set[int]()
    for index in range(len(learnt)):
        sample = learnt[index]
        shown |= set(np.unique(sample.mask).tolist())
        kept = at_most(sample.image, sample.mask, MAX_KEPT_PIXELS)
        samples.append(Sample(sample.name, *kept, shrunk=(sample.mask.size / kept[1].size) ** 0.5))
    support = SupportSet(samples, folder.class_names)
    extra = Chosen(folder, cell.unlabeled_names)
    unlabeled = [extra.image(index) for index in range(len(extra))]
    method = find_method(cell.method)(MethodSettings(**cell.settings))
    beside = Beside()
    started = time.perf_counter()
    predictor = method.fit(support, unlabeled or None)
    fitted = time.perf_counter() - started
    recorder = Recorder(predictor, support.typical_side())
    estimate = getattr(predictor, "summary", {}).get("estimate")
    evaluation = evaluate(recorder, Chosen(folder, cell.test_names), keep=recorder.masks.append)
    load = beside.load()
    # no other method says what to expect of it
    estimating = estimate["seconds"] if estimate else 0.0
    seconds = {"fit": round(fitted - estimating, 3), "predict": round(recorder.seconds, 3)}
    if estimate:
        seconds["estimate"] = estimating
    seconds["per_image"] = round(evaluation.seconds_per_image, 5)
    drawn = recorder.masks_as(folder.class_names)
    masks = {result.name: mask for result, mask in zip(evaluation.images, drawn, strict=True)}
    result = result_of(evaluation)
    result["unlearnt"] = unlearnt(evaluation, folder.class_names, shown)
    found: dict[str, Any] = {"result": result, "seconds": seconds, "load": load}
    return found | ({"estimate": estimate} if estimate else {}), masks


def result_of(evaluation: Evaluation) -> dict[str, Any]:
    """The scores of a cell, JSON-safe: fractions from 0 to 1, ``None`` where there is no score."""
    whole = evaluation.to_dict()
    classes = {
        name: {
            "iou_384": whole["at_384"]["per_class"][name]["iou"],
            "iou": whole["at_own_size"]["per_class"][name]["iou"],
        }
        for name in evaluation.class_names
    }
    images = [{key: row[key] for key in ("image", "iou_384", "iou")} for row in whole["per_image"]]
    kept = ("foreground_iou_384", "foreground_iou", "baseline", "skipped", "notices")
    unseen = [name for name, row in whole["at_384"]["per_class"].items() if not row["pixels"]]
    return {**{key: whole[key] for key in kept}, "classes": classes, "unseen": unseen, "images": images}


def unlearnt(evaluation: Evaluation, class_names: Sequence[str], shown: set[int]) -> list[str]:
    """Classes that test images show at 384×384 and no support image does.

    Parameters
    ----------
    class_names
        The data set's.
    shown
        Values in the masks of the support.
    """
    from distillfss.class_matching import match_classes

    table, _ = match_classes(evaluation.class_names, class_names)
    known = set(table[sorted(shown)].tolist())
    tested = evaluation.to_dict()["at_384"]["per_class"]
    names = enumerate(evaluation.class_names, start=1)
    return [name for value, name in names if tested[name]["pixels"] and value not in known]


def surroundings(threads: int, jobs: int) -> dict[str, Any]:
    """What a row says of where and with what it was computed."""
    from distillfss.bench.surroundings import commit, machine, peak_gpu_megabytes, peak_megabytes, versions

    return {
        "peak_mb": peak_megabytes(),
        "peak_gpu_mb": peak_gpu_megabytes(),
        "versions_all": versions(),
        "commit": commit(),
        "machine": machine(),
        "threads": threads,
        "jobs": jobs,
    }


def failure(error: BaseException) -> dict[str, Any]:
    """What a row says of a cell that failed."""
    return {"kind": type(error).__name__, "message": str(error) or type(error).__name__}


def encode_mask(mask: NDArray[np.uint8]) -> bytes:
    """A mask as PNG."""
    import numpy as np
    from PIL import Image

    from distillfss.io.masks import PALETTE

    picture = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
    picture.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=8)
    return buffer.getvalue()


def work(task: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(row, masks as PNG) of a task as ``process.Task.to_dict`` makes it; an error of the method is part of the row."""
    from distillfss.bench.cells import Cell

    masks: dict[str, bytes] = {}
    try:
        found, arrays = compute(Cell.from_dict(task["cell"]), Path(task["data"]), task["threads"])
        row = {"status": "done", **found}
        if task["masks"]:
            masks = {name: encode_mask(mask) for name, mask in arrays.items()}
    except Exception as error:
        traceback.print_exc()
        row = {"status": "failed", "error": failure(error)}
    return row | surroundings(task["threads"], task["jobs"]), masks


def end_with(pipe: int) -> None:
    """End this process and those it started as soon as the pipe closes: nobody waits for the outcome any more."""

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    outcome = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if WATCH in os.environ:
        end_with(int(os.environ.pop(WATCH)))
    row, masks = work(json.loads(sys.stdin.buffer.read()))
    header = {"row": row, "masks": [[name, len(data)] for name, data in masks.items()]}
    with outcome:
        outcome.write(json.dumps(header).encode() + b"\n")
        outcome.writelines(masks.values())


if __name__ == "__main__":
    main()
