"""What an episode costs: the teacher's answer to the query, given the support, against the query's mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distillfss.meta.episodes import EpisodeData
from distillfss.models.classes import merge_classes
from distillfss.models.mixer import resize
from distillfss.models.probe import probe_map, probe_weights
from distillfss.models.standardize import standardized, statistics
from distillfss.models.teacher import Teacher
from distillfss.training.losses import segmentation_loss


class EpisodeModel(nn.Module):
    """The teacher over whole episodes: one attention per episode, one mixer pass for all queries.

    Training goes without the probe, which needs none: with it in the loop the mixer learns how far to trust it where
    classes are those of the sources, and what comes out is worse on targets than both added (``docs/experiments.md``).
    """

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        # processes that share episodes wait for the gradient of every parameter that asks for one
        teacher.mixer.probe.requires_grad_(False)
        teacher.mixer.probe_gain.requires_grad_(False)

    def answer(self, episodes: Sequence[EpisodeData], probed: bool = True) -> Tensor:
        """Background/foreground logits of every episode's query, (E, 2, S / 4, S / 4)."""
        queries: list[list[Tensor]] = []
        coarse: list[list[Tensor]] = []
        probes: list[Tensor] = []
        layers = self.teacher.layers
        for episode in episodes:
            # as in a fit: the support's statistics set the scale
            reference = statistics([episode.support])
            query, support = (standardized(f, *reference) for f in (episode.query, episode.support))
            queries.append(query)
            coarse.append(self.teacher.coarse_maps(query, self.teacher.support_tokens(support, episode.masks)))
            if probed:
                probes.append(probe_map(query, probe_weights(support, episode.masks, layers), layers))
        features = [torch.cat(layer) for layer in zip(*queries, strict=True)]
        maps = [torch.cat(layer) for layer in zip(*coarse, strict=True)]
        seen = torch.cat([episode.seen for episode in episodes])
        return merge_classes(self.teacher.mixer(maps, torch.cat(probes) if probed else None, features, seen))

    def forward(self, episodes: Sequence[EpisodeData]) -> Tensor:
        """Mean loss over the episodes."""
        target = torch.cat([episode.target for episode in episodes])[:, 1::2, 1::2]
        logits = resize(self.answer(episodes, probed=False), target.shape[-2:])
        losses = [segmentation_loss(logits[i : i + 1], target[i : i + 1]) for i in range(len(episodes))]
        return torch.stack(losses).mean()
