"""Jitter of features: in every training step every channel of every view is louder or softer, higher or lower.

A few images show few lights, cameras, stains and patients, and what these change in features is, above all, means and
deviations of channels. Changing them costs next to nothing, where another augmented view costs a pass through the
backbone; and a mixer that leans on no single channel does not learn five images by heart. After DSU (Li et al.,
"Uncertainty modeling for out-of-distribution generalization", ICLR 2022), with fixed deviations in place of those of a
batch, and MixStyle (Zhou et al., ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def jittered(features: Sequence[Tensor], strength: float, random: np.random.Generator) -> list[Tensor]:
    """``(1 + s g) F_l + s b``, with g and b from the standard normal distribution for every view and channel.

    Parameters
    ----------
    features
        Standardised pyramid, (B, C_l, h_l, w_l) each; never changed.
    strength
        s: standard deviation of gains and offsets, the latter in units of a channel's deviation over the support. 0
        returns the features as they are.
    random
        Decides g and b.
    """
    if strength == 0:
        return list(features)
    generator = torch.Generator().manual_seed(int(random.integers(2**63)))

    def draw(feature: Tensor) -> Tensor:
        return strength * torch.randn(*feature.shape[:2], 1, 1, generator=generator).to(feature)

    return [draw(feature).add_(1) * feature + draw(feature) for feature in features]
