"""``distillfss bench run`` as a process with real cells in processes of their own: killed, interrupted, failing."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import calls, make_arena, processes, rows_of
from click.testing import CliRunner
from helpers import cli_command, cli_environment

from distillfss.cli.bench import run as verb
from distillfss.io.masks import read_mask

SECONDS = 900
"""Far more than it takes: a machine that is busy otherwise is no fault of the run."""


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    return make_arena(tmp_path)


def words(*more: str) -> list[str]:
    return ["bench", "run", "--data", "data", "--datasets", "discs", "--shots", "1", *more]


def bench(arena: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        cli_command(*words(*more)),
        cwd=arena,
        env=cli_environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def start(arena: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        cli_command(*words(*more)),
        cwd=arena,
        env=cli_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def test_stopped_and_killed_runs_go_on_and_nothing_is_computed_twice(arena: Path):
    asked = ("--methods", "mine:Bright", "mine:Slow", "--seeds", "0", "1")
    process = start(arena, *asked)
    wait_until(lambda: "slow seed 0 support 1 extra 0" in calls(arena))
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped with 1 of 4 cells done. Run the same command again to go on"
    assert not alive(processes(arena)[-1])

    process = start(arena, *asked)
    wait_until(lambda: len(calls(arena)) == 3)
    process.kill()
    process.communicate(timeout=SECONDS)
    # the cell's own process sees that nobody waits for it any more
    wait_until(lambda: not alive(processes(arena)[-1]))
    with (arena / "results" / "results.jsonl").open("a") as file:
        file.write('{"key": "cut off by the ki')

    (arena / "go").touch()
    done = bench(arena, *asked, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["cells"], report["computed"], report["cached"], report["failed"]) == (4, 3, 1, [])
    again = json.loads(bench(arena, *asked, "--json").stdout)
    assert (again["computed"], again["cached"]) == (0, 4)

    ended = sorted(calls(arena, "ends"))
    assert ended == [f"{name} seed {seed} support 1 extra 0" for name in ("bright", "slow") for seed in (0, 1)]
    assert sorted(calls(arena)) == sorted([*ended, *["slow seed 0 support 1 extra 0"] * 2])
    rows = rows_of(arena / "results")
    assert len(rows) == len({row["key"] for row in rows}) == 4
    runs = (arena / "results" / "runs.jsonl").read_text()
    assert (
        runs.count("bench run --data DATA --datasets discs --methods mine:Bright mine:Slow --shots 1 --seeds 0 1") == 4
    )


def test_files_that_cannot_be_read_are_told(arena: Path):
    assert bench(arena, "--methods", "mine:Bright", "--seeds", "0").returncode == 0
    (row,) = rows_of(arena / "results")
    (arena / "data" / "discs" / "images" / f"{row['test_names'][0]}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    unused = sorted({f"disc{number:03d}" for number in range(10)} - {*row["support_names"], *row["test_names"]})[0]
    (arena / "data" / "discs" / "masks" / f"{unused}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    done = bench(arena, "--methods", "mine:Bright", "--seeds", "0")
    assert done.returncode == 0, done.stderr
    assert f"discs: 1 of 10 images are left out, their masks cannot be read ({unused}); 'distillfss" in done.stderr
    assert f"1 of {len(row['test_names'])} test images could not be read" in done.stderr


def test_failing_and_crashing_cells_are_recorded_and_the_rest_goes_on(arena: Path):
    (arena / "broken").touch()
    asked = (
        "--methods",
        "mine:Failing",
        "mine:Crashing",
        "mine:Dark",
        "--seeds",
        "0",
        "--unlabeled",
        "2",
        "--jobs",
        "2",
    )
    done = bench(arena, *asked)
    assert done.returncode == 1, done.stderr
    assert "cells      3: 3 computed, 0 there already" in done.stdout
    assert "  discs, mine:Failing, 1 shot, seed 0: the method is broken" in done.stdout
    rows = {row["method"]: row for row in rows_of(arena / "results")}
    assert rows["mine:Failing"]["error"] == {"kind": "ValueError", "message": "the method is broken"}
    assert rows["mine:Crashing"]["error"]["message"].startswith("the process was ended by SIGKILL")
    log = (arena / "results" / "logs" / f"{rows['mine:Failing']['key']}.txt").read_text()
    assert 'raise ValueError("the method is broken")' in log
    check_row(arena, rows["mine:Dark"])

    (arena / "broken").unlink()
    number = len(calls(arena))
    done = bench(arena, *asked)
    assert (done.returncode, len(calls(arena))) == (1, number)
    done = bench(arena, *asked, "--retry", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["computed"], report["cached"]) == (1, 2, 1)
    assert [failed["method"] for failed in report["failed"]] == ["mine:Crashing"]
    assert calls(arena, "ends").count("failing seed 0 support 1 extra 2") == 1


def check_row(arena: Path, row: dict) -> None:
    """Everything a row has to hold; this method marks what is dark, so the disc's IoU is 0."""
    assert row["status"] == "done"
    result = row["result"]
    assert (result["foreground_iou_384"], result["classes"]["disc"]) == (0.0, {"iou_384": 0.0, "iou": 0.0})
    assert [image["image"] for image in result["images"]] == row["test_names"]
    assert {image["iou_384"] for image in result["images"]} == {0.0}
    assert set(row["seconds"]) == {"fit", "predict", "per_image"}
    assert 50 < row["peak_mb"] < 2000
    assert (row["threads"], row["jobs"]) == (1, 2)
    assert row["load"] is None or row["load"] >= 0
    assert set(row["versions_all"]) == {"distillfss", "torch", "numpy", "python"}
    assert row["identity"] == {"limit": 128}
    assert str(arena) not in json.dumps(row)
    masks = arena / "results" / "masks" / row["key"]
    assert sorted(path.stem for path in masks.iterdir()) == row["test_names"]
    truth = read_mask(arena / "data" / "discs" / "masks" / f"{row['test_names'][0]}.png")
    mask = read_mask(masks / f"{row['test_names'][0]}.png")
    assert mask.shape == (384, 384)
    assert abs(mask.mean() - (1 - truth.mean())) < 0.01
    assert set(np.unique(mask)) == {0, 1}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--datasets", "nothing"), "there is no data set 'nothing'"),
        (("--ray-address", "auto"), "--ray-address without Ray. Add --executor ray"),
        (("--shots", "0"), "0 is not in the range x>=1"),
        (("stray",), "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_told_before_any_work(
    arena: Path, more: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
):
    runner = CliRunner(env={"OMP_NUM_THREADS": "1"})
    monkeypatch.chdir(arena)
    base = ["--data", "data"] if more[0] == "--datasets" else ["--data", "data", "--datasets", "discs"]
    result = runner.invoke(
        verb.command, [*base, "--methods", "mine:Bright", *(["--", *more] if more == ("stray",) else more)]
    )
    assert result.exit_code != 0
    assert expected in f"{result.output} {result.exception}"
    assert not calls(arena)


def test_options_take_several_words():
    context = verb.command.make_context(
        "run",
        ["--data", "d", "--shots", "1", "5", "-j", "2", "--datasets", "a", "b", "--seeds", "3", "--methods", "m:X", "n",
         "--fresh"],
    )  # fmt: skip
    found = context.params
    assert (found["shots"], found["seeds"], found["datasets"]) == ((1, 5), (3,), ("a", "b"))
    assert (found["methods"], found["jobs"], found["fresh"]) == (("m:X", "n"), 2, True)
    with context:
        spelled = verb.spelled(["m:X", "n"])
    assert spelled == (
        "distillfss bench run --data DATA --datasets a b --methods m:X n --shots 1 5 --seeds 3 --out RESULTS"
    )


def test_names_in_help_are_those_that_exist():
    from distillfss.bench.protocol import PICKED, PROTOCOLS, SUPPORTS

    assert tuple(PROTOCOLS) == verb.PROTOCOL_NAMES
    assert (*SUPPORTS, PICKED) == verb.SUPPORT_NAMES
