"""Settings of meta-training: what makes no sense is refused before any work."""

from __future__ import annotations

import numpy as np
import pytest

from distillfss.errors import UsageError
from distillfss.meta.config import MetaConfig


@pytest.mark.parametrize("rate", [0, -1])
def test_a_learning_rate_is_above_0(rate):
    with pytest.raises(UsageError, match=rf"^learning_rate {rate}\.0 is out of range\. Choose a rate above 0$"):
        MetaConfig(learning_rate=rate)


@pytest.mark.parametrize("setting", ["learning_rate", "weight_decay", "views", "average"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1"])
def test_numbers_are_finite(setting, value):
    with pytest.raises(UsageError, match=rf"^{setting} is .*\. Give a finite number$"):
        MetaConfig(**{setting: value})


def test_a_negative_weight_decay_is_refused():
    with pytest.raises(UsageError, match=r"^weight_decay -1\.0 is out of range\. Choose 0 or more$"):
        MetaConfig(weight_decay=-1)
    assert MetaConfig(weight_decay=0).weight_decay == 0


def test_numbers_of_numpy_are_those_of_python():
    given = MetaConfig(steps=np.int64(7), views=np.float64(2), hold_out=("a",))
    assert given.fingerprint() == MetaConfig(steps=7, views=2.0, hold_out=("a",)).fingerprint()


def test_held_out_classes_are_named_with_composed_letters() -> None:
    assert MetaConfig(hold_out=("O\u0308l",)).hold_out == ("\u00d6l",)
