"""Errors travel between processes as they are."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from distillfss.errors import DataError, DistillFSSError, FitInterrupted, UsageError
from distillfss.io.faults import SeveralFaultsError


@pytest.mark.parametrize("kind", [DistillFSSError, UsageError, DataError, FitInterrupted])
def test_an_error_survives_pickling(kind):
    error = kind("it is broken", cure="Mend it", path="here/a.png")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.problem, again.cure, again.path) == ("it is broken", "Mend it", Path("here/a.png"))
    assert str(again) == str(error) == "here/a.png: it is broken. Mend it"
    assert again.exit_code == error.exit_code


def test_several_faults_survive_pickling():
    faults = [DataError("one", cure="A"), DataError("two", cure="B", path="b")]
    again = pickle.loads(pickle.dumps(SeveralFaultsError(faults)))
    assert [str(fault) for fault in again.faults] == ["one. A", "b: two. B"]
