"""With what the figures of a report were made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distillfss.bench.current import Current
from distillfss.bench.report.tables import machines
from distillfss.bench.results import Row
from distillfss.bench.summary import Summary, setting_text

Pick = Callable[[Row], str]


def provenance(summary: Summary) -> list[tuple[str, str]]:
    """With what the figures were made."""

    def every(pick: Pick) -> str:
        return ", ".join(sorted({text for row in summary.rows if (text := pick(row))}))

    facts = [
        ("versions", every(_versions)),
        ("commits", every(lambda row: str(row.get("commit", "")))),
        ("machines", "; ".join(machines([row for row in summary.rows if "machine" in row]))),
        ("settings", ", ".join(setting_text(key, value) for key, value in summary.common.items())),
        ("computed", _period([str(row["when"]) for row in summary.rows])),
    ]
    facts += left_out(summary)
    return [(name, text) for name, text in facts if text]


def left_out(found: Summary | Current) -> list[tuple[str, str]]:
    """Which results no figure is made of, and why."""
    facts = []
    if found.superseded:
        facts.append(("left out", f"{_older(found.superseded)} of cells that were computed again"))
    if found.outdated:
        why = "because the data set's files or split, or the method, have changed since"
        facts.append(("left out as well" if facts else "left out", f"{_older(found.outdated)}, {why}"))
    return facts


def _older(count: int) -> str:
    return f"{count} older result{'s' * (count != 1)}"


def _versions(row: Row) -> str:
    found: dict[str, str] = row.get("versions_all") or row["versions"]
    return " ".join(f"{name} {number}" for name, number in found.items())


def _period(times: Sequence[str]) -> str:
    days = sorted(time[:10] for time in times)
    return "" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
