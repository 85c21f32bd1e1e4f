"""``distillfss bench``: one small module per verb, imported only when it is called."""

from __future__ import annotations

import click

from distillfss.cli import LazyGroup

VERBS = {
    "datasets": ("distillfss.cli.bench.datasets", "Where each data set is to be had, its licence, size and classes."),
    "prepare": ("distillfss.cli.bench.prepare", "Turn an official release into the layout used here."),
    "run": ("distillfss.cli.bench.run", "Fit and test methods on data sets, shots and seeds."),
    "report": ("distillfss.cli.bench.report", "Tables, plots and pictures of what was run."),
    "merge": (
        "distillfss.cli.bench.merge",
        "Several folders of results as a small one, to publish or go on from.",
    ),
    "speed": ("distillfss.cli.bench.speed", "Latency, memory and size of teacher and student."),
}


@click.group("bench", cls=LazyGroup, verbs=VERBS, short_help="Compare methods on many data sets, honestly.")
def command() -> None:
    """Compare methods on many data sets: locked test sets, several support draws, medians with ranges."""
