"""Where tiles lie: everything covered, weights sum to one, crops agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillfss.errors import UsageError
from distillfss.tiles.plan import Axis, overlap_pixels, plan_axis


def weights(axis: Axis) -> np.ndarray:
    """(tiles, length): how much each tile counts at each pixel."""
    out = np.zeros((len(axis.spans), axis.length))
    for number, span in enumerate(axis.spans):
        out[number, span.begin : span.end] = 1
        if span.begin > 0:
            out[number, span.begin : span.begin + axis.fade] *= axis.ramp()
        if span.final < span.end:
            out[number, span.final : span.end] *= 1 - axis.ramp()
    return out


@given(
    length=st.integers(1, 700),
    tile=st.integers(32, 150),
    share=st.floats(0, 0.5),
    origin=st.integers(-1000, 1000),
)
def test_weights_sum_to_one_and_stay_inside_their_tile(length: int, tile: int, share: float, origin: int) -> None:
    overlap = overlap_pixels(tile, share)
    axis = plan_axis(length, tile, overlap, origin)
    found = weights(axis)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
    assert (found > 0).sum(axis=0).max() <= 2
    assert [span.begin for span in axis.spans] == sorted(span.begin for span in axis.spans)
    margin = (overlap - axis.fade) // 2
    for number, span in enumerate(axis.spans):
        assert 0 <= span.begin <= span.final <= span.end <= length
        assert span.start >= 0
        assert span.start + tile <= max(length, tile)
        # next to a neighbour, a tile's outermost pixels do not count
        assert number == 0 or span.begin >= span.start + margin
        assert number == len(axis.spans) - 1 or span.end <= span.start + tile - margin


@given(
    tile=st.integers(32, 90),
    share=st.floats(0, 0.5),
    origin=st.integers(-500, 500),
    before=st.integers(0, 200),
    length=st.integers(1, 400),
)
def test_crops_are_cut_alike_from_a_tile_off_the_border(
    tile: int, share: float, origin: int, before: int, length: int
) -> None:
    overlap = overlap_pixels(tile, share)
    whole = plan_axis(before + length + 150, tile, overlap, origin)
    crop = plan_axis(length, tile, overlap, origin + before)

    def by_start(axis: Axis, shift: int) -> dict[int, np.ndarray]:
        return {span.start + shift: row for span, row in zip(axis.spans, weights(axis), strict=True)}

    of_whole, of_crop = by_start(whole, 0), by_start(crop, before)
    inner = np.arange(before + tile, before + length - tile)
    inner = inner[(inner >= tile) & (inner < whole.length - tile)]
    for pixel in inner:
        one = {start: row[pixel] for start, row in of_whole.items() if row[pixel] > 0}
        other = {start: row[pixel - before] for start, row in of_crop.items() if row[pixel - before] > 0}
        assert one == other


def test_number_of_tiles() -> None:
    """20,000 pixels in steps of 288: 0, 288, ..., 19584 and one that ends at the border."""
    spans = plan_axis(20_000, 384, 96).spans
    assert len(spans) == 20_000 // 288 + 1
    assert spans[-1].start == 20_000 - 384
    assert [span.start for span in plan_axis(384, 384, 96).spans] == [0]
    assert [span.start for span in plan_axis(385, 384, 96).spans] == [0, 1]


@pytest.mark.parametrize(("tile", "overlap"), [(31, 0), (64, -1), (64, 33)])
def test_impossible_plans_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(UsageError):
        plan_axis(100, tile, overlap)


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan")])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match="share of the tile"):
        overlap_pixels(100, share)
