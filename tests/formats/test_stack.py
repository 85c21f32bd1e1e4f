"""TIFF stacks: one page of masks for every page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers import BrightnessSegmenter
from PIL import Image

from distillfss.errors import DataError
from distillfss.formats.options import FormatOptions
from distillfss.formats.stack import predict_stack


def stack(path: Path, pages: int = 5, dtype: str = "uint8") -> np.ndarray:
    high = 256 if dtype == "uint8" else 4096
    values = np.random.default_rng(0).integers(0, high, (pages, 21, 34)).astype(dtype)
    tifffile.imwrite(path, values, photometric="minisblack", compression="zlib" if dtype == "uint8" else None)
    return values


def test_a_page_of_masks_for_every_page(tmp_path: Path) -> None:
    values = stack(tmp_path / "z.tif")
    done = predict_stack(BrightnessSegmenter(("a", "b"), (100, 200)), tmp_path / "z.tif", tmp_path / "out")
    assert done.written == [tmp_path / "out" / "z.tif"]
    wanted = (values >= 100).astype(np.uint8) + (values >= 200)
    np.testing.assert_array_equal(tifffile.imread(done.written[0]), wanted)
    with Image.open(done.written[0]) as image:
        assert (image.n_frames, image.mode) == (5, "P")  # type: ignore[attr-defined]
        assert (image.getpalette() or [])[3:6] == [230, 159, 0]
    assert done.pixels["b"] == int((values >= 200).sum())
    assert done.details == {"pages": 5}
    assert done.notices == []  # not that only the first page was read


def test_sixteen_bits_are_stretched_page_by_page_as_single_pictures_are(tmp_path: Path) -> None:
    values = stack(tmp_path / "z.tif", dtype="uint16")
    values[1] //= 16
    tifffile.imwrite(tmp_path / "z.tif", values, photometric="minisblack")
    done = predict_stack(BrightnessSegmenter(), tmp_path / "z.tif", tmp_path / "out")
    shares = tifffile.imread(done.written[0]).mean(axis=(1, 2))
    np.testing.assert_allclose(shares, 0.5, atol=0.05)  # also on the page that is 16 times darker
    (notice,) = done.notices  # one for all pages, not one for each
    assert notice.startswith(f"{tmp_path / 'z.tif'}, page 1: 16-bit values")
    assert notice.endswith("(and 4 more pages likewise)")


def test_pngs_and_overlays(tmp_path: Path) -> None:
    values = stack(tmp_path / "z.tif", pages=3)
    options = FormatOptions(masks="png", overlay=True)
    done = predict_stack(BrightnessSegmenter(), tmp_path / "z.tif", tmp_path / "out", options)
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert names == [f"overlays/z/000{n}.jpg" for n in (1, 2, 3)] + [f"z/000{n}.png" for n in (1, 2, 3)]
    np.testing.assert_array_equal(np.asarray(Image.open(done.written[0] / "0002.png")), values[1] >= 128)


def test_a_folder_of_masks_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Else a run that was stopped would look finished to the next one."""
    stack(tmp_path / "z.tif", pages=3)
    options = FormatOptions(masks="png", overlay=True)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_stack(BrightnessSegmenter(), tmp_path / "z.tif", tmp_path / "out", options, stop)
    assert [str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*")] == ["out/overlays"]
    for limit in (128, 300):
        options = replace(options, overwrite=limit == 300)
        done = predict_stack(BrightnessSegmenter(limits=(limit,)), tmp_path / "z.tif", tmp_path / "out", options)
        masks = [np.asarray(Image.open(path)) for path in sorted(done.written[0].iterdir())]
        assert [bool(mask.any()) for mask in masks] == [limit == 128] * 3  # the second run replaced the folder
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["overlays", "z"]


def test_pages_of_several_sizes(tmp_path: Path) -> None:
    pages = [Image.new("L", size, value) for size, value in (((9, 7), 10), ((20, 31), 200))]
    pages[0].save(tmp_path / "z.tif", save_all=True, append_images=pages[1:])
    done = predict_stack(BrightnessSegmenter(), tmp_path / "z.tif", tmp_path / "out")
    with tifffile.TiffFile(done.written[0]) as found:
        assert [page.shape for page in found.pages] == [(7, 9), (31, 20)]
        assert [int(page.asarray().max()) for page in found.pages] == [0, 1]


def test_a_page_that_cannot_be_read_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    pages = [Image.new("F" if number == 2 else "L", (9, 7)) for number in range(4)]
    pages[0].save(tmp_path / "z.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="page 3 of 4: holds floating-point values") as caught:
        predict_stack(BrightnessSegmenter(), tmp_path / "z.tif", tmp_path / "out")
    assert caught.value.path == tmp_path / "z.tif"
    assert list((tmp_path / "out").iterdir()) == []
    whole = tmp_path / "y.tif"
    stack(whole)
    whole.write_bytes(whole.read_bytes()[:-900])
    with pytest.raises(DataError):
        predict_stack(BrightnessSegmenter(), whole, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
