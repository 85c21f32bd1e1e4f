"""Fixtures for tests of output formats."""

from __future__ import annotations

import numpy as np
import pytest
from hard_masks import MASKS, NAMES

from distillfss.outputs import OutputSettings


@pytest.fixture(params=sorted(MASKS))
def mask(request: pytest.FixtureRequest) -> np.ndarray:
    return MASKS[request.param]


@pytest.fixture
def settings() -> OutputSettings:
    return OutputSettings(NAMES)
