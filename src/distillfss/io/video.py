"""Frames of videos in; lossless mask videos and ordinary ones out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError, OutputError
from distillfss.io.extras import optional
from distillfss.io.files import atomic_path
from distillfss.io.limits import limits
from distillfss.io.opening import too_many_pixels

# Containers that hold pictures. FFmpeg also reads play lists, which name further files and addresses to open.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,mxf"
_AGAIN = "Copy it again from its source, or convert it (ffmpeg -i VIDEO -c:v libx264 out.mp4)"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture: ``pixels`` (H, W, 3) uint8 RGB, upright; ``time`` in seconds from the start."""

    index: int
    pixels: NDArray[np.uint8]
    time: Fraction


class Video:
    """A video's frames, decoded one at a time.

    Attributes
    ----------
    frames
        How many there are; 0 if the file does not say.
    rate
        Frames per second.
    seconds
        How long it lasts; 0 if the file does not say.

    Raises
    ------
    DataError
        Missing, damaged, without pictures, or PyAV is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._open() as (_, stream):
            self.frames = int(stream.frames or 0)
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            self.seconds = _seconds(stream.metadata.get("DURATION", ""))

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        av = optional("av", self.path)
        if not self.path.is_file():
            raise DataError("there is no such file", cure="Check the path", path=self.path)
        options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        try:
            with av.open(f"file:{self.path.resolve()}", options=options) as container:
                if not container.streams.video:
                    raise DataError("holds no pictures, only sound", cure="Leave it out", path=self.path)
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                if stream.width * stream.height > limits().pixels:
                    raise too_many_pixels(self.path, stream.width, stream.height)
                yield container, stream
        except (av.error.FFmpegError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DataError(f"the video cannot be decoded ({reason})", cure=_AGAIN, path=self.path) from error

    def __iter__(self) -> Iterator[Frame]:
        """Every frame in the order it is shown."""
        with self._open() as (container, stream):
            index = -1
            for index, frame in enumerate(container.decode(stream)):
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(getattr(frame, "rotation", 0) / 90) % 4
                if turns:  # a phone held upright
                    pixels = np.ascontiguousarray(np.rot90(pixels, turns))
                time = Fraction(index) / self.rate if frame.pts is None else frame.pts * Fraction(frame.time_base)
                yield Frame(index, pixels, time)
            if index < 0:
                raise DataError("holds no frame that can be decoded", cure=_AGAIN, path=self.path)

    def missing(self, decoded: int, end: Fraction) -> str | None:
        """What to say if ``decoded`` frames, the last at ``end``, are too few: FFmpeg is silent about the rest.

        A hundredth may be missing, as what files say is not always exact.
        """
        cut = "; it may be cut short: copy it again from its source"
        if self.frames and decoded + 1 < 0.99 * self.frames:
            return f"{self.path}: only {decoded} of its {self.frames} frames are there{cut}"
        if self.seconds and end + 1 < 0.99 * self.seconds:
            return f"{self.path}: ends after {float(end):.1f} of its {self.seconds:.1f} seconds{cut}"
        return None


def _seconds(text: str) -> float:
    """Matroska's ``00:01:06.500000000``; 0 for whatever else."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return 0.0
    return 3600 * hours + 60 * minutes + seconds


class VideoWriter:
    """Frames into a file; see ``new_video``."""

    def __init__(self, container: Any, av: Any, codec: str, pixel_format: str, rate: Fraction, path: Path) -> None:
        self._container, self._av = container, av
        self._codec, self._format, self._rate = codec, pixel_format, rate
        self._path = path
        self._stream: Any = None
        self._shape: tuple[int, ...] = ()
        self._last = -1

    def write(self, pixels: NDArray[np.uint8], time: Fraction) -> None:
        """Add a frame, (H, W) for masks and (H, W, 3) RGB otherwise, shown from ``time`` on, in seconds."""
        shape = pixels.shape[:2]
        if self._stream is None:
            self._start(shape)
        elif shape != self._shape:
            raise DataError(
                f"its frames change from {self._shape[1]}x{self._shape[0]} to {shape[1]}x{shape[0]} pixels",
                cure="Cut it there into two videos, or use --masks png",
                path=self._path,
            )
        if pixels.ndim == 3:  # the usual colour format keeps one colour for four pixels
            pixels = np.pad(pixels, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(pixels), format="gray" if pixels.ndim == 2 else "rgb24"
        )
        self._last = max(self._last + 1, round(time / _TICK))  # times must rise, also where the file's do not
        frame.pts, frame.time_base = self._last, _TICK
        self._container.mux(self._stream.encode(frame))

    def _start(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        options = {"crf": "18", "preset": "veryfast"} if self._codec == "libx264" else {}
        stream = self._container.add_stream(self._codec, rate=self._rate, options=options)
        even = 0 if self._codec == "ffv1" else 1
        stream.height, stream.width = (side + side % 2 * even for side in shape)
        stream.pix_fmt = self._format
        stream.codec_context.time_base = stream.time_base = _TICK
        self._stream = stream

    def finish(self) -> None:
        """Write what the encoder still holds back."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))


_TICK = Fraction(1, 90_000)
"""Unit of time in what is written: a multiple of every usual frame rate."""


@contextmanager
def new_video(path: Path, source: Path, rate: Fraction, *, masks: bool) -> Iterator[VideoWriter]:
    """Write a video, whole or not at all.

    Parameters
    ----------
    path
        Where to.
    source
        The video it is made from, for messages.
    rate
        Frames per second.
    masks
        Whether it takes masks: then it is Matroska with FFV1, whose grey values are exactly the class indices. Else it
        is MP4 with H.264, to be looked at.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    av = optional("av", source)
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="matroska" if masks else "mp4") as container:
                codec, pixel_format = ("ffv1", "gray") if masks else ("libx264", "yuv420p")
                writer = VideoWriter(container, av, codec, pixel_format, rate, source)
                yield writer
                writer.finish()
        except av.error.FFmpegError as error:
            raise OutputError(
                f"could not be written ({error.strerror})", cure="Free some space, then run it again", path=path
            ) from error
