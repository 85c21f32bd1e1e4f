"""The command line: one small module per verb, imported only when its verb is called.

``distillfss --help`` therefore needs neither PyTorch nor any other heavy import.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from distillfss import __version__

# verb → (module, what it does); shown by --help without importing the modules.
VERBS = {
    "pick": ("distillfss.cli.pick", "Choose the images worth annotating first."),
    "check": ("distillfss.cli.check", "Find every fault of a folder of annotated images."),
    "fit": ("distillfss.cli.fit", "Learn a model from a folder of annotated images."),
    "extend": ("distillfss.cli.extend", "Add classes to a model, or take some away."),
    "export": ("distillfss.cli.export", "Write a model as one ONNX file that runs anywhere."),
    "predict": ("distillfss.cli.predict", "Write a mask for every image of a folder."),
    "evaluate": ("distillfss.cli.evaluate", "Compare a model's masks with annotated ones."),
    "demo": ("distillfss.cli.demo", "Do all of it once on an embedded sample."),
    "doctor": ("distillfss.cli.doctor", "Check this machine and say what to do about it."),
    "meta-train": ("distillfss.cli.meta_train", "Teach a teacher on many source classes."),
    "bench": ("distillfss.cli.bench", "Compare methods on many data sets, honestly."),
    "import-checkpoint": ("distillfss.cli.import_checkpoint", "Convert weights of the method's authors."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed.

    Parameters
    ----------
    verbs
        Verb to the module that holds its ``command``, and what it does.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        command: click.Command = import_module(self._verbs[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._verbs.items()])


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with 'distillfss demo'. Every command explains itself: 'distillfss fit --help'.",
)
@click.version_option(__version__, "-V", "--version", message="distillfss %(version)s")
def cli() -> None:
    """From 1 to 80 annotated images to a small, fast segmentation model that needs none of them any more."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises for anything a user can cause."""
    from distillfss.cli.running import run

    return run(cli, list(sys.argv[1:] if argv is None else argv))
