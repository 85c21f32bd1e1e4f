"""Damaged masks: what is said of them, and that the repaired mask is the one they were made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faulty import picture
from PIL import Image

from distillfss.checking.raw_masks import RawMask, read_raw

NO_IMAGE = Path("image.png")


def kinds(raw: RawMask) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.fixable) for finding in raw.findings]


def truth(seed: int) -> np.ndarray:
    return picture(seed, 240, 320)[1]


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
@pytest.mark.parametrize("named", [None, 1])
def test_lossy_masks(suffix: str, quality: int, named: int | None, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    for seed in range(3):
        Image.fromarray(truth(seed) * 255).save(path, quality=quality)
        raw = read_raw(path, NO_IMAGE, named)
        assert kinds(raw) == [("lossy-mask", True)]
        wrong = int((raw.mask != truth(seed)).sum())
        assert wrong <= (4 if quality == 30 else 0)


@pytest.mark.parametrize("named", [None, 1])
@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_smoothed_masks_take_the_nearest_class(how: Image.Resampling, named: int | None, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for factor in (0.43, 2.6):
        smooth = Image.fromarray(truth(1) * 255).resize((round(320 * factor), round(240 * factor)), how)
        smooth.save(path)
        raw = read_raw(path, NO_IMAGE, named)
        assert kinds(raw) == [("smoothed-mask", True)]
        assert raw.guessed
        np.testing.assert_array_equal(raw.mask, np.asarray(smooth) > 127)


def test_a_png_that_was_a_jpeg_once(tmp_path: Path) -> None:
    Image.fromarray(truth(2) * 255).save(tmp_path / "a.jpg", quality=60)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    raw = read_raw(tmp_path / "a.png", NO_IMAGE, None)
    assert kinds(raw) == [("smoothed-mask", True)]
    np.testing.assert_array_equal(raw.mask, truth(2))


def test_sound_masks_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for values in ((0, 1), (0, 255), (0, 1, 2, 255), (0, 7)):
        mask = np.random.default_rng(0).choice(np.array(values, np.uint8), (50, 60))
        Image.fromarray(mask).save(path)
        raw = read_raw(path, NO_IMAGE, None)
        assert kinds(raw) == []
        np.testing.assert_array_equal(raw.mask, mask)


def test_numbered_objects_are_not_taken_for_smoothing(tmp_path: Path) -> None:
    mask = np.kron(np.arange(48, dtype=np.uint8).reshape(6, 8), np.ones((9, 9), np.uint8))
    Image.fromarray(mask).save(tmp_path / "a.png")
    for named in (None, 1):
        raw = read_raw(tmp_path / "a.png", NO_IMAGE, named)
        assert kinds(raw) == []  # the folder says what is wrong: values without a name
        np.testing.assert_array_equal(raw.mask, mask)


def test_classes_that_lie_close_cannot_be_told_apart_after_compression(tmp_path: Path) -> None:
    Image.fromarray(truth(0) + truth(1)).save(tmp_path / "a.jpg", quality=50)
    rgb = np.dstack([truth(0), truth(1), truth(2)]) * 255
    Image.fromarray(rgb).save(tmp_path / "b.jpg", quality=50)
    for name in ("a.jpg", "b.jpg"):
        raw = read_raw(tmp_path / name, NO_IMAGE, 2)
        assert kinds(raw) == [("lossy-mask", False)]
        assert raw.mask is None


def test_colour_masks(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    rgb = truth(0)[..., None] * np.array([200, 0, 40], np.uint8)
    Image.fromarray(rgb).save(path)
    raw = read_raw(path, NO_IMAGE, 1)
    assert kinds(raw) == [("colour-mask", False)]
    assert raw.colours == {0xC80028}
    np.testing.assert_array_equal(raw.mask, truth(0))
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(path)
    raw = read_raw(path, NO_IMAGE, 1)
    assert kinds(raw) == [("colour-mask", False)]
    assert raw.mask is None


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    assert kinds(read_raw(path, NO_IMAGE, 1)) == [("unreadable", False)]
    Image.fromarray(np.full((9, 9), 300, np.uint16)).save(path)
    assert kinds(read_raw(path, NO_IMAGE, 1)) == [("unknown-class", False)]
    Image.fromarray(np.full((9, 9, 4), 100, np.uint8)).save(path)
    assert kinds(read_raw(path, NO_IMAGE, 1)) == [("annotation", False)]
