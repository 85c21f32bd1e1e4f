"""The speed benchmark counts right and times in turns. No assertion here depends on how fast anything is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from distillfss.bench.speed import measuring, memory, onnx_runtime
from distillfss.bench.speed.report import axis_table, content_of, count, markdown, page, terminal_lines
from distillfss.bench.speed.rows import EAGER, ONNX, Measured, Plan, Row
from distillfss.bench.speed.subjects import (
    Setting,
    build,
    decides,
    head_parameters,
    load,
    multiply_adds,
    parameters,
    random_image,
)
from distillfss.bench.speed.timing import interleaved, percentile, ratio
from distillfss.cli import main
from distillfss.cli.bench import speed as verb
from distillfss.errors import UsageError
from distillfss.models.attention import CoarseAttention, positional_encoding
from distillfss.models.classes import merge_classes
from distillfss.segmenter import Segmenter

SMALL = Setting(shots=2, ways=1, size=64)
TINY = ["--ways", "1", "--size", "64", "--warm-up", "0", "--threads", "1"]


@pytest.fixture(scope="module")
def backbone():
    return load("efficientnet_lite0")


# Timing


def test_percentiles_by_hand():
    values = [5.0, 1.0, 2.0, 4.0, 3.0]
    assert percentile(values, 50) == 3.0
    assert percentile(values, 10) == pytest.approx(1.4)
    assert percentile(values, 90) == pytest.approx(4.6)
    assert percentile([1.0, 2.0], 50) == 1.5
    assert percentile([7.0], 90) == 7.0


def test_ratio_compares_within_a_round():
    # a disturbance that doubles the second round doubles both: the ratio does not see it
    assert ratio([2.0, 4.0, 3.0], [1.0, 2.0, 1.0]) == 2.0


def test_subjects_take_turns():
    now, order = [0.0], []

    def subject(name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            order.append(name)
            now[0] += seconds

        return call

    calls = {"a": subject("a", 1.0), "b": subject("b", 0.25)}
    seconds = interleaved(calls, repeats=3, warm_up=2, clock=lambda: now[0])
    assert order == ["a", "b"] * 5
    assert seconds == {"a": (1.0,) * 3, "b": (0.25,) * 3}


def test_no_collection_inside_a_turn_but_afterwards():
    import gc

    seen = []
    assert gc.isenabled()
    interleaved({"a": lambda: seen.append(gc.isenabled())}, repeats=2, warm_up=0)
    assert seen == [False, False]
    assert gc.isenabled()

    def broken() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        interleaved({"a": broken}, repeats=1, warm_up=0)
    assert gc.isenabled()


# Counting


def test_multiply_adds_of_convolutions_by_hand():
    image = torch.zeros(1, 3, 8, 8)
    assert multiply_adds(nn.Conv2d(3, 5, 3, stride=2, padding=1), image) == 4 * 4 * 5 * 3 * 9
    assert multiply_adds(nn.Conv2d(3, 3, 3, padding=1, groups=3), image) == 8 * 8 * 3 * 9
    assert multiply_adds(nn.Sequential(nn.ReLU(), nn.Linear(8, 2)), image) == 3 * 8 * 8 * 2


def test_multiply_adds_of_attention_by_hand():
    """On the CPU PyTorch itself counts none of it."""

    class Attend(nn.Module):
        def forward(self, query: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(query, torch.ones(1, 4, 30, 16), torch.ones(1, 4, 30, 16))

    assert multiply_adds(Attend(), torch.zeros(1, 4, 10, 16)) == 2 * 4 * 10 * 30 * 16


def test_the_attention_of_the_teacher_counts():
    attention = CoarseAttention(8, heads=2, head_channels=4)
    support, masks = torch.rand(3, 8, 5, 5), torch.rand(3, 1, 5, 5)

    class Shown(nn.Module):
        def forward(self, query: torch.Tensor) -> torch.Tensor:
            return attention(query, support, masks)

    projections = (16 + 75) * 8 * 8
    assert multiply_adds(Shown(), torch.rand(1, 8, 4, 4)) == projections + 2 * 2 * 16 * 75 * 4


def test_the_teacher_grows_with_shots_and_the_student_does_not(backbone):
    image = random_image(64)

    def cost(subject: str, setting: Setting) -> int:
        return multiply_adds(build(subject, backbone, setting), image)

    teacher = [cost("teacher", replace(SMALL, shots=k)) for k in (1, 3, 5)]
    assert teacher[0] < teacher[1]
    assert teacher[2] - teacher[1] == teacher[1] - teacher[0]
    assert len({cost("student", replace(SMALL, shots=k)) for k in (1, 80)}) == 1
    assert cost("backbone", SMALL) < cost("student", SMALL) < cost("student", replace(SMALL, ways=20))


def test_what_decides_a_cost():
    setting = Setting(shots=5, ways=2, size=384)
    names = ("backbone", "student", "teacher", "dcama student", "dcama teacher")
    expected = [(384,), (2, 384), (5, 2, 384), (2, 384), (5, 2, 384)]
    assert [decides(name, setting) for name in names] == expected


def test_parameters_add_up(backbone):
    assert parameters(nn.Conv2d(3, 5, 3)) == 3 * 5 * 9 + 5
    for subject in ("student", "teacher"):
        module = build(subject, backbone, SMALL)
        assert parameters(module) == parameters(backbone) + head_parameters(module)
        assert head_parameters(module) == parameters(module.head) > 0
    assert head_parameters(backbone) == 0


# What is timed is what is used


def test_the_student_is_what_a_segmenter_computes(backbone):
    module = build("student", backbone, SMALL)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    info = type("Info", (), {"class_names": ("a",), "size": 64, "summary": {}})
    segmenter = Segmenter(backbone, module.standardize, module.head, info, torch.device("cpu"))
    with torch.inference_mode():
        found = module(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())
    torch.testing.assert_close(found, segmenter.logits(pixels))


def test_the_support_of_the_teacher_has_all_shots(backbone):
    module = build("teacher", backbone, Setting(shots=3, ways=2, size=64))
    assert {len(each) for each in (*module.support.features, *module.support.masks)} == {3}
    assert {each.shape[1] for each in module.support.masks} == {2}
    assert all(not torch.equal(each[0], each[1]) for each in module.support.features)
    with torch.inference_mode():
        features = module.standardize(backbone(random_image(64)))
        expected = merge_classes(module.head(features, module.support)[0])
        torch.testing.assert_close(module(random_image(64)), expected)
    assert expected.shape == (1, 3, 16, 16)


def test_the_papers_models_need_their_backbones(backbone):
    with pytest.raises(UsageError, match=r"do not fit efficientnet_lite0.*Use --backbone resnet50 or swin_b"):
        build("dcama teacher", backbone, SMALL)
    resnet = load("resnet50")
    with torch.inference_mode():
        for subject in ("dcama student", "dcama teacher"):
            found = build(subject, resnet, SMALL)(random_image(64))
            assert found.shape == (1, 2, 64, 64)
            assert found.isfinite().all()


# ONNX Runtime


@pytest.mark.parametrize("subject", ["backbone", "student"])
def test_onnx_gives_what_pytorch_gives(backbone, subject: str, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    module, image = build(subject, backbone, replace(SMALL, ways=2)), random_image(64)
    positional_encoding.cache_clear()  # as if nobody had asked for these places before
    onnx_runtime.export(module, image, tmp_path / "model.onnx")
    session = onnx_runtime.open_session(tmp_path / "model.onnx", 1)
    other = random_image(96)[..., :64, 16:80]
    with torch.inference_mode():
        expected = module(other)
    found = onnx_runtime.run(session, np.ascontiguousarray(other))
    if subject == "backbone":
        for own, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(own), theirs, rtol=1e-4, atol=1e-5)
    assert onnx_runtime.difference(found, expected) < 1e-4
    assert onnx_runtime.difference([2 * own for own in found], expected) > 0.9


def test_a_tie_of_classes_is_no_difference():
    expected = torch.tensor([[0.0, 0.5], [1.0, 1.0], [1.0, 2.0]]).view(1, 3, 1, 2)
    tied, untied = expected.clone(), expected.clone()
    tied[0, 0, 0, 0] = 9.0
    untied[0, 0, 0, 1] = 9.0
    assert onnx_runtime.difference([tied.numpy()], expected) == 0
    assert onnx_runtime.difference([untied.numpy()], expected) == pytest.approx(8.5 / 2)
    assert onnx_runtime.difference([expected.numpy()[:, :, :, :1]], expected) == float("inf")


# Memory


@pytest.mark.skipif(memory.peak_kib() is None, reason="there is no /proc")
def test_memory_is_that_of_a_fresh_process(backbone):
    held = torch.ones(200 << 18)  # 200 MiB of ours must not show in the child
    assert memory.peak_kib() > 200 << 10
    peak = {idle: memory.measure("teacher", "efficientnet_lite0", SMALL, 1, idle=idle) for idle in (True, False)}
    del held
    weights = 4 * parameters(build("teacher", backbone, SMALL)) / 1024
    assert peak[False] - peak[True] > weights
    assert peak[True] > 10 << 10


def test_memory_of_what_cannot_run_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert memory.measure("nonsense", "efficientnet_lite0", SMALL, 1) is None
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert memory.peak_kib() is None
    (tmp_path / "status").write_text("VmPeak:\t  500 kB\nVmHWM:\t  1234 kB\n")
    assert memory.peak_kib() == 1234


# The whole


def test_one_axis_changes_at_a_time():
    settings = Plan().settings()
    assert len(settings) == len(set(settings)) == 4 + 2 + 2
    assert [s for s in settings if s.ways != 1] == [Setting(5, 5, 384), Setting(5, 20, 384)]
    assert Plan(shots=(9, 1), sizes=(512, 64)).along("ways")[0] == Setting(9, 1, 512)
    assert Plan(subjects=("student",)).subjects == ("backbone", "student")
    with pytest.raises(UsageError, match=r"never 100 px at work. Use multiples of 32, such as 96"):
        Plan(sizes=(100,))
    assert {key: getattr(Plan(), key) for key in ("shots", "ways", "sizes")} == {
        "shots": verb.SHOTS, "ways": verb.WAYS, "sizes": verb.SIZES,
    }  # fmt: skip


def make_row(subject: str, shots: int = 5, runtime: str = EAGER, **more) -> Row:
    values = {
        "setting": Setting(shots, 1, 384), "subject": subject, "runtime": runtime, "seconds": (0.01, 0.03, 0.02),
        "over_floor": 2.0, "backbone_parameters": 3_410_000, "head_parameters": 970, "multiply_adds": 12_340_000_000,
        "peak_mib": 55.5,
    }  # fmt: skip
    return Row(**values | more)


def test_rows_and_tables_by_hand():
    unknown = make_row("student", runtime=ONNX, seconds=(), over_floor=None, peak_mib=None, note="not timed: because")
    measured = Measured(Plan(shots=(5,), ways=(1,), sizes=(384,)), (make_row("student"), unknown), {EAGER: 200.0})
    assert measured.axes == ["shots"]
    table = axis_table(measured, "shots")
    assert table.note == "All with 1 way and 384 px."
    assert table.rows == (
        ("5", "student", "20.0", "12.0 to 28.0", "2.00", "3.41 M + 970", "12.3 G", "56", "–"),
        ("5", "student, ONNX Runtime", "–", "–", "–", "3.41 M + 970", "12.3 G", "–", "not timed: because"),
    )
    assert make_row("student").to_dict() | {"seconds": 0} == {
        "shots": 5, "ways": 1, "size": 384, "subject": "student", "runtime": "eager", "median_ms": 20.0,
        "p10_ms": 12.0, "p90_ms": 28.0, "over_floor": 2.0, "backbone_parameters": 3410000, "head_parameters": 970,
        "multiply_adds": 12340000000, "peak_mib": 55.5, "note": "", "seconds": 0,
    }  # fmt: skip
    lines = list(terminal_lines(table))
    assert lines[2].startswith("    5  student                      20.0  12.0 to 28.0        2.00")
    assert lines[3].endswith("–  not timed: because")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (970, "970"), (1000, "1.00 k"), (97_120, "97.1 k"), (999_900, "1000 k"), (2_941_000_000, "2.94 G")],
)
def test_three_figures(number: int, text: str):
    assert count(number) == text


def test_both_forms_hold_every_row():
    rows = [make_row(name, k) for k in (1, 5) for name in ("backbone", "<student>|x", "teacher")]
    rows = [replace(row, seconds=(0.001 * place + 0.1,)) for place, row in enumerate(rows)]
    measured = Measured(Plan(shots=(1, 5), ways=(1,), sizes=(384,)), tuple(rows), {EAGER: 200.0})
    content = content_of(measured, "distillfss bench speed", [("machine", "a_b")], ["not quiet"])
    text, html = markdown(content), page(content)
    for place in range(6):
        assert text.count(f"| {100 + place:.1f} |") == html.count(f"<td>{100 + place:.1f}</td>") == 1
    assert "| 1 | \\<student>\\|x |" in text
    assert "<td>&lt;student&gt;|x</td>" in html
    assert "<student>" not in html
    assert "> not quiet" in text
    assert "<li>not quiet</li>" in html
    assert "- **machine**: a\\_b" in text
    assert set(re.findall(r"\]\(plots/(.*?)\.svg\)", text)) == {plot.name for plot in content.plots}
    assert html.count("<svg") == len(content.plots) == 3
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", html).replace("http-equiv", "")


def test_verb_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnxruntime")
    peaks = {True: 100 << 10, False: 160 << 10}
    monkeypatch.setattr(measuring.memory, "measure", lambda *task: peaks[task[-1]])
    monkeypatch.setattr(verb, "busy", lambda: 1.5)
    threads = torch.get_num_threads()
    words = ["bench", "speed", "--shots", "1", "2", *TINY, "--repeats", "2"]
    assert main([*words, "--out", str(tmp_path / "report"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert torch.get_num_threads() == threads
    subjects = [("backbone", EAGER), ("student", EAGER), ("teacher", EAGER), ("backbone", ONNX), ("student", ONNX)]
    assert [(row["shots"], row["subject"], row["runtime"]) for row in report["rows"]] == [
        (shots, *subject) for shots in (1, 2) for subject in subjects
    ]
    assert {row["note"] for row in report["rows"]} == {""}
    assert {len(row["seconds"]) for row in report["rows"]} == {2}
    assert {row["peak_mib"] for row in report["rows"]} == {60.0}
    assert report["idle_mib"] == {EAGER: 100.0, ONNX: 100.0}
    assert {row["over_floor"] for row in report["rows"] if row["subject"] == "backbone"} == {1.0}
    assert (report["threads"], report["weights"], report["load_before"]) == (1, "random", 1.5)
    assert {"torch", "onnxruntime", "distillfss"} <= set(report["versions"])
    assert report["command"] == (
        "distillfss bench speed --shots 1 2 --ways 1 --sizes 64 --repeats 2 --warm-up 0 --threads 1"
    )  # not without the 0
    out = tmp_path / "report"
    assert sorted(path.name for path in out.iterdir()) == ["plots", "speed.html", "speed.json", "speed.md"]
    assert json.loads((out / "speed.json").read_text()) == {k: v for k, v in report.items() if k != "page"}
    text = (out / "speed.md").read_text()
    assert "The machine was not quiet" in text
    shown = [tuple(map(float, found)) for found in re.findall(r"\| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text)]
    for row in report["rows"]:
        # the page rounds the measured seconds, not the milliseconds that the document has rounded before
        wanted = (row["median_ms"], row["p10_ms"], row["p90_ms"])
        assert any(numbers == pytest.approx(wanted, abs=0.051) for numbers in shown), wanted
    assert main([*words, "--out", str(out)]) == 5
    assert "exists already. Choose another name or add --overwrite" in capsys.readouterr().err


def test_without_onnx_runtime_the_rows_name_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(onnx_runtime, "PACKAGES", ("no_such_package",))
    assert main(["bench", "speed", "--shots", "1", *TINY, "--repeats", "1", "--no-memory"]) == 0
    said = capsys.readouterr().out
    assert said.count("not timed: no_such_package not installed: pip install 'distillfss[onnx]'") == 2
    assert "Peak memory" not in said


def test_what_differs_or_cannot_be_exported_is_not_timed(backbone, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnxruntime")
    plan = Plan(shots=(1,), ways=(1,), sizes=(64,), subjects=(), repeats=1, warm_up=0, memory=False)

    def refuse(*parts: object) -> None:
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(onnx_runtime, "export", refuse)
    row = measuring.measure(plan).rows[1]
    assert (row.runtime, row.seconds, row.over_floor) == (ONNX, (), None)
    assert row.note == "not timed: it cannot be exported (RuntimeError: no such operator)"
    wrong = [
        np.zeros((1, layer.channels, 64 // layer.stride, 64 // layer.stride), np.float32) for layer in backbone.layers
    ]
    monkeypatch.setattr(onnx_runtime, "export", lambda *parts: None)
    monkeypatch.setattr(onnx_runtime, "open_session", lambda *parts: None)
    monkeypatch.setattr(onnx_runtime, "run", lambda *parts: wrong)
    assert measuring.measure(plan).rows[1].note == "not timed: its outputs differ from PyTorch's by 100.0%"


def test_wrong_settings_are_told(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "speed", "--size", "100"]) == 2
    assert "Use multiples of 32, such as 96" in capsys.readouterr().err
    assert main(["bench", "speed", "--backbone", "nonsense"]) == 2
    assert "unknown backbone 'nonsense'. Choose one of efficientnet_lite0" in capsys.readouterr().err
