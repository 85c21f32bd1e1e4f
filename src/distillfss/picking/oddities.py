"""Images not worth annotating: twins of others, and strangers that nothing else in the folder is like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distillfss.picking.coverage import squared_distances

TWIN_SHARE, TWIN_CORRELATION = 0.6, 0.95
"""Twins are closer than this share of the median distance of two images, and their thumbnails correlate this much.

On four development pools copies at JPEG quality 85 came to shares of 0.09 to 0.28, halved ones to 0.29 to 0.6; but in a
folder of several kinds of images two different ones of a kind come as close, so the pixels have to agree as well.
"""
STRANGER_DEVIATIONS = 8.0
"""Strangers are this many (robust) standard deviations farther from their neighbours than usual."""
NEIGHBOURS = 3
LEAST_TO_JUDGE = 10
"""With fewer images nothing can be said about what is usual."""
_BLOCK = 1024


def twins_and_strangers(
    points: NDArray[np.float32], thumbnails: NDArray[np.float32]
) -> tuple[dict[int, int], list[int]]:
    """Near-duplicates and outliers among comparable descriptors (N, D) with thumbnails (N, T) of length 1.

    Returns
    -------
    twins
        Index of every image that has an earlier twin, and that twin's.
    strangers
        Indices, the strangest first. They are at most a tenth of the images: more would be a group of their own.
    """
    count = len(points)
    if count < 2:
        return {}, []
    neighbours = min(NEIGHBOURS, count - 1)
    usual = _median_distance(points)
    twins: dict[int, int] = {}
    far = np.empty(count)
    for start in range(0, count, _BLOCK):
        distances = np.sqrt(squared_distances(points[start : start + _BLOCK], points))
        alike = thumbnails[start : start + _BLOCK] @ thumbnails.T > TWIN_CORRELATION
        for row, of_image in enumerate(distances):
            index = start + row
            earlier = np.flatnonzero((of_image[:index] < TWIN_SHARE * usual) & alike[row, :index])
            if len(earlier):
                twins[index] = int(earlier[0])
            of_image[index] = np.inf
        far[start : start + len(distances)] = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
    if count < LEAST_TO_JUDGE:
        return twins, []
    middle = np.median(far)
    spread = 1.4826 * np.median(np.abs(far - middle))
    strange = np.flatnonzero(far > middle + STRANGER_DEVIATIONS * max(spread, 0.02 * float(middle)))
    order = strange[np.argsort(-far[strange], kind="stable")]
    return twins, [int(index) for index in order[: count // 10]]


def _median_distance(points: NDArray[np.float32]) -> float:
    """Of all pairs among at most 500 images, evenly spaced."""
    few = points[np.linspace(0, len(points) - 1, min(len(points), 500)).astype(int)]
    distances = np.sqrt(squared_distances(few, few))
    return float(np.median(distances[np.triu_indices(len(few), 1)]))
