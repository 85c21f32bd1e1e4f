"""The same picture twice: in a folder, or in the support and among the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillfss.backbones import load_backbone, weights_sha256
from distillfss.checking.findings import Finding
from distillfss.checking.inspecting import Look
from distillfss.picking.cache import DescriptorCache, default_folder
from distillfss.picking.coverage import squared_distances
from distillfss.picking.descriptors import LEAST_STRIDE, SIZE, THUMBNAIL, comparable, describe, parts
from distillfss.picking.oddities import TWIN_CORRELATION, TWIN_SHARE

BACKBONE = "efficientnet_lite0"
_BLOCK = 512


@dataclass(frozen=True)
class Twins:
    """Two pictures that show nearly the same; places in the list they were looked for in, ``first`` the earlier."""

    first: int
    second: int
    mirrored: bool


class Descriptors:
    """Descriptors of pictures, kept on disk in the same place as those of ``pick``."""

    def __init__(self, cache: Path | None = None) -> None:
        self.network = load_backbone(BACKBONE, None)
        identity = f"{weights_sha256(BACKBONE, None)} {SIZE} {LEAST_STRIDE} {THUMBNAIL}"
        self._store = DescriptorCache(default_folder() if cache is None else cache, identity)

    def __call__(self, path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        row = self._store.get(path)
        if row is None:
            row = describe(self.network, pixels)
            self._store.put(path, row)
        return row

    def save(self) -> None:
        self._store.save()


def twins(rows: NDArray[np.float32], descriptors: Descriptors, partners: int) -> list[Twins]:
    """Every picture that has an earlier twin, with that twin; only the first ``partners`` pictures count as earlier.

    By the rule of ``pick`` (near in what the backbone sees, and the same when small), and mirrored or turned as well.
    """
    if len(rows) < 2:
        return []
    seen, thumbnails = parts(rows)
    points = comparable(seen, descriptors.network.layers)
    usual = _median_distance(points)
    views = _views(thumbnails)
    found = []
    for start in range(0, len(points), _BLOCK):
        stop = min(start + _BLOCK, len(points))
        near = squared_distances(points[start:stop], points[:partners]) < (TWIN_SHARE * usual) ** 2
        alike = thumbnails[start:stop] @ thumbnails[:partners].T
        turned = np.max([view[start:stop] @ thumbnails[:partners].T for view in views], axis=0)
        for index in range(start, stop):
            likely = near[index - start] & (np.maximum(alike, turned)[index - start] > TWIN_CORRELATION)
            earlier = np.flatnonzero(likely[:index])
            if len(earlier):
                straight = earlier[alike[index - start, earlier] > TWIN_CORRELATION]
                first = int(straight[0] if len(straight) else earlier[0])
                found.append(Twins(first, index, not len(straight)))
    return found


def _views(thumbnails: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """(N, T) thumbnails mirrored and turned in the seven ways that are not the picture itself."""
    square = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL)
    both = [square, square.swapaxes(1, 2)]
    views = [each[:, ::down, ::right] for each in both for down in (1, -1) for right in (1, -1)][1:]
    return [np.ascontiguousarray(view).reshape(len(thumbnails), -1) for view in views]


def _median_distance(points: NDArray[np.float32]) -> float:
    few = points[np.linspace(0, len(points) - 1, min(len(points), 500)).astype(int)]
    distances = np.sqrt(squared_distances(few, few))
    return float(np.median(distances[np.triu_indices(len(few), 1)]))


def repeated(looks: Sequence[Look], tests: Sequence[Look], descriptors: Descriptors) -> list[Finding]:
    """Findings on pictures that are there twice."""
    known = [look for look in looks if look.row is not None]
    others = [look for look in tests if look.row is not None]
    together = [*known, *others]
    if len(together) < 2:
        return []
    rows = np.stack([look.row for look in together if look.row is not None])
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
    for pair in twins(rows, descriptors, len(known)):
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
