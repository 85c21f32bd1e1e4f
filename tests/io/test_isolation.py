"""A decoder that crashes, hangs, lies or eats the memory costs one picture: with real processes that really do so."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import BrightnessSegmenter, cli_environment
from pictures import random_rgb
from PIL import Image

from distillfss.errors import DataError, UsageError
from distillfss.io import decode, isolation
from distillfss.io.decode import read_image
from distillfss.io.masks import read_mask
from distillfss.notices import NoticeKind
from distillfss.predicting import predict_images

RGB = random_rgb()

# What a worker does before it serves: the decoder is replaced by one that goes wrong on pictures 13 pixels wide.
SABOTAGE = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[2])
from distillfss.io import worker
from distillfss.notices import Notice
real = worker.OPERATIONS["image"]
def broken(file):
    pixels, notes = real(file)
    if pixels.shape[1] == 13:
        {fault}
    return pixels, notes
worker.OPERATIONS["image"] = broken
worker.serve(int(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def own_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No worker of another test is used, and none of these is left."""
    pool = isolation._Pool()
    monkeypatch.setattr(isolation, "_pool", pool)
    yield
    pool.close()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return saved(tmp_path / "good.png", RGB)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return saved(tmp_path / "bad.png", RGB[:, :13])


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def sabotage(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(isolation, "BOOT", SABOTAGE.format(fault=fault))


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert caught.value.path == path
    return caught.value


def workers() -> list[int]:
    return [worker._process.pid for worker in isolation._pool._idle]


def test_pictures_are_decoded_in_another_process(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "decode_image", lambda file: pytest.fail("decoded here"))
    np.testing.assert_array_equal(read_image(good).pixels, RGB)
    (first,) = workers()
    assert first != os.getpid()
    read_image(good)
    assert workers() == [first]  # one serves all


def test_here_and_there_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = (np.arange(600).reshape(20, 30) * 100).astype(np.uint16)
    paths = [saved(tmp_path / "deep.png", deep), saved(tmp_path / "a.webp", RGB), tmp_path / "broken.png"]
    film = tmp_path / "film.gif"
    Image.fromarray(RGB).save(film, save_all=True, append_images=[Image.fromarray(255 - RGB)])
    paths[2].write_bytes(paths[0].read_bytes()[:90])
    mask = saved(tmp_path / "mask.png", (RGB[..., 0] % 3).astype(np.uint8))
    outcomes = []
    for isolate in "10":
        monkeypatch.setenv("DISTILLFSS_ISOLATE", isolate)
        decoded = [read_image(path) for path in (*paths[:2], film)]
        outcomes.append(([(d.pixels.tolist(), d.remarks) for d in decoded], str(refused(paths[2])), read_mask(mask)))
        kinds = [[remark.kind for remark in d.remarks] for d in decoded]
        assert kinds == [[NoticeKind.CONVERTED], [], [NoticeKind.FIRST_ONLY]]
    assert outcomes[0][:2] == outcomes[1][:2]
    np.testing.assert_array_equal(outcomes[0][2], outcomes[1][2])
    np.testing.assert_array_equal(outcomes[0][2], RGB[..., 0] % 3)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("os.abort()", "the decoder crashed on it (SIGABRT)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the decoder crashed on it (SIGSEGV)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the decoder crashed on it (SIGKILL)"),
        ("os._exit(7)", "the decoder crashed on it (exit code 7)"),
        ("1 / 0", "the decoder crashed on it (exit code 1)"),
        ("import numpy; numpy.ones(1 << 37)", "not enough memory"),
        ("pixels = pixels[None]", "an impossible answer"),  # of a worker that was taken over
        ("pixels = pixels[:0]", "an impossible answer"),
        ("notes = [Notice('x' * 100_000)]", "an impossible answer"),
        ("notes = [Notice('x', type('Foreign', (), {'value': 'news'}))]", "an impossible answer"),
    ],
)
def test_a_crash_costs_one_picture(
    good: Path, bad: Path, monkeypatch: pytest.MonkeyPatch, fault: str, problem: str
) -> None:
    sabotage(monkeypatch, fault)
    np.testing.assert_array_equal(read_image(good).pixels, RGB)
    error = refused(bad)
    assert problem in error.problem
    assert error.cure
    np.testing.assert_array_equal(read_image(good).pixels, RGB)


@pytest.mark.parametrize("fault", ["time.sleep(1000)", "\n        while True: pass"], ids=["sleeps", "computes"])
def test_a_decoder_that_never_ends_is_given_up(
    good: Path, bad: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    sabotage(monkeypatch, fault)
    monkeypatch.setenv("DISTILLFSS_DECODE_SECONDS", "0.2")
    np.testing.assert_array_equal(read_image(good).pixels, RGB)
    (stuck,) = workers()
    error = refused(bad)
    assert "took more than 0.2 seconds" in error.problem
    assert "DISTILLFSS_DECODE_SECONDS" in error.cure
    with pytest.raises(ProcessLookupError):
        os.kill(stuck, 0)
    np.testing.assert_array_equal(read_image(good).pixels, RGB)


def test_a_run_over_a_folder_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch, "os.abort()")
    (tmp_path / "images").mkdir()
    for number in range(6):
        saved(tmp_path / "images" / f"{number}.png", RGB[:, :13] if number in (1, 4) else RGB)
    summary = predict_images(BrightnessSegmenter(), tmp_path / "images", tmp_path / "out")
    assert summary.written == 4
    assert [path.name for path, _ in summary.failed] == ["1.png", "4.png"]
    assert all("crashed on it (SIGABRT)" in reason for _, reason in summary.failed)


def test_a_worker_that_died_while_idle_is_replaced(good: Path) -> None:
    read_image(good)
    (pid,) = workers()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while isolation._pool._idle[0].alive and time.monotonic() < deadline:
        time.sleep(0.01)
    np.testing.assert_array_equal(read_image(good).pixels, RGB)
    assert pid not in workers()


def test_where_no_worker_can_be_started_pictures_are_decoded_here(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for boot in ("raise SystemExit(3)", "print('hello')"):
        monkeypatch.setattr(isolation, "_pool", isolation._Pool())
        monkeypatch.setattr(isolation, "BOOT", boot)
        np.testing.assert_array_equal(read_image(good).pixels, RGB)
        assert workers() == []
    monkeypatch.setattr(isolation, "_pool", isolation._Pool())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    np.testing.assert_array_equal(read_image(good).pixels, RGB)


def test_threads_do_not_mix_up_their_pictures(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{n}.png", np.full((8, 9 + n, 3), n, np.uint8)) for n in range(6)]
    with ThreadPoolExecutor(3) as pool:
        for number, decoded in enumerate(pool.map(read_image, paths * 5)):
            assert decoded.pixels.shape[1] == 9 + number % 6
            assert (decoded.pixels == number % 6).all()
    assert 1 <= len(workers()) <= 3


def test_a_forked_process_takes_workers_of_its_own(good: Path) -> None:
    read_image(good)
    before = workers()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def child() -> None:
        queue.put((int(read_image(good).pixels.sum()), workers()))
        isolation._pool.close()

    process = context.Process(target=child)
    process.start()
    total, theirs = queue.get()
    process.join()
    assert total == int(RGB.sum())
    assert not set(theirs) & set(before)
    np.testing.assert_array_equal(read_image(good).pixels, RGB)
    assert workers() == before


def test_an_interrupted_wait_does_not_spoil_the_next_answer(
    good: Path, bad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, "time.sleep(1000)")
    read_image(good)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        read_image(bad)
    timer.join()
    assert workers() == []
    np.testing.assert_array_equal(read_image(good).pixels, RGB)


def test_the_worker_ends_with_a_killed_parent(good: Path) -> None:
    code = (
        "import sys, time; from distillfss.io import isolation, decode\n"
        "decode.read_image(sys.argv[1]); print(isolation._pool._idle[0]._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(good)], stdout=subprocess.PIPE, text=True, env=cli_environment()
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while _running(pid):
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.02)


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_modules_in_the_working_folder_are_not_run(good: Path, tmp_path: Path) -> None:
    for name in ("numpy", "json", "PIL"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run')")
    code = "import sys; from distillfss.io import decode, isolation; decode.read_image(sys.argv[1]); "
    done = subprocess.run(
        [sys.executable, "-P", "-c", code + "print(len(isolation._pool._idle))", str(good)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=cli_environment(),
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_complaints_of_decoders_do_not_reach_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "TIFF", compression="tiff_lzw")
    content = bytearray(buffer.getvalue())
    content[40:400] = bytes(360)
    (tmp_path / "a.tif").write_bytes(content)
    refused(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", ["", "none", "0", "-3", "nan", "inf"])
def test_limits_that_make_no_sense(good: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DISTILLFSS_MAX_MEGAPIXELS", value)
    with pytest.raises(UsageError, match="DISTILLFSS_MAX_MEGAPIXELS"):
        read_image(good)


def test_the_limit_on_pixels_can_be_changed_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = tmp_path / "scan.png"
    Image.new("1", (20_000, 9_500)).save(scan)  # 190 megapixels: Pillow's own limit is 179
    error = refused(scan)
    assert "more than the limit of 150 megapixels" in error.problem
    assert "DISTILLFSS_MAX_MEGAPIXELS" in error.cure
    monkeypatch.setenv("DISTILLFSS_MAX_MEGAPIXELS", "191")
    assert read_mask(scan).shape == (9_500, 20_000)
    monkeypatch.setenv("DISTILLFSS_MAX_MEGAPIXELS", "0.0001")
    assert "more than the limit of 0.0001 megapixels" in refused(saved(tmp_path / "small.png", RGB)).problem
