"""What to measure along which axes, and the figures that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distillfss.bench.speed.subjects import FLOOR, OURS, Setting
from distillfss.bench.speed.timing import percentile
from distillfss.errors import UsageError

EAGER, ONNX = "eager", "ONNX Runtime"
GRID = 32
"""Working sizes are multiples of it (``geometry.working_size``)."""
CENTRE = Setting(shots=5, ways=1, size=384)
AXES = ("shots", "ways", "size")


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    shots, ways, sizes
        Values along each axis. While one changes, the others stay at 5 shots, 1 way and 384 px, or at their first
        value if that is not among theirs.
    subjects
        The backbone is always measured, and first.
    repeats, warm_up
        Rounds that count, and rounds before them.
    onnx, memory
        Whether to measure ONNX Runtime and peak memory as well.
    """

    backbone: str = "efficientnet_lite0"
    shots: tuple[int, ...] = (1, 5, 25, 80)
    ways: tuple[int, ...] = (1, 5, 20)
    sizes: tuple[int, ...] = (256, 384, 512)
    subjects: tuple[str, ...] = OURS
    repeats: int = 50
    warm_up: int = 10
    threads: int = 1
    onnx: bool = True
    memory: bool = True

    def __post_init__(self) -> None:
        wrong = [size for size in self.sizes if size < GRID or size % GRID]
        if wrong:
            near = max(GRID, round(wrong[0] / GRID) * GRID)
            raise UsageError(f"images are never {wrong[0]} px at work", cure=f"Use multiples of {GRID}, such as {near}")
        object.__setattr__(self, "subjects", (FLOOR, *(name for name in self.subjects if name != FLOOR)))

    def along(self, axis: str) -> list[Setting]:
        """The settings of one axis, ascending."""
        values = {"shots": self.shots, "ways": self.ways, "size": self.sizes}
        fixed = {
            name: default if (default := getattr(CENTRE, name)) in found else found[0] for name, found in values.items()
        }
        return [Setting(**{**fixed, axis: value}) for value in sorted(set(values[axis]))]

    def settings(self) -> list[Setting]:
        """All settings, each once."""
        return list(dict.fromkeys(setting for axis in AXES for setting in self.along(axis)))


@dataclass(frozen=True)
class Row:
    """One subject at one setting.

    Attributes
    ----------
    seconds
        One duration per round; none if it could not be timed, ``note`` then says why.
    over_floor
        How many times as long as the backbone alone in the same runtime.
    head_parameters
        Apart from the backbone's.
    peak_mib
        Above an idle process; None where it cannot be told.
    """

    setting: Setting
    subject: str
    runtime: str
    seconds: tuple[float, ...]
    over_floor: float | None
    backbone_parameters: int
    head_parameters: int
    multiply_adds: int
    peak_mib: float | None
    note: str = ""

    @property
    def label(self) -> str:
        return self.subject if self.runtime == EAGER else f"{self.subject}, {self.runtime}"

    def milliseconds(self, percent: float) -> float | None:
        """A percentile of its durations."""
        return 1000 * percentile(self.seconds, percent) if self.seconds else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        shown = [None if value is None else round(value, 3) for value in map(self.milliseconds, (50, 10, 90))]
        return {
            **vars(self.setting),
            "subject": self.subject,
            "runtime": self.runtime,
            **dict(zip(("median_ms", "p10_ms", "p90_ms"), shown, strict=True)),
            "over_floor": None if self.over_floor is None else round(self.over_floor, 4),
            "backbone_parameters": self.backbone_parameters,
            "head_parameters": self.head_parameters,
            "multiply_adds": self.multiply_adds,
            "peak_mib": None if self.peak_mib is None else round(self.peak_mib, 1),
            "note": self.note,
            "seconds": [round(value, 7) for value in self.seconds],
        }


@dataclass(frozen=True)
class Measured:
    """Everything measured, and what an idle process holds, in MiB by runtime."""

    plan: Plan
    rows: tuple[Row, ...]
    idle_mib: dict[str, float] = field(default_factory=dict)

    @property
    def axes(self) -> list[str]:
        """The axes along which more than one value was measured; the first one if there is none."""
        return [axis for axis in AXES if len(self.plan.along(axis)) > 1] or [AXES[0]]

    def at(self, setting: Setting) -> list[Row]:
        """The rows of one setting."""
        return [row for row in self.rows if row.setting == setting]


def labels(rows: Sequence[Row]) -> list[str]:
    """Subjects with their runtimes, in order, each once."""
    return list(dict.fromkeys(row.label for row in rows))


def words(setting: Setting, axis: str) -> str:
    """``5 shots``, ``1 way``, ``384 px``."""
    value = getattr(setting, axis)
    return f"{value} px" if axis == "size" else f"{value} {axis if value != 1 else axis.removesuffix('s')}"
