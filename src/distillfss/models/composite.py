"""Several students side by side on one pyramid: what a model is after a class was added to it, or taken away.

Every student runs exactly as it did alone, on batches of the shapes it always had, so the logits of its classes stay
the same to the last bit. A class that was taken away from a student with others is computed still, and not passed on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distillfss.models.mixer import resize

Kept = tuple[tuple[bool, ...], ...]
"""Of every student, which of its classes are passed on."""


class StudentParts(nn.Module):
    """Logits of several students, one after the other along the axis of classes.

    Parameters
    ----------
    members
        Students of the same pyramid, each ``pyramid -> (logits (B, n_i, 2, h, w), coarse maps (B, n_i, ...))``.
    kept
        For every one of them, which of its n_i classes are passed on; at least one.
    """

    def __init__(self, members: Sequence[nn.Module], kept: Kept) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.kept = kept
        self._chosen = [[place for place, is_kept in enumerate(part) if is_kept] for part in kept]

    def forward(self, query: Sequence[Tensor], fine: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits and coarse maps (B, n, 2, h_l, w_l) of the n classes that are kept, given the query's pyramid.

        Logits are (B, n, 2, H / 4, W / 4). Given ``fine``, the backbone's map of stride 2, they are
        (B, n, 2, H / 2, W / 2): students that draw details do so, logits of the others are resized.
        """
        logits, maps = [], []
        for member, kept, chosen in zip(self.members, self.kept, self._chosen, strict=True):
            own, own_maps = answer_of(member, query, fine)
            if not all(kept):
                own, own_maps = own[:, chosen], [layer[:, chosen] for layer in own_maps]
            logits.append(own)
            maps.append(own_maps)
        return torch.cat(logits, dim=1), [torch.cat(layer, dim=1) for layer in zip(*maps, strict=True)]


def answer_of(member: nn.Module, query: Sequence[Tensor], fine: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Of one student, on the grid of ``fine`` if there is such a map."""
    if fine is not None and draws_details(member):
        drawn: tuple[Tensor, list[Tensor]] = member(query, fine=fine)
        return drawn
    logits, maps = member(query)
    return (logits if fine is None else resize(logits, fine.shape[-2:])), maps


def draws_details(student: nn.Module) -> bool:
    """Whether a student, or one of several, has a use for the backbone's map of stride 2."""
    members = student.members if isinstance(student, StudentParts) else [student]
    return any(getattr(member, "detail", None) is not None for member in members)


def members_of(student: nn.Module, ways: int) -> tuple[list[nn.Module], Kept]:
    """A model's students, and which classes of each are kept; ``ways`` is the number of classes of the model."""
    if isinstance(student, StudentParts):
        return list(student.members), student.kept
    return [student], ((True,) * ways,)


def side_by_side(members: Sequence[nn.Module], kept: Kept) -> tuple[nn.Module, Kept]:
    """One module of several students, those without a class left out; and what ``ModelInfo.parts`` says of it.

    A single student with all its classes stays what it is: nothing needs to be said of it.
    """
    left = [(member, part) for member, part in zip(members, kept, strict=True) if any(part)]
    if len(left) == 1 and all(left[0][1]):
        return left[0][0], ()
    parts = tuple(part for _, part in left)
    return StudentParts([member for member, _ in left], parts), parts
