"""The whole student with everything folded that can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from distillfss.models.lean.attention import LeanAttention
from distillfss.models.lean.detail import LeanDetail
from distillfss.models.lean.folding import finer, folded
from distillfss.models.lean.mixer import LeanMixer
from distillfss.models.mixer import FINEST_STRIDE, coarse_layers, coarse_stride
from distillfss.models.probe import LIMIT, probe_layers
from distillfss.models.standardize import Standardize
from distillfss.models.student import DistilledAttention, Student


class LeanStudent(nn.Module):
    """What ``student(standardize(features))`` computes, of raw features.

    Every grid has to be twice as fine as the next one, as those of working sizes are.

    Parameters
    ----------
    standardize, student
        As fitted; their numbers are copied.
    """

    def __init__(self, standardize: Standardize, student: Student) -> None:
        super().__init__()
        layers = student.layers
        means = [standardize.get_buffer(f"mean{index}") for index in range(len(layers))]
        stds = [standardize.get_buffer(f"std{index}") for index in range(len(layers))]
        self.strides = tuple(layer.stride for layer in layers)
        coarse = coarse_layers(layers)
        parts = dict(zip(coarse, cast("Iterable[DistilledAttention]", student.attention), strict=True))
        self.grids: dict[int, list[int]] = {}
        for index in coarse:
            self.grids.setdefault(coarse_stride(layers[index]), []).append(index)
        self.attention = nn.ModuleDict()
        for grid, chosen in self.grids.items():
            of_grid = ([each[index] for index in chosen] for each in (layers, parts, means, stds))
            self.attention[str(grid)] = LeanAttention(*of_grid)  # type: ignore[arg-type]
        self.probed = probe_layers(layers)
        *weights, constant = student.get_buffer("probe").split([*(layers[i].channels for i in self.probed), 1], dim=1)
        self.probe = nn.ModuleList()
        offset = 2 * constant[:, 0] - 1  # the first layer's convolution adds it for all
        for index, weight in zip(self.probed, weights, strict=True):
            self.probe.append(folded(2 * weight, offset, means[index], stds[index]))
            offset = torch.zeros_like(offset)
        project = cast("Mapping[str, nn.Conv2d]", student.mixer.context.project)
        self.projected = tuple(map(int, project))
        self.project = nn.ModuleList(
            folded(conv.weight.flatten(1), conv.bias, means[index], stds[index])
            for index, conv in zip(self.projected, project.values(), strict=True)
        )
        self.mixer = LeanMixer(student.mixer, student.ways)
        detail = student.detail
        self.detail = None if detail is None else LeanDetail(detail)
        if detail is not None:
            seen, mean, std = detail.seen, detail.get_buffer("mean"), detail.get_buffer("std")
            self.seen = folded(seen.weight.flatten(1), seen.bias, mean, std)
        self.to(means[0].device).requires_grad_(False).eval()

    def forward(self, features: Sequence[Tensor], fine: Tensor | None = None) -> Tensor:
        """Raw pyramid, (B, C_l, h_l, w_l) each, to logits (B, n, 2, H / 4, W / 4).

        With the raw map of stride 2 as well, (B, C, H / 2, W / 2), a student that draws details has twice as many rows
        and columns of logits.
        """
        context = self._by_stride(self.projected, self.project, features)
        scores = self._by_stride(self.probed, self.probe, features)
        logits = self.mixer(self._maps(features), probe_map(scores), context)
        if fine is None or self.detail is None:
            return logits
        return cast(Tensor, self.detail(finer(logits.flatten(1, 2), 2).unflatten(1, (-1, 2)), self.seen(fine)))

    def _by_stride(self, chosen: Iterable[int], convs: nn.ModuleList, features: Sequence[Tensor]) -> dict[int, Tensor]:
        """Sum over the layers of every stride of what each layer's convolution makes of it."""
        sums: dict[int, Tensor] = {}
        for index, conv in zip(chosen, convs, strict=True):
            stride, found = self.strides[index], conv(features[index])
            sums[stride] = sums[stride] + found if stride in sums else found
        return sums

    def _maps(self, features: Sequence[Tensor]) -> dict[int, Tensor]:
        """By stride, look-alikes of all its layers, then cosines of all: (B * n, 2 L, h, w)."""
        maps: dict[int, Tensor] = {}
        for grid, chosen in self.grids.items():
            found = self.attention[str(grid)]([features[index] for index in chosen])
            for stride in sorted({self.strides[index] for index in chosen}):
                own = [place for place, index in enumerate(chosen) if self.strides[index] == stride]
                both = torch.tensor([*own, *(len(chosen) + place for place in own)], device=found.device)
                of_stride = found if len(own) == len(chosen) else found.index_select(1, both)
                maps[stride] = finer(of_stride, grid // stride)
        return maps


def probe_map(scores: Mapping[int, Tensor]) -> Tensor:
    """Scores by stride, (B, n, h, w) each, to ``models.probe.probe_map`` (B * n, 1, H / 4, W / 4)."""
    first, *others = (finer(score, stride // FINEST_STRIDE) for stride, score in scores.items())
    for score in others:
        first = first + score
    return first.clamp(-LIMIT, LIMIT).reshape(-1, 1, *first.shape[2:])
