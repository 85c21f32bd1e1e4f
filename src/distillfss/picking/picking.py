"""``pick``: a folder of images in, those worth annotating first out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss.backbones import load_backbone, weights_sha256
from distillfss.backbones.base import Backbone
from distillfss.errors import DataError, UsageError
from distillfss.formats.options import FormatOptions
from distillfss.formats.running import as_learnt
from distillfss.io.decode import read_image
from distillfss.io.files import list_images
from distillfss.picking.cache import DescriptorCache, default_folder
from distillfss.picking.coverage import medoids, squared_distances
from distillfss.picking.descriptors import LEAST_STRIDE, SIZE, THUMBNAIL, comparable, describe, parts
from distillfss.picking.oddities import twins_and_strangers
from distillfss.picking.uncertainty import CanDoubt, uncertainty
from distillfss.runtime import resolve_device

PickProgress = Callable[[str, int, int], None]
"""Told the phase, images done and images in all."""
Read = Callable[[Path], NDArray[np.uint8]]
"""A file to its pixels (H, W, 3); may raise a ``DataError``."""
READ_AHEAD = 4
VERSION = 2
"""Of the stored descriptors: those without a number could be another image's."""


@dataclass(frozen=True)
class Pick:
    """One image to annotate.

    Attributes
    ----------
    path
        The image.
    stands_for
        How many images of the folder, itself included, are closer to it than to any other pick.
    doubt
        The model's uncertainty, 0 (sure everywhere) to 1 (at a loss everywhere); None where no model was asked.
    """

    path: Path
    stands_for: int
    doubt: float | None = None


@dataclass(frozen=True)
class Selection:
    """What to annotate, and what was noticed on the way.

    Attributes
    ----------
    picks
        The best first: any beginning of the list is a good choice of that size.
    images
        Images that were looked at.
    twins
        (image, earlier image it is a near-duplicate of). Those were not picked.
    strangers
        Images unlike all others, the strangest first. Not picked: they may not belong to the task.
    failed
        (image, reason) of those that cannot be read.
    """

    picks: list[Pick]
    images: int
    twins: list[tuple[Path, Path]] = field(default_factory=list)
    strangers: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "picks": [
                {"image": str(p.path), "stands_for": p.stands_for} | ({} if p.doubt is None else {"doubt": p.doubt})
                for p in self.picks
            ],
            "images": self.images,
            "near_duplicates": [{"image": str(a), "of": str(b)} for a, b in self.twins],
            "outliers": [str(path) for path in self.strangers],
            "failed": [{"image": str(path), "reason": reason} for path, reason in self.failed],
        }


def pick(
    images: str | Path | Iterable[str | Path],
    count: int,
    *,
    annotated: Sequence[NDArray[np.uint8]] = (),
    model: CanDoubt | None = None,
    backbone: str = "efficientnet_lite0",
    backbone_weights: str | None = None,
    device: str = "auto",
    seed: int = 0,
    cache: Path | None = None,
    bands: Sequence[int] | None = None,
    value_range: tuple[float, float] | None = None,
    progress: PickProgress | None = None,
) -> Selection:
    """Choose the images worth annotating: medoids of the backbone's descriptors.

    Every image of the folder should have a similar one among the annotated, so the picks minimise the sum of squared
    distances to the nearest pick. Twins and strangers are not picked. Given a model, images it is unsure of weigh more,
    and given images that are annotated already, what those cover needs no pick.

    Parameters
    ----------
    images
        A folder, one image, a glob pattern, or paths.
    count
        How many; fewer come back if there are fewer images worth it.
    annotated
        Images (H, W, 3) uint8 that are annotated already. If they are among ``images`` they are not picked again.
    model
        A fitted model (``Segmenter``), asked how unsure it is of every image.
    backbone, backbone_weights, device
        As in ``FitConfig``.
    seed
        Decides which images are considered where there are more than 2000.
    cache
        Folder for descriptors; the user's cache folder if None.
    bands, value_range
        How GeoTIFF and DICOM files are read, see ``read_image``; as the model's were if None.
    progress
        Told how far it is.

    Raises
    ------
    DataError
        No images, none that can be read, or all of them are annotated already.
    UsageError
        ``count`` below 1.
    """
    if count < 1:
        raise UsageError(f"{count} images cannot be picked", cure="Pick 1 or more")
    tell = progress if progress is not None else lambda phase, done, total: None
    paths = list_images(images) if isinstance(images, str | Path) else [Path(path) for path in images]
    network = load_backbone(backbone, backbone_weights).to(resolve_device(device))
    taken = None if bands is None else tuple(bands)
    reading = as_learnt(FormatOptions(bands=taken, value_range=value_range), model)
    read = partial(_pixels, reading=reading)
    identity = (
        f"{VERSION} {weights_sha256(backbone, backbone_weights)} {SIZE} {LEAST_STRIDE} {THUMBNAIL} "
        f"{reading.bands} {reading.value_range}"
    )
    store = DescriptorCache(default_folder() if cache is None else cache, identity)
    known, rows, failed = _descriptors(paths, read, network, store, tell)
    if not known:
        raise DataError("none of the images can be read", cure=failed[0][1] if failed else "Give some images")
    have = [describe(network, pixels) for pixels in annotated]
    descriptors, thumbnails = parts(np.stack([*rows, *have]))
    points = comparable(descriptors, network.layers)
    points, covered = points[: len(known)], points[len(known) :]
    twins, strangers = twins_and_strangers(points, thumbnails[: len(known)])
    fresh = squared_distances(points, covered).min(1) > 1e-4 if len(covered) else np.ones(len(known), bool)
    if not fresh.any():
        raise DataError(
            "all of the images are annotated already", cure="Give more images, or leave some out of those annotated"
        )
    allowed = fresh.copy()
    allowed[[*twins, *strangers]] = False
    if not allowed.any():  # nothing but strangers: better those than nothing
        allowed = fresh
    doubts = None if model is None else _doubts(model, known, read, tell)
    chosen = medoids(
        points,
        min(count, int(allowed.sum())),
        weights=_weights(doubts, strangers, len(known)),
        covered=covered,
        allowed=allowed,
        seed=seed,
    )
    nearest = squared_distances(points[chosen], points).argmin(0)
    sizes = np.bincount(nearest, minlength=len(chosen))
    return Selection(
        [
            Pick(known[index], int(sizes[place]), None if doubts is None else round(float(doubts[index]), 4))
            for place, index in enumerate(chosen)
        ],
        len(known),
        [(known[a], known[b]) for a, b in sorted(twins.items())],
        [known[index] for index in strangers],
        failed,
    )


def _descriptors(
    paths: Sequence[Path], read: Read, network: Backbone, store: DescriptorCache, tell: PickProgress
) -> tuple[list[Path], list[NDArray[np.float32]], list[tuple[Path, str]]]:
    """The images that can be read, their descriptors, and what is wrong with the others."""
    known: list[Path] = []
    rows: list[NDArray[np.float32]] = []
    failed: list[tuple[Path, str]] = []
    # asked once: two names of one file would else be decoded twice and taken from the queue once
    stored = [store.get(path) for path in paths]
    decoded = _read_ahead([path for path, row in zip(paths, stored, strict=True) if row is None], read)
    try:
        for number, (path, row) in enumerate(zip(paths, stored, strict=True)):
            tell("looking at the images", number, len(paths))
            try:
                if row is None:
                    row = describe(network, next(decoded)())
                    store.put(path, row)
            except (DataError, UsageError) as error:  # the latter of a map that lacks the bands
                failed.append((path, f"{error.problem}. {error.cure}"))
            else:
                known.append(path)
                rows.append(row)
    finally:
        store.save()
    tell("looking at the images", len(paths), len(paths))
    return known, rows, failed


def _weights(doubts: NDArray[np.float64] | None, strangers: Sequence[int], count: int) -> NDArray[np.float64]:
    """How much it matters that an image is covered: as much as the model doubts, and strangers not at all."""
    weights = np.ones(count) if doubts is None else doubts + 1e-3
    weights[list(strangers)] = 0
    return weights if weights.any() else np.ones(count)


def _doubts(model: CanDoubt, paths: Sequence[Path], read: Read, tell: PickProgress) -> NDArray[np.float64]:
    doubts = np.empty(len(paths))
    for number, decoded in enumerate(_read_ahead(paths, read)):
        tell("asking the model", number, len(paths))
        doubts[number] = uncertainty(model, decoded())
    tell("asking the model", len(paths), len(paths))
    return doubts


def _read_ahead(paths: Sequence[Path], read: Read) -> Iterator[Callable[[], NDArray[np.uint8]]]:
    """Pictures in order, a few decoded ahead in a thread of their own; calling one may raise its ``DataError``."""
    waiting = iter(paths)
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(read, path) for path in islice(waiting, READ_AHEAD)]
        while ahead:
            first = ahead.pop(0)
            ahead += [pool.submit(read, path) for path in islice(waiting, 1)]
            yield first.result


def _pixels(path: Path, reading: FormatOptions) -> NDArray[np.uint8]:
    return read_image(path, reading.bands, reading.value_range).pixels
