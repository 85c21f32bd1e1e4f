"""``distillfss doctor``"""

from __future__ import annotations

from typing import Any

import click

from distillfss.cli import options
from distillfss.cli.running import Finished, one_line
from distillfss.doctor import CHECKS, Check, examine


@click.command("doctor", short_help="Check this machine.")
@options.as_json
@options.debug
def command(as_json: bool, debug: bool) -> dict[str, Any]:
    """Check what distillfss needs on this machine, line by line, each with what to do about it.

    Exit code 1 if something is missing without which it does not work.
    """
    checks: list[Check] = []
    for number in range(len(CHECKS)):
        found = examine(number)
        checks += found
        if not as_json:
            for check in found:
                _print(check)
    document = {"ok": all(check.status != "fail" for check in checks), "checks": [check.to_dict() for check in checks]}
    if not document["ok"]:
        raise Finished(1, document)
    return document


def _print(check: Check) -> None:
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[check.status]
    click.echo(f"{click.style(f'{check.status:<5}', fg=colour)}{check.name:<13}{one_line(check.detail)}")
    if check.cure:
        click.echo(f"{'':<18}{one_line(check.cure)}")
