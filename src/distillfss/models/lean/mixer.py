"""The mixer of a student, given what is linear in the features."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from distillfss.models.lean.folding import averaged, finer
from distillfss.models.mixer import COARSE_STRIDES, FINEST_STRIDE, Mixer


class LeanMixer(nn.Module):
    """``Mixer`` from projected features on, its grids doubling from stride to stride."""

    def __init__(self, mixer: Mixer, ways: int) -> None:
        super().__init__()
        self.ways = ways
        self.joining = mixer.joining
        own = copy.deepcopy(mixer)
        self.context, self.maps, self.merge = own.context.merge, own.maps, own.merge
        self.join, self.refine = own.join, own.refine
        self.probe, self.logits = own.probe, own.logits
        for block in cast("dict[str, nn.Sequential]", self.maps).values():
            first = cast(nn.Conv2d, block[0])
            kinds = first.weight.detach().unflatten(1, (-1, 2))
            # look-alikes of all layers, then cosines of all, where the mixer has them by layer
            first.weight = nn.Parameter(kinds.transpose(1, 2).flatten(1, 2))
        self.register_buffer("probe_gain", own.probe_gain.detach() * torch.tensor([-1.0, 1.0]).view(2, 1, 1))

    def forward(self, maps: Mapping[int, Tensor], probe: Tensor, context: Mapping[int, Tensor]) -> Tensor:
        """Logits (B, n, 2, H / 4, W / 4).

        Parameters
        ----------
        maps
            By stride, (B * n, 2 L, h, w): look-alikes of the stride's layers, then cosines.
        probe
            (B * n, 1, H / 4, W / 4)
        context
            By stride, projected features (B, C, h, w), not merged yet.
        """
        merged = dict(context)
        for stride in sorted(map(int, self.context), reverse=True):
            merged[stride] = self.context[str(stride)](merged[stride] + finer(merged[2 * stride], 2))
        mixed = self.maps["32"](maps[32])
        for stride in sorted(COARSE_STRIDES[:2], reverse=True):
            mixed = self.merge[str(stride)](self.maps[str(stride)](maps[stride]) + finer(mixed, 2))
        batch = context[32].shape[0]
        for stride in self.joining:
            mixed = finer(mixed, min(COARSE_STRIDES) // stride)
            mixed = self.probe[str(stride)](averaged(probe, stride // FINEST_STRIDE)) + mixed
            own = self.join[str(stride)](merged[stride])
            mixed = self.refine[str(stride)](mixed + own if self.ways == 1 else _for_every_class(mixed, own, batch))
        # all classes side by side: runtimes keep channels in blocks, and would resize a block for the two of each class
        logits = finer(
            self.logits(mixed).reshape(batch, 2 * self.ways, *mixed.shape[2:]), self.joining[-1] // FINEST_STRIDE
        )
        of_probe = self.get_buffer("probe_gain") * probe.unflatten(0, (batch, self.ways))
        return logits.unflatten(1, (self.ways, 2)) + of_probe


def _for_every_class(mixed: Tensor, own: Tensor, batch: int) -> Tensor:
    """(B * n, C, h, w) plus what is the same for all n classes, (B, C, h, w)."""
    return (mixed.unflatten(0, (batch, -1)) + own[:, None]).flatten(0, 1)
