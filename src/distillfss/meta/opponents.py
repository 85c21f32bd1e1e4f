"""What the meta-trained teacher is compared with on held-out classes: itself untrained, and prototypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from distillfss.backbones.base import Layer
from distillfss.meta.episodes import EpisodeData
from distillfss.meta.model import EpisodeModel
from distillfss.models.classes import merge_classes
from distillfss.models.prototypes import prototype_layers, prototype_logits
from distillfss.models.shares import mask_shares
from distillfss.models.standardize import standardized, statistics
from distillfss.models.teacher import Teacher

Answer = Callable[[Sequence[EpisodeData]], Tensor]


def untrained(layers: Sequence[Layer], seed: int, device: torch.device) -> Answer:
    """A teacher of the same make with initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EpisodeModel(Teacher(layers)).to(device)
    return model.answer


def prototypes(layers: Sequence[Layer]) -> Answer:
    """Masked-average prototypes with cosine similarity on the same standardised features."""
    chosen = prototype_layers(layers)

    def answer(episodes: Sequence[EpisodeData]) -> Tensor:
        logits = []
        for episode in episodes:
            reference = statistics([episode.support])
            query = [standardized(episode.query, *reference)[i] for i in chosen]
            support = [standardized(episode.support, *reference)[i] for i in chosen]
            shares = mask_shares(episode.masks, [(s.shape[-2], s.shape[-1]) for s in support])
            logits.append(merge_classes(prototype_logits(query, support, shares)))
        return torch.cat(logits)

    return answer
