"""What every verb does alike: one-line errors, exit codes, JSON alone on standard output, Ctrl-C, closed pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from helpers import cli_command, cli_environment

from distillfss.bench.runner import Summary
from distillfss.cli import main, options
from distillfss.cli.bench import run as bench_run
from distillfss.cli.running import Finished, Stopped, one_line, run
from distillfss.errors import DataError, FitInterrupted
from distillfss.io.faults import SeveralFaultsError

Process = subprocess.CompletedProcess[str]
RunCli = Callable[..., Process]
VERBS = ("check", "fit", "extend", "predict", "evaluate", "demo", "doctor", "meta-train", "bench", "import-checkpoint")


def group(error: BaseException | None = None, document: object = None) -> click.Group:
    """A command line with the one verb ``go``, which prints something and ends as told."""

    @click.group()
    def outer() -> None:
        """Nothing."""

    @outer.command()
    @click.option("--json", "as_json", is_flag=True)
    @click.option("--debug", is_flag=True)
    def go(as_json: bool, debug: bool) -> object:
        print("chatter of a library")
        if error is not None:
            raise error
        return document

    return outer


def test_help_is_fast_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from distillfss.cli import main; main(['--help']);"
        "heavy = {'torch', 'rich', 'jinja2', 'numpy', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=cli_environment())
        seconds.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
    assert min(seconds) < 0.5
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "bench"] + ["bench run", "bench report"])
def test_help_of_a_verb_does_not_import_torch(verb: str) -> None:
    code = (
        f"import sys; from distillfss.cli import main; main([*{verb.split()!r}, '--help']);"
        "heavy = {'torch', 'rich', 'jinja2'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=cli_environment())
    assert done.returncode == 0, done.stderr
    assert f"Usage: distillfss {verb}" in done.stdout
    assert "--json" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_without_arguments_it_explains_itself(run_cli: RunCli) -> None:
    done = run_cli()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: distillfss")


def test_version(run_cli: RunCli) -> None:
    from distillfss import __version__

    assert run_cli("--version").stdout == f"distillfss {__version__}\n"


@pytest.mark.parametrize(
    ("words", "problem", "cure"),
    [
        (["fly"], "No such command 'fly'", "See 'distillfss --help'"),
        (["fit", "x"], "Missing option '--out'", "See 'distillfss fit --help'"),
        (["fit", "x", "--out", "m", "--seed", "-1"], "'--seed'", "See 'distillfss fit --help'"),
        (["fit", "x", "--out", "m", "--device", "tpu"], "'--device'", "See 'distillfss fit --help'"),
        (["predict", "m"], "Missing argument 'IMAGES'", "See 'distillfss predict --help'"),
    ],
)
def test_wrong_usage(words: list[str], problem: str, cure: str, run_cli: RunCli) -> None:
    done = run_cli(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert problem in done.stderr
    assert cure in done.stderr
    with_json = run_cli(*words, "--json")
    assert json.loads(with_json.stdout)["error"]["exit_code"] == with_json.returncode == 2


def test_error_names_file_problem_and_cure(capsys: pytest.CaptureFixture[str]) -> None:
    error = DataError("is truncated", cure="Copy it again", path="a.jpg")
    assert run(group(error), ["go"]) == 3
    assert capsys.readouterr().err == "error: a.jpg: is truncated. Copy it again\n"


def test_error_as_json_is_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    error = DataError("is truncated", cure="Copy it again", path="a.jpg")
    assert run(group(error), ["go", "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "error": {
            "kind": "DataError",
            "message": "a.jpg: is truncated. Copy it again",
            "exit_code": 3,
            "problem": "is truncated",
            "cure": "Copy it again",
            "path": "a.jpg",
        }
    }
    assert captured.err == "chatter of a library\nerror: a.jpg: is truncated. Copy it again\n"


def test_several_faults_get_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [DataError("is empty", cure="Fill it", path=f"{n}.png") for n in range(13)]
    faults.insert(2, DataError("is cut off", cure="Copy it again", path="cut.png"))
    assert run(group(SeveralFaultsError(faults)), ["go", "--json"]) == 3
    captured = capsys.readouterr()
    lines = captured.err.splitlines()[1:]
    assert lines[0] == "error: 0.png: is empty. Fill it"
    assert lines[1] == "  also: 1.png: is empty"  # the same cure need not be read again
    assert lines[2] == "  also: cut.png: is cut off. Copy it again"
    assert lines[-1] == "  and 3 more"
    assert len(lines) == 12
    also = json.loads(captured.out)["error"]["also"]
    assert len(also) == 13
    assert also[0] == "1.png: is empty. Fill it"


def test_document_and_exit_code_of_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group(document={"iou": 0.5}), ["go", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"iou": 0.5}
    assert run(group(Finished(1, {"ok": False})), ["go", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"ok": False}
    assert run(group(document={"iou": 0.5}), ["go"]) == 0
    assert capsys.readouterr().out == "chatter of a library\n"


def test_unexpected_error_is_called_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group(ZeroDivisionError("division\nby zero")), ["go"]) == 70
    error = capsys.readouterr().err
    assert error.startswith("error: unexpected ZeroDivisionError: division by zero. This is a bug")
    assert error.count("\n") == 1
    assert run(group(ZeroDivisionError("division by zero")), ["go", "--debug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_debug_shows_where_an_expected_error_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group(DataError("is empty", cure="Fill it")), ["go", "--debug"]) == 3
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith("error: is empty. Fill it\n")


@pytest.mark.parametrize(
    ("stop", "line"),
    [
        (KeyboardInterrupt(), "stopped. Nothing was lost\n"),
        (Stopped("stopped after 3 masks"), "stopped after 3 masks\n"),
        (
            FitInterrupted("stopped at step 3 of 9", cure="Run it again", path="m.part"),
            "stopped at step 3 of 9. Run it again\n",
        ),
    ],
)
def test_ctrl_c(stop: BaseException, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group(stop), ["go"]) == 130
    assert capsys.readouterr().err == line


def test_small_files_are_not_nothing(tmp_path: Path) -> None:
    for size, text in ((0, "0.0 kB"), (2345, "2.3 kB"), (100_000, "0.1 MB"), (12_340_000, "12.3 MB")):
        (tmp_path / "file").write_bytes(bytes(size))
        assert options.megabytes(tmp_path / "file") == text


def test_the_list_of_failed_cells_has_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = {"dataset": "discs", "method": "mine:Failing", "shots": 1, "seed": 0}
    row = {"key": "k", **cell, "error": {"message": "first\n second line"}}
    bench_run._print({"seconds": 1.0}, Summary(asked=1, cached=0, computed=1, failed=(row,)), tmp_path)
    assert "  discs, mine:Failing, 1 shot, seed 0: first second line" in capsys.readouterr().out.splitlines()


def test_names_cannot_break_the_line() -> None:
    assert one_line("a\nb\x1b[31mc\udcffd") == r"a b\x1b[31mc\udcffd"


def test_sigterm_is_ctrl_c_with_its_own_code(tmp_path: Path) -> None:
    code = (
        "import time, click, sys; from distillfss.cli.running import run\n"
        "@click.group()\ndef g(): pass\n"
        "@g.command()\ndef go():\n    print('ready', flush=True); [time.sleep(0.05) for _ in range(600)]\n"
        "sys.exit(run(g, ['go']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cli_environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (143, "stopped. Nothing was lost\n")


def test_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        cli_command("--help"), stdout=writer, stderr=subprocess.PIPE, text=True, env=cli_environment()
    )
    os.close(writer)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [("doctor", "--json"), ("doctor",)])
def test_standard_output_on_a_full_disk_is_one_line(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            cli_command(*words), stdout=full, stderr=subprocess.PIPE, text=True, env=cli_environment(), timeout=120
        )
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("error: standard output: the disk is full")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("names", "extra", "told"),
    [
        (["mix/a.jpg", "mix/b c.jpg", "mix/c.jpg"], "2 more files came after it (mix/b c.jpg, ...)", "'mix/*.jpg'"),
        (["mix/a.png", "mix/b c.jpg"], "1 more file came after it (mix/b c.jpg)", "'mix/*'"),
        (["d.png", "e.png"], "1 more file came after it (e.png)", "'*.png'"),
        (["d.png", "mix/a.png"], "1 more file came after it (mix/a.png)", "'FOLDER/*.png'"),
        (["odd[1]/f.png", "odd[1]/g.png"], "1 more file came after it (odd[1]/g.png)", "'odd[[]1]/*.png'"),
    ],
)
@pytest.mark.parametrize("verb", [["predict", "model", "--out", "e.png"], ["pick", "-n", "2"]])
def test_a_pattern_without_quotes_is_told(
    verb: list[str],
    names: list[str],
    extra: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "mix/a.jpg",
        "mix/a.png",
        "mix/b c.jpg",
        "mix/c.jpg",
        "d.png",
        "e.png",
        "odd[1]/f.png",
        "odd[1]/g.png",
    ):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert main([*verb, *names]) == 2
    said = f"IMAGES is one folder, file or pattern, and {extra}. Quote the pattern: {told}"
    assert capsys.readouterr().err == f"error: {said}. See 'distillfss {verb[0]} --help'\n"


@pytest.mark.parametrize(
    "words", [["predict", "model", "a", "gone.png"], ["pick", "a", "here.png", "b"], ["doctor", "x"]]
)
def test_other_words_too_many_are_told_as_they_are(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.png").touch()
    (tmp_path / "x").touch()
    assert main([*words, "--out", "o"] if words[0] == "predict" else words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: Got unexpected extra argument")
    assert "pattern" not in told
