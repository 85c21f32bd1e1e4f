"""Meta-training as a whole: it learns, resumes exactly, does not depend on the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import cli_command, cli_environment
from PIL import Image

from distillfss import FitConfig, SupportSet, fit
from distillfss.backbones import load_backbone
from distillfss.checkpoints.teacher_file import load_start
from distillfss.cli import main
from distillfss.errors import FitInterrupted, ModelFileError, UsageError
from distillfss.meta.config import MetaConfig
from distillfss.meta.report import mean_iou
from distillfss.meta.running import MetaResult, all_that_comes, meta_train, save_teacher
from distillfss.models.teacher import Teacher

CONFIG = MetaConfig(
    size=64, steps=40, episodes=4, views=2.0, synthetic=3, hold_out=("c",), validate_every=20, validation_episodes=12
)


@pytest.fixture(scope="module")
def trained(sources, tmp_path_factory) -> tuple[MetaResult, Path]:
    folder = tmp_path_factory.mktemp("trained")
    return meta_train(sources, CONFIG, state=folder / "state", cache=folder / "cache", device="cpu"), folder


def assert_same(one: MetaResult, two: MetaResult, atol: float = 0.0) -> None:
    assert one.teacher.keys() == two.teacher.keys()
    for name in one.teacher:
        torch.testing.assert_close(one.teacher[name], two.teacher[name], rtol=0, atol=atol)


def test_it_learns_to_recognise_a_class_it_has_never_seen(trained):
    result, _ = trained
    assert list(result.held_out) == ["c"]
    assert mean_iou(result.held_out, "teacher", 1) > mean_iou(result.held_out, "untrained", 1) + 0.1
    # three images show c: too few for five shots and a query
    assert np.isnan(mean_iou(result.held_out, "teacher", 5))
    assert [row[0] for row in result.history] == [20, 40]
    assert all(0 <= row[2] <= 1 for row in result.history)


def test_two_processes_give_what_one_gives(trained, sources):
    result, folder = trained
    told = []
    two = meta_train(
        sources,
        CONFIG,
        state=folder / "state2",
        cache=folder / "cache2",  # filled by two processes as well
        device="cpu",
        processes=2,
        progress=told.append,
    )
    assert_same(result, two, atol=2e-5)
    assert {now.phase for now in told} == {"features", "train", "validate"}
    for one_row, two_row in zip(result.history, two.history, strict=True):
        assert one_row == pytest.approx(two_row, abs=2e-3, nan_ok=True)


def test_a_fault_in_one_of_several_processes_comes_back_as_itself(sources, tmp_path):
    config = replace(CONFIG, hold_out=("zebra",))
    with pytest.raises(UsageError, match="no source has the class 'zebra'"):
        meta_train(sources, config, state=tmp_path / "s", cache=tmp_path / "c", device="cpu", processes=2)


def test_a_process_that_is_killed_while_it_speaks_silences_no_other():
    """Killed within a message: its length is through and a part of it, as ``multiprocessing`` sends them."""
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(3)]
    (_, torn), (_, other), (_, silent) = pipes
    os.write(torn.fileno(), struct.pack("!i", 100) + b"ten bytes.")
    other.send("one")
    other.send({"two": 2})
    for writer in (torn, other, silent):
        writer.close()
    heard = []
    listener = threading.Thread(target=lambda: heard.extend(all_that_comes([r for r, _ in pipes])), daemon=True)
    listener.start()
    listener.join(20)
    assert not listener.is_alive()
    assert heard == ["one", {"two": 2}]
    assert all(reader.closed for reader, _ in pipes)


def test_a_killed_run_goes_on_to_the_same_weights(trained, sources, tmp_path, monkeypatch):
    result, folder = trained
    monkeypatch.setattr("distillfss.meta.training.SAVE_EVERY_SECONDS", 0.0)
    state = tmp_path / "state"

    class KilledError(Exception):
        pass

    def kill(now):
        if now.phase == "train" and now.done == 30:
            raise KilledError

    with pytest.raises(KilledError):
        meta_train(sources, CONFIG, state=state, cache=folder / "cache", device="cpu", progress=kill)
    said = []
    again = meta_train(sources, CONFIG, state=state, cache=folder / "cache", device="cpu", progress=said.append)
    assert next(now for now in said if now.phase == "train").message == "going on at step 29"
    assert_same(result, again)
    for row, again_row in zip(result.history, again.history, strict=True):
        assert again_row == pytest.approx(row, rel=0, abs=0, nan_ok=True)


def test_a_state_of_other_settings_is_not_continued(trained, sources, tmp_path):
    _, folder = trained
    state = tmp_path / "state"
    state.write_bytes((folder / "state").read_bytes())
    other = replace(CONFIG, steps=2, learning_rate=1e-3, validate_every=2, hold_out=("c",))
    result = meta_train(sources, other, state=state, cache=folder / "cache", device="cpu")
    assert [row[0] for row in result.history] == [2]


def test_settings_that_do_not_fit_together(sources, tmp_path):
    where = {"state": tmp_path / "s", "cache": tmp_path / "c", "device": "cpu"}
    with pytest.raises(UsageError, match="4 episodes per step cannot be shared out to 3 processes"):
        meta_train(sources, CONFIG, processes=3, **where)
    with pytest.raises(UsageError, match=r"size 100 does not do\. Choose a multiple of 32"):
        MetaConfig(size=100)
    with pytest.raises(UsageError, match="Raise --cache-gb"):
        meta_train(sources, CONFIG, cache_gb=0.0001, **where)


def test_a_fit_starts_from_the_file(trained, sources, tmp_path):
    result, _ = trained
    path = tmp_path / "start.safetensors"
    save_teacher(path, CONFIG, result)
    support = SupportSet.from_folder(sources[1])
    quick = FitConfig(size=64, effort=0.05, pool_views=4, distill_batch=2, init=str(path))
    segmenter = fit(support, quick)
    assert segmenter.summary["start"] == "start"
    assert fit(support, replace(quick, init="scratch")).summary["start"] == "scratch"
    teacher = Teacher(load_backbone("efficientnet_lite0").layers)
    from distillfss.backbones import weights_sha256

    sha = weights_sha256("efficientnet_lite0")
    info = load_start(path, teacher, "efficientnet_lite0", sha)
    assert all(torch.equal(t, result.teacher[name]) for name, t in teacher.state_dict().items())
    assert info.summary["settings"]["steps"] == 40
    with pytest.raises(ModelFileError, match=r"trained on efficientnet_lite0, not on efficientnet_lite1\. Add --backb"):
        load_start(path, teacher, "efficientnet_lite1", sha)
    with pytest.raises(ModelFileError, match="trained on other weights of efficientnet_lite0"):
        load_start(path, teacher, "efficientnet_lite0", "0")
    with pytest.raises(ModelFileError, match="no such file"):
        fit(support, replace(quick, init=str(tmp_path / "none")))


def words(sources: list[Path], out: Path, *more: str) -> list[str]:
    settings = "--hold-out c --steps 40 --episodes 4 --size 64 --views 2 --synthetic 3 --validate-every 20 --device cpu"
    return ["meta-train", *map(str, sources), "--out", str(out), *settings.split(), *more]


def test_the_verb_writes_teacher_card_and_curve(trained, sources, tmp_path, capsys):
    out = tmp_path / "new" / "tiny.safetensors"
    assert main(words(sources, out, "--cache", str(trained[1] / "cache"))) == 0
    printed = capsys.readouterr().out
    assert "learnt     in " in printed
    assert "from 160 episodes" in printed
    assert f"distillfss fit SUPPORT --init {out} --out MODEL" in printed
    card = out.with_suffix(".md").read_text()
    assert (
        "distillfss meta-train one two --out tiny.safetensors --hold-out c --steps 40 --episodes 4 --size 64 "
        "--views 2.0 --synthetic 3 --validate-every 20\n" in card
    )
    assert "- **Data**: `one`, 9 images, 3 classes\n- **Data**: `two`, 9 images, 2 classes\n" in card
    assert "| c | " in card
    assert "**mean**" in card
    assert Image.open(out.with_suffix(".png")).size == (960, 540)
    assert not out.with_name("tiny.safetensors.part").exists()
    assert main(words(sources, out)) == 5
    assert "exists already" in capsys.readouterr().err


def test_the_verb_replaces_no_card_or_curve_unasked(trained, sources, tmp_path, capsys):
    out = tmp_path / "keep.safetensors"
    for name in ("keep.md", "keep.png"):
        beside = tmp_path / name
        beside.write_text("mine")
        assert main(words(sources, out)) == 5
        assert f"{beside}: exists already" in capsys.readouterr().err
        assert beside.read_text() == "mine"
        assert list(tmp_path.iterdir()) == [beside]
        beside.unlink()
    for name in ("keep.safetensors", "keep.md", "keep.png"):
        (tmp_path / name).write_text("mine")
    assert main(words(sources, out, "--overwrite", "--cache", str(trained[1] / "cache"))) == 0
    assert not any(file.read_bytes() == b"mine" for file in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["t7.md", "t7.png", "t7", "t7.pt"])
def test_a_teacher_by_a_name_that_its_card_or_curve_would_take(sources, tmp_path, capsys, name):
    out = tmp_path / "new" / name
    assert main(words(sources, out)) == 2
    said = capsys.readouterr().err
    assert f"{out}: the name of the teacher does not end in .safetensors" in said
    assert f"Name it so, such as {tmp_path / 'new' / 't7.safetensors'}" in said
    assert not out.parent.exists()


def test_a_teacher_by_the_name_of_a_folder(sources, capsys):
    assert main(words(sources, Path())) == 5
    assert ".: is a folder. Name a file, such as teacher.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(("processes", "number", "code"), [(1, signal.SIGINT, 130), (2, signal.SIGTERM, 143)])
def test_a_signal_keeps_the_state_and_the_same_command_goes_on(sources, tmp_path, processes, number, code):
    out = tmp_path / "t.safetensors"
    more = ["--steps", "4000", "--validate-every", "4000", "--processes", str(processes)]
    command = cli_command(*words(sources, out, *more))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=cli_environment())
    assert process.stderr is not None
    while "training" not in (line := process.stderr.readline()):
        assert line, "it ended before training"
    time.sleep(3)
    process.send_signal(number)  # to the first process alone
    said = process.stderr.read()  # to the end: nobody holds the pipe any more
    assert process.wait(60) == code, said
    assert "stopped at step" in said
    assert "Run the same command again" in said
    assert out.with_name("t.safetensors.part").stat().st_size > 100_000
    assert not out.exists()


def test_the_verb_refuses_a_learning_rate_before_any_work(sources, tmp_path, capsys):
    assert main(words(sources, tmp_path / "t.safetensors", "--learning-rate", "nan")) == 2
    assert "learning_rate is nan. Give a finite number" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_call_says_so(sources, tmp_path, monkeypatch):
    calls = []

    def stop_at_5(now):
        calls.append(now)
        if now.phase == "train" and now.done == 10:
            os.kill(os.getpid(), signal.SIGINT)

    where = {"state": tmp_path / "s", "cache": tmp_path / "c", "device": "cpu"}
    with pytest.raises(FitInterrupted, match="stopped at step 10 of 40"):
        meta_train(sources, CONFIG, progress=stop_at_5, **where)
