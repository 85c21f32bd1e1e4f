"""The one typed configuration of meta-training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from distillfss.errors import UsageError
from distillfss.io.class_names import class_name
from distillfss.settings import make_plain

PRECISIONS = ("auto", "32", "bf16")


@dataclass(frozen=True)
class MetaConfig:
    """Settings of ``meta_train``. Nothing here was chosen on a target domain's test images.

    Attributes
    ----------
    seed
        Decides initial weights, views and episodes.
    backbone
        Name of the frozen backbone.
    backbone_weights
        File with its weights, in place of those of its package or of the hub.
    size
        Side of the square views in pixels.
    steps
        Optimiser steps.
    episodes
        Episodes per step, over all processes together.
    max_shots
        Support images per episode are drawn evenly from 1 to this.
    views
        Augmented views per image on average; images of rare classes get more of them.
    synthetic
        Scenes made of textures of the sources' images (see ``synthetic``); each is a class of its own.
    synthetic_share
        Share of the episodes that are drawn from those scenes.
    absent_share
        Share of the episodes whose query does not show the class at all.
    blind_share
        Share of the episodes in which the mixer sees the coarse maps alone: the query's own features tell it what
        things of the source classes look like, and it must not rely on that.
    hold_out
        Classes that are never seen in training, neither as foreground nor as background; validation draws from them.
    learning_rate, weight_decay
        Peak learning rate and weight decay of AdamW.
    average
        Decay per step of the moving average of the weights, which is what is saved.
    validate_every
        Steps between two validations.
    validation_episodes
        Episodes per validation and number of shots (1 and 5).
    """

    seed: int = 0
    backbone: str = "efficientnet_lite0"
    backbone_weights: str | None = None
    size: int = 320
    steps: int = 8000
    episodes: int = 8
    max_shots: int = 5
    views: float = 4.0
    synthetic: int = 400
    synthetic_share: float = 0.4
    absent_share: float = 0.1
    blind_share: float = 0.5
    hold_out: tuple[str, ...] = ()
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    average: float = 0.998
    validate_every: int = 500
    validation_episodes: int = 120

    def __post_init__(self) -> None:
        make_plain(self)
        object.__setattr__(self, "hold_out", tuple(map(class_name, self.hold_out)))
        if not 64 <= self.size <= 1024 or self.size % 32:
            raise UsageError(f"size {self.size} does not do", cure="Choose a multiple of 32 from 64 to 1024")
        for name in ("steps", "episodes", "max_shots", "validate_every", "validation_episodes"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", cure="Choose 1 or more")
        for name in ("synthetic_share", "absent_share", "blind_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} {getattr(self, name)} is no share", cure="Choose a number from 0 to 1")
        if not self.learning_rate > 0:
            raise UsageError(f"learning_rate {self.learning_rate} is out of range", cure="Choose a rate above 0")
        if not self.weight_decay >= 0:
            raise UsageError(f"weight_decay {self.weight_decay} is out of range", cure="Choose 0 or more")
        if not 0 < self.views <= 100 or self.synthetic < 0:
            raise UsageError("the number of views or scenes is out of range", cure="Choose up to 100 views per image")

    def fingerprint(self) -> str:
        """Hex digest of every setting; of the backbone's weights their content decides, which is for others to add."""
        settings = {key: value for key, value in asdict(self).items() if key != "backbone_weights"}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
