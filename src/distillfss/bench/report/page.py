"""The report as one HTML page with everything inside."""

from __future__ import annotations

from distillfss.bench.report.content import Content
from distillfss.bench.report.markdown import COMMAND
from distillfss.report.page import render


def report_page(content: Content, command: str = COMMAND) -> str:
    """The page; a plot takes its colours from it, so it reads well on light and dark screens."""
    from markupsafe import Markup

    # drawn by ourselves, with every text of others already escaped by Matplotlib
    drawings = {plot.name: Markup(plot.on_page()) for plot in content.plots}
    return render("bench.html", content=content, drawings=drawings, command=command)
