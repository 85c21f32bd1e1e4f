"""``--backbone`` and ``--backbone-weights`` on the command line, the doctor's word on timm, the size of model files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import cli_environment
from safetensors.torch import save_file

from distillfss import Segmenter, artifact, doctor
from distillfss.artifact import ModelInfo, read_model, write_model
from distillfss.backbones import torchvision_bridge
from distillfss.backbones.torchvision_bridge import import_timm
from distillfss.cli import main
from distillfss.errors import ModelFileError


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=cli_environment())


def test_an_unknown_backbone_is_refused_before_pytorch_is_loaded(tmp_path: Path) -> None:
    words = ["fit", str(tmp_path), "--out", str(tmp_path / "m.safetensors"), "--backbone", "resnet50"]
    done = run_python(f"import sys; from distillfss.cli import main; print(main({words}), 'torch' in sys.modules)")
    assert done.stdout.split() == ["2", "False"]
    assert "unknown backbone 'resnet50'. Choose one of efficientnet_lite0, " in done.stderr
    assert "or timm:NAME for a model of timm" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--backbone", "timm:resnet5o"), 2, "has no model 'resnet5o'. Similar: resnet50"),
        (("--backbone", "timm:resnet18@layers"), 2, "unknown ending '@layers'"),
        (("--backbone", "timm:resnet18", "--backbone-weights", "none.pth"), 4, "none.pth: there is no such file"),
        (("--backbone-weights", "none.pth"), 4, "none.pth: there is no such file"),
    ],
)
def test_what_cannot_work_is_refused_before_the_support_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    assert main(["fit", str(tmp_path / "no support"), "--out", str(tmp_path / "m.safetensors"), *words]) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_fit_with_a_backbone_of_timm(
    tmp_path: Path, make_labelled: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = tmp_path / "weights.safetensors", tmp_path / "model.safetensors"
    save_file(import_timm().create_model("test_resnet").state_dict(), weights)
    words = ["--size", "64", "--effort", "0.05", "--device", "cpu", "--json", "--init", "scratch"]
    support = make_labelled("support", count=2)
    given = ["--backbone", "timm:test_resnet", "--backbone-weights", str(weights)]
    assert main(["fit", str(support), "--out", str(out), *given, *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["backbone"], report["backbone_embedded"]) == ("timm:test_resnet", True)
    weights.unlink()
    assert Segmenter.load(out).info.backbone_embedded


def test_the_library_needs_neither_timm_nor_torchvision() -> None:
    code = (
        "import sys, torch, distillfss, distillfss.fitting, distillfss.segmenter, distillfss.backbones as b;"
        "b.load_backbone('efficientnet_lite0')(torch.zeros(1, 3, 32, 32));"
        "print('timm' in sys.modules, 'torchvision' in sys.modules)"
    )
    assert run_python(code).stdout.split() == ["False", "False"]


def test_timm_imports_where_torchvision_was_built_for_another_pytorch() -> None:
    """Its library is hidden here, as if it had not loaded: then it alone fails to import."""
    hide = "import torch; torch.ops.load_library = lambda path: (_ for _ in ()).throw(OSError('other build'));"
    assert "operator torchvision::nms does not exist" in run_python(f"{hide}import torchvision").stderr
    bridged = (
        f"{hide}from distillfss.backbones.torchvision_bridge import import_timm;"
        "print(import_timm().create_model('test_vit')(torch.zeros(1, 3, 160, 160)).shape[1])"
    )
    assert run_python(bridged).stdout.split() == ["1000"]


def test_a_torchvision_broken_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libjpeg is missing")

    monkeypatch.setattr(torchvision_bridge.importlib, "import_module", broken)
    import_timm.cache_clear()
    with pytest.raises(ModelFileError, match=r"ImportError: libjpeg is missing.*fits PyTorch .*'distillfss\[timm\]'"):
        import_timm()


def test_the_doctor_tells_whether_timm_works(monkeypatch: pytest.MonkeyPatch) -> None:
    check = doctor.check_timm()
    assert (check.status, check.detail) == ("ok", f"{import_timm().__version__}, for --backbone timm:NAME")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert doctor.check_timm().detail.startswith("not installed, not needed")


def model_file(path: Path, embedded: bool, **tensors: torch.Tensor) -> Path:
    write_model(path, ModelInfo(("a",), "timm:test_vit", "0" * 64, embedded, 64), tensors)
    return path


def test_only_an_embedded_backbone_makes_a_large_file_acceptable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "MAX_BYTES", {"distillfss": 2000, "dcama": 2000})
    large = torch.zeros(1000)
    read_model(model_file(tmp_path / "with", True, **{"backbone.a": large}))
    with pytest.raises(ModelFileError, match="too large for a model"):
        read_model(model_file(tmp_path / "without", False, **{"student.a": large}))
    monkeypatch.setattr(artifact, "MAX_BACKBONE_BYTES", 1000)
    with pytest.raises(ModelFileError, match="too large for a model"):
        read_model(tmp_path / "with")


def test_only_a_backbone_may_count(tmp_path: Path) -> None:
    _, tensors = read_model(model_file(tmp_path / "file", True, **{"backbone.batches": torch.tensor(7)}))
    assert tensors["backbone.batches"] == 7
    with pytest.raises(ModelFileError, match=r"tensor student\.batches holds impossible numbers"):
        read_model(model_file(tmp_path / "file", True, **{"student.batches": torch.tensor(7)}))
    with pytest.raises(ModelFileError, match=r"tensor backbone\.a holds impossible numbers"):
        read_model(model_file(tmp_path / "file", True, **{"backbone.a": torch.tensor(float("nan"))}))
