"""What shipping costs, side by side: every row of the table in docs/performance.md, measured in one run.

    python benchmarks/ship.py                                        about eight minutes on two quiet cores
    python benchmarks/ship.py --model polyps.safetensors --images FOLDER_OF_JPEGS --geotiff
    python benchmarks/ship.py --only classes imports --again

Batch 1, 384x384 pixels, the mask alone, median of 50 after 5 rounds to warm up; what is compared takes turns. Weights
are random but for the backbone's: they do not decide how long a pass takes. Every row is kept in --work once it is
measured, as are the exported files, so a run that was stopped goes on where it was; --again measures anew. At the end
the table is written between its marks into --page. With --threads 1 a pass is timed by its thread's own clock, so that
a busy machine disturbs it less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import marked
import numpy as np
import torch
from torch import nn

from distillfss import Segmenter
from distillfss.backbones import build_backbone, load_backbone
from distillfss.bench.speed import onnx_runtime
from distillfss.bench.speed.subjects import Setting, build, random_image, random_support
from distillfss.bench.speed.timing import interleaved, percentile, ratio
from distillfss.models.standardize import Standardize
from distillfss.models.student import Student
from distillfss.models.teacher import Teacher
from distillfss.runtime import keep_freed_memory

SIZE = 384
FLOOR = "efficientnet_lite0"
PEERS = {"U-Net": ("Unet", 0.3), "FPN": ("FPN", 0.33), "DeepLabV3+": ("DeepLabV3Plus", 0.55)}
ENCODER = "timm-tf_efficientnet_lite0"
Call = Callable[[], object]


class Bench:
    """What rows share: exported files, kept in a folder, and sessions that run them."""

    def __init__(self, work: Path, threads: int, repeats: int) -> None:
        self.work, self.threads, self.repeats = work, threads, repeats
        work.mkdir(parents=True, exist_ok=True)
        self.bytes = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)

    @cached_property
    def backbone(self) -> Any:
        return load_backbone(FLOOR)

    def seconds(self, calls: Mapping[str, Call], repeats: int | None = None) -> dict[str, tuple[float, ...]]:
        """Per subject, one duration per round, the subjects taking turns."""
        repeats = repeats or self.repeats
        clock = time.thread_time if self.threads == 1 else time.perf_counter
        with torch.inference_mode():
            return interleaved(calls, repeats=repeats, warm_up=min(5, max(1, repeats // 3)), clock=clock)

    def kept(self, name: str, make: Callable[[Path], None]) -> Path:
        """A file of the work folder, made if it is not there."""
        path = self.work / name
        if not path.exists():
            say(f"  making {name}")
            part = path.with_name("part-" + name)
            make(part)
            part.replace(path)
        return path

    def segmenter(self, ways: int, details: bool, contested: bool) -> Segmenter:
        """A model of random weights on the real backbone; contested: every class wins somewhere."""
        from distillfss.model_info import ModelInfo

        torch.manual_seed(0)
        layers, fine_channels = self.backbone.layers, self.backbone.fine_channels if details else None
        standardize, student = Standardize(layers), Student(layers, ways, fine_channels)
        standardize.calibrate([self.backbone(random_image(SIZE))])
        if contested:
            student.get_buffer("probe").normal_(std=0.3)
        names = tuple(f"class_{number}" for number in range(1, ways + 1))
        info = ModelInfo(names, FLOOR, "0" * 64, False, SIZE, details=details)
        return Segmenter(self.backbone, standardize, student.eval(), info, torch.device("cpu"))

    def network(self, ways: int, details: bool = False, contested: bool = False) -> Any:
        """The student's graph, pixels to logits."""
        import onnx

        from distillfss.export.network import network_model
        from distillfss.export.simplify import simplified

        path = self.kept(
            f"network-{kind(ways, details, contested)}.onnx",
            lambda to: onnx.save(simplified(network_model(self.segmenter(ways, details, contested))), to),
        )
        return onnx.load(path)

    def student(self, ways: int = 1, details: bool = False, contested: bool = False) -> Call:
        """The whole file, as it is served."""
        import onnx

        from distillfss.export.frame import framed

        path = self.kept(
            f"student-{kind(ways, details, contested)}.onnx",
            lambda to: onnx.save(framed(self.network(ways, details, contested), SIZE, ways), to),
        )
        return self.served(path)

    def int8(self) -> Call:
        """The same with all convolutions in 8 bits, calibrated on the embedded sample."""
        import onnx

        from distillfss.export.frame import framed
        from distillfss.export.pictures import sample_examples
        from distillfss.export.quantisation import PLANS, chosen, quantised_network
        from distillfss.preprocess import at_working_size

        def make(to: Path) -> None:
            network = self.network(1)
            pixels = [at_working_size(example.pixels, SIZE)[None].numpy() for example in sample_examples()[:4]]
            nodes, _ = chosen(network, PLANS[0])
            onnx.save(framed(quantised_network(network, nodes, pixels), SIZE, 1), to)

        return self.served(self.kept("student-int8.onnx", make))

    def served(self, path: Path) -> Call:
        from distillfss.export.format import INPUT, MASK, WANTED

        session = onnx_runtime.open_session(path, self.threads)
        feeds: dict[str, Any] = {INPUT: self.bytes}
        if WANTED in {each.name for each in session.get_overridable_initializers()}:
            feeds[WANTED] = np.array(False)
        return lambda: session.run([MASK], feeds)

    def plain(self, name: str, make: Callable[[], nn.Module]) -> Call:
        """A network of PyTorch in ONNX Runtime, float pixels in."""
        image = random_image(SIZE)
        path = self.kept(f"{name}.onnx", lambda to: onnx_runtime.export(make().eval(), image, to))
        session, pixels = onnx_runtime.open_session(path, self.threads), image.numpy()
        return lambda: onnx_runtime.run(session, pixels)

    def floor(self) -> Call:
        return self.plain("backbone", lambda: self.backbone)

    def eager(self, subject: str, backbone: Any, shots: int = 1) -> Call:
        module, image = build(subject, backbone, Setting(shots, 1, SIZE)), random_image(SIZE)
        return lambda: module(image)


def kind(ways: int, details: bool, contested: bool) -> str:
    return f"{ways}{'-details' * details}{'-contested' * contested}"


def say(text: str) -> None:
    print(text, flush=True)


def ms(seconds: tuple[float, ...]) -> str:
    median = 1000 * percentile(seconds, 50)
    return f"{median:.1f} ms" if median < 1000 else f"{median / 1000:.2f} s"


Row = tuple[str, str, str, str]
"""What, goal, measured, in milliseconds."""


def compared(what: str, goal: str, found: dict[str, tuple[float, ...]], one: str, other: str, digits: int = 2) -> Row:
    """One subject over another."""
    return what, goal, f"{ratio(found[one], found[other]):.{digits}f}", f"{ms(found[one])} / {ms(found[other])}"


def over_backbone(bench: Bench) -> list[Row]:
    calls = {"student": bench.student(), "details": bench.student(details=True), "backbone": bench.floor()}
    found = bench.seconds(calls)
    what = "fp32 student (whole file, bytes to mask) over its backbone's own ONNX forward"
    return [
        compared(what, "at most 1.5", found, "student", "backbone"),
        compared("the same of one that draws details", "at most 1.5", found, "details", "backbone"),
    ]


def over_peers(bench: Bench) -> list[Row]:
    from distillfss.backbones.torchvision_bridge import import_torchvision

    import_torchvision()
    import segmentation_models_pytorch as smp

    calls = {"student": bench.student()}
    for peer, (kind, _) in PEERS.items():
        calls[peer] = bench.plain(
            f"smp-{kind}", lambda kind=kind: getattr(smp, kind)(ENCODER, encoder_weights=None, classes=2)
        )
    found = bench.seconds(calls)
    return [
        compared(f"student over smp {peer}, same encoder, both ONNX", f"at most {goal}", found, "student", peer)
        for peer, (_, goal) in PEERS.items()
    ]


def over_authors(bench: Bench) -> list[Row]:
    # not in turns: after a second of theirs, their threads still spin and our file is out of the cache
    rows = []
    for name, shown, goal in (("swin_b", "Swin-B", "at least 60"), ("resnet50", "ResNet-50", "reported")):
        before = bench.seconds({"ours": bench.student()})["ours"]
        theirs = bench.seconds({"theirs": bench.eager("dcama student", build_backbone(name))})["theirs"]
        time.sleep(1)
        ours = before + bench.seconds({"ours": bench.student()})["ours"]
        what, value = f"authors' student, {shown}, eager, over ours (one after the other)", percentile(theirs, 50)
        rows.append((what, goal, f"{value / percentile(ours, 50):.0f}", f"{ms(theirs)} / {ms(ours)}"))
    return rows


def eight_bits(bench: Bench) -> list[Row]:
    found = bench.seconds({"int8": bench.int8(), "fp32": bench.student()})
    return [compared("int8 student (all convolutions) over fp32", "at most 0.5", found, "int8", "fp32")]


def classes(bench: Bench) -> list[Row]:
    calls = {str(ways): bench.student(ways) for ways in (1, 5, 20)}
    found = bench.seconds({**calls, "contested": bench.student(20, contested=True)})
    most = found.pop("contested")
    ratios = " / ".join(f"{ratio(found[ways], found['1']):.2f}" for ways in found)
    times = " / ".join(ms(seconds) for seconds in found.values())
    return [
        ("student with 1 / 5 / 20 classes over 1", "at most 1 / 1.1 / 1.5", ratios, times),
        (
            "the same with 20 classes, every one of which wins somewhere in the image",
            "reported",
            f"{ratio(most, found['1']):.2f}",
            f"{ms(most)} / {ms(found['1'])}",
        ),
    ]


@torch.no_grad()
def shots(bench: Bench) -> list[Row]:
    """Students of 1 and of 80 images have the same tensors, so the same graph; and they take as long."""
    from distillfss.models.lean import LeanStudent

    backbone, image = bench.backbone, random_image(SIZE)
    torch.manual_seed(0)
    standardize, teacher = Standardize(backbone.layers), Teacher(backbone.layers).eval()
    standardize.calibrate([backbone(image)])
    calls, shapes = {}, []
    for k in (1, 80):
        student = Student(backbone.layers, 1)
        student.take_over(teacher, random_support(backbone, standardize, teacher, Setting(k, 1, SIZE)), seed=0)
        lean = LeanStudent(standardize, student)
        shapes.append({name: tuple(tensor.shape) for name, tensor in lean.state_dict().items()})
        calls[str(k)] = lambda lean=lean: lean(backbone(image))
    if shapes[0] != shapes[1]:
        raise SystemExit("a student of 80 images is not the size of one of 1 image")
    found = bench.seconds(calls)
    what = "student of k = 80 over k = 1 (tensor for tensor of one size; eager)"
    return [compared(what, "1.0", found, "80", "1")]


def teachers(bench: Bench) -> list[Row]:
    rows = []
    for k in (1, 5, 20):
        calls = {
            "teacher": bench.eager("teacher", bench.backbone, k),
            "student": bench.eager("student", bench.backbone),
        }
        found = bench.seconds(calls, repeats=bench.repeats if k < 20 else max(5, bench.repeats // 3))
        what = f"our teacher over our student, k = {k}, both eager"
        rows.append(compared(what, "reported", found, "teacher", "student", digits=1))
    return rows


def authors_teachers(bench: Bench, largest: int) -> list[Row]:
    rows, backbone = [], build_backbone("swin_b")
    for k, repeats in ((1, 10), (5, 4), (20, 2)):
        if k > largest:
            continue
        calls = {
            "teacher": bench.eager("dcama teacher", backbone, k),
            "student": bench.eager("dcama student", backbone),
        }
        found = bench.seconds(calls, repeats=repeats)
        what = f"authors' teacher over their student, Swin-B, k = {k}, both eager (median of {repeats})"
        rows.append(compared(what, "reported", found, "teacher", "student", digits=1))
    return rows


def imports(bench: Bench) -> list[Row]:
    rows = []
    commands = {
        "`import distillfss`": (["-c", "import distillfss"], "under 0.3 s"),
        "`distillfss --help`": (["-m", "distillfss", "--help"], "under 0.5 s"),
    }
    for what, (words, goal) in commands.items():
        seconds = []
        for _ in range(11):
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
        rows.append((what, goal, f"{statistics.median(seconds[1:]):.2f} s", "median of 10, a fresh process each"))
    return rows


def predict(bench: Bench, model: Path, images: Path) -> list[Row]:
    script = Path(__file__).with_name("predict_folder.py")
    words = [sys.executable, str(script), str(model), str(images), "--images", "1000", "--repeats", "1"]
    answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    row, about = json.loads(answer[0]), json.loads(answer[-1])
    alone = f"({row['decode']:.1f} + {row['network']:.1f}) s"
    times = f"{row['predict']:.1f} s / {alone}, {about['images']} images, {model.suffix}"
    return [("whole `predict` over decoding and network alone", "at most 1.25", f"{row['ratio']:.2f}", times)]


def geotiff(bench: Bench, model: Path) -> list[Row]:
    side = 20_000
    path = bench.kept(f"map-{side}.tif", lambda to: write_map(to, side))
    out = bench.work / "map-masks"
    words = [sys.executable, "-m", "distillfss", "predict", str(model), str(path), "--out", str(out), "--overwrite"]
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident_kib(process.pid))
        time.sleep(0.2)
    if process.returncode:
        assert process.stderr is not None
        raise SystemExit(process.stderr.read().decode())
    minutes = (time.perf_counter() - started) / 60
    what = f"peak memory of `predict`, {side:,}×{side:,} GeoTIFF, helpers included"
    return [(what, "under 1.5 GB", f"{peak * 1024 / 1e9:.2f} GB", f"{minutes:.1f} minutes, {model.suffix}")]


def write_map(path: Path, side: int) -> None:
    """Something like fields: smooth colours with noise, in compressed blocks."""
    import rasterio
    from rasterio.windows import Window

    random = np.random.default_rng(0)
    noise = random.integers(0, 40, (3, 512, 512), np.uint8)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "tiled": True}
    profile |= {"blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2}
    with rasterio.open(path, "w", **profile) as raster:
        for top in range(0, side, 512):
            for left in range(0, side, 512):
                height, width = min(512, side - top), min(512, side - left)
                colour = random.integers(0, 200, (3, 1, 1), np.uint8)
                raster.write((noise + colour)[:, :height, :width], window=Window(left, top, width, height))


def resident_kib(pid: int) -> int:
    """What a process and its children hold now."""
    total = 0
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text(encoding="utf-8")
            total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text(encoding="utf-8").split()]
        except OSError:
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("results/ship"))
    parser.add_argument("--page", type=Path, default=Path(__file__).parents[1] / "docs" / "performance.md")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows alone")
    parser.add_argument("--again", action="store_true", help="measure rows anew; exported files are kept")
    parser.add_argument("--largest-teacher", type=int, default=5, metavar="K", help="20 takes minutes and several GB")
    parser.add_argument("--model", type=Path, help="a fitted model, for the rows predict and geotiff")
    parser.add_argument("--images", type=Path, help="a folder of JPEGs, for the row predict")
    parser.add_argument("--geotiff", action="store_true", help="measure the row geotiff, which takes many minutes")
    asked = parser.parse_args()

    keep_freed_memory()
    torch.set_num_threads(asked.threads)
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)  # for the commands that are started
    bench = Bench(asked.work, asked.threads, asked.repeats)
    rows: dict[str, Callable[[], list[Row]]] = {
        "backbone": lambda: over_backbone(bench),
        "peers": lambda: over_peers(bench),
        "authors": lambda: over_authors(bench),
        "int8": lambda: eight_bits(bench),
        "classes": lambda: classes(bench),
        "shots": lambda: shots(bench),
        "teacher": lambda: teachers(bench),
        "authors-teacher": lambda: authors_teachers(bench, asked.largest_teacher),
        "imports": lambda: imports(bench),
    }
    if asked.model and asked.images:
        rows["predict"] = lambda: predict(bench, asked.model, asked.images)
    if asked.model and asked.geotiff:
        rows["geotiff"] = lambda: geotiff(bench, asked.model)
    unknown = sorted(set(asked.only or ()) - rows.keys())
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(rows)} (predict and geotiff need --model)")

    order = (*rows, *(name for name in ("predict", "geotiff") if name not in rows))
    wanted = [name for name in rows if not asked.only or name in asked.only]
    for number, name in enumerate(wanted, start=1):
        kept = asked.work / f"row-{name}.json"
        if kept.exists() and not asked.again:
            say(f"[{number}/{len(wanted)}] {name}: kept")
            continue
        say(f"[{number}/{len(wanted)}] {name}")
        started = time.perf_counter()
        found = rows[name]()
        about = {"rows": found, "machine": marked.machine(asked.threads), "date": time.strftime("%Y-%m-%d")}
        kept.write_text(json.dumps(about, indent=1), encoding="utf-8")
        for what, _, value, times in found:
            say(f"  {what}: {value} ({times})")
        say(f"  {time.perf_counter() - started:.0f} s")
    write_page(asked.page, asked.work, order)


def write_page(page: Path, work: Path, order: tuple[str, ...]) -> None:
    """The table of all rows measured so far."""
    lines, machines = [], []
    for name in order:
        kept = work / f"row-{name}.json"
        if kept.exists():
            about = json.loads(kept.read_text(encoding="utf-8"))
            load = about["machine"].split("load ")[1].split(";")[0]
            lines += [[what, goal, value, times, load] for what, goal, value, times in about["rows"]]
            machines.append((about["machine"].replace(f", load {load}", ""), about["date"]))
    text = marked.table(["what", "goal", "measured", "times", "load"], lines)
    seen = "; ".join(f"{machine}, {date}" for machine, date in dict.fromkeys(machines))
    marked.write(page, "ship", f"{text}\n\nMeasured by `python benchmarks/ship.py` on: {seen}.")
    say(f"written to {page}")


if __name__ == "__main__":
    main()
