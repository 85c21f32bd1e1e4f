"""DICOM in; a DICOM segmentation, or PNGs, out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from distillfss.errors import DataError, UsageError
from distillfss.formats.frames import ClassCounts, numbered, segment_picture, write_overlay
from distillfss.formats.options import PNG, FormatOptions, Frame, Prediction, Tick
from distillfss.io.dicom import DicomImage, frames_in
from distillfss.io.dicom_seg import segmentation_of, write_segmentation
from distillfss.io.files import atomic_folder, make_folder
from distillfss.io.masks import write_mask
from distillfss.outputs.scale import DICOM, PixelArea
from distillfss.tiles.scores import CanSegment


def dicom_targets(path: Path, out: Path, options: FormatOptions) -> list[Path]:
    """The file or folder with the mask, if wanted, then, on request, that with overlays. May look into the header."""
    if options.masks != PNG and not options.overlay:
        return [out / f"{path.stem}.dcm"] if options.mask else []
    single = frames_in(path) == 1
    mask = out / (f"{path.stem}.dcm" if options.masks != PNG else f"{path.stem}.png" if single else path.stem)
    drawn = out / "overlays" / (f"{path.stem}.jpg" if single else path.stem)
    return [mask] * options.mask + [drawn] * options.overlay


def predict_dicom(
    segmenter: CanSegment,
    path: str | Path,
    out: str | Path,
    options: FormatOptions | None = None,
    tick: Tick | None = None,
) -> Prediction:
    """Segment every frame of a DICOM image.

    Parameters
    ----------
    segmenter
        The model.
    path
        The file.
    out
        Folder for ``STEM.dcm``, a DICOM segmentation with one segment per class; with ``options.masks`` ``png`` for
        ``STEM.png`` or, of several frames, ``STEM/0001.png``, ... Overlays go to ``overlays/`` under the same names.
    options
        Tiles, range of values, ...
    tick
        Told about every frame.

    Raises
    ------
    DataError
        The file cannot be read, or a segmentation cannot refer to it and nothing else is wanted
        (``Prediction.no_mask`` else).
    UsageError
        Probabilities were asked for, which DICOM has no good place for.
    OutputError
        Something cannot be written.
    """
    path, out, options = Path(path), Path(out), options or FormatOptions()
    refuse_probabilities(options, path)
    image = DicomImage(path, options.value_range)
    targets = dicom_targets(path, out, options)
    kept = options.left_alone(targets)
    make_folder(out)
    single = image.frames == 1
    wanted = options.mask and targets[0] not in kept
    as_png, as_segmentation = wanted and options.masks == PNG, wanted and options.masks != PNG
    masks = np.empty((image.frames if as_segmentation else 0, *image.shape), np.uint8)
    no_mask = None
    if as_segmentation:  # whether one can refer to this image shows before the work, not after
        try:
            segmentation_of(image.dataset, np.zeros_like(masks), segmenter.class_names)
        except DataError as error:
            if not (options.overlay or options.areas):
                raise
            no_mask, as_segmentation = f"{error.problem}. {error.cure}", False
            targets = targets[1:]
    counts = ClassCounts(segmenter.class_names)
    frames: list[Frame] = []
    with ExitStack() as folders:

        def opened(place: Path) -> Path:
            return place if single else folders.enter_context(atomic_folder(place))

        pictures = opened(targets[0]) if as_png else None
        overlays = opened(targets[-1]) if options.overlay and targets[-1] not in kept else None
        for index in range(image.frames):
            picture = image.frame(index)
            mask = segment_picture(segmenter, picture, options)
            metres = image.pixel_square_metres(index)
            frames.append(counts.add(mask, None if metres is None else PixelArea(metres, DICOM)))
            if pictures is not None:
                write_mask(pictures if single else numbered(pictures, index, image.frames, "png"), mask)
            elif as_segmentation:
                masks[index] = mask
            if overlays is not None:
                write_overlay(overlays if single else numbered(overlays, index, image.frames, "jpg"), picture, mask)
            if tick:
                tick(index + 1, image.frames)
        if as_segmentation:
            write_segmentation(targets[0], image.dataset, masks, segmenter.class_names)
    return Prediction(
        targets,
        image.notices,
        counts.pixels(),
        counts.square_metres(frames),
        frames=frames,
        details={"frames": image.frames},
        kept=kept,
        no_mask=no_mask,
    )


def refuse_probabilities(options: FormatOptions, path: Path) -> None:
    """Only rasters have probabilities."""
    if options.probabilities:
        raise UsageError(
            "probabilities are written for pictures and GeoTIFF only", cure="Leave --probabilities out", path=path
        )
