"""The plots of a report, as SVG that takes the colours of the page it stands in, light or dark.

Matplotlib draws with stand-in colours, which are then replaced: ink by ``currentColor``, lines by the page's own, the
ground by nothing. Methods differ by colour, marker and dash, so that no plot depends on seeing colours.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distillfss.bench.report.tables import timed_beside, typical_fit
from distillfss.bench.summary import Arena, Spread
from distillfss.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, LINE, GROUND = "#010203", "#040506", "#070809"
ON_PAGE = {INK: "currentColor", LINE: "var(--line)", GROUND: "none"}
ON_WHITE = {INK: "#1b2430", LINE: "#dfe3e9", GROUND: "#ffffff"}

# Okabe and Ito's colours that stand out from white and from black.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a8a8a")
MARKERS = "osD^vPX*<>hp"
DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)))

COLUMNS, PANEL = 3, (3.6, 2.7)


@dataclass(frozen=True)
class Plot:
    """A drawing: a name for its file, what it shows, and the SVG with stand-in colours."""

    name: str
    title: str
    alt: str
    svg: str

    def on_page(self) -> str:
        """To stand inside a page."""
        return _coloured(self.svg, ON_PAGE)

    def on_white(self) -> str:
        """To stand in a file of its own."""
        return '<?xml version="1.0" encoding="utf-8"?>\n' + _coloured(self.svg, ON_WHITE)


def _coloured(svg: str, colours: dict[str, str]) -> str:
    for stand_in, colour in colours.items():
        svg = svg.replace(stand_in, colour)
    return svg


def check_matplotlib() -> None:
    """Raise ``UsageError`` that names the cure if there is no Matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("a report needs Matplotlib", cure="pip install 'distillfss[bench]'") from None


class Drawing:
    """A figure of panels with one legend of methods below."""

    def __init__(
        self, panels: int, labels: Sequence[str], order: Sequence[str], panel: tuple[float, float] = PANEL
    ) -> None:
        from matplotlib.figure import Figure

        self.labels = list(labels)
        self.order = list(order)
        columns = min(COLUMNS, panels)
        rows = math.ceil(panels / columns)
        legend_rows = math.ceil(len(labels) / 5)
        self.height = panel[1] * rows + 0.3 * legend_rows
        # a lone panel is given the room of two, so that text is of one size in all plots
        self.width = panel[0] * max(columns, 2)
        self.figure: Figure = Figure(figsize=(self.width, self.height), facecolor=GROUND)
        grid = self.figure.subplots(rows, columns, squeeze=False)
        self.axes: list[Axes] = list(grid.ravel())[:panels]
        for empty in list(grid.ravel())[panels:]:
            empty.set_axis_off()
        for axes in self.axes:
            _plain(axes)

    def style(self, label: str) -> dict[str, Any]:
        """Colour, marker and dash of a method, by its place among all methods of the report."""
        place = self.order.index(label)
        return {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
            "markersize": 5,
            "linewidth": 1.4,
        }

    def finish(self, name: str, title: str, alt: str, legend: bool = True) -> Plot:
        """The figure as a plot."""
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.lines import Line2D

        bottom = 0.0
        if legend:
            handles = [Line2D([], [], label=label, **self.style(label)) for label in self.labels]
            columns = min(5, len(handles))
            self.figure.legend(
                handles=handles, loc="lower center", ncols=columns, frameon=False, fontsize=8, labelcolor=INK
            )
            bottom = 0.3 * math.ceil(len(handles) / columns) / self.height
        self.figure.tight_layout(rect=(0, bottom, 1, 1))
        buffer = io.StringIO()
        # the salt keeps the identifiers of several drawings on one page apart
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            FigureCanvasSVG(self.figure).print_svg(buffer, metadata=metadata)
        return Plot(name, title, alt, _bare(buffer.getvalue(), alt))


def _plain(axes: Axes) -> None:
    axes.set_facecolor(GROUND)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.grid(True, color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    axes.xaxis.label.set(color=INK, fontsize=8.5)
    axes.yaxis.label.set(color=INK, fontsize=8.5)
    axes.title.set(color=INK, fontsize=9.5)


def _bare(svg: str, alt: str) -> str:
    """The ``<svg>`` element alone, with a text for those who cannot see it, and without styles for the whole page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg)
    safe = alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{safe}" ', 1)


def _scale(axes: Axes, values: Sequence[float], name: str, axis: str) -> None:
    """A logarithmic axis with the values themselves as ticks."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    getattr(axes, f"set_{axis}scale")("log")
    found = getattr(axes, f"{axis}axis")
    found.set_major_locator(FixedLocator(values))
    found.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
    found.set_minor_locator(NullLocator())
    getattr(axes, f"set_{axis}label")(name)


def round_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: powers of ten, and where they are few their double and fivefold as well."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 100 else (1,)
    return [
        factor * 10.0**power for power in powers for factor in factors if low / 2 <= factor * 10.0**power <= high * 2
    ]


def iou_over_shots(arena: Arena, name: str, order: Sequence[str]) -> Plot:
    """A panel per data set: medians over shots, with the range over the seeds."""
    drawing = Drawing(len(arena.datasets), arena.labels, order)
    for axes, dataset in zip(drawing.axes, arena.datasets, strict=True):
        shots = arena.shots(dataset)
        for place, label in enumerate(arena.labels):
            points = [(k, e.iou) for k in shots if (e := arena.entry(dataset, k, label)) and e.iou]
            # beside one another, so that ranges do not hide each other
            shift = math.exp(0.03 * (place - (len(arena.labels) - 1) / 2))
            _ranges(axes, [(k * shift, spread) for k, spread in points], drawing.style(label))
        _scale(axes, shots, "shots", "x")
        axes.set_xlim(shots[0] / 1.35, shots[-1] * 1.35)
        axes.set_ylabel("IoU, %")
        axes.set_title(dataset)
    alt = (
        f"Foreground IoU over shots on {', '.join(arena.datasets)}: {', '.join(arena.labels)}; the tables say the same"
    )
    return drawing.finish(name, "IoU over shots", alt)


def _ranges(axes: Axes, points: Sequence[tuple[float, Spread]], style: dict[str, Any]) -> None:
    if not points:
        return
    x = [at for at, _ in points]
    axes.plot(x, [100 * spread.median for _, spread in points], **style)
    low, high = [100 * min(s.values) for _, s in points], [100 * max(s.values) for _, s in points]
    axes.vlines(x, low, high, color=style["color"], linewidth=1.2, alpha=0.7)


def iou_over_seconds(arena: Arena, name: str, order: Sequence[str]) -> Plot:
    """A panel per data set: median IoU over the median seconds of fit; a method's shots are joined."""
    drawing = Drawing(len(arena.datasets), arena.labels, order)
    for axes, dataset in zip(drawing.axes, arena.datasets, strict=True):
        seen: list[float] = []
        for label in arena.labels:
            points = [
                (max(seconds, 0.01), 100 * entry.iou.median)
                for k in arena.shots(dataset)
                if (entry := arena.entry(dataset, k, label))
                and entry.iou
                and (seconds := typical_fit(entry)) is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), **drawing.style(label))
                seen += [seconds for seconds, _ in points]
        if seen:
            _scale(axes, round_ticks(min(seen), max(seen)), "seconds of fit", "x")
        axes.set_ylabel("IoU, %")
        axes.set_title(dataset)
    alt = f"Foreground IoU over seconds of fit on {', '.join(arena.datasets)}; the tables say the same"
    beside = any(timed_beside(row) for entry in arena.of() for row in entry.done)
    return drawing.finish(name, f"IoU over seconds of fit{', some timed beside other work' if beside else ''}", alt)


def mean_ranks(arena: Arena, name: str, order: Sequence[str]) -> Plot | None:
    """The mean rank of every method, best on top; None where nothing can be ranked."""
    ranks = arena.ranks.overall
    if not ranks:
        return None
    labels = sorted(ranks, key=lambda label: -ranks[label])
    drawing = Drawing(1, arena.labels, order, panel=(PANEL[0], 0.7 + 0.24 * len(labels)))
    axes = drawing.axes[0]
    for place, label in enumerate(labels):
        style = drawing.style(label) | {"linestyle": "none", "markersize": 7}
        axes.hlines(place, 1, ranks[label], color=style["color"], linewidth=2)
        axes.plot([ranks[label]], [place], **style)
        axes.annotate(
            f"{ranks[label]:.2f}", (ranks[label], place), (7, 0), textcoords="offset points", va="center", color=INK,
            fontsize=8,
        )  # fmt: skip
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlim(0.9, len(labels) + 0.5)
    axes.set_xticks(range(1, len(labels) + 1))
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.set_xlabel("mean rank, 1 is best")
    alt = "Mean ranks: " + ", ".join(f"{label} {ranks[label]:.2f}" for label in reversed(labels))
    return drawing.finish(name, "Mean rank of methods", alt, legend=False)


def random_against(random: Arena, other: Arena, name: str, order: Sequence[str]) -> Plot | None:
    """A panel per data set: the range of random draws as a line, the chosen support filled; None without both."""
    both = [place for place in random.entries if (e := other.entry(*place)) and e.iou and random.entries[place].iou]
    datasets = sorted({dataset for dataset, _, _ in both})
    if not both:
        return None
    labels = [label for label in random.labels if any(place[2] == label for place in both)]
    drawing = Drawing(len(datasets), labels, order)
    for axes, dataset in zip(drawing.axes, datasets, strict=True):
        shots = sorted({k for name_, k, _ in both if name_ == dataset})
        for place, label in enumerate(labels):
            style = drawing.style(label) | {"linestyle": "none"}
            shift = math.exp(0.06 * (place - (len(labels) - 1) / 2))
            for k in shots:
                one, two = random.entry(dataset, k, label), other.entry(dataset, k, label)
                if one is None or two is None or one.iou is None or two.iou is None:
                    continue
                _ranges(axes, [(k * shift, one.iou)], style | {"markerfacecolor": GROUND})
                axes.plot([k * shift * 1.02], [100 * two.iou.median], **style)
        _scale(axes, shots, "shots", "x")
        axes.set_xlim(shots[0] / 1.5, shots[-1] * 1.5)
        axes.set_ylabel("IoU, %")
        axes.set_title(dataset)
    alt = f"Foreground IoU with random (open, with range) and {other.support} (filled) support; the table says the same"
    return drawing.finish(name, f"Random (open, with range) against {other.support} (filled) support", alt)
