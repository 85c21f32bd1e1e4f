"""Medoids against brute force; distances against SciPy-free float64."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from distillfss.picking import coverage
from distillfss.picking.coverage import medoids, squared_distances
from distillfss.picking.oddities import twins_and_strangers


def cost(points: np.ndarray, chosen, weights=None, covered=None) -> float:
    centres = points[list(chosen)] if covered is None else np.concatenate([points[list(chosen)], covered])
    nearest = ((points[:, None] - centres[None]) ** 2).sum(-1).min(1)
    return float(nearest @ (np.ones(len(points)) if weights is None else weights))


def test_squared_distances_are_those_of_float64(monkeypatch):
    monkeypatch.setattr(coverage, "_BLOCK", 4)
    a, b = np.random.default_rng(0).normal(size=(2, 9, 5)).astype(np.float32)
    wanted = ((a.astype(np.float64)[:, None] - b.astype(np.float64)[None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(a, b), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_medoids_cost_no_more_than_the_best_of_all_choices(seed):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(3, 4)) * 6
    points = (centres[random.integers(3, size=18)] + random.normal(size=(18, 4))).astype(np.float32)
    weights = random.uniform(0.1, 2, 18)
    best = min(cost(points, chosen, weights) for chosen in combinations(range(18), 3))
    assert cost(points, medoids(points, 3, weights=weights), weights) == pytest.approx(best, rel=1e-4)


def test_every_beginning_is_a_good_choice():
    random = np.random.default_rng(1)
    points = random.normal(size=(40, 3)).astype(np.float32)
    chosen = medoids(points, 6)
    assert len(set(chosen)) == 6
    # the first is the best single one among the six, and each next one is the best to add
    for length in range(1, 7):
        others = [c for c in chosen if c not in chosen[: length - 1]]
        costs = {c: cost(points, [*chosen[: length - 1], c]) for c in others}
        assert costs[chosen[length - 1]] == pytest.approx(min(costs.values()), rel=1e-5)


def test_what_is_covered_already_needs_no_medoid():
    points = np.array([[0, 0], [0.1, 0], [0, 0.1], [9, 9], [9.1, 9]], np.float32)
    assert medoids(points, 1)[0] in {0, 1, 2}
    assert medoids(points, 1, covered=np.array([[0, 0]], np.float32))[0] in {3, 4}


def test_weights_move_the_choice_and_the_forbidden_are_not_chosen():
    points = np.array([[0.0], [1.0], [5.0], [6.0]], np.float32)
    assert medoids(points, 1, weights=np.array([0.0, 0.0, 0.1, 5.0])) == [3]
    allowed = np.array([True, True, True, False])
    assert medoids(points, 1, weights=np.array([0.0, 0.0, 0.1, 5.0]), allowed=allowed) == [2]
    with pytest.raises(ValueError, match="4 medoids of 3 points"):
        medoids(points, 4, allowed=allowed)


def test_many_points_are_covered_from_a_subset_that_the_seed_decides(monkeypatch):
    monkeypatch.setattr(coverage, "MOST_CANDIDATES", 30)
    points = np.random.default_rng(2).normal(size=(300, 2)).astype(np.float32)
    chosen = medoids(points, 5, seed=3)
    assert chosen == medoids(points, 5, seed=3)
    assert chosen != medoids(points, 5, seed=4)
    random = np.random.default_rng(0)
    typical = np.median([cost(points, random.choice(300, 5, replace=False)) for _ in range(50)])
    assert cost(points, chosen) < 0.85 * typical


def test_twins_and_strangers():
    random = np.random.default_rng(5)
    points = random.normal(size=(40, 20)).astype(np.float32)
    points[7] = points[3] + 0.001
    points[9] = points[3] + 0.001  # alike to the backbone, not to the eye
    points[21] += 40
    pictures = random.normal(size=(40, 50)).astype(np.float32)
    pictures[7] = pictures[3] + 0.01
    pictures[12] = pictures[3]  # alike to the eye, not to the backbone
    twins, strangers = twins_and_strangers(points, pictures / np.linalg.norm(pictures, axis=1, keepdims=True))
    assert twins == {7: 3}
    assert strangers == [21]


def test_a_group_of_its_own_is_no_stranger():
    points = np.random.default_rng(5).normal(size=(40, 20)).astype(np.float32)
    points[:12] += 40
    assert twins_and_strangers(points, np.zeros((len(points), 4), np.float32)) == ({}, [])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_are_never_strange(count):
    points = (np.arange(count)[:, None] ** 2 * np.ones((1, 4))).astype(np.float32)
    assert twins_and_strangers(points, np.zeros((len(points), 4), np.float32)) == ({}, [])
