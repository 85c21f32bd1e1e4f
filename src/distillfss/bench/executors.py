"""Where cells are computed: on this machine, or on the nodes of a Ray cluster. Both start the same fresh processes."""

from __future__ import annotations

import importlib.util
import os
import queue
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from distillfss.bench.process import Child, Outcome, Task, run_fresh, stop
from distillfss.bench.surroundings import cores
from distillfss.errors import UsageError
from distillfss.ray_cluster import connected

NODE_FAILURES = 20
"""How often a cell is begun anew because the node it ran on went away."""


Outcomes = Generator[tuple[Task, Outcome], None, None]


class Executor(Protocol):
    """Computes tasks in any order. Closing the generator stops what is running."""

    def run(self, tasks: Sequence[Task]) -> Outcomes:
        """Every task with its outcome, as they are done."""
        ...


def threads_for(jobs: int, available: int) -> int:
    """Threads per cell: the cores shared among the jobs, at most ``OMP_NUM_THREADS`` where that is set."""
    share = max(1, available // jobs)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(asked)) if asked.isdecimal() and int(asked) else share


class LocalExecutor:
    """``jobs`` processes at a time on this machine."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.threads = threads_for(jobs, cores())
        self._running: set[Child] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, tasks: Sequence[Task]) -> Outcomes:
        """Every task with its outcome, as they are done."""
        done: queue.SimpleQueue[tuple[Task, Outcome | BaseException]] = queue.SimpleQueue()
        pool = ThreadPoolExecutor(self.jobs)
        jobs = min(self.jobs, len(tasks))
        try:
            for task in tasks:
                pool.submit(self._one, replace(task, threads=self.threads, jobs=jobs), done)
            for _ in tasks:
                task, outcome = done.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield task, outcome
        finally:
            self._stop()
            pool.shutdown(cancel_futures=True)

    def _one(self, task: Task, done: queue.SimpleQueue[tuple[Task, Outcome | BaseException]]) -> None:
        try:
            done.put((task, run_fresh(task, self._started)))
        except BaseException as error:  # no process could be started: for the main thread to tell
            done.put((task, error))

    def _started(self, child: Child) -> None:
        with self._lock:
            self._running = {other for other in self._running if other.poll() is None} | {child}
            if self._stopping:
                stop(child)

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
            for child in self._running:
                # a process that was waited for may have left its number to another one
                if child.returncode is None:
                    stop(child)


class RayExecutor:
    """``jobs`` processes at a time on every node of a Ray cluster.

    A Ray task only starts the fresh process and waits, so a cell is computed the same way everywhere. The nodes need
    the same versions, and the data sets under the same path. If a node goes away, its cells are begun anew on another.

    Parameters
    ----------
    address
        Of an existing cluster (see ``ray.init``); None starts one on this machine and ends it with the run.
    """

    def __init__(self, jobs: int, address: str | None = None, gpu: bool = False) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UsageError("Ray is not installed", cure="pip install 'distillfss[ray]', or use --executor local")
        self.jobs = jobs
        self.address = address
        self.gpu = gpu

    def run(self, tasks: Sequence[Task]) -> Outcomes:
        """Every task with its outcome, as they are done."""
        if not tasks:
            return
        with connected(self.address, cores()):
            yield from self._run(tasks)

    def _run(self, tasks: Sequence[Task]) -> Outcomes:
        import ray

        pending: dict[Any, Task] = {}
        try:
            threads = threads_for(self.jobs, self._cores_of_a_node())
            remote = ray.remote(_on_a_node).options(
                num_cpus=threads,
                num_gpus=1 / self.jobs if self.gpu else 0,
                max_retries=NODE_FAILURES,
            )
            jobs = min(self.jobs, len(tasks))
            pending = {remote.remote(replace(task, threads=threads, jobs=jobs)): task for task in tasks}
            while pending:
                for reference in ray.wait(list(pending), num_returns=1)[0]:
                    yield pending.pop(reference), _fetched(reference)
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)

    def _cores_of_a_node(self) -> int:
        """Cores of the smallest node that computes, so that every one can take a cell."""
        import ray

        found = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        return min((number for number in found if number), default=1)


def _on_a_node(task: Task) -> Outcome:
    """What Ray runs. When Ray ends its worker, the process sees its pipe close and ends as well."""
    return run_fresh(task)


def _fetched(reference: Any) -> Outcome:
    """What came of a Ray task; one that Ray gave up is a cell that failed."""
    import ray

    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        text = str(error).strip().splitlines()
        problem = {"kind": type(error).__name__, "message": text[0] if text else "Ray gave the task up"}
        return Outcome({"status": "failed", "error": problem}, {}, "\n".join(text))
    return outcome
