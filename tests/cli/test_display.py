"""Progress: few plain lines without a terminal, bars on one."""

from __future__ import annotations

import io

import pytest

from distillfss.cli import display as module
from distillfss.cli import options
from distillfss.cli.display import Bars, Display, display


class Clock:
    """Stands in for ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    with Display() as show:
        show.update("loading")
        for step in range(1000):
            show.update("predicting", step, 1000)
            clock.now += 0.0625
        show.note("note: a\nb")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "loading",
        "predicting",
        "predicting: 160 of 1000, 52 s left",
        "predicting: 320 of 1000, 42 s left",
        "predicting: 480 of 1000, 32 s left",
        "predicting: 640 of 1000, 22 s left",
        "predicting: 800 of 1000, 12 s left",
        "predicting: 960 of 1000, 2 s left",
        "note: a b",
    ]


def test_time_left_after_a_resume_counts_only_own_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    show = Display()
    show.update("distilling", 300, 400)
    clock.now += 10
    show.update("distilling", 350, 400)
    assert "350 of 400, 10 s left" in capsys.readouterr().err


def test_no_terminal_means_plain_lines() -> None:
    assert type(display()) is Display


def test_bars_go_to_standard_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    show = display()
    assert isinstance(show, Bars)
    with show:
        show.update("reading support")
        show.note("note: [b]brackets[/b] stay")
        show.update("distilling", 3, 9, "loss 0.1")
        show.update("distilling", 9, 9, "loss 0.1")
    shown = terminal.getvalue()
    for expected in ("reading support", "distilling", "9/9", "note: [b]brackets[/b] stay", "✓"):
        assert expected in shown
    assert capsys.readouterr().out == ""


def test_one_image_is_no_images():
    assert [options.images(count) for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
