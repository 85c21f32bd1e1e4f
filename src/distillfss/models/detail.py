"""Details: what is thinner than the finest features, drawn from the map of stride 2 that comes before them.

A student's logits have stride 4. Nuclei lose a twentieth of their area on such a grid, leaves a fifth, cracks and
vessels of two or three pixels come out as strings of beads, however well they were found. So where a support's masks
need it, a few small convolutions look at the logits, brought to stride 2, beside what the backbone saw there, and
correct them. They start from no correction at all and learn together with the backbone (``training.adapt``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillfss.models.mixer import resize

CHANNELS = 16
"""Per class."""
SOFTNESS = 4.0
"""Logits between foreground and background at which a guess counts as nearly sure: ``tanh(margin / SOFTNESS)``."""


class Detail(nn.Module):
    """A correction of every class' logits at twice their resolution.

    Parameters
    ----------
    fine_channels
        Channels of the map of stride 2.
    ways
        Number of classes n, each with weights of its own.
    """

    def __init__(self, fine_channels: int, ways: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(fine_channels))
        self.register_buffer("std", torch.ones(fine_channels))
        hidden = CHANNELS * ways
        self.seen = nn.Conv2d(fine_channels, hidden, 1)
        self.guess = nn.Conv2d(ways, hidden, 3, padding=1, groups=ways, bias=False)
        self.correct = nn.Conv2d(hidden, ways, 3, padding=1, groups=ways)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def calibrate(self, mean: Tensor, std: Tensor) -> None:
        """Take mean and deviation (C,) of the map's channels over the support."""
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("std").copy_(std)

    def forward(self, logits: Tensor, fine: Tensor) -> Tensor:
        """Logits (B, n, 2, H / 4, W / 4) to (B, n, 2, H / 2, W / 2), given the raw map (B, C, H / 2, W / 2)."""
        mean, std = (self.get_buffer(name)[:, None, None] for name in ("mean", "std"))
        return self.corrected(resize(logits, fine.shape[-2:]), self.seen((fine - mean) / std))

    def corrected(self, logits: Tensor, seen: Tensor) -> Tensor:
        """The same of logits that have stride 2 already, given what ``self.seen`` makes of the standardised map."""
        background, foreground = logits.unbind(2)
        guess = ((foreground - background) / SOFTNESS).tanh()
        more = self.correct(F.relu(seen + self.guess(guess)))
        return torch.stack([background - more, foreground + more], dim=2)
