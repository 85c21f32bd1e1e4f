"""What is left of meta-training for people: the curve as a picture and a model card."""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from distillfss import __version__
from distillfss.errors import UsageError
from distillfss.io.files import atomic_write
from distillfss.io.labelled import LabelledFolder
from distillfss.meta.config import MetaConfig
from distillfss.meta.running import MetaResult, settings_of

TITLES = {"teacher": "this teacher", "untrained": "untrained", "prototypes": "prototypes (cosine)"}


def write_curve(path: Path, history: Sequence[Sequence[float]]) -> None:
    """Training loss and held-out IoU over steps as a PNG; ``history`` is that of ``MetaResult``.

    Raises
    ------
    UsageError
        If Matplotlib is not installed.
    OutputError
        If it cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            f"the curve needs Matplotlib ({error})", cure="Install it with: pip install 'distillfss[meta]'"
        ) from error
    steps, losses, one, five = zip(*history, strict=True)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    left.set(xlabel="step", ylabel="held-out IoU (%)")
    left.plot(steps, [100 * v for v in five], "o-", color="C0", label="held-out IoU, 5 shots")
    left.plot(steps, [100 * v for v in one], "s--", color="C0", label="held-out IoU, 1 shot")
    left.set_ylim(bottom=0)
    right = left.twinx()
    right.set_ylabel("training loss")
    right.plot(steps, losses, "^:", color="C1", label="training loss")
    lines = [*left.get_lines(), *right.get_lines()]
    left.legend(lines, [str(line.get_label()) for line in lines], loc="lower right")
    left.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    atomic_write(path, stream.getvalue())


def mean_iou(held_out: Mapping[str, Mapping[str, float]], contender: str, shots: int) -> float:
    """Mean over the held-out classes that have enough images, 0 to 1; NaN if none has."""
    values = [row[f"{contender} {shots}"] for row in held_out.values()]
    known = [value for value in values if value == value]
    return statistics.fmean(known) if known else float("nan")


def describe_source(path: Path) -> str:
    """One line about a folder: its name, images, classes that its masks show, title and licence of its ``meta.json``.

    Every mask is read once more, which is nothing beside the training.
    """
    folder = LabelledFolder.open(path)
    try:
        meta = json.loads((path / "meta.json").read_text())
    except (OSError, ValueError):
        meta = {}
    told = [f"{key}: {meta[key]}" for key in ("title", "licence") if isinstance(meta.get(key), str)]
    named = len(folder.class_names)
    values = {value for index in range(len(folder)) for value in folder.classes_in(index)}
    shown = len(values & set(range(1, named + 1)))  # others have no name, and are ignored in training
    counted = f"{len(folder):,} images, {shown if shown == named else f'{shown} of {named}'} classes"
    return "; ".join([f"`{path.resolve().name}`, {counted}", *told])


def model_card(name: str, config: MetaConfig, result: MetaResult, sources: Sequence[str], command: str) -> str:
    """The model card as Markdown: data, episodes, hours, held-out classes' IoU, the exact command."""
    rows = [
        "| class | " + " | ".join(f"{TITLES[c]}, {k} shot{'s' * (k > 1)}" for k in (1, 5) for c in TITLES) + " |",
        "|---|" + "---|" * 6,
    ]
    for label, values in [*result.held_out.items(), ("**mean**", None)]:
        cells = [
            values[f"{c} {k}"] if values is not None else mean_iou(result.held_out, c, k)
            for k in (1, 5)
            for c in TITLES
        ]
        rows.append(f"| {label} | " + " | ".join("–" if v != v else f"{100 * v:.1f}" for v in cells) + " |")
    return f"""# {name}

Attention and mixer of the teacher (DCAMA as in distillfss), meta-trained on episodes over source classes.
`distillfss fit` starts from it with the backbone {config.backbone}, whose weights are not in this file.

{chr(10).join(f"- **Data**: {source}" for source in sources)}
- **Synthetic scenes**: {config.synthetic}, of textures cut from the same images; they make
  {100 * config.synthetic_share:.0f} % of the episodes.
- **Episodes**: {config.steps * config.episodes:,} ({config.steps:,} steps of {config.episodes}),
  1 to {config.max_shots} shots, one class each, views of {config.size} px.
- **Time**: {result.seconds / 3600:.2f} hours, without encoding the {config.views:g} views per image.
- **Held out**: {", ".join(config.hold_out) or "nothing"}. Their pixels were ignored in training.
- **Saved**: the moving average of the weights after the last step; no checkpoint was chosen.
- **Made by** distillfss {__version__}:

```
{command}
```

Foreground IoU (%) on episodes of the held-out classes, at {config.size} px, without any fine-tuning:

{chr(10).join(rows)}

Every setting: `{settings_of(config)}`
"""
