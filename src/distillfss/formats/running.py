"""Everything a user points ``predict`` at: pictures go to one pipeline, all other files to their handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import DataError, UsageError
from distillfss.formats.area_rows import AreaRows
from distillfss.formats.dispatch import Handler, special_handler
from distillfss.formats.frames import segment_picture, wants_tiles
from distillfss.formats.options import FormatOptions, Prediction, output_of
from distillfss.io.kinds import VIDEO_SUFFIXES
from distillfss.io.special import bands_and_range
from distillfss.outputs import OutputSettings, make_outputs
from distillfss.outputs.makers import Makers, fingerprint_of
from distillfss.places import open_place
from distillfss.predicting import PredictSummary
from distillfss.quality.judging import Answer
from distillfss.tiles.engine import PROBABILITY_ONE, ArraySource, segment_strips
from distillfss.tiles.plan import overlap_pixels
from distillfss.tiles.scores import CanSegment, scores_of, tile_side

SHOWN_OUTDATED = 3
"""Names that a note tells."""

Tick = Callable[[int, int], None]
Pictures = Callable[[CanSegment, list[Path], Tick, PredictSummary], object]
"""Predicts ordinary pictures: model, files, progress, and the summary to fill."""


class Tiling:
    """A segmenter that cuts large pictures into tiles, and hands all others on.

    Parameters
    ----------
    segmenter
        The model.
    options
        When to cut, and how.
    """

    def __init__(self, segmenter: CanSegment, options: FormatOptions) -> None:
        self._segmenter, self._options = segmenter, options

    @property
    def class_names(self) -> Sequence[str]:
        return self._segmenter.class_names

    @overload
    def __call__(self, image: NDArray[np.uint8], probabilities: Literal[False] = False) -> NDArray[np.uint8]: ...

    @overload
    def __call__(
        self, image: NDArray[np.uint8], probabilities: Literal[True]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]: ...

    def __call__(self, image: NDArray[np.uint8], probabilities: bool = False) -> Any:
        """As ``Segmenter``, for an image (H, W, 3) uint8 RGB."""
        options = self._options
        if not probabilities:
            return segment_picture(self._segmenter, image, options)
        shape = image.shape[0], image.shape[1]
        if not wants_tiles(self._segmenter, shape, options.tile):
            return self._segmenter(image, probabilities=True)
        tile = tile_side(self._segmenter, options.tile)
        classes = len(self.class_names)
        mask = np.empty(shape, np.uint8)
        likely = np.empty((*shape, classes + 1), np.float32)
        for strip in segment_strips(
            ArraySource(image),
            scores_of(self._segmenter),
            classes,
            tile=tile,
            overlap=overlap_pixels(tile, options.overlap),
            probabilities=True,
        ):
            rows = slice(strip.row, strip.row + strip.labels.shape[0])
            mask[rows] = strip.labels
            if strip.probabilities is not None:
                likely[rows] = np.moveaxis(strip.probabilities, 0, -1) / np.float32(PROBABILITY_ONE)
        return mask, likely

    def answer(self, image: NDArray[np.uint8], probabilities: bool = False) -> Answer:
        """As ``Segmenter.answer``; nothing is said of a picture that is cut into tiles."""
        answer = getattr(self._segmenter, "answer", None)
        if answer is not None and not wants_tiles(
            self._segmenter, (image.shape[0], image.shape[1]), self._options.tile
        ):
            found: Answer = answer(image, probabilities=probabilities)
            return found
        return Answer(*self(image, probabilities=True)) if probabilities else Answer(self(image))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)


def predict_files(
    segmenter: CanSegment,
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    options: FormatOptions,
    pictures: Pictures,
    *,
    progress: Tick | None = None,
    part: Callable[[Path, int, int], None] | None = None,
    summary: PredictSummary | None = None,
    areas: AreaRows | None = None,
) -> dict[Path, Prediction]:
    """Write masks for pictures, rasters, stacks, DICOM files and videos.

    Files that cannot have probabilities get the rest of what is asked for (``Prediction.no_probabilities``).

    Parameters
    ----------
    segmenter
        The model.
    images
        A folder, a file, a glob pattern, or the paths themselves.
    out
        Folder of the masks. It must not be a folder the images are in.
    options
        How to deal with large pictures and special files.
    pictures
        What predicts the ordinary pictures among them; it is given the model with tiling.
    progress
        Called with (files done, files in all).
    part
        Called with (file, parts of it done, parts in all) while a special file is worked on.
    summary
        Filled while running, so that a caller that is interrupted still knows how far it got.
    areas
        The table that gets the areas in special files, if one is wanted; ``pictures`` sees to those in pictures.

    Returns
    -------
    dict
        What became of every special file that was segmented.

    Raises
    ------
    UsageError
        Before anything is written: two files would get the same mask, overlay or probabilities, a mask would land among
        the images, or results of another model are there.
    OutputError
        If a file cannot be written; what was written before stays.
    """
    paths = _paths(images)
    out = Path(out)
    options = as_learnt(options, segmenter)
    done = summary if summary is not None else PredictSummary(out, 0)
    done.out, done.total = out, len(paths)
    handlers = {path: special_handler(path) for path in paths}
    special = {path: handler for path, handler in handlers.items() if handler is not None}
    done.without_polygons = len(paths) - sum(handler.polygons for handler in special.values())
    _refuse_inputs(special, out)
    fingerprint = fingerprint_of(segmenter)
    makers = Makers(open_place(out), str(out), fingerprint)
    if not options.overwrite:
        makers.refuse_others()
    ordinary = PredictSummary(out, 0)
    found: dict[Path, Prediction] = {}

    def tell() -> None:
        if progress:
            progress(done.done + ordinary.done, done.total)

    try:
        plain = [path for path in paths if path not in special]
        _refuse_collisions(special, plain, out, options)
        if areas and special:
            areas.check()
        if plain:
            pictures(Tiling(segmenter, options), plain, lambda _, __: tell(), ordinary)
    finally:
        done.written += ordinary.written
        done.kept = ordinary.kept
        done.skipped_existing += ordinary.skipped_existing
        done.failed += ordinary.failed
        done.files = ordinary.files
        done.unlike += ordinary.unlike
        done.notices += ordinary.notices
        done.converted = ordinary.converted
        done.without_confidence = ordinary.without_confidence
        done.without_strangeness = ordinary.without_strangeness
        makers = Makers(open_place(out), str(out), fingerprint)  # which the pictures have changed
        settings = options.about_masks
        differing = [] if options.overwrite else makers.differing(settings)
        if ordinary.written:
            makers.claim([], settings, overwrite=options.overwrite)
        ordinary = PredictSummary(out, 0)
    if areas and special:
        areas.load()
    for path, handler in special.items():
        tell()
        try:
            prediction = _predict_one(segmenter, path, handler, out, options, part, areas)
        except (DataError, UsageError) as error:  # such as a band that only this file does not have
            done.failed.append((path, f"{error.problem}. {error.cure}"))
        except MemoryError:
            done.failed.append((path, "not enough memory. Use smaller tiles (--tile)"))
        else:
            if prediction is None:
                done.skipped_existing += 1
            else:
                found[path] = prediction
                if prediction.no_mask is None:
                    done.written += 1
                else:
                    done.failed.append((path, f"{prediction.no_mask}. What else was asked for was written"))
                _count(done, prediction, out)
                makers.claim(_outputs(prediction, out, areas), settings, overwrite=options.overwrite)
            if areas:
                areas.add(path, prediction)
    if areas and special and areas.write():
        done.files["csv"] = 1
    if differing and (done.skipped_existing or done.kept):
        done.notices.append(
            f"{out}: what was left alone was made with another {' and another '.join(differing)}; "
            "--overwrite makes it anew"
        )
    if not options.overwrite:
        done.notices += _outdated(paths, special, out, options)
    tell()
    return found


def _outdated(paths: Sequence[Path], special: Mapping[Path, Handler], out: Path, options: FormatOptions) -> list[str]:
    """A note on masks that were left alone and are older than their images."""
    older = []
    for path in paths:
        try:
            handler = special.get(path)
            made = handler.targets(path, out, options) if handler else [out / _picture_targets(path, options)[0]]
            if made and made[0].stat().st_mtime_ns < path.stat().st_mtime_ns:
                older.append(path.name)
        except (OSError, DataError):  # no mask, or an image that cannot be read
            continue
    if not older:
        return []
    more = f" and {len(older) - SHOWN_OUTDATED} more" if len(older) > SHOWN_OUTDATED else ""
    shown = f"{', '.join(older[:SHOWN_OUTDATED])}{more}"
    return [
        f"{shown}: newer than what was made of them and left alone; if they have changed, --overwrite makes it anew"
    ]


def _count(done: PredictSummary, prediction: Prediction, out: Path) -> None:
    """Note what was written of a special file, and what was left alone."""
    for path in prediction.written:
        name, counts = output_of(path, out), done.kept if path in prediction.kept else done.files
        counts[name] = counts.get(name, 0) + 1


def _outputs(prediction: Prediction, out: Path, areas: AreaRows | None) -> list[str]:
    names = [output_of(path, out) for path in prediction.written if path not in prediction.kept]
    return [*names, "csv"] if areas else names


def as_learnt(options: FormatOptions, segmenter: Any) -> FormatOptions:
    """Bands and range the model was fitted with, where its file records them and nobody asked for others."""
    bands, value_range = bands_and_range((getattr(segmenter, "summary", None) or {}).get("reading"))
    try:
        return replace(options, bands=options.bands or bands, value_range=options.value_range or value_range)
    except UsageError:  # a model file may say anything
        return options


def _predict_one(
    segmenter: CanSegment,
    path: Path,
    handler: Handler,
    out: Path,
    options: FormatOptions,
    part: Callable[[Path, int, int], None] | None,
    areas: AreaRows | None,
) -> Prediction | None:
    """None if everything wanted is there already."""
    spared = options.probabilities and not handler.probabilities
    if spared:
        options = replace(options, probabilities=False)
    targets = handler.targets(path, out, options)
    counted = areas is None or areas.has(path) or (_has_mask(targets, out) and not handler.counts_again)
    if counted and not options.overwrite and all(target.exists() for target in targets):
        return None
    tick = None if part is None else lambda done, total: part(path, done, total)
    prediction = handler.predict(segmenter, path, out, options, tick)
    return replace(prediction, no_probabilities=True) if spared else prediction


def _has_mask(targets: Sequence[Path], out: Path) -> bool:
    return any(output_of(target, out) == "mask" for target in targets)


def _paths(images: str | Path | Iterable[str | Path]) -> list[Path]:
    from distillfss.io.files import list_images

    if isinstance(images, str | Path):
        return list_images(images, also=VIDEO_SUFFIXES)
    return [Path(path) for path in images]


def _refuse_inputs(special: dict[Path, Handler], out: Path) -> None:
    """Nothing is written into a folder the images are in: a mask could replace one."""
    sources = {path.parent.resolve() for path in special}
    for folder in (out, out / "overlays", out / "probabilities"):
        if folder.resolve() in sources:
            raise UsageError("the images are in this folder", cure="Choose another one for the masks", path=folder)


def _refuse_collisions(special: dict[Path, Handler], plain: list[Path], out: Path, options: FormatOptions) -> None:
    """No two files must be written to one place, not even on a file system that ignores case."""
    seen = {target.casefold(): path for path in plain for target in _picture_targets(path, options)}
    for path, handler in special.items():
        try:
            targets = handler.targets(path, out, options)
        except DataError:  # a file that cannot be read gets no mask
            continue
        for target in targets:
            name = target.relative_to(out).as_posix()
            other = seen.setdefault(name.casefold(), path)
            if other is not path:
                raise UsageError(
                    f"{other.name} and {path.name} would both get {'the mask ' * _has_mask([target], out)}{name}",
                    cure="Rename one of them or predict them into different folders",
                    path=path,
                )


def _picture_targets(path: Path, options: FormatOptions) -> list[str]:
    """What an ordinary picture may get of the files that special ones get too, relative to the folder of the masks."""
    names = {"mask": True, "overlay": options.overlay, "probabilities": options.probabilities}
    outputs = make_outputs([name for name, asked in names.items() if asked], OutputSettings(()))
    return [target for output in outputs if (target := output.target(path.stem))]
