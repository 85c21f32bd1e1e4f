"""``predict`` spread over the nodes of a Ray cluster with Ray Data: one model per worker.

A worker writes the files of an image itself, whole or not at all, so a run that is stopped goes on where it was. The
images of a node that goes away are done again by another one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from distillfss.errors import OutputError, UsageError
from distillfss.outputs.records import Records
from distillfss.places import RemoteImage, is_url, open_place
from distillfss.predict_plan import Job, Plan, PlanSettings
from distillfss.predicting import (
    NOT_RECORDED,
    CanSegment,
    Outcome,
    PredictSummary,
    Tick,
    begin,
    cores,
    end,
    segment_jobs,
    settle,
)
from distillfss.ray_cluster import connected

LARGEST_BATCH = 32
"""Images that are lost with a node and done again are at most as many."""

Load = Callable[[Path, str], CanSegment]


def load_segmenter(model: Path, device: str) -> CanSegment:
    """Load a model in a worker."""
    from distillfss.runtime import keep_freed_memory
    from distillfss.segmenter import Segmenter

    keep_freed_memory()
    return Segmenter.load(model, device=device)


def predict_on_ray(
    model: Path,
    settings: PlanSettings,
    images: str | Path | Iterable[str | Path],
    *,
    overwrite: bool = False,
    device: str = "auto",
    address: str | None = None,
    workers: int | None = None,
    progress: Tick | None = None,
    summary: PredictSummary | None = None,
    load: Load = load_segmenter,
) -> PredictSummary:
    """As ``predict_images``, on a Ray cluster.

    The nodes need this package, and images and results under the same path or address. The model is sent to them.

    Parameters
    ----------
    model
        The model file.
    settings
        What to write where.
    device
        ``auto`` and ``cuda`` use the cluster's GPUs, one per worker; ``auto`` its cores if there are none.
    address
        Of an existing cluster (see ``ray.init``); None starts one on this machine and ends it with the run.
    workers
        Models at work at the same time; None takes one for every GPU or core of the cluster.
    load
        How a worker gets its model.

    Raises
    ------
    UsageError, OutputError
        As ``predict_images``; and if no cluster answers.
    """
    done = summary if summary is not None else PredictSummary(settings.out, 0)
    settings = replace(settings, out=_absolute(settings.out))
    plan = begin(settings, images, overwrite, done, progress)
    if plan.todo:
        with _cluster(address):
            _spread(plan, settings, model, device, workers, load, done, progress)
        plan.records.load(forget=overwrite)
        _check_arrival(plan, done)
    done.failed.sort(key=lambda failure: str(failure[0]))
    end(plan, done)
    return done


class SegmentBatch:
    """What a worker of Ray Data does: loads the model once, then takes batches of images.

    Parameters
    ----------
    model
        Reference to the bytes of the model file.
    suffix
        Of the model file.
    settings
        Fields of ``PlanSettings``.
    """

    def __init__(self, model: Any, suffix: str, device: str, settings: dict[str, Any], load: Load) -> None:
        import ray

        plan = PlanSettings(**settings)
        self.place = open_place(plan.out)
        self.outputs = dict(zip(plan.names, plan.make_outputs(), strict=True))
        self.class_names = plan.class_names
        with tempfile.TemporaryDirectory(prefix="distillfss-") as folder:
            file = Path(folder) / f"model{suffix}"
            file.write_bytes(ray.get(model[0]))
            self.segmenter = load(file, device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Columns ``root``, ``image``, ``wanted`` and ``number`` → ``number`` and ``outcome`` (JSON)."""
        jobs = [
            Job(
                RemoteImage(str(root), str(image)) if root else Path(str(image)),
                tuple(self.outputs[name] for name in str(wanted).split(",")),
            )
            for root, image, wanted in zip(batch["root"], batch["image"], batch["wanted"], strict=True)
        ]
        records = Records(self.place, self.class_names)
        outcomes: list[dict[str, Any]] = []

        def note(job: Job, outcome: Outcome) -> None:
            if isinstance(outcome, str):
                outcomes.append({"reason": outcome})
                return
            seen = {key: value for key, value in outcome.items() if key in NOT_RECORDED}
            records.add(job.name, {key: value for key, value in outcome.items() if key not in NOT_RECORDED})
            outcomes.append({"seen": seen})

        try:
            segment_jobs(self.segmenter, self.place, jobs, note)
        except OutputError as error:
            outcomes = [{"stop": [error.problem, error.cure, str(error.path or "")]}] * len(jobs)
        except Exception:
            outcomes = [{"bug": traceback.format_exc()}] * len(jobs)
        finally:
            records.flush()
        return {"number": batch["number"], "outcome": np.array([json.dumps(outcome) for outcome in outcomes])}


def _spread(
    plan: Plan,
    settings: PlanSettings,
    model: Path,
    device: str,
    workers: int | None,
    load: Load,
    done: PredictSummary,
    progress: Tick | None,
) -> None:
    import ray
    from ray.data import ActorPoolStrategy, DataContext, from_items

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus = int(ray.cluster_resources().get("GPU", 0)) if device in ("auto", "cuda") else 0
    there = gpus or max(1, int(ray.cluster_resources().get("CPU", 1)))
    workers = min(workers or there, there, len(plan.todo))
    batch = max(1, min(LARGEST_BATCH, len(plan.todo) // (4 * workers)))
    rows = [_row(plan, number, job) for number, job in enumerate(plan.todo)]
    results = from_items(rows, override_num_blocks=-(-len(rows) // batch)).map_batches(
        SegmentBatch,
        fn_constructor_kwargs={
            # in a list, or Ray would hand over the bytes with every start of a worker
            "model": [ray.put(model.read_bytes())],
            "suffix": model.suffix,
            "device": device,
            "settings": asdict(settings),
            "load": load,
        },
        batch_size=None,
        # from 1 on: a pool that may shrink gives an idle worker's core to one that lost its node
        compute=ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers, max_tasks_in_flight_per_actor=2),
        num_cpus=None if gpus else 1,
        num_gpus=1 if gpus else None,
    )
    for row in _rows(results):
        outcome = json.loads(row["outcome"])
        if "stop" in outcome:
            problem, cure, path = outcome["stop"]
            raise OutputError(problem, cure=cure, path=path or None)
        if "bug" in outcome:
            raise RuntimeError(f"in a Ray worker:\n{outcome['bug']}")
        # records were written by the worker
        settle(plan, done, plan.todo[int(row["number"])], outcome.get("reason", outcome.get("seen", {})), progress)


def _rows(results: Any) -> Iterator[dict[str, Any]]:
    """What Ray Data gives back, as it comes."""
    import ray

    try:
        yield from results.iter_rows()
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()
        raise UsageError(
            f"the Ray workers fail ({reason[-1] if reason else type(error).__name__})",
            cure="Install the same version of distillfss, with what the model needs, on every node",
        ) from error


def _row(plan: Plan, number: int, job: Job) -> dict[str, Any]:
    return {
        "number": number,
        "root": job.image.root if isinstance(job.image, RemoteImage) else "",
        "image": job.image.name if isinstance(job.image, RemoteImage) else str(job.image.absolute()),
        "wanted": ",".join(plan.name_of(output) for output in job.wanted),
    }


def _absolute(path: str) -> str:
    """Where a worker's current folder does not matter."""
    return path if is_url(path) else str(Path(path).absolute())


def _check_arrival(plan: Plan, done: PredictSummary) -> None:
    """Nodes that do not share the folder with this machine have written to folders of their own."""
    failed = {image for image, _ in done.failed}
    place = open_place(plan.settings.out)
    for job in plan.todo:
        for output in job.wanted:
            target = output.target(job.stem)
            if job.image not in failed and target and not place.exists(target):
                raise OutputError(
                    f"{target} was written on another node and cannot be seen here",
                    cure="Give --out a folder that all nodes share, or an address such as s3://bucket/masks",
                )


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """``connected``, where Ray Data is installed."""
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
        raise UsageError("Ray Data is not installed", cure="pip install 'distillfss[ray]', or use --executor local")
    # its core warns that a worker cannot restart if the model is lost; the model lies with us, who outlive the workers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with connected(address, cores()):
        yield
