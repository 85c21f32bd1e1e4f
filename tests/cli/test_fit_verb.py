"""``distillfss fit`` as a process on tiny images: the model file, restarts, what is refused before any training."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import cli_environment, disc_pair, write_pair
from pictures import as_nobody, folder_for_everyone, make_folder, two_classes
from PIL import Image
from safetensors.numpy import load_file

from distillfss import FitConfig, SupportSet, fit
from distillfss.artifact import read_model
from distillfss.cli import main
from distillfss.cli.display import Display
from distillfss.cli.fit import BACKBONE_NAMES, PHASES, is_first_model, training_progress
from distillfss.errors import OutputError
from distillfss.fit_preparation import Progress
from distillfss.fitting import FilesLeftOut, Resumed

Process = subprocess.CompletedProcess[str]
RunCli = Callable[..., Process]

QUICK = ("--size", "64", "--effort", "0.1", "--device", "cpu")
TRAINING = ("transfer", "distill", "adapt", "self-train")
"""The phases; the cross-validation goes on beside the first."""

# The command line with a state written after every step instead of every few seconds.
EAGER = (
    "import sys, distillfss.fitting as fitting; fitting.SAVE_EVERY_SECONDS = 0.0;"
    "from distillfss.cli import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture
def support(make_labelled: Callable[..., Path]) -> Path:
    return make_labelled("support", count=2)


def start(*words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", EAGER, *(str(word) for word in words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cli_environment(),
    )


def wait_for(state: Path, process: subprocess.Popen[str], line: str, seconds: float = 60) -> str:
    """What the process printed up to ``line``, as soon as it has written a state since."""
    assert process.stderr is not None
    said = ""
    while not said.endswith(f"{line}\n"):
        read = process.stderr.readline()
        assert read, said
        said += read
    before = state.stat().st_mtime_ns if state.exists() else 0
    end = time.monotonic() + seconds
    while not state.exists() or state.stat().st_mtime_ns == before:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    return said


def same_model(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_fit_predict_evaluate(
    support: Path, tmp_path: Path, run_cli: RunCli, make_labelled: Callable[..., Path]
) -> None:
    model = tmp_path / "models" / "disc.safetensors"
    done = run_cli("fit", support, "--out", model, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["class_names"] == ["disc"]
    assert report["bytes"] == model.stat().st_size < 16_000_000
    assert report["backbone_embedded"] is True
    assert report["support"]["images"] == 2
    assert report["support"]["shots"] == {"disc": 2}
    assert sorted(path.name for path in model.parent.iterdir()) == ["disc.safetensors"]
    lines = done.stderr.splitlines()
    assert lines[:2] == ["reading support", "loading PyTorch"]
    assert [PHASES[name] for name in TRAINING[:-1]] == [line for line in lines if line in PHASES.values()][1:]
    assert report["training"]["unlabeled"] == 0

    masks = tmp_path / "masks"
    done = run_cli("predict", model, support / "images", "--out", masks)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in masks.glob("*.png")) == ["disc000.png", "disc001.png"]
    with Image.open(masks / "disc000.png") as mask:
        assert (mask.mode, mask.size) == ("P", (80, 60))

    unseen = make_labelled("unseen", count=2, seed=50)
    done = run_cli("evaluate", model, unseen, "--json", "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert 0 <= json.loads(done.stdout)["foreground_iou"] <= 1
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (Resumed("transfer", 3, 9, "once more"), "going on from {state} at step 3 of 9"),
        (Progress("transfer", 3, 9, "going on"), "{state} is of other images or settings: starting over"),
    ],
    ids=["resumed", "fresh"],
)
def test_what_is_told_goes_by_its_kind_not_by_its_words(
    first: Progress, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "m.part"
    state.touch()
    with Display() as show:
        tell = training_progress(state, show)
        tell(FilesLeftOut("prepare", 0, 1, "b.png is broken"))
        tell(Progress("prepare", 0, 1, "left out: nothing"))
        tell(first)
        tell(replace(first, step=4))
    notes = [line for line in capsys.readouterr().err.splitlines() if line not in PHASES.values()]
    assert notes == ["note: b.png is broken", said.format(state=state)]


def test_fit_killed_twice_goes_on_to_the_same_model(
    support: Path, tmp_path: Path, run_cli: RunCli, make_labelled: Callable[..., Path]
) -> None:
    whole, killed = "whole.safetensors", tmp_path / "killed.safetensors"
    without = make_labelled("without", count=3, seed=70) / "images"
    (without / "broken.png").write_text("no picture")
    quick = [*QUICK, "--unlabeled", without]
    done = run_cli("fit", support, "--out", whole, *quick)
    assert done.returncode == 0, done.stderr
    told = f"note: left out: 1 of 4 images without annotation, such as {without / 'broken.png'}: "
    assert told in done.stderr
    check_summary(done.stdout.splitlines(), whole, ", and 3 without annotation")

    state, first = tmp_path / "killed.safetensors.part", tmp_path / "killed.first.safetensors"
    for phase in TRAINING:
        process = start("fit", support, "--out", killed, *quick)
        said = wait_for(state, process, PHASES[phase])
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        assert process.returncode == -signal.SIGKILL
        assert not killed.exists()
        assert state.exists()
        assert first.exists() == (phase != "transfer")
    assert read_model(first)[0].summary["steps"]["distill"] == 0
    assert f"going on from {state} at step " in said
    done = run_cli("fit", support, "--out", killed, *quick)
    assert done.returncode == 0, done.stderr
    assert f"going on from {state} at step " in done.stderr
    assert "training the teacher" not in done.stderr
    assert not state.exists()
    assert not first.exists()
    assert not (tmp_path / "whole.first.safetensors").exists()
    assert same_model(tmp_path / whole, killed)


def test_a_file_that_has_the_name_of_the_first_model_is_left_alone(
    support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "m.first.safetensors"
    theirs.write_text("of another fit")
    words = ["fit", str(support), "--out", str(tmp_path / "m.safetensors"), *QUICK]
    process = start(*words)
    wait_for(tmp_path / "m.safetensors.part", process, PHASES["transfer"])
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    # that a fit goes on from a state does not make the file its own
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "going on from" in said
    assert "a first model" not in said
    assert theirs.read_text() == "of another fit"


def test_a_finished_model_that_has_the_name_of_the_first_model_is_left_alone(support: Path, tmp_path: Path) -> None:
    assert main(["fit", str(support), "--out", str(tmp_path / "m.first.safetensors"), *QUICK]) == 0
    before = (tmp_path / "m.first.safetensors").read_bytes()
    assert main(["fit", str(support), "--out", str(tmp_path / "m.safetensors"), *QUICK]) == 0
    assert (tmp_path / "m.first.safetensors").read_bytes() == before


def test_a_first_model_that_a_stopped_fit_left_is_gone_after_a_fresh_one(support: Path, tmp_path: Path) -> None:
    model, first = tmp_path / "m.safetensors", tmp_path / "m.first.safetensors"
    process = start("fit", support, "--out", model, *QUICK)
    wait_for(tmp_path / "m.safetensors.part", process, PHASES["distill"])
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert first.exists()
    assert main(["fit", str(support), "--out", str(model), "--fresh", *QUICK]) == 0
    assert model.exists()
    assert not first.exists()


def test_what_is_a_first_model_and_what_is_finished(tmp_path: Path) -> None:
    one = SupportSet.from_arrays(*map(list, zip(disc_pair(0), strict=True)), ["disc"])  # the teacher takes no step
    path = tmp_path / "m.first.safetensors"
    config = FitConfig(size=64, effort=0.1, device="cpu")
    finished = fit(one, config, first_model=lambda model: model.save(path))
    assert is_first_model(path)
    for model in (finished, fit(one, replace(config, instant=True))):
        model.save(path)
        assert not is_first_model(path)


@pytest.mark.parametrize("verb", ["fit", "extend", "import-checkpoint"])
def test_a_model_is_not_named_like_an_onnx_file(
    verb: str, support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.safetensors").touch()
    given = {"fit": [support], "extend": [tmp_path / "old.safetensors", support]}
    words = given.get(verb, [tmp_path / "old.safetensors", "--classes", "disc"])
    assert main([verb, *map(str, words), "--out", str(tmp_path / "M.ONNX")]) == 5
    assert "M.ONNX: a model is not written as ONNX. Name it M.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["--instant", "--frozen-backbone"])
def test_images_without_annotation_need_a_backbone_that_learns(
    other: str, support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", str(support), "--out", str(tmp_path / "m.safetensors"), "--unlabeled", str(support / "images")]
    assert main([*words, other]) == 2
    assert "Leave out one of --unlabeled and --instant or --frozen-backbone" in capsys.readouterr().err


def test_images_without_annotation_are_looked_for_before_training(
    support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    words = ["fit", str(support), "--out", str(tmp_path / "m.safetensors"), "--unlabeled", str(nowhere)]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert f"{nowhere}: there is no such file or folder" in said
    assert "training" not in said


def check_summary(lines: list[str], model: str, beside: str = "") -> None:
    """What a person reads after a fit of two discs."""
    assert lines[0].startswith(f"model      {model} (")
    assert lines[1] == "classes    disc"
    assert lines[2].endswith(f" from 2 images (disc in 2){beside}")
    assert "% foreground IoU" in lines[3]
    assert re.fullmatch(r"expect     \d+ % IoU on new images \(\d+ to \d+ in 8 cases of 10\)", lines[4])
    assert re.fullmatch(r"           \(marking everything: \d+ %; before training: \d+ %\)", lines[5])
    assert f"  distillfss predict {model} IMAGES --out MASKS" in lines
    assert f"  distillfss evaluate {model} LABELLED --out REPORT" in lines
    assert max(len(line) for line in lines) <= 80


def test_of_a_class_that_no_image_shows_nothing_is_expected(
    support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", str(support), "--out", str(tmp_path / "m.safetensors"), "--classes", "disc,ring", *QUICK]
    assert main([*words, "--strict"]) == 7
    said = capsys.readouterr()
    assert "0 %    ring (no image shows it)" in [line.strip() for line in said.out.splitlines()]
    assert "ring may be found no better than by marking everything: no image shows it; annotate 5 images" in said.err


@pytest.mark.parametrize(
    ("number", "code", "then", "said"),
    [
        (signal.SIGINT, 130, ["--seed", "1"], "m.safetensors.part is of other images or settings: starting over"),
        (signal.SIGTERM, 143, ["--fresh"], ""),
    ],
)
def test_stopped_fit_says_how_to_go_on_and_another_fit_does_not_use_its_state(
    number: signal.Signals, code: int, then: list[str], said: str, support: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    model, state = tmp_path / "m.safetensors", tmp_path / "m.safetensors.part"
    process = start("fit", support, "--out", model, *QUICK)
    wait_for(state, process, PHASES[TRAINING[0]])
    process.send_signal(number)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, "")
    last = error.splitlines()[-1]
    assert last.startswith("stopped at step ")
    assert last.endswith(". Run the same command again to go on from there")
    assert state.exists()
    assert not model.exists()

    done = run_cli("fit", support, "--out", model, *QUICK, *then)
    assert done.returncode == 0, done.stderr
    assert said in done.stderr
    assert "going on" not in done.stderr
    assert not state.exists()


def fit_error(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """Exit code and last line of a fit that must fail before PyTorch is needed."""
    code = main(["fit", *(str(word) for word in words)])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loading PyTorch" not in captured.err
    return code, captured.err.splitlines()[-1]


def test_existing_model_is_not_replaced(support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"precious")
    code, line = fit_error(capsys, support, "--out", model)
    assert (code, line) == (5, f"error: {model}: exists already. Choose another name or add --overwrite")
    assert model.read_bytes() == b"precious"


def test_output_is_checked_before_training(support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = fit_error(capsys, support, "--out", tmp_path)
    assert (code, "is a folder. Name a file" in line) == (5, True)
    (tmp_path / "file").write_text("")
    code, line = fit_error(capsys, support, "--out", tmp_path / "file" / "m")
    assert (code, "cannot be made" in line) == (5, True)
    (tmp_path / "m.part").mkdir()
    code, line = fit_error(capsys, support, "--out", tmp_path / "m")
    assert (code, line) == (5, f"error: {tmp_path / 'm.part'}: is a folder. Give the path of a file")


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("--classes", "a,,b"), 2, "holds an empty name"),
        (("--effort", "0"), 2, "effort 0.0 is out of range"),
    ],
)
def test_settings_are_checked_before_training(
    words: tuple[str, ...],
    code: int,
    expected: str,
    support: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, line = fit_error(capsys, support, "--out", tmp_path / "m", *words)
    assert (found, line.startswith("error: ")) == (code, True)
    assert expected in line
    assert not (tmp_path / "m").exists()


def test_bad_support_names_every_faulty_file(support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, _ = disc_pair(0)
    Image.fromarray(image).save(support / "masks" / "disc000.png")
    (support / "masks" / "disc001.png").unlink()
    assert main(["fit", str(support), "--out", str(tmp_path / "m")]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error: ", "  also: "))]
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert {name in " ".join(lines) for name in ("disc000", "disc001")} == {True}


def test_backbone_names_are_those_of_the_library() -> None:
    from distillfss.backbones import BACKBONES

    assert BACKBONE_NAMES == BACKBONES


def test_full_disk_at_the_end_costs_no_training(
    support: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model cannot be written; once there is space, the same command writes it without training again."""
    model = tmp_path / "disc.safetensors"
    model.write_bytes(b"precious")
    words = ["fit", str(support), "--out", str(model), "--overwrite", *QUICK]

    def full(path: Path, *rest: object) -> None:
        raise OutputError("the disk is full", cure="Free some space", path=path)

    with monkeypatch.context() as patch:
        patch.setattr("distillfss.artifact.write_model", full)
        assert main(words) == 5
    said = capsys.readouterr().err
    assert f"error: {model}: the disk is full. Free some space" in said
    assert "note: no first model: " in said
    assert model.read_bytes() == b"precious"
    assert (tmp_path / "disc.safetensors.part").is_file()
    monkeypatch.setattr("distillfss.training.loop.PhaseRunner.advance", lambda self: pytest.fail("trained again"))
    assert main(words) == 0
    assert load_file(model)
    assert not (tmp_path / "disc.safetensors.part").exists()


def test_a_single_image_is_enough_and_the_user_is_told(
    make_labelled: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(make_labelled("one", count=1)), "--out", str(tmp_path / "m.safetensors"), *QUICK]) == 0
    assert "a single image: two augmented views of it stand in for query and support" in capsys.readouterr().err


def test_copies_are_told_of_and_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "two"
    for seed in range(2):
        image, mask = disc_pair(seed, 128, 160)
        write_pair(folder, f"disc{seed}", image, mask)
        write_pair(folder, f"disc{seed}_turned", np.rot90(image, 2).copy(), np.rot90(mask, 2).copy())
    assert main(["fit", str(folder), "--out", str(tmp_path / "m.safetensors"), "--json", *QUICK]) == 0
    told = capsys.readouterr()
    assert "note: 2 of 4 images are copies of others" in told.err
    assert "all 4 count as 2 when it is reckoned how good the model will be" in told.err
    assert {key: json.loads(told.out)["support"][key] for key in ("images", "different")} == {
        "images": 4,
        "different": 2,
    }


def test_told_of_groups_it_expects_something_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "fields"
    for seed in range(4):
        write_pair(folder, f"field{seed // 2}_{seed}", *disc_pair(seed, 128, 160))
    out, words = str(tmp_path / "m.safetensors"), ["--groups", r"^field\d", *QUICK]
    assert main(["fit", str(folder), "--out", out, *words]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^learnt .* from 4 images of 2 groups \(", told, re.MULTILINE)
    assert re.search(
        r"^expect +\d+ % IoU on images of other groups \(\d+ to \d+ in 8 cases of 10\)$", told, re.MULTILINE
    )
    assert main(["fit", str(folder), "--out", out, "--overwrite", "--json", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["support"]["groups"] == document["training"]["groups"] == 2
    assert document["training"]["estimate"]["classes"]["class_1"]["groups"] == 2
    assert main(["fit", str(folder), "--out", out, "--overwrite", "--no-estimate", *words]) == 2
    assert "--groups is about the estimate" in capsys.readouterr().err


def test_a_frozen_backbone_makes_a_small_file(
    support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.safetensors"
    assert main(["fit", str(support), "--out", str(model), *QUICK, "--frozen-backbone", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] == model.stat().st_size < 1_000_000
    assert report["backbone_embedded"] is False
    weights = load_file(str(model))
    assert not any(name.startswith("backbone.") for name in weights)


def test_a_foreign_file_with_the_states_name_is_left_alone(
    support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.part").write_text("half a download")
    for extra in ((), ("--fresh",)):
        code, line = fit_error(capsys, support, "--out", tmp_path / "m", *QUICK, *extra)
        assert (code, "m.part: is no state of a fit. Move it away" in line) == (5, True)
    assert (tmp_path / "m.part").read_text() == "half a download"


def test_a_model_that_appears_during_the_fit_is_not_replaced(
    support: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from distillfss.training.loop import PhaseRunner

    step = PhaseRunner.advance

    def advance(self: PhaseRunner) -> float:
        (tmp_path / "m").write_text("of another fit")
        return step(self)

    monkeypatch.setattr(PhaseRunner, "advance", advance)
    assert main(["fit", str(support), "--out", str(tmp_path / "m"), *QUICK]) == 5
    assert "was made by someone else in the meantime" in capsys.readouterr().err
    assert (tmp_path / "m").read_text() == "of another fit"
    assert (tmp_path / "m.part").exists()


def test_ctrl_c_after_the_model_is_saved_says_so(
    support: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("distillfss.cli.fit.fit_on_support", stop)
    assert main(["fit", str(support), "--out", str(tmp_path / "m"), *QUICK]) == 0
    assert f"stopped; {tmp_path / 'm'} is complete" in capsys.readouterr().err
    assert load_file(tmp_path / "m")


def test_a_folder_without_read_permission_is_named_with_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    with folder_for_everyone() as place:
        root = make_folder(place / "d", {"a": two_classes(24, 32, 1)})
        root.chmod(0)
        with as_nobody():
            code, line = fit_error(capsys, root, "--out", place / "m")
    assert code == 3
    assert line.startswith(f"error: {root}")
    assert "permission denied" in line
