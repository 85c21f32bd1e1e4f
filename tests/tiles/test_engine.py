"""Tiled scores against the whole image's, against a plain second implementation, and between crops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import BrightnessSegmenter, cli_environment
from tile_models import Recording, contextual_scores, local_scores, picture

from distillfss.tiles.engine import PROBABILITY_ONE, ArraySource, segment_array, segment_strips
from distillfss.tiles.plan import plan_axis
from distillfss.tiles.scores import Scores, scores_of, tile_side


def likely(pixels: np.ndarray, scores: Scores, tile: int, overlap: int, **more: object) -> np.ndarray:
    """(C, H, W) probabilities of the streaming engine."""
    strips = segment_strips(
        ArraySource(pixels),
        scores,
        2,
        tile=tile,
        overlap=overlap,
        probabilities=True,
        **more,  # type: ignore[arg-type]
    )
    return np.concatenate([strip.probabilities / PROBABILITY_ONE for strip in strips], axis=1)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=0))
    return powers / powers.sum(axis=0)


def naive(pixels: np.ndarray, scores: Scores, tile: int, overlap: int, origin: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Blended scores (C, H, W) in float64, the whole image in memory, PyTorch's resizing, weights pixel by pixel."""
    height, width = pixels.shape[:2]
    axes = [plan_axis(height, tile, overlap, origin[0]), plan_axis(width, tile, overlap, origin[1])]

    def weight(axis: object, span: object, pixel: int) -> float:
        fade, begin, final, end = axis.fade, span.begin, span.final, span.end  # type: ignore[attr-defined]
        if not begin <= pixel < end:
            return 0.0
        up = 0.5 - 0.5 * np.cos(np.pi * (pixel - begin + 0.5) / fade) if begin and pixel < begin + fade else 1.0
        down = 0.5 + 0.5 * np.cos(np.pi * (pixel - final + 0.5) / fade) if final < end and pixel >= final else 1.0
        return float(up * down)

    total: np.ndarray | None = None
    for one in axes[0].spans:
        for other in axes[1].spans:
            cut = pixels[one.start : one.start + tile, other.start : other.start + tile]
            cut = np.pad(cut, ((0, tile - cut.shape[0]), (0, tile - cut.shape[1]), (0, 0)), mode="symmetric")
            found = torch.from_numpy(scores(cut[None])).double()
            found = torch.nn.functional.interpolate(found, (tile, tile), mode="bilinear", align_corners=False)[0]
            total = np.zeros((len(found), height, width)) if total is None else total
            rows = np.array([weight(axes[0], one, one.start + at) for at in range(tile)])
            columns = np.array([weight(axes[1], other, other.start + at) for at in range(tile)])
            part = (found.numpy() * rows[:, None] * columns)[:, : height - one.start, : width - other.start]
            total[:, one.start : one.start + tile, other.start : other.start + tile] += part
    assert total is not None
    return total


@pytest.mark.parametrize(
    ("height", "width", "tile", "overlap", "origin"),
    [
        (200, 230, 64, 16, (0, 0)),
        (131, 97, 48, 13, (7, -30)),
        (33, 300, 64, 32, (5, 5)),
        (65, 64, 64, 16, (0, 0)),
        (150, 150, 50, 0, (3, 0)),
        (20, 30, 64, 16, (0, 0)),
        (1, 200, 64, 16, (0, 9)),
        (200, 1, 64, 16, (9, 0)),
        (1, 1, 64, 16, (0, 0)),
    ],
)
@pytest.mark.parametrize("scores", [local_scores, contextual_scores])
def test_streaming_gives_what_the_plain_way_gives(
    height: int, width: int, tile: int, overlap: int, origin: tuple[int, int], scores: Scores
) -> None:
    pixels = picture(height, width)
    wanted = naive(pixels, scores, tile, overlap, origin)
    found = likely(pixels, scores, tile, overlap, origin=origin, batch=3)
    np.testing.assert_allclose(found, softmax(wanted), atol=3e-5)
    mask = segment_array(pixels, scores, 2, tile=tile, overlap=overlap, origin=origin)
    ranked = np.sort(wanted, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-3
    np.testing.assert_array_equal(mask[clear], wanted.argmax(axis=0)[clear])
    assert clear.mean() > 0.97 or pixels.size == 3


def test_a_model_that_looks_no_further_than_the_margin_sees_no_tiles() -> None:
    """Overlap 16 leaves a margin of 4: with a reach of 4 pixels, tiled and whole logits are the same."""
    pixels = picture(300, 260)

    def scores(tiles: np.ndarray) -> np.ndarray:
        return local_scores(tiles, radius=4)

    whole = softmax(scores(pixels[None])[0])
    np.testing.assert_allclose(likely(pixels, scores, 64, 16), whole, atol=2e-5)
    assert np.abs(likely(pixels, scores, 64, 0) - whole).max() > 0.5  # cut hard, the tiles' own borders show


def test_no_seams_where_the_model_depends_on_the_whole_tile() -> None:
    """Steps between neighbouring pixels of the logits are no higher where tiles meet than elsewhere."""
    pixels = picture(420, 420, seed=3)

    def seam(overlap: int) -> float:
        axis = plan_axis(420, 96, overlap)
        blended = naive(pixels, contextual_scores, 96, overlap)
        steps = np.abs(np.diff(blended, axis=2)).mean(axis=(0, 1))
        at = np.zeros(419, bool)
        for span in axis.spans[1:]:
            at[span.begin - 1 : span.begin + max(1, axis.fade)] = True
        return float(steps[at].max() / np.quantile(steps[~at], 0.99))

    assert seam(24) < 1.15
    assert seam(0) > 1.5  # what the measure says of tiles that are not blended


def test_pixels_a_tile_off_the_border_do_not_depend_on_the_crop() -> None:
    pixels, tile = picture(340, 360, seed=5), 64
    whole = likely(pixels, contextual_scores, tile, 16)
    for row, column, height, width in ((0, 0, 200, 340), (37, 11, 290, 301), (140, 160, 200, 200)):
        crop = pixels[row : row + height, column : column + width]
        found = likely(crop, contextual_scores, tile, 16, origin=(row, column))
        inner = np.s_[:, tile : height - tile, tile : width - tile]
        of_whole = whole[:, row + tile : row + height - tile, column + tile : column + width - tile]
        np.testing.assert_array_equal(found[inner], of_whole)
        assert (found != whole[:, row : row + height, column : column + width]).any()  # the border does differ


def test_invalid_pixels_are_ignored_and_unseen() -> None:
    pixels = picture(150, 150, seed=1)
    valid = np.ones((150, 150), bool)
    valid[:, 80:] = False
    shown: list[np.ndarray] = []

    def scores(tiles: np.ndarray) -> np.ndarray:
        shown.extend(tiles)
        return local_scores(tiles)

    first = segment_array(pixels, scores, 2, tile=64, overlap=16, valid=valid)
    other = pixels.copy()
    other[~valid] = 255 - other[~valid]
    second = segment_array(other, local_scores, 2, tile=64, overlap=16, valid=valid)
    np.testing.assert_array_equal(first, second)
    assert (first[~valid] == 255).all()
    assert (first[valid] < 3).all()
    assert len(shown) == 3 * 2  # the third column of tiles has no valid pixel and is never shown


def test_rows_come_once_and_in_order_and_tiles_are_counted() -> None:
    ticks: list[tuple[int, int]] = []
    strips = list(
        segment_strips(
            ArraySource(picture(201, 150)),
            local_scores,
            2,
            tile=64,
            overlap=16,
            batch=2,
            tick=lambda done, total: ticks.append((done, total)),
        )
    )
    rows = [row for strip in strips for row in range(strip.row, strip.row + strip.labels.shape[0])]
    assert rows == list(range(201))
    assert ticks == [(n + 1, 4 * 3) for n in range(12)]
    assert all(strip.probabilities is None for strip in strips)


def test_every_row_is_read_once() -> None:
    source = Recording(1000, 90)
    for _ in segment_strips(source, local_scores, 2, tile=64, overlap=16, origin=(5, 0)):
        pass
    assert source.rows_read == 1000
    assert source.largest <= 64 * 90


MEMORY = """
import resource, sys
import numpy as np
from tile_models import Recording
from distillfss.tiles.engine import segment_strips

def scores(tiles):
    return tiles[:, ::4, ::4].transpose(0, 3, 1, 2).astype(np.float32)

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for strip in segment_strips(Recording(int(sys.argv[1]), 2500), scores, 2, tile=256, overlap=64):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_memory_does_not_grow_with_the_image() -> None:
    """A picture with 8 times the rows (20 megapixels: 60 MB as RGB, 240 MB of scores) takes no more memory."""

    def kilobytes(height: int) -> int:
        environment = cli_environment()
        environment["PYTHONPATH"] += f":{Path(__file__).parent}"
        out = subprocess.run(
            [sys.executable, "-c", MEMORY, str(height)], capture_output=True, text=True, check=True, env=environment
        )
        return int(out.stdout)

    small, large = kilobytes(1000), kilobytes(8000)
    assert large < small + 6_000
    assert large < 60_000


def test_scores_of_logits_and_of_probabilities_are_the_same_thing() -> None:
    class WithLogits(BrightnessSegmenter):
        def logits(self, tile: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(local_scores(tile[None]))

    class WithProbabilities(BrightnessSegmenter):
        def __call__(self, image: np.ndarray, probabilities: bool = False) -> object:
            found = torch.from_numpy(local_scores(image[None]))[0] / 20
            return found.argmax(0).numpy().astype(np.uint8), found.softmax(0).permute(1, 2, 0).numpy()

    pixels = picture(100, 100)
    by_logits = scores_of(WithLogits())(pixels[None])
    np.testing.assert_array_equal(by_logits, local_scores(pixels[None]))
    by_probabilities = scores_of(WithProbabilities())(pixels[None])
    np.testing.assert_allclose(softmax(by_probabilities[0]), softmax(local_scores(pixels[None])[0] / 20), atol=1e-6)


@pytest.mark.parametrize(
    ("summary", "wanted"),
    [({"support_side": 612.4}, 612), ({}, 384), ({"support_side": None}, 384), ({"support_side": 20}, 64)],
)
def test_tiles_are_as_large_as_the_support_images(summary: dict[str, object], wanted: int) -> None:
    segmenter = BrightnessSegmenter()
    segmenter.summary, segmenter.size = summary, 384  # type: ignore[attr-defined]
    assert tile_side(segmenter) == wanted
    assert tile_side(segmenter, 777) == 777
    assert tile_side(BrightnessSegmenter()) == 512
