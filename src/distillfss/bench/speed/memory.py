"""Peak memory of a subject: the most that a fresh process held, less what an idle one holds.

The process gets its task as JSON on standard input and answers with one line of JSON:
``python -m distillfss.bench.speed.memory``. It imports no more than the subject needs, so that ONNX Runtime is not
charged for PyTorch.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distillfss.bench.speed.subjects import Setting

STATUS = Path("/proc/self/status")
PASSES = 2
"""Forward passes before the peak is read: the second may allocate what the first one cached."""


def peak_kib() -> int | None:
    """Most memory this process ever held; None where there is no /proc.

    Not ``getrusage``: what that says of a child begins at its parent's memory.
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def measure(
    subject: str, backbone: str, setting: Setting, threads: int, onnx: Path | None = None, idle: bool = False
) -> int | None:
    """Peak KiB of a fresh process that runs a subject; None if it did not live to tell.

    Parameters
    ----------
    subject
        Its name; of no matter with ``onnx``.
    onnx
        The exported file, for ONNX Runtime.
    idle
        Only import what the subject needs.
    """
    from distillfss.bench.process import SOURCES, THREAD_VARIABLES

    paths = [SOURCES, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    task = {
        "subject": subject,
        "backbone": backbone,
        "setting": vars(setting),
        "threads": threads,
        "onnx": None if onnx is None else str(onnx),
        "idle": idle,
    }
    done = subprocess.run(
        [sys.executable, "-m", "distillfss.bench.speed.memory"],
        input=json.dumps(task).encode(),
        capture_output=True,
        env=environment | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))},
        check=False,
    )
    try:
        answer: int | None = json.loads(done.stdout)["peak_kib"]
    except (ValueError, KeyError, TypeError):
        return None
    return answer


def main() -> None:
    """Do the task on standard input."""
    task = json.load(sys.stdin)
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever else prints must not garble the answer
    (_run_onnx if task["onnx"] else _run_eager)(task)
    os.write(answer, json.dumps({"peak_kib": peak_kib()}).encode() + b"\n")


def _run_eager(task: dict[str, Any]) -> None:
    import torch

    from distillfss.bench.speed.subjects import Setting, build, load, random_image
    from distillfss.runtime import keep_freed_memory

    torch.set_num_threads(task["threads"])
    keep_freed_memory()  # as 'distillfss predict' does
    if task["idle"]:
        return
    setting = Setting(**task["setting"])
    module = build(task["subject"], load(task["backbone"]), setting)
    image = random_image(setting.size)
    with torch.inference_mode():
        for _ in range(PASSES):
            module(image)


def _run_onnx(task: dict[str, Any]) -> None:
    import numpy as np

    runtime = importlib.import_module("onnxruntime")

    if task["idle"]:
        return
    options = runtime.SessionOptions()
    options.intra_op_num_threads = task["threads"]
    session = runtime.InferenceSession(task["onnx"], options, providers=["CPUExecutionProvider"])
    image = np.zeros((1, 3, task["setting"]["size"], task["setting"]["size"]), np.float32)
    for _ in range(PASSES):
        session.run(None, {session.get_inputs()[0].name: image})


if __name__ == "__main__":
    main()
