"""Videos: a mask per frame, and the video with the classes drawn over it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from distillfss.formats.dicom import refuse_probabilities
from distillfss.formats.frames import ClassCounts, numbered, segment_picture
from distillfss.formats.options import PNG, FormatOptions, Frame, Prediction, Tick
from distillfss.io.files import atomic_folder, make_folder
from distillfss.io.masks import write_mask
from distillfss.io.video import Video, new_video
from distillfss.report.overlay import overlay
from distillfss.tiles.scores import CanSegment

_DIGITS = 999_999
"""Frames are numbered with six digits: how many there are is often known only at the end."""


def video_targets(path: Path, out: Path, options: FormatOptions) -> list[Path]:
    """The mask video (or the folder of PNGs), then, on request, the video with overlays."""
    mask = out / (path.stem if options.masks == PNG else f"{path.stem}.mkv")
    return [mask, out / "overlays" / f"{path.stem}.mp4"] if options.overlay else [mask]


def predict_video(
    segmenter: CanSegment,
    path: str | Path,
    out: str | Path,
    options: FormatOptions | None = None,
    tick: Tick | None = None,
) -> Prediction:
    """Segment the frames of a video.

    Parameters
    ----------
    segmenter
        The model.
    path
        The video.
    out
        Folder for ``STEM.mkv``, a lossless grey video whose values are the class indices, with the times of the frames;
        with ``options.masks`` ``png`` for ``STEM/000001.png``, ..., numbered as the frames are. The overlay goes to
        ``overlays/STEM.mp4``, without sound.
    options
        ``every``, tiles, ...
    tick
        Told about every frame that was read.

    Raises
    ------
    DataError
        The video cannot be decoded.
    UsageError
        Probabilities were asked for.
    OutputError
        Something cannot be written.
    """
    path, out, options = Path(path), Path(out), options or FormatOptions()
    refuse_probabilities(options, path)
    video = Video(path)
    targets = video_targets(path, out, options)
    kept = options.left_alone(targets)
    for target in targets:
        make_folder(target.parent)
    mask_wanted, as_png = targets[0] not in kept, options.masks == PNG
    counts = ClassCounts(segmenter.class_names)
    frames: list[Frame] = []
    rate = video.rate / options.every
    decoded = 0
    end = Fraction(0)
    with ExitStack() as stack:
        folder = stack.enter_context(atomic_folder(targets[0])) if as_png and mask_wanted else None
        masks = drawn = None
        if mask_wanted and not as_png:
            masks = stack.enter_context(new_video(targets[0], path, rate, masks=True))
        if options.overlay and targets[1] not in kept:
            drawn = stack.enter_context(new_video(targets[1], path, rate, masks=False))
        for frame in video:
            decoded, end = frame.index + 1, frame.time
            if tick:
                tick(frame.index + 1, max(video.frames, frame.index + 1))
            if frame.index % options.every:
                continue
            mask = segment_picture(segmenter, frame.pixels, options)
            frames.append(replace(counts.add(mask), number=frame.index + 1))
            if masks is not None:
                masks.write(mask, frame.time)
            elif folder is not None:
                write_mask(numbered(folder, frame.index, _DIGITS, "png"), mask)
            if drawn is not None:
                drawn.write(overlay(frame.pixels, mask), frame.time)
    missing = video.missing(decoded, end)
    notices = [missing] if missing else []
    details = {"frames": len(frames)}
    return Prediction(targets, notices, counts.pixels(), frames=frames, details=details, kept=kept)
