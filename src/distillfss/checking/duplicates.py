"""The same picture twice: in a folder, or in the support and among the test images.

Small grey pictures are compared, upright, mirrored and turned, without what varies slowly over them (lighting) and
without what all pictures of the set have in common (the rim of an endoscope, a scale bar). On seven public data sets
copies correlate above 0.95, pictures of different things hardly ever above 0.85. Descriptors of the backbone, by which
``pick`` finds images that teach the same, missed two thirds of the mirrored copies and took lighting for likeness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distillfss.checking.findings import Finding
from distillfss.checking.inspecting import Look

SIDE = 32
REACH = 2
"""Half the side of the square over which the lighting is taken, in cells of the small picture."""
ALIKE = 0.9
LEAST_CONTRAST = 0.25
"""Grey levels: below, a small picture shows nothing to tell it by."""
LEAST_FOR_COMMON = 10
"""Fewer pictures than this do not say what is common to all."""
_BLOCK = 512

CRITERION = f"{SIDE} {REACH} {ALIKE} {LEAST_CONTRAST} {LEAST_FOR_COMMON}"
"""What decides whether two pictures are the same, for whoever keeps the answer."""


@dataclass(frozen=True)
class Twins:
    """Two pictures that show nearly the same; places in the list they were looked for in, ``first`` the earlier."""

    first: int
    second: int
    mirrored: bool


def small_picture(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 → (32, 32): grey, without lighting, of length 1; all 0 if there is nothing to see."""
    grey = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=3.0)
    values = np.asarray(grey, np.float64)
    padded = np.pad(values, REACH, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * REACH + 1, 2 * REACH + 1))
    fine = values - windows.mean((2, 3))
    length = float(np.linalg.norm(fine))
    shows = length > LEAST_CONTRAST * SIDE
    return (fine / length if shows else np.zeros_like(fine)).astype(np.float32)


def twins(pictures: NDArray[np.float32], partners: int) -> list[Twins]:
    """Every picture that has an earlier twin, with that twin; only the first ``partners`` pictures count as earlier.

    ``pictures`` (N, 32, 32) come from ``small_picture``.
    """
    found = []
    for start, likely in _alike(pictures, partners):
        for index in range(start, start + likely.shape[1]):
            views = likely[:, index - start, :index]
            if views.any():
                straight = views[0].any()
                first = int(np.flatnonzero(views[0] if straight else views.any(0))[0])
                found.append(Twins(first, index, not straight))
    return found


def same_pictures(pictures: NDArray[np.float32], digests: Sequence[str]) -> list[tuple[int, int]]:
    """Every pair of pictures that show the same, mirrored or turned or not, the earlier first.

    Parameters
    ----------
    pictures
        (N, 32, 32) from ``small_picture``.
    digests
        Of the pixels: pictures in which there is nothing to see are the same only pixel by pixel.
    """
    found: set[tuple[int, int]] = set()
    for start, likely in _alike(pictures, len(pictures)):
        for place, earlier in np.argwhere(likely.any(axis=0)).tolist():
            if earlier < start + place:
                found.add((earlier, start + place))
    first: dict[str, int] = {}
    for index, digest in enumerate(digests):
        if first.setdefault(digest, index) != index:
            found.add((first[digest], index))
    return sorted(found)


def _alike(pictures: NDArray[np.float32], partners: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Block by block: the place of its first picture, and (8, block, partners) which views are like which partner."""
    if len(pictures) < 2:
        return
    told = np.abs(pictures).max((1, 2)) > 0
    common = pictures[told].mean(0) if told.sum() >= LEAST_FOR_COMMON else np.zeros((SIDE, SIDE), np.float32)
    own = np.where(told[:, None, None], pictures - common, 0)
    own = own / np.maximum(np.linalg.norm(own, axis=(1, 2), keepdims=True), 1e-6)
    earlier = own[:partners].reshape(-1, SIDE * SIDE).T
    views = [view.reshape(len(own), -1) for view in _views(own)]
    for start in range(0, len(own), _BLOCK):
        yield start, np.stack([view[start : start + _BLOCK] @ earlier for view in views]) > ALIKE


def _views(pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The pictures (N, S, S), first as they are, then mirrored and turned in the seven other ways."""
    both = (pictures, pictures.swapaxes(1, 2))
    return [np.ascontiguousarray(each[:, ::down, ::right]) for each in both for down in (1, -1) for right in (1, -1)]


def repeated(looks: Sequence[Look], tests: Sequence[Look]) -> list[Finding]:
    """Findings on pictures that are there twice."""
    known = [look for look in looks if look.small is not None]
    others = [look for look in tests if look.small is not None]
    together = [*known, *others]
    if len(together) < 2:
        return []
    pictures = np.stack([look.small for look in together if look.small is not None])
    found = []
    exact: dict[str, Look] = {}
    copies: set[int] = set()
    for index, look in enumerate(together):
        first = exact.setdefault(look.image_digest, look)
        if first is look:
            continue
        if index < len(known) or first in known:
            copies.add(index)
            found.append(_copy(first, look, leaked=index >= len(known)))
    for pair in twins(pictures, len(known)):
        if pair.second in copies:
            continue
        first, second = together[pair.first], together[pair.second]
        how = "mirrored or turned" if pair.mirrored else "nearly the same"
        if pair.second >= len(known):
            cure = "Take it out of the test images, or its twin out of the support"
            found.append(_pair("leak", first, second, f"is {how} as {first.pair.image.name} of the support", cure))
        else:
            cure = "Keep one of them, and never split them between support and test"
            found.append(_pair("near-duplicate", first, second, f"is {how} as {first.pair.image.name}", cure))
    return found


def _copy(first: Look, second: Look, *, leaked: bool) -> Finding:
    name = first.pair.image.name
    if leaked:
        cure = "Take it out of the test images, or out of the support"
        return _pair("leak", first, second, f"is {name} of the support, pixel by pixel", cure)
    if first.mask_digest and second.mask_digest and first.mask_digest != second.mask_digest:
        cure = "Decide which mask is right, and remove the other with its image"
        return _pair("contradiction", first, second, f"is {name}, pixel by pixel, with another mask", cure)
    same = bool(first.mask_digest) and first.mask_digest == second.mask_digest
    cure = "Remove one of them" + (", or let --fix leave it out" if same else "")
    finding = _pair("near-duplicate", first, second, f"is {name}, pixel by pixel", cure)
    return Finding(
        finding.kind, finding.file, finding.problem, finding.cure, finding.image, other=finding.other, fixable=same
    )


def _pair(kind: str, first: Look, second: Look, problem: str, cure: str) -> Finding:
    return Finding(kind, second.pair.image, problem, cure, second.pair.image, other=first.pair.image)
