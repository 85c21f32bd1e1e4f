"""Every error a user can meet: what happened, in which file, and the cure.

The command line prints these in one line and exits with ``exit_code``; anything else that escapes is a bug.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class DistillFSSError(Exception):
    """Base of all errors a user can meet.

    Parameters
    ----------
    problem
        What is wrong, in one sentence without a full stop.
    cure
        What the user can do about it.
    path
        The file or folder concerned, where there is one.
    """

    exit_code = 1

    def __init__(self, problem: str, *, cure: str, path: str | Path | None = None) -> None:
        self.problem = problem
        self.cure = cure
        self.path = None if path is None else Path(path)
        super().__init__(f"{self.found}. {cure}")

    @property
    def found(self) -> str:
        """What is wrong and where, without the cure."""
        return self.problem if self.path is None else f"{self.path}: {self.problem}"

    def __reduce__(self) -> tuple[Any, ...]:
        # an exception is pickled as its class called with `args`, which are not what ours are called with
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[DistillFSSError], args: tuple[Any, ...], state: dict[str, Any]) -> DistillFSSError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(DistillFSSError):
    """A setting or an argument makes no sense."""

    exit_code = 2


class DataError(DistillFSSError):
    """An image, a mask or a folder cannot be used as it is."""

    exit_code = 3


class ModelFileError(DistillFSSError):
    """A model or weight file is missing, damaged, foreign or too new."""

    exit_code = 4


class OutputError(DistillFSSError):
    """Something could not be written: no space, no permission, or it exists already."""

    exit_code = 5


class ExportError(DistillFSSError):
    """A model cannot be exported, or what came out does not do what the model does."""

    exit_code = 6


class FitInterrupted(DistillFSSError):  # noqa: N818  (an interruption, not a fault)
    """The user stopped a fit; its state is on disk, or there was nothing to keep.

    ``terminated`` says that it was by SIGTERM, as a scheduler does, and not by Ctrl-C.
    """

    exit_code = 130

    def __init__(self, problem: str, *, cure: str, path: str | Path | None = None, terminated: bool = False) -> None:
        super().__init__(problem, cure=cure, path=path)
        self.terminated = terminated
