"""Cells on the nodes of a Ray cluster, one of which goes away in the middle."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_helpers import calls, make_arena, processes, rows_of

from distillfss.bench.cells import Plan, make_cells
from distillfss.bench.executors import LocalExecutor, RayExecutor, threads_for
from distillfss.bench.methods.base import MethodSettings
from distillfss.bench.process import Task
from distillfss.bench.results import ResultsFolder
from distillfss.bench.runner import run
from distillfss.errors import UsageError

SECONDS = 900
"""Far more than it takes: a machine that is busy otherwise is no fault of the run."""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one core each; the nodes take over the environment as it is now."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'distillfss[ray]'")
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        made.second = made.add_node(**node)
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"


def test_a_node_that_goes_away_loses_nothing(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    make_arena(tmp_path)
    plan = Plan(
        data=tmp_path / "data",
        datasets=["discs"],
        methods=["mine:Slow"],
        shots=[1],
        seeds=range(4),
        protocol="locked",
        support="random",
        unlabeled=0,
        settings=MethodSettings(),
    )
    folder = ResultsFolder(tmp_path / "results")
    folder.make()
    cells = make_cells(plan, folder.contents_file)
    killed: list[int] = []

    def kill_a_node() -> None:
        """When both nodes have a cell; then let all cells end as soon as the lost one's process is gone."""
        end = time.monotonic() + SECONDS
        while len(processes(tmp_path)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        cluster.remove_node(cluster.second, allow_graceful=False)
        while time.monotonic() < end and not killed:
            killed.extend(process for process in processes(tmp_path) if not alive(process))
            time.sleep(0.05)
        (tmp_path / "go").touch()

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    summary = run(cells, folder, RayExecutor(1, cluster.address), plan.data)
    killer.join()

    assert len(killed) == 1
    assert (summary.computed, summary.failed) == (4, ())
    rows = rows_of(folder.root)
    assert sorted(row["seed"] for row in rows) == [0, 1, 2, 3]
    assert {row["key"] for row in rows} == {cell.key for cell in cells}
    # one cell was begun twice, none ended twice
    assert len(calls(tmp_path)) == 5
    assert sorted(calls(tmp_path, "ends")) == [f"slow seed {seed} support 1 extra 0" for seed in range(4)]
    assert all(row["result"]["foreground_iou_384"] > 0.99 and row["threads"] == 1 for row in rows)
    assert len(list((folder.root / "masks").iterdir())) == 4


def test_no_cluster_is_a_usage_error_at_once():
    """Ray itself would try for minutes and then end the process."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'distillfss[ray]'")
    task = Task("key", {}, "data", ".", 1, masks=False)
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        next(RayExecutor(1, "127.0.0.1:1").run([task]))
    assert time.monotonic() - began < 60
    assert list(RayExecutor(1, "127.0.0.1:1").run([])) == []  # with nothing to do, nobody is asked


def test_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_for(jobs, 8) for jobs in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [threads_for(jobs, 8) for jobs in (1, 8)] == [2, 1]
    assert LocalExecutor(1).threads <= 2
