"""Episodes: a class, some images that show it as support, another as the query. Each follows from its number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distillfss.meta.cache import FeatureCache
from distillfss.meta.sources import ViewInfo

LEAST_SHARE = 0.002
"""A class that covers less of a view is not asked for in it."""


@dataclass(frozen=True)
class Episode:
    """View numbers of query and support, the class asked for, and whether the mixer sees the coarse maps alone."""

    query: int
    support: tuple[int, ...]
    wanted: int
    blind: bool = False


class EpisodeData(NamedTuple):
    """An episode's tensors.

    Attributes
    ----------
    query, support
        Pyramids, (1, C_l, h_l, w_l) and (k, C_l, h_l, w_l) each.
    target, masks
        (1, S, S) of 0 and 1 with 255 = ignore; (k, 1, S, S) of 0 and 1 with NaN = ignore.
    seen
        (1,): 1 if the mixer sees the query's own features, 0 if not.
    """

    query: list[Tensor]
    support: list[Tensor]
    target: Tensor
    masks: Tensor
    seen: Tensor


class ClassIndex:
    """Which views show which class, image by image.

    Parameters
    ----------
    views
        What every view was made from.
    numbers
        The views to draw from.
    areas
        Share of every class in every one of ``numbers``, in the same order.
    """

    def __init__(self, views: Sequence[ViewInfo], numbers: Sequence[int], areas: Sequence[np.ndarray]) -> None:
        self._views_of: dict[int, dict[int, list[int]]] = {}
        for number, share in zip(numbers, areas, strict=True):
            for wanted in np.flatnonzero(share >= LEAST_SHARE).tolist():
                by_image = self._views_of.setdefault(wanted, {})
                # the views of a scene are images of their own; those of a photograph are not
                by_image.setdefault(views[number].image, []).append(number)
        self._views_of = {c: images for c, images in self._views_of.items() if len(images) > 1}
        self._numbers = np.array(numbers)
        self._image_of = {number: views[number].image for number in numbers}

    @property
    def classes(self) -> list[int]:
        """Classes that at least two images show."""
        return sorted(self._views_of)

    def images(self, wanted: int) -> int:
        """Number of images that show a class."""
        return len(self._views_of[wanted])

    def draw(self, wanted: int, shots: int, absent: bool, random: np.random.Generator) -> Episode:
        """An episode of one class: images drawn evenly, then one view of each."""
        by_image = self._views_of[wanted]
        images = random.permutation(sorted(by_image))[: shots + 1].tolist()
        chosen = [by_image[image][int(random.integers(len(by_image[image])))] for image in images]
        query, support = chosen[0], chosen[1:]
        if absent:
            for candidate in self._numbers[random.integers(len(self._numbers), size=8)].tolist():
                if self._image_of[candidate] not in by_image:
                    query = candidate
                    break
        return Episode(query, tuple(support), wanted)


class Sampler:
    """Training episodes by number.

    Parameters
    ----------
    index
        The training views.
    scenes_from
        Classes from this number on are synthetic scenes.
    """

    def __init__(
        self,
        index: ClassIndex,
        scenes_from: int,
        *,
        max_shots: int,
        scene_share: float,
        absent_share: float,
        blind_share: float,
        seed: int,
    ) -> None:
        self._index = index
        self._real = [c for c in index.classes if c < scenes_from]
        self._scenes = [c for c in index.classes if c >= scenes_from]
        self._max_shots = max_shots
        self._scene_share = scene_share if self._scenes else 0.0
        self._absent_share = absent_share
        self._blind_share = blind_share
        self._seed = seed

    def __call__(self, number: int) -> Episode:
        """Episode ``number``: first scene or photograph, then every class alike."""
        random = np.random.default_rng([self._seed, 20, number])
        classes = self._scenes if random.random() < self._scene_share or not self._real else self._real
        wanted = classes[int(random.integers(len(classes)))]
        shots = int(random.integers(1, self._max_shots + 1))
        episode = self._index.draw(wanted, shots, random.random() < self._absent_share, random)
        return replace(episode, blind=bool(random.random() < self._blind_share))


def validation_episodes(index: ClassIndex, count: int, shots: int, seed: int) -> list[Episode]:
    """A fixed list that goes through the held-out classes in turn; those with too few images are left out."""
    classes = [c for c in index.classes if index.images(c) > shots]
    if not classes:
        return []
    random = np.random.default_rng([seed, 21, shots])
    return [index.draw(classes[i % len(classes)], shots, False, random) for i in range(count)]


def load(cache: FeatureCache, episode: Episode, device: torch.device) -> EpisodeData:
    """Read an episode's features and masks."""
    query = cache[episode.query]
    support = [cache[number] for number in episode.support]
    shown = torch.stack([view.mask for view in support]).to(device)
    masks = (shown == episode.wanted + 1).float().masked_fill(shown < 0, torch.nan)
    mask = query.mask.to(device)
    target = (mask == episode.wanted + 1).to(torch.uint8).masked_fill(mask < 0, 255)
    stacked = zip(*(view.features for view in support), strict=True)
    return EpisodeData(
        [f[None].to(device).float() for f in query.features],
        [torch.stack(layer).to(device).float() for layer in stacked],
        target[None],
        masks[:, None],
        torch.tensor([0.0 if episode.blind else 1.0], device=device),
    )
