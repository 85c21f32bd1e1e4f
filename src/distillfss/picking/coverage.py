"""Medoids: the few points of a set to which all the others are, on the whole, closest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_CANDIDATES = 2000
"""More points than this are covered by medoids from a random subset of this size, so memory stays bounded."""
MOST_SWEEPS = 10
_BLOCK = 1024


def squared_distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D) and (M, D) to (N, M), computed in blocks: no temporary is larger than a block of the result."""
    out = np.empty((len(a), len(b)), np.float32)
    norms = np.einsum("md,md->m", b, b)
    for start in range(0, len(a), _BLOCK):
        part = a[start : start + _BLOCK]
        block = np.einsum("nd,nd->n", part, part)[:, None] + norms - 2 * part @ b.T
        out[start : start + _BLOCK] = np.maximum(block, 0)
    return out


def medoids(
    points: NDArray[np.float32],
    count: int,
    *,
    weights: NDArray[np.float64] | None = None,
    covered: NDArray[np.float32] | None = None,
    allowed: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> list[int]:
    """Indices of the ``count`` points that cover all of them best.

    They minimise ``sum_i w_i min_j |x_i - x_j|^2`` over j among the medoids and the points covered already: greedily
    first, then by exchanging single medoids while that helps (PAM, Kaufman & Rousseeuw 1990).

    Parameters
    ----------
    points
        (N, D).
    weights
        (N,) at least 0: how much it matters that a point is covered. 1 if None.
    covered
        (M, D) points that are medoids already.
    allowed
        (N,) which points may become medoids. All if None; at least ``count`` must be.
    seed
        Decides the subset where there are too many points to consider each.

    Returns
    -------
    list of int
        In the order in which they should be taken: any beginning of the list is a good choice of that size.
    """
    weights = np.ones(len(points)) if weights is None else weights
    candidates = np.arange(len(points)) if allowed is None else np.flatnonzero(allowed)
    if len(candidates) > MOST_CANDIDATES:
        chosen = np.random.default_rng(seed).permutation(len(candidates))[: max(MOST_CANDIDATES, count)]
        candidates = candidates[np.sort(chosen)]
    if len(candidates) < count:
        raise ValueError(f"{count} medoids of {len(candidates)} points")
    distances = squared_distances(points[candidates], points)  # candidates x points
    nearest = np.full(len(points), np.inf)
    if covered is not None and len(covered):
        nearest = squared_distances(covered, points).min(0).astype(np.float64)
    taken = _greedy(distances, weights, nearest, range(len(candidates)), count)
    taken = _exchanged(distances, weights, nearest, taken)
    taken = _greedy(distances, weights, nearest, taken, count)  # the same ones, best first
    return [int(candidates[index]) for index in taken]


def _costs(distances: NDArray[np.float32], weights: NDArray[np.float64], nearest: NDArray[np.float64]) -> NDArray:
    """(C,) what every candidate would leave uncovered, in addition to what ``nearest`` covers."""
    costs = np.empty(len(distances))
    for start in range(0, len(distances), _BLOCK):
        block = np.minimum(distances[start : start + _BLOCK], nearest)
        costs[start : start + _BLOCK] = block @ weights
    return costs


def _greedy(
    distances: NDArray[np.float32],
    weights: NDArray[np.float64],
    nearest: NDArray[np.float64],
    among: range | list[int],
    count: int,
) -> list[int]:
    rows, taken = list(among), list[int]()
    subset = distances if isinstance(among, range) else distances[rows]
    for _ in range(count):
        costs = _costs(subset, weights, nearest)
        costs[[rows.index(t) for t in taken]] = np.inf
        best = int(costs.argmin())
        taken.append(rows[best])
        nearest = np.minimum(nearest, subset[best])
    return taken


def _exchanged(
    distances: NDArray[np.float32], weights: NDArray[np.float64], nearest: NDArray[np.float64], taken: list[int]
) -> list[int]:
    taken = list(taken)
    cost = float(np.minimum(distances[taken].min(0), nearest) @ weights)
    for _ in range(MOST_SWEEPS):
        before = cost
        for place in range(len(taken)):
            rest = taken[:place] + taken[place + 1 :]
            without = np.minimum(nearest, distances[rest].min(0)) if rest else nearest
            costs = _costs(distances, weights, without)
            costs[rest] = np.inf
            best = int(costs.argmin())
            if costs[best] < cost * (1 - 1e-9):
                taken[place], cost = best, float(costs[best])
        if cost >= before:
            break
    return taken
