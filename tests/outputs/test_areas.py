"""The table of areas, read back by pandas."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hard_masks import MASKS, NAMES, segmented

from distillfss.errors import UsageError
from distillfss.outputs import OutputSettings, Segmented
from distillfss.outputs.areas import Areas
from distillfss.outputs.scale import PixelArea


def table(settings: OutputSettings, seen: dict[str, Segmented]) -> pd.DataFrame:
    output = Areas(settings)
    (data,) = output.collect({name: output.record(one) for name, one in seen.items()}).values()
    return pd.read_csv(io.BytesIO(data))


def test_counts_shares_and_square_metres(settings: OutputSettings) -> None:
    seen = {name: segmented(mask) for name, mask in MASKS.items()}
    seen["blobs"] = replace(seen["blobs"], pixel_area=PixelArea(0.0025, "GeoTIFF"))
    rows = table(settings, seen).set_index(["image", "class"])
    assert len(rows) == 3 * len(MASKS)
    for name, mask in MASKS.items():
        for value, label in enumerate(["background", *NAMES]):
            row = rows.loc[(name, label)]
            assert (row["value"], row["pixels"]) == (value, (mask == value).sum())
            assert row["share"] == pytest.approx((mask == value).mean(), abs=5e-7)
            assert (row["height"], row["width"]) == mask.shape
            if name == "blobs":
                assert row["square_metres"] == pytest.approx((mask == value).sum() * 0.0025, rel=1e-9)
                assert (row["square_metres_per_pixel"], row["scale_from"]) == (0.0025, "GeoTIFF")
            else:
                assert row[["square_metres", "square_metres_per_pixel", "scale_from"]].isna().all()


def test_a_size_that_was_given_counts_for_all(settings: OutputSettings) -> None:
    seen = {"a": replace(segmented(MASKS["full"]), pixel_area=PixelArea(9.0, "GeoTIFF"))}
    rows = table(replace(settings, metres_per_pixel=0.1), seen)
    assert rows["square_metres"].tolist() == pytest.approx([0, 35 * 0.01, 0])
    assert set(rows["scale_from"]) == {"--metres-per-pixel"}


@pytest.mark.parametrize("side", [0, -1.0, np.nan, np.inf])
def test_sizes_that_make_no_sense(side: float) -> None:
    with pytest.raises(UsageError, match="a pixel of"):
        OutputSettings(NAMES, metres_per_pixel=side)


def test_names_that_are_no_text_are_spelled_out(settings: OutputSettings) -> None:
    """As a Windows archive unpacked elsewhere leaves them."""
    assert table(settings, {"bad\udcff.png": segmented(MASKS["full"])})["image"].unique() == ["bad\\udcff.png"]
