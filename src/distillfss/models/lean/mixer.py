"""The mixer of a student, given what is linear in the features."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from distillfss.models.lean.folding import averaged, finer
from distillfss.models.mixer import COARSE_STRIDES, FINEST_STRIDE, Mixer


class LeanMixer(nn.Module):
    """``Mixer`` from projected features on, its grids doubling from stride to stride.

    Parameters
    ----------
    mixer
        As fitted; its numbers are copied.
    ways
        Number of classes n.
    own_layers
        By stride, which of the layers that share its grid are its own.
    """

    def __init__(self, mixer: Mixer, ways: int, own_layers: Mapping[int, Sequence[bool]]) -> None:
        super().__init__()
        self.ways = ways
        self.joining = mixer.joining
        own = copy.deepcopy(mixer)
        self.context, self.maps, self.merge = own.context.merge, own.maps, own.merge
        self.join, self.refine = own.join, own.refine
        self.probe, self.logits = own.probe, own.logits
        for stride, block in cast("dict[str, nn.Sequential]", self.maps).items():
            first = cast(nn.Conv2d, block[0])
            first.weight = nn.Parameter(of_all_layers(first.weight.detach(), own_layers[int(stride)]))
        self.probe_logits = nn.Conv2d(1, 2, 1, bias=False, dtype=own.probe_gain.dtype)
        with torch.no_grad():
            self.probe_logits.weight.copy_(own.probe_gain * torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))

    def forward(self, maps: Mapping[int, Tensor], probe: Tensor, context: Mapping[int, Tensor]) -> Tensor:
        """Logits (B, n, 2, H / 4, W / 4).

        Parameters
        ----------
        maps
            By stride, (B * n, 2 L, h, w): look-alikes of all layers that share the stride's grid, then their cosines.
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
        logits = finer(self.logits(mixed), self.joining[-1] // FINEST_STRIDE)
        return (logits + self.probe_logits(probe)).unflatten(0, (batch, self.ways))


def of_all_layers(weight: Tensor, own: Sequence[bool]) -> Tensor:
    """Weights (C, 2 L', k, k) of a stride's L' layers, two maps each, for the maps of all L layers of its grid.

    Those are the look-alikes of all, then the cosines of all: (C, 2 L, k, k), zero where a layer is not the stride's.
    """
    whole = weight.new_zeros(len(weight), 2, len(own), *weight.shape[2:])
    whole[:, :, torch.tensor(own)] = weight.unflatten(1, (-1, 2)).transpose(1, 2)
    return whole.flatten(1, 2)


def _for_every_class(mixed: Tensor, own: Tensor, batch: int) -> Tensor:
    """(B * n, C, h, w) plus what is the same for all n classes, (B, C, h, w)."""
    return (mixed.unflatten(0, (batch, -1)) + own[:, None]).flatten(0, 1)
