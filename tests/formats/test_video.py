"""Videos: masks bit for bit, frames at their times, an overlay to look at."""

from __future__ import annotations

import csv
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import BrightnessSegmenter
from PIL import Image

from distillfss.cli import main
from distillfss.errors import DataError
from distillfss.formats.options import FormatOptions
from distillfss.formats.video import predict_video
from distillfss.io.video import Video

TIMES = [0, 40, 80, 200, 240]  # milliseconds; not evenly spaced


def film(path: Path, height: int = 33, width: int = 47) -> np.ndarray:
    """A lossless video of moving blocks; its frames (N, H, W, 3)."""
    frames = np.random.default_rng(0).integers(0, 256, (len(TIMES), height // 8 + 1, width // 8 + 1, 3))
    frames = np.kron(frames, np.ones((1, 8, 8, 1), np.int64))[:, :height, :width].astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for pixels, time in zip(frames, TIMES, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return frames


def decoded(path: Path, pixel_format: str) -> tuple[np.ndarray, list[float]]:
    with av.open(str(path)) as container:
        frames = [*container.decode(video=0)]
    times = [float(frame.pts * frame.time_base) for frame in frames]
    return np.stack([frame.to_ndarray(format=pixel_format) for frame in frames]), times


def test_masks_are_exact_and_keep_their_times(tmp_path: Path) -> None:
    frames = film(tmp_path / "a.mkv")
    ticks: list[tuple[int, int]] = []
    done = predict_video(
        BrightnessSegmenter(("a", "b"), (100, 200)),
        tmp_path / "a.mkv",
        tmp_path / "out",
        tick=lambda step, steps: ticks.append((step, steps)),
    )
    assert done.written == [tmp_path / "out" / "a.mkv"]
    wanted = (frames[..., 0] >= 100).astype(np.uint8) + (frames[..., 0] >= 200)
    masks, times = decoded(done.written[0], "gray")
    np.testing.assert_array_equal(masks, wanted)
    np.testing.assert_allclose(times, np.array(TIMES) / 1000, atol=0.001)
    assert done.pixels["b"] == int((wanted == 2).sum())
    assert [step for step, _ in ticks] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "told"),
    [("a.mp4", r"only \d+ of its 60 frames are there"), ("a.mkv", r"ends after \d\.\d of its 6\.0 seconds")],
)
def test_a_video_that_was_cut_short_is_told(name: str, told: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 32, 48, 3)).astype(np.uint8)
    options = {"movflags": "faststart"} if name == "a.mp4" else {}  # else FFmpeg itself finds nothing to begin with
    with av.open(str(tmp_path / name), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for pixels in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    assert predict_video(BrightnessSegmenter(), tmp_path / name, tmp_path / "whole").notices == []
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    (notice,) = predict_video(BrightnessSegmenter(), tmp_path / name, tmp_path / "out").notices
    assert re.match(re.escape(f"{tmp_path / name}: ") + told, notice)


def test_overlay_of_odd_size(tmp_path: Path) -> None:
    frames = film(tmp_path / "a.mkv")
    options = FormatOptions(overlay=True)
    done = predict_video(BrightnessSegmenter(limits=(300,)), tmp_path / "a.mkv", tmp_path / "out", options)
    assert done.written[1] == tmp_path / "out" / "overlays" / "a.mp4"
    shown, times = decoded(done.written[1], "rgb24")
    assert shown.shape == (5, 34, 48, 3)  # made even
    np.testing.assert_allclose(times, np.array(TIMES) / 1000, atol=0.001)
    # nothing found: the overlay is the video, up to compression; grey, since colours are kept at half resolution
    difference = np.abs(shown[:, :33, :47].mean(axis=3) - frames.mean(axis=3))
    assert difference.mean() < 12


def test_every_other_frame_as_png(tmp_path: Path) -> None:
    frames = film(tmp_path / "a.mkv")
    options = FormatOptions(masks="png", every=2)
    done = predict_video(BrightnessSegmenter(), tmp_path / "a.mkv", tmp_path / "out", options)
    assert [p.name for p in sorted(done.written[0].iterdir())] == ["000001.png", "000003.png", "000005.png"]
    third = np.asarray(Image.open(done.written[0] / "000003.png"))
    np.testing.assert_array_equal(third, frames[2, :, :, 0] >= 128)
    assert done.details == {"frames": 3}


@pytest.mark.parametrize(
    ("words", "numbers"),
    [([], [1, 2, 3, 4, 5]), (["--every", "2"], [1, 3, 5]), (["--every", "9"], [1])],
    ids=["every frame", "every other", "a single one"],
)
def test_the_table_of_areas_has_a_row_for_every_frame(
    words: list[str],
    numbers: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("distillfss.cli.predict.load_model", lambda path, device, show: BrightnessSegmenter())
    frames, out = film(tmp_path / "a.mkv"), tmp_path / "out"
    words = ["predict", "model", str(tmp_path / "a.mkv"), "--out", str(out), *words]
    assert main([*words, "--outputs", "mask,csv", "--metres-per-pixel", "2"]) == 0
    assert "no rows" not in capsys.readouterr().err
    with (out / "areas.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["class"] == "bright"]
    assert {(row["image"], row["width"], row["height"]) for row in rows} == {("a.mkv", "47", "33")}
    assert [int(row["frame"]) for row in rows] == numbers
    counts = [int((frames[number - 1, :, :, 0] >= 128).sum()) for number in numbers]
    assert [int(row["pixels"]) for row in rows] == counts
    assert [float(row["square_metres"]) for row in rows] == [4 * count for count in counts]
    before = (out / "areas.csv").read_bytes()
    assert main([*words, "--outputs", "mask,csv", "--metres-per-pixel", "2"]) == 0  # from what is remembered
    assert "1 were there already" in capsys.readouterr().out
    assert (out / "areas.csv").read_bytes() == before


def test_a_video_whose_mask_was_there_before_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("distillfss.cli.predict.load_model", lambda path, device, show: BrightnessSegmenter())
    film(tmp_path / "a.mkv")
    words = ["predict", "model", str(tmp_path / "a.mkv"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert main([*words, "--outputs", "csv"]) == 0
    told = "csv: no rows of a.mkv: files other than GeoTIFF are counted only when their mask is written (--overwrite)"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "areas.csv").exists()
    assert main([*words, "--outputs", "csv", "--overwrite"]) == 0
    assert len((tmp_path / "out" / "areas.csv").read_text().splitlines()) == 1 + 2 * len(TIMES)


def test_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg gives the angle by which a frame is to be turned anticlockwise."""
    frames = film(tmp_path / "a.mkv")

    class Turned:
        rotation, pts, time_base = -90, 0, Fraction(1, 25)

        def to_ndarray(self, format: str) -> np.ndarray:
            return frames[0]

    class Container:
        def decode(self, stream: object) -> list[Turned]:
            return [Turned()]

    from contextlib import contextmanager

    video = Video(tmp_path / "a.mkv")
    monkeypatch.setattr(video, "_open", contextmanager(lambda: iter([(Container(), None)])))
    (frame,) = video
    np.testing.assert_array_equal(frame.pixels, np.rot90(frames[0], -1))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"this is no video", "cannot be decoded"),
        (b"", "cannot be decoded"),
        (b"#EXTM3U\n#EXTINF:1,\nother.mkv\n#EXT-X-ENDLIST\n", "cannot be decoded"),  # a list that names other files
    ],
)
def test_what_is_no_video(content: bytes, expected: str, tmp_path: Path) -> None:
    film(tmp_path / "other.mkv")
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        predict_video(BrightnessSegmenter(), path, tmp_path / "out")
    assert caught.value.path == path
    assert not (tmp_path / "out").exists()


def test_sound_only_and_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="only sound"):
        Video(path)
    with pytest.raises(DataError, match="there is no such file"):
        Video(tmp_path / "b.mkv")


def test_where_overlays_are_is_told_of_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("distillfss.cli.predict.load_model", lambda path, device, show: BrightnessSegmenter())
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    pages = [Image.fromarray(page) for page in film(images / "film.mkv")]
    pages[0].save(images / "stack.v2.tif", save_all=True, append_images=pages[1:])
    for name in "ab":
        pages[0].save(images / f"{name}.png")
    words = ["predict", "model", str(images), "--out", str(out), "--overlay", "--outputs"]
    assert main([*words, "mask"]) == 0
    told = "  overlay: overlays/STEM.jpg (2 files), overlays/STEM.mp4 (1 file), overlays/STEM/ (1 folder)"
    assert told in capsys.readouterr().out.splitlines()
    assert {path.name for path in (out / "overlays").iterdir()} == {"a.jpg", "b.jpg", "film.mp4", "stack.v2"}
    words[2] = str(images / "film.mkv")
    assert main([*words, "mask", "--overwrite"]) == 0
    assert "  overlay: overlays/STEM.mp4 (1 file)" in capsys.readouterr().out.splitlines()
