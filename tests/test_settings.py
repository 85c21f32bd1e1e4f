"""Settings given from Python: kept as plain values, or refused by name before any work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scenes import square_support

from distillfss import FitConfig, Segmenter, fit
from distillfss.errors import UsageError
from distillfss.weights import shipped_start


def refused(message: str, **settings: object) -> None:
    with pytest.raises(UsageError, match=message):
        FitConfig(**settings)


def test_numbers_of_numpy_are_those_of_python():
    given = FitConfig(seed=np.int64(3), size=np.int32(128), effort=np.float32(0.5), crop=1, estimate=np.False_)
    plain = FitConfig(seed=3, size=128, effort=0.5, crop=1.0, estimate=False)
    assert given == plain
    assert given.fingerprint() == plain.fingerprint()
    assert json.dumps(vars(given)) == json.dumps(vars(plain))


def test_defaults_stay_what_they_are_identified_by():
    kinds = {"seed": int, "size": int, "effort": float, "instant": bool, "init": str, "adapt_prior": float}
    assert {name: type(getattr(FitConfig(), name)) for name in kinds} == kinds
    assert FitConfig().backbone_weights is None
    assert vars(FitConfig()) == {name: getattr(FitConfig, name) for name in vars(FitConfig())}


@pytest.mark.parametrize("setting", ["seed", "size", "fine_size", "pool_views", "episode_queries", "answer_shots"])
@pytest.mark.parametrize("value", [128.5, 128.0, True, "128", None, float("nan")])
def test_whole_numbers_are_whole(setting, value):
    refused(rf"^{setting} is {value!r}\. Give a whole number$", **{setting: value})


@pytest.mark.parametrize("setting", ["effort", "learning_rate", "adapt_prior", "map_weight", "new_views", "crop"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), True, "1", None])
def test_numbers_are_finite(setting, value):
    refused(rf"^{setting} is .*\. Give a finite number$", **{setting: value})


@pytest.mark.parametrize("setting", ["weight_decay", "adapt_rate", "adapt_prior", "answer_weight", "map_weight"])
def test_what_cannot_be_negative(setting):
    refused(f"^{setting} -0.5 is out of range. Choose 0 or more", **{setting: -0.5})
    assert getattr(FitConfig(**{setting: 0}), setting) == 0


@pytest.mark.parametrize("rate", [0, -1])
def test_a_learning_rate_is_above_0(rate):
    refused(rf"^learning_rate {rate}\.0 is out of range\. Choose a rate above 0$", learning_rate=rate)


def test_text_and_yes_or_no():
    refused(r"^init is None\. Give a text$", init=None)
    refused(r"^backbone is 3\. Give a text$", backbone=3)
    refused(r"^instant is 'no'\. Give True or False$", instant="no")
    assert FitConfig(instant=1).instant is True


def test_a_start_given_as_a_path_is_kept_by_its_name(tmp_path: Path):
    file = shipped_start("efficientnet_lite0")
    assert file is not None
    config = FitConfig(size=64, fine_size=0, instant=True, estimate=False, init=file)
    assert config.init == str(file)
    model = fit(square_support(2), config)
    model.save(tmp_path / "model.safetensors")
    again = Segmenter.load(tmp_path / "model.safetensors")
    assert again.summary["config"]["init"] == file.name
    assert again.summary["start"] == file.stem
