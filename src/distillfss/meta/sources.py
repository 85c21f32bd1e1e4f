"""Source data: labelled folders and synthetic scenes as numbered views, and which classes each view shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillfss.errors import DataError, UsageError
from distillfss.io.labelled import LabelledFolder
from distillfss.io.masks import IGNORE
from distillfss.meta.synthetic import scene_view
from distillfss.preprocess import at_working_size
from distillfss.training.augment import PLAIN, Strength, render

STRENGTH = Strength(zoom=2.0, saturation=1.8, tint=1.25, brightness=0.2, contrast=1.5, grey=0.15, invert=0)
"""Source views vary more than those of a fit: scale and colour have to carry to domains nobody has seen."""

SCENE_VIEWS = 6
"""Views of every synthetic scene: a query and up to five shots."""

MOST_VIEWS = 16


@dataclass(frozen=True)
class ViewInfo:
    """What a view is made from.

    Attributes
    ----------
    image
        Views of one image share this number; query and support of an episode never do.
    seed
        Decides the view; None is the image unaugmented.
    scene
        The synthetic scene, or -1.
    """

    image: int
    seed: int | None
    scene: int = -1


class Sources:
    """Every view meta-training draws from.

    Classes of the same name in several folders are one class.

    Parameters
    ----------
    folders
        Labelled folders.
    hold_out
        Class names never to be learnt from: ignored in training views, and the only classes of validation views.
    size
        Side of a view in pixels.
    views
        Training views per image on average.
    scenes
        Number of synthetic scenes.
    most_views
        No more views than this in all: there are fewer per image then.

    Attributes
    ----------
    class_names
        All classes: those of the folders, then one per scene.
    training, validation
        Views of either part; their numbers are places in ``training + validation``.
    """

    def __init__(
        self,
        folders: Sequence[LabelledFolder],
        *,
        hold_out: Sequence[str],
        size: int,
        views: float,
        scenes: int,
        seed: int,
        most_views: int = 2**31,
    ) -> None:
        self.folders = tuple(folders)
        self.size = size
        self.seed = seed
        names = dict.fromkeys(name for folder in folders for name in folder.class_names)
        unknown = [name for name in hold_out if name not in names]
        if unknown:
            raise UsageError(
                f"no source has the class {unknown[0]!r} that is to be held out",
                cure=f"Choose from: {', '.join(names)}",
            )
        self.hold_out = tuple(hold_out)
        self.class_names = (*names, *(f"scene {number}" for number in range(scenes)))
        self._images = [(folder, index) for folder in folders for index in range(len(folder))]
        place = {name: index for index, name in enumerate(self.class_names)}
        self._tables = {id(folder): self._table(folder, place) for folder in folders}
        shown = [self._classes_of(number) for number in range(len(self._images))]
        held = {place[name] for name in hold_out}
        self.validation = [ViewInfo(number, None) for number, classes in enumerate(shown) if classes & held]
        room = most_views - len(self.validation) - scenes * SCENE_VIEWS
        self.training = [
            *self._photographs([classes - held for classes in shown], views, room),
            *(
                ViewInfo(len(self._images) + scene * SCENE_VIEWS + view, view, scene)
                for scene in range(scenes)
                for view in range(SCENE_VIEWS)
            ),
        ]
        self.views = [*self.training, *self.validation]
        self._held = np.array(sorted(held), dtype=np.int64)
        self._scene_class = len(names)

    def _table(self, folder: LabelledFolder, place: dict[str, int]) -> NDArray[np.int16]:
        """From a mask's value to class number + 1; 0 background, -1 ignored."""
        table = np.full(256, -1, np.int16)
        table[0] = 0
        for value, name in enumerate(folder.class_names, start=1):
            table[value] = place[name] + 1
        return table

    def _classes_of(self, image: int) -> set[int]:
        folder, index = self._images[image]
        values = self._tables[id(folder)][folder.classes_in(index)]
        return {int(value) - 1 for value in values if value > 0}

    def _photographs(self, shown: Sequence[set[int]], views: float, room: int) -> list[ViewInfo]:
        """Classes are drawn evenly, so an image of a rare class is drawn often, and gets as many more views."""
        images_of = Counter(c for classes in shown for c in classes)
        weight = np.array([sum(1 / images_of[c] for c in classes) for classes in shown])
        usable = np.count_nonzero(weight)
        if not usable:
            raise DataError("no image shows a class to learn from", cure="Hold out fewer classes, or add sources")
        if room < usable:
            raise UsageError(
                f"the feature cache has no room for a view of each of {usable} images", cure="Raise --cache-gb"
            )
        while True:
            wanted = weight * (views * usable / weight.sum())
            counts = np.where(weight > 0, np.clip(np.round(wanted), 1, MOST_VIEWS), 0).astype(int)
            if counts.sum() <= room:
                return [ViewInfo(image, view) for image, count in enumerate(counts) for view in range(count)]
            views *= 0.95

    def view(self, number: int) -> tuple[Tensor, NDArray[np.int16]]:
        """Image (3, S, S) float 0 to 255, and mask (S, S): class number + 1, 0 background, -1 ignored."""
        info = self.views[number]
        if info.scene >= 0:
            assert info.seed is not None
            image, mask = scene_view(info.scene, info.seed, self.seed, self.size, self._texture)
            return image, np.where(mask.numpy() == 1, self._scene_class + info.scene + 1, 0).astype(np.int16)
        folder, index = self._images[info.image]
        sample = folder[index]
        random = torch.Generator().manual_seed(0)
        strength = PLAIN
        if info.seed is not None:
            strength = STRENGTH
            random.manual_seed(int(np.random.default_rng([self.seed, 10, info.image, info.seed]).integers(2**62)))
        pixels = at_working_size(sample.image, self.size)
        image, values = render(pixels, torch.from_numpy(sample.mask), (self.size, self.size), strength, random)
        mask = self._tables[id(folder)][values.numpy()]
        mask[values.numpy() == IGNORE] = -1
        if number < len(self.training):
            mask[np.isin(mask, self._held + 1)] = -1
        return image, mask

    def _texture(self, random: np.random.Generator) -> NDArray[np.uint8]:
        folder, index = self._images[int(random.integers(len(self._images)))]
        return folder.image(index)


def open_sources(paths: Sequence[Path]) -> list[LabelledFolder]:
    """Open labelled folders. Raises ``DataError`` if one cannot be read."""
    return [LabelledFolder.open(path) for path in paths]
