"""A random forest on pixel features, the ilastik way, with the backbone's features beside the classical ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillfss.bench.methods.base import MethodSettings, Predictor
from distillfss.bench.methods.common import FrozenFeatures, stacked
from distillfss.bench.methods.linear import at_grid
from distillfss.errors import UsageError
from distillfss.models.mixer import resize
from distillfss.preprocess import at_working_size
from distillfss.support import SupportSet
from distillfss.training.losses import IGNORE

TREES = 100
PIXELS_PER_CLASS = 15_000
VIEWS_PER_IMAGE = 4


class Forest:
    """scikit-learn's random forest on backbone features, intensities, edges and textures at several scales."""

    name = "forest"

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def identity(self) -> dict[str, Any]:
        return {"trees": TREES, "pixels": PIXELS_PER_CLASS, "views": VIEWS_PER_IMAGE}

    @torch.no_grad()
    def fit(self, support: SupportSet, unlabeled: Sequence[NDArray[np.uint8]] | None = None) -> Predictor:
        try:
            from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]
        except ImportError as error:
            raise missing(error) from error
        frozen = FrozenFeatures(support, self.settings)
        random = np.random.default_rng([self.settings.seed, 31])
        ways = len(support.class_names)
        views = frozen.views(max(1, min(VIEWS_PER_IMAGE, 64 // len(support))), self.settings.seed)
        share = -(-PIXELS_PER_CLASS // len(views))
        rows, labels = [], []
        for view in views:
            features, size = describe(frozen, view.image)
            classes = at_grid(view.mask, size).numpy()
            for c in range(ways + 1):
                places = np.flatnonzero(classes == c)
                chosen = random.permutation(places)[:share]
                rows.append(features[chosen])
                labels.append(classes[chosen])
            assert ways < IGNORE
        forest = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=self.settings.seed, n_jobs=1)
        forest.fit(np.concatenate(rows), np.concatenate(labels))
        return ForestPredictor(frozen, forest)


class ForestPredictor:
    """Asks the trees about every pixel of the finest grid."""

    def __init__(self, frozen: FrozenFeatures, forest: Any) -> None:
        self.class_names = frozen.class_names
        self._frozen, self._forest = frozen, forest

    @torch.no_grad()
    def logits(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Class probabilities (1, n + 1, h, w) of an image (H, W, 3) uint8."""
        features, size = describe(self._frozen, at_working_size(pixels, self._frozen.size))
        found = self._forest.predict_proba(features)
        shares = np.zeros((len(features), len(self.class_names) + 1), np.float32)
        shares[:, self._forest.classes_] = found
        return torch.from_numpy(shares.T.copy()).unflatten(1, size)[None]

    def predict(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        """Masks (h, w) at every one of ``sizes``."""
        logits = self.logits(pixels)
        return [resize(logits, size)[0].argmax(0).to(torch.uint8).numpy() for size in sizes]


def describe(frozen: FrozenFeatures, image: Tensor) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Features (h * w, D) of an image (3, H, W), 0 to 255, on the finest grid; and (h, w)."""
    try:
        from skimage.feature import multiscale_basic_features
    except ImportError as error:
        raise missing(error) from error
    deep = stacked(frozen.encode(image[None]))[0].cpu()
    size = (deep.shape[-2], deep.shape[-1])
    classical = multiscale_basic_features(
        image.permute(1, 2, 0).numpy() / 255, channel_axis=-1, sigma_min=1, sigma_max=16, workers=1
    )
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(classical).permute(2, 0, 1).float(), size)
    return torch.cat([deep, small]).flatten(1).T.contiguous().numpy(), size


def missing(error: ImportError) -> UsageError:
    return UsageError(f"the method forest needs {error.name}", cure="Install it with: pip install 'distillfss[bench]'")
