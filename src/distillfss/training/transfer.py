"""Transfer (TransferFSS): fine-tune the teacher on the support, each image in turn the query and others its support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from distillfss.models.mixer import resize
from distillfss.models.teacher import SupportTokens, Teacher
from distillfss.training.crops import Crops
from distillfss.training.jitter import jittered
from distillfss.training.losses import segmentation_loss
from distillfss.training.pool import Batch, EncodedView, Views
from distillfss.training.rivals import Rivals
from distillfss.training.targets import class_masks, every_other_pixel

FEW_TOKENS = 256
"""Layers with no more tokens per image are attended to as a whole: at 384 px, those of stride 32."""
MANY_TOKENS = 2048
"""Of more tokens per image, as above some 720 px, trials of the teacher attend to a quarter."""


class Transfer:
    """The first phase of a fit: one loss per step, over views of the support.

    With a single image there is no other to be its support: two different views of it stand in for query and support,
    which is better than nothing for a teacher from scratch, and worse than no step for one that was meta-trained.

    Parameters
    ----------
    teacher
        Trained in place.
    pool
        Where views come from.
    ways
        Number of classes n.
    probes
        Of every support image, the probe of the others: a query must not meet its own pixels there.
    queries, shots
        Queries per step, and support images they share (fewer if the support set is smaller).
    crop
        Share of a query's height and width that a step looks at.
    jitter
        Strength of the jitter of query and support, see ``training.jitter``.
    rivals
        Classes that are fixed already and compete with those that are learnt.
    """

    name = "transfer"

    def __init__(
        self,
        teacher: Teacher,
        pool: Views,
        probes: Mapping[int, Tensor],
        ways: int,
        *,
        steps: int,
        queries: int,
        shots: int,
        crop: float,
        jitter: float,
        rivals: Rivals | None = None,
    ) -> None:
        self.model: nn.Module = teacher
        self.teacher = teacher
        self.pool = pool
        self.probes = probes
        self.ways = ways
        self.steps = steps
        self.queries = queries
        self.shots = shots
        self.crop = crop
        self.jitter = jitter
        self.rivals = rivals or Rivals()

    def loss(self, step: int, pool_step: int) -> Tensor:
        """Scalar loss of one step; ``pool_step`` places the pool's window."""
        random = self.pool.random(pool_step)
        window = self.pool.advance(pool_step)
        self.rivals.forget(window[0].number)
        queries, support = episode(window, random, self.queries, self.shots)
        crops = Crops(queries[0].mask.shape[-2:], self.crop, len(queries), random)
        query, shown = Batch.of(queries, crops), Batch.of(support)
        probe = probes_of(queries, self.probes)
        asked, seen = (jittered(part.features, self.jitter, random) for part in (query, shown))
        tokens = self.teacher.support_tokens(seen, class_masks(shown.masks, self.ways), probe)
        logits, _ = self.teacher(asked, thinned(tokens, random), crops.encoding)
        target = every_other_pixel(query.masks, random)
        merged = resize(self.rivals.merge(logits, queries, crops), target.shape[-2:])
        return segmentation_loss(self.rivals.grouped(merged), target)


def thinned(tokens: SupportTokens, random: np.random.Generator) -> SupportTokens:
    """Every other row and column of what is attended to, from a corner chosen at random: a quarter of the work.

    Neighbouring tokens say much the same, and the next step sees others. Coarse layers, which cost little, stay whole.
    The others' masks become NaN, which leaves them out (``CoarseAttention``) and every place what it is.
    """
    row, column = (int(v) for v in random.integers(2, size=2))

    def thin(mask: Tensor) -> Tensor:
        if mask.shape[-2:].numel() <= FEW_TOKENS:
            return mask
        left = torch.full_like(mask, torch.nan)
        left[..., row::2, column::2] = mask[..., row::2, column::2]
        return left

    return replace(tokens, masks=tuple(thin(mask) for mask in tokens.masks))


def manageable(tokens: SupportTokens, random: np.random.Generator) -> SupportTokens:
    """All that is attended to, or a quarter of it where images are worked at a high resolution.

    Attention of whole images to whole images costs the fourth power of their side.
    """
    return thinned(tokens, random) if max(mask.shape[-2:].numel() for mask in tokens.masks) > MANY_TOKENS else tokens


def episode(
    views: Sequence[EncodedView], random: np.random.Generator, queries: int, shots: int
) -> tuple[list[EncodedView], list[EncodedView]]:
    """Query and support views, of different scenes wherever there are at least two."""
    by_scene: dict[int, list[EncodedView]] = {}
    for view in views:
        by_scene.setdefault(view.scene, []).append(view)
    scenes = [int(s) for s in random.permutation(sorted(by_scene))]
    if len(scenes) == 1:
        chosen = [views[int(i)] for i in random.permutation(len(views))[: queries + 1]]
        return chosen[1:], chosen[:1]
    count = min(shots, len(scenes) - 1)

    def one_of(scene: int) -> EncodedView:
        return by_scene[scene][int(random.integers(len(by_scene[scene])))]

    support = [one_of(scene) for scene in scenes[:count]]
    askable = [view for scene in scenes[count:] for view in by_scene[scene]]
    chosen_queries = random.permutation(len(askable))[:queries]
    return [askable[int(i)] for i in chosen_queries], support


def probes_of(views: Sequence[EncodedView], probes: Mapping[int, Tensor]) -> Tensor:
    """(B, n, D + 1): for every view, the probe of the images it is not of."""
    return torch.stack([probes[view.source] for view in views])


def leave_one_out_tokens(
    teacher: Teacher,
    plain: Sequence[EncodedView],
    probes: Mapping[int, Tensor],
    source: int,
    ways: int,
    random: np.random.Generator,
    shots: int,
) -> SupportTokens:
    """Support tokens for a view of image ``source``: plain views of up to ``shots`` of other scenes, or all of one."""
    others = [view for view in plain if view.scene != plain[source].scene] or list(plain)
    chosen = [others[int(i)] for i in random.permutation(len(others))[:shots]]
    shown = Batch.of(chosen)
    return teacher.support_tokens(shown.features, class_masks(shown.masks, ways), probes[source])
