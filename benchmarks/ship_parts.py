"""Where the time of an exported file goes: milliseconds, multiply-adds and bytes by part, beside the machine's limits.

    python benchmarks/ship_parts.py polyps.onnx
    python benchmarks/ship_parts.py --work results/ship              the file that benchmarks/ship.py made

ONNX Runtime's own profile, a fifth of the way up the sorted durations of every operator: the rest is what disturbed
it. A part is known by the weights its operators use; an operator without any belongs to the last part it reads from.
The limits are measured in the same process: a product of large matrices, a large convolution, and copies.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import marked
import numpy as np
import onnx
import onnxruntime
import torch

PARTS = (
    ("pixels: bytes to float, resize, planes", r"^(before|network/pixels)/|^(images|own_size|pixels)$"),
    ("backbone", r"^network/backbone\."),
    ("projections of all features to the context", r"^network/head\.project"),
    ("probe", r"^network/head\.probe"),
    ("attention and cosines", r"^network/head\.attention"),
    ("context, merged coarse to fine", r"^network/head\.mixer\.context"),
    ("coarse maps, merged", r"^network/head\.mixer\.(maps|merge)"),
    ("joining and refining, strides 8 and 4", r"^network/head\.mixer"),
    ("mask: resize to the image, threshold", r"^after/|^(mask|probabilities)$"),
)
"""Name and pattern of weights or operators, in the order of the graph."""
LAYOUT = "changes of layout"
ELEMENT = {"float": 4, "uint8": 1, "int8": 1, "int64": 8, "int32": 4, "bool": 1, "double": 8}


@dataclass
class Use:
    seconds: float = 0.0
    multiply_adds: int = 0
    bytes: int = 0
    operators: int = 0


def labels(model: onnx.ModelProto) -> dict[str, int]:
    """Place in ``PARTS`` of every operator and tensor."""
    found: dict[str, int] = {}

    def own(name: str) -> int | None:
        return next((place for place, (_, pattern) in enumerate(PARTS) if re.search(pattern, name)), None)

    for node in model.graph.node:
        named = [own(node.name), *(own(name) for name in node.input if name not in found)]
        known = [place for place in named if place is not None]
        read = [found[name] for name in node.input if name in found]
        place = max(known) if known else max(read, default=0)
        for name in (node.name, *node.output):
            found[name] = place
    return found


def profiled(path: Path, threads: int, repeats: int) -> list[dict[str, Any]]:
    """One entry per operator: name, kind, shapes, seconds."""
    image = np.random.default_rng(0).integers(0, 256, (1, 384, 384, 3), np.uint8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for _ in range(repeats):
            session.run(["mask"], {"images": image})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    durations = defaultdict(list)
    last = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            durations[name].append(event["dur"] / 1e6)
            last[name] = event["args"]
    return [
        {
            "name": name,
            "kind": last[name]["op_name"],
            "inputs": last[name]["input_type_shape"],
            "outputs": last[name]["output_type_shape"],
            "seconds": float(np.percentile(found, 20)),
        }
        for name, found in durations.items()
    ]


def size(tensors: list[dict[str, list[int]]]) -> int:
    """Bytes."""
    return sum(ELEMENT.get(kind, 4) * int(np.prod(shape)) for each in tensors for kind, shape in each.items())


def multiply_adds(operator: dict[str, Any]) -> int:
    """Of convolutions and matrix products, as they are usually counted."""
    shapes = [next(iter(each.values())) for each in operator["inputs"]]
    out = int(np.prod(next(iter(operator["outputs"][0].values()))))
    if operator["kind"] == "Conv":
        return out * int(np.prod(shapes[1][1:]))
    if operator["kind"] in ("MatMul", "Gemm"):
        return out * shapes[0][-1]
    if operator["kind"] == "FusedMatMul":
        return out * shapes[1][-2]
    return 0


def used(model: onnx.ModelProto, operators: list[dict[str, Any]]) -> dict[str, Use]:
    """Sums by part."""
    place_of = labels(model)
    sums: dict[str, Use] = {name: Use() for name, _ in PARTS} | {LAYOUT: Use()}
    last = 0
    for operator in operators:
        name = re.sub(r"(_nchwc|_token_\d+|_bn|_mul|/Matmul\w+/|/MatMul\w+/?)+$", "", operator["name"])
        if operator["kind"] in ("ReorderInput", "ReorderOutput"):
            part = LAYOUT
        else:
            place = place_of.get(name, place_of.get(f"network/{name}", place_of.get(f"network/node_{name}")))
            last = place if place is not None else last
            part = PARTS[last][0]
        use = sums[part]
        if operator["kind"] != "If":  # its inner operators have entries of their own
            use.seconds += operator["seconds"]
        use.multiply_adds += multiply_adds(operator)
        use.bytes += size(operator["inputs"]) + size(operator["outputs"])
        use.operators += 1
    return {name: use for name, use in sums.items() if use.operators}


def best(call: Callable[[], object], threads: int, repeats: int = 15) -> float:
    """Seconds of the fastest call: a limit is what was reached once. One thread is timed by its own clock."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    seconds = []
    for _ in range(repeats):
        started = clock()
        call()
        seconds.append(clock() - started)
    return min(seconds)


@dataclass(frozen=True)
class Limits:
    """Multiply-adds per second of a matrix product and of a convolution; bytes per second read and written."""

    product: float
    convolution: float
    in_cache: float
    in_memory: float

    @classmethod
    def measured(cls, threads: int) -> Limits:
        torch.set_num_threads(threads)
        a = torch.rand(1536, 1536)
        product = 1536**3 / best(lambda: a @ a, threads)
        image, weight = torch.rand(1, 128, 96, 96), torch.rand(128, 128, 3, 3)
        convolution = 128 * 128 * 9 * 96 * 96 / best(lambda: torch.conv2d(image, weight, padding=1), threads)
        copies = []
        for count in (2**19, 2**26):
            source, target = torch.rand(count), torch.zeros(count)
            seconds = best(lambda source=source, target=target: target.copy_(source), threads)  # type: ignore[misc]
            copies.append(2 * source.nbytes / seconds)
        return cls(product, convolution, *copies)

    def words(self) -> str:
        return (
            f"{self.product / 1e9:.0f} GMAC/s in a product of large matrices, {self.convolution / 1e9:.0f} GMAC/s in a "
            f"large convolution; {self.in_cache / 1e9:.0f} GB/s read and written in copies of 2 MB, about what one map "
            f"has, {self.in_memory / 1e9:.0f} GB/s in copies of 256 MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="an fp32 file of one class, written by `distillfss export`")
    parser.add_argument("--work", type=Path, default=Path("results/ship"))
    parser.add_argument("--page", type=Path, default=Path(__file__).parents[1] / "docs" / "performance.md")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50)
    asked = parser.parse_args()
    path = asked.model or asked.work / "student-1.onnx"
    limits = Limits.measured(asked.threads)
    sums = used(onnx.load(path), profiled(path, asked.threads, asked.repeats))
    total = Use(*(sum(getattr(use, name) for use in sums.values()) for name in Use.__dataclass_fields__))
    peak = max(limits.product, limits.convolution)
    rows = []
    for name, use in [*sums.items(), ("**all**", total)]:
        least = max(use.multiply_adds / peak, use.bytes / limits.in_cache)
        rows.append(
            [
                name,
                f"{use.operators}",
                f"{1e3 * use.seconds:.2f}",
                f"{use.seconds / total.seconds:.1%}",
                f"{use.multiply_adds / 1e6:.0f}",
                f"{use.bytes / 1e6:.1f}",
                f"{use.multiply_adds / use.seconds / 1e9:.0f}",
                f"{use.bytes / use.seconds / 1e9:.0f}",
                f"{use.seconds / least:.1f}",
            ]
        )
    header = ["part", "operators", "ms", "share", "MMACs", "MB read and written", "GMAC/s", "GB/s", "times the limit"]
    measured = f"{marked.machine(asked.threads)}, {time.strftime('%Y-%m-%d')}"
    text = (
        f"{marked.table(header, rows)}\n\nLimits, measured beside it: {limits.words()}. A part's limit is the longer "
        "of what its multiply-adds take at the highest rate and its bytes in cache. Measured by "
        f"`python benchmarks/ship_parts.py` on: {measured}."
    )
    marked.write(asked.page, "parts", text)
    print(text)


if __name__ == "__main__":
    main()
