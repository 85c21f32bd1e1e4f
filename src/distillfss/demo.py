"""The whole of it once, on the embedded sample: support set, fit, model file, unseen images, masks, one page.

Everything goes through the functions a user calls.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillfss.config import FitConfig
from distillfss.errors import OutputError
from distillfss.metrics import number_or_none
from distillfss.sample import CLASS_NAMES, CREDIT, Tile, readme, sample_tiles, support_tiles, unseen_tiles

if TYPE_CHECKING:
    from distillfss.evaluation import Evaluation
    from distillfss.segmenter import Segmenter
    from distillfss.support import SupportSet

# Called with (phase, step, steps); steps is 0 where the length is unknown.
Report = Callable[[str, int, int], None]

MODEL, PAGE, CSV, README = "nuclei.safetensors", "report.html", "images.csv", "README.txt"
_MARK = "This folder was made by 'distillfss demo'."
_TIMED = 12


@dataclass(frozen=True)
class DemoResult:
    """What the demo found out.

    Attributes
    ----------
    out
        The folder with everything in it.
    evaluation
        On the eleven unseen tiles.
    fit_seconds
        From the support folder to the fitted model, imports not counted.
    seconds_per_image
        Median time of ``segmenter(image)`` on unseen tiles after warm-up.
    """

    out: Path
    evaluation: Evaluation
    support_images: int
    fit_seconds: float
    seconds_per_image: float
    model_bytes: int
    device: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "out": str(self.out),
            "page": str(self.out / PAGE),
            "model": str(self.out / MODEL),
            "support_images": self.support_images,
            "unseen_images": len(self.evaluation.images),
            "foreground_iou": number_or_none(self.evaluation.foreground_iou),
            "baseline_foreground_iou": number_or_none(self.evaluation.baseline_own.mean("iou")),
            "fit_seconds": round(self.fit_seconds, 2),
            "seconds_per_image": round(self.seconds_per_image, 4),
            "model_bytes": self.model_bytes,
            "device": self.device,
            "evaluation": self.evaluation.to_dict(),
        }


def run_demo(out: str | Path, config: FitConfig | None = None, report: Report | None = None) -> DemoResult:
    """Fit on five tiles of the sample, judge on the other eleven, and leave everything in ``out``.

    Parameters
    ----------
    out
        A folder that does not exist, is empty, or was made by an earlier demo (then it is made anew).
    config
        Settings of the fit.
    report
        Called with (phase, step, steps).

    Raises
    ------
    OutputError
        If the folder holds something else, or cannot be written to.
    """
    tell: Report = report or (lambda phase, step, steps: None)
    folder = Path(out)
    settings = config or FitConfig()
    _claim(folder)
    tell("unpacking the sample", 0, 0)
    write_labelled(folder / "support", support_tiles())
    write_labelled(folder / "test", unseen_tiles())

    tell("loading PyTorch", 0, 0)
    from distillfss import Segmenter, SupportSet, evaluate, fit
    from distillfss.predicting import predict_images
    from distillfss.support import LabelledFolder

    support = SupportSet.from_folder(folder / "support")
    state = folder / f"{MODEL}.part"
    started = time.perf_counter()
    fitted = fit(support, settings, state=state, progress=lambda p: tell(p.phase, p.step, p.steps))
    fit_seconds = time.perf_counter() - started
    fitted.save(folder / MODEL)
    state.unlink(missing_ok=True)

    segmenter = Segmenter.load(folder / MODEL, device=settings.device)
    unseen = LabelledFolder.open(folder / "test")
    evaluation = evaluate(segmenter, unseen, progress=lambda done, all_: tell("judging on unseen images", done, all_))
    evaluation.write_csv(folder / CSV)
    predict_images(
        segmenter,
        folder / "test" / "images",
        folder / "masks",
        overwrite=True,
        overlay=True,
        progress=lambda done, all_: tell("writing masks", done, all_),
    )
    tell("writing the page", 0, 0)
    result = DemoResult(
        folder,
        evaluation,
        len(support),
        fit_seconds,
        latency(segmenter, unseen_tiles()),
        (folder / MODEL).stat().st_size,
        str(getattr(segmenter, "device", settings.device)),
    )
    _write_page(result, support, unseen, segmenter)
    return result


def write_labelled(folder: Path, tiles: Iterable[Tile]) -> None:
    """Write tiles in the layout every labelled folder has: ``images/``, ``masks/``, ``meta.json``."""
    import io
    import json

    from PIL import Image

    from distillfss.io.files import atomic_write
    from distillfss.io.masks import write_mask

    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for tile in tiles:
        buffer = io.BytesIO()
        Image.fromarray(tile.image[:, :, 0]).save(buffer, "PNG")
        atomic_write(folder / "images" / f"{tile.name}.png", buffer.getvalue())
        write_mask(folder / "masks" / f"{tile.name}.png", tile.mask)
    meta = {"classes": ["background", *CLASS_NAMES], "origin": CREDIT}
    atomic_write(folder / "meta.json", (json.dumps(meta, indent=2) + "\n").encode())


def latency(segmenter: Segmenter, tiles: list[Tile]) -> float:
    """Median seconds of one call on an image in memory, after two calls to warm up."""
    times = []
    for number in range(2 + _TIMED):
        image = tiles[number % len(tiles)].image
        started = time.perf_counter()
        segmenter(image)
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def _claim(folder: Path) -> None:
    """Make the folder ours, or refuse one that holds something else."""
    from distillfss.io.files import atomic_write

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not _ours(folder):
            raise OutputError(
                "this folder holds something else", cure="Choose another one with --out, or empty it", path=folder
            )
    except OSError as error:
        raise OutputError(
            f"this folder cannot be used ({error.strerror})", cure="Choose another one with --out", path=folder
        ) from None
    atomic_write(folder / README, f"{_MARK}\n\n{readme()}".encode())


def _ours(folder: Path) -> bool:
    try:
        return (folder / README).read_text(encoding="utf-8", errors="replace").startswith(_MARK)
    except OSError:
        return False


def _write_page(result: DemoResult, support: SupportSet, unseen: Any, segmenter: Segmenter) -> None:
    from distillfss.io.files import atomic_write
    from distillfss.report.demo_page import demo_page

    page = demo_page(result, support, unseen, segmenter, model_file=MODEL, tile=sample_tiles()[0].mask.shape)
    atomic_write(result.out / PAGE, page.encode())
