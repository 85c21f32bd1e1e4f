"""Many support tokens to few: k-means within the background and within every class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_SHARE = 0.1
"""A token that holds less of every class than this counts as background."""
ITERATIONS = 12
UNUSED = -30.0
"""Log weight of a place that no cluster took: nobody attends to it."""


@dataclass(frozen=True)
class Clusters:
    """Centres (M, D), mean class shares (M, n) and the log of how many tokens each stands for (M,)."""

    centres: Tensor
    values: Tensor
    log_weights: Tensor


def cluster(tokens: Tensor, values: Tensor, per_group: int, seed: int) -> Clusters:
    """Cluster support tokens.

    Parameters
    ----------
    tokens, values
        (N, D), and their shares of every class (N, n), 0 to 1.
    per_group
        Clusters for the background, and for each class.
    seed
        Decides where k-means starts.

    Returns
    -------
    Clusters
        M = ``per_group * (n + 1)``; places that a group with fewer tokens leaves empty are zero and weigh nothing.
    """
    count, ways = values.shape
    strongest = values.max(1) if count else None
    group = torch.zeros(count, dtype=torch.long, device=tokens.device)
    if strongest is not None:
        group = torch.where(strongest.values >= LEAST_SHARE, strongest.indices + 1, group)
    total = per_group * (ways + 1)
    centres, shares = tokens.new_zeros(total, tokens.shape[1]), values.new_zeros(total, ways)
    log_weights = tokens.new_full((total,), UNUSED)
    for number in range(ways + 1):
        members = torch.nonzero(group == number).flatten()
        if len(members) == 0:
            continue
        label = k_means(tokens[members], min(per_group, len(members)), seed)
        place = number * per_group + label
        weight = torch.bincount(place, minlength=total).to(tokens)
        centres.index_add_(0, place, tokens[members] / weight[place, None])
        shares.index_add_(0, place, values[members] / weight[place, None])
        log_weights = torch.where(weight > 0, weight.log(), log_weights)
    return Clusters(centres, shares, log_weights)


def k_means(tokens: Tensor, count: int, seed: int) -> Tensor:
    """Number of the nearest of ``count`` centres for every token (N, D), by Lloyd's algorithm from random tokens."""
    random = torch.Generator().manual_seed(seed)
    centres = tokens[torch.randperm(len(tokens), generator=random)[:count].to(tokens.device)].clone()
    for _ in range(ITERATIONS):
        label = nearest(tokens, centres)
        weight = torch.bincount(label, minlength=count).to(tokens)
        total = torch.zeros_like(centres).index_add_(0, label, tokens)
        centres = torch.where(weight[:, None] > 0, total / weight.clamp_min(1)[:, None], centres)
    return nearest(tokens, centres)


def nearest(tokens: Tensor, centres: Tensor) -> Tensor:
    """Number of the centre with the smallest Euclidean distance, (N,)."""
    return (tokens @ centres.T - 0.5 * centres.square().sum(1)).argmax(1)
