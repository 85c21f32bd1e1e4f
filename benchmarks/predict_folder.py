"""What ``predict`` costs beyond decoding and the network: its wall seconds over theirs, in the same run.

    python benchmarks/predict_folder.py MODEL FOLDER_OF_JPEGS --images 1000 --repeats 3

The images are taken in chunks of --chunk. For every chunk, in turn: decode all of it, put all of it through the
network, predict all of it with files written, so that a machine that is busy otherwise hits the three alike. Seconds
are summed over the chunks, and the ratio is predict / (decode + network), of wall seconds and of this process's
processor seconds. ``--command`` also times the command on all images once per repeat, from starting Python to its end,
against the sums of the same repeat.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from distillfss import Segmenter
from distillfss.io.decode import read_image
from distillfss.predicting import predict_images
from distillfss.runtime import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--outputs", default="mask")
    parser.add_argument("--command", action="store_true")
    asked = parser.parse_args()

    keep_freed_memory()
    segmenter = Segmenter.load(asked.model)
    paths = sorted(asked.folder.iterdir())[: asked.images]
    outputs = asked.outputs.split(",")
    for path in paths[:10]:
        segmenter(read_image(path).pixels)
    rows = []
    for _ in range(asked.repeats):
        spent = {"decode": 0.0, "network": 0.0, "predict": 0.0}
        work = dict(spent)
        with tempfile.TemporaryDirectory() as out:
            for start in range(0, len(paths), asked.chunk):
                chunk = paths[start : start + asked.chunk]
                times = [clocks()]
                pixels = [read_image(path).pixels for path in chunk]
                times.append(clocks())
                for image in pixels:
                    segmenter(image)
                times.append(clocks())
                predict_images(segmenter, chunk, out, outputs=outputs)
                times.append(clocks())
                for name, before, after in zip(spent, times, times[1:], strict=False):
                    spent[name] += after[0] - before[0]
                    work[name] += after[1] - before[1]
        alone = spent["decode"] + spent["network"]
        row = {**spent, "ratio": spent["predict"] / alone}
        row["processor_ratio"] = work["predict"] / (work["decode"] + work["network"])
        if asked.command:
            row["command"] = run_command(asked.model, paths, asked.outputs)
            row["command_ratio"] = row["command"] / alone
        rows.append({name: round(value, 3) for name, value in row.items()})
        print(json.dumps(rows[-1]), flush=True)
    about = {"images": len(paths), "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    for name in ("ratio", "processor_ratio", "command_ratio"):
        values = [row[name] for row in rows if name in row]
        if values:
            about[name] = f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
    print(json.dumps(about))


def clocks() -> tuple[float, float]:
    """Wall and processor seconds."""
    return time.perf_counter(), time.process_time()


def run_command(model: Path, paths: list[Path], outputs: str) -> float:
    """Wall seconds of the command over links to the images."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        for path in paths:
            (images / path.name).symlink_to(path.absolute())
        words = ["predict", str(model), str(images), "--out", f"{folder}/out", "--outputs", outputs, "--json"]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "distillfss", *words], check=True, capture_output=True)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
