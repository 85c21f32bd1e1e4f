"""The one typed configuration of a fit: every knob, its default and what it does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from distillfss.errors import UsageError
from distillfss.settings import make_plain

INSTANT_VIEWS = 20
"""Augmented views that an instant model's probe is solved from, beside the images themselves."""
FEW, MOST_ADAPT_STEPS = 5, 260
"""Images of a class up to which all phases of a fit get longer with every image. What there is more to learn from more
is for the backbone, where it learns: they make adaptation alone longer, up to so many steps."""
HARDLY_ANY = 2
"""Images up to which what they make of a student holds for little else: k of them keep k / ``FEW`` of it."""
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class FitConfig:
    """Settings of ``fit``. The defaults are meant for every data set; none was chosen on test images.

    Numbers of NumPy and paths are taken too, and kept as Python's numbers and as text (``settings.make_plain``).

    Attributes
    ----------
    seed
        Decides initial weights, augmentation and the order of everything. The same seed, machine and support, its
        images in the same order (that of their names, of a folder), give the same model.
    device
        ``auto`` takes CUDA, then MPS, then the CPU.
    backbone
        Name of the frozen backbone: one of ``distillfss.backbones.BACKBONES``, or ``timm:NAME`` for a model of timm
        (``timm:NAME@blocks`` takes a map from every block in place of every stage).
    backbone_weights
        File with the backbone's weights. If None, those of the installed package, or of the Hugging Face hub for
        ``timm:NAME``.
    init
        What the teacher starts from: ``auto`` (the meta-trained teacher that comes with the package, where there is one
        for the backbone), ``scratch``, or a file that ``meta-train`` wrote.
    size
        Working resolution: images are resized to about ``size * size`` pixels, keeping their aspect ratio.
    fine_size
        Working resolution where objects are so thin or tiny that ``size`` loses much of them; 1.4 times that where they
        are as thin as a hair (``training.details``). Steps look at parts of ``size * size`` pixels then. 0 works
        everything at ``size``.
    effort
        Multiplies the number of training steps.
    instant
        Take no step at all: the probe is solved in closed form, attention and mixer stay as meta-trained. A model in
        seconds, not as good.
    learning_rate, weight_decay
        Peak learning rate and weight decay of AdamW.
    pool_views
        Augmented views held in memory at a time, about 2 MB each at 384 px.
    new_views
        Views that take the place of the oldest ones with every step.
    episode_queries, episode_shots
        Queries per transfer step, and the support images they share.
    distill_batch
        Views per distillation step.
    answer_shots
        Support images the teacher is shown when it answers a view for the student.
    crop
        Share of a query's height and width that a transfer step looks at, each time another part of it; so does a step
        of distillation, where the backbone learns after it, from whole views.
    jitter
        How far the channels' gains and offsets are changed at random in every training step, in units of their
        deviation over the support; 0 leaves features as they are.
    backbone_rate
        Peak learning rate of the backbone's later stages in the last phase, where they learn together with the student;
        0 leaves out that phase, and the backbone as it is. So does a backbone without a tail (``Backbone.tail_from``).
    adapt_rate, adapt_batch
        Peak learning rate of the student, and views per step, in that phase.
    detail_rate
        Peak learning rate, in that phase, of what draws details (``models.detail``); 0 leaves details out. They are
        left out anyway where the masks have none, see ``training.details``.
    adapt_prior
        How many images the model as it was before that phase counts for: k images take it ``k / (k + adapt_prior)`` of
        the way to what it is after it. 0 takes it all the way.
    use_teacher
        If False, no teacher is fine-tuned or asked: the student learns from the annotation alone, its mixer from
        ``init``. There to be compared with.
    estimate
        Whether the fit says how good the model will be on new images, by cross-validation, beside the first phase.
    answer_weight, map_weight
        Weights of the teacher's logits and of its coarse maps beside the annotation's weight of 1.
    """

    seed: int = 0
    device: str = "auto"
    backbone: str = "efficientnet_lite0"
    backbone_weights: str | None = None
    init: str = "auto"
    size: int = 384
    fine_size: int = 640
    effort: float = 1.0
    instant: bool = False
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    pool_views: int = 64
    new_views: float = 0.5
    episode_queries: int = 3
    episode_shots: int = 4
    distill_batch: int = 8
    answer_shots: int = 5
    crop: float = 2 / 3
    jitter: float = 0.3
    backbone_rate: float = 2e-4
    adapt_rate: float = 5e-4
    adapt_batch: int = 4
    detail_rate: float = 0.03
    adapt_prior: float = 4.0
    use_teacher: bool = True
    answer_weight: float = 1.0
    map_weight: float = 1.0
    estimate: bool = True

    def __post_init__(self) -> None:
        make_plain(self)
        if self.device not in DEVICES:
            raise UsageError(f"unknown device {self.device!r}", cure=f"Choose one of {', '.join(DEVICES)}")
        if not 64 <= self.size <= 2048:
            raise UsageError(f"size {self.size} is out of range", cure="Choose a working resolution from 64 to 2048")
        if self.fine_size and not 64 <= self.fine_size <= 2048:
            cure = "Choose a working resolution from 64 to 2048, or 0 for none beside `size`"
            raise UsageError(f"fine_size {self.fine_size} is out of range", cure=cure)
        if not 0 < self.effort <= 100:
            raise UsageError(f"effort {self.effort} is out of range", cure="Choose an effort above 0, 1 is the default")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed} is out of range", cure="Choose a seed of 0 or more, below 2^63")
        if not 0 <= self.new_views <= max(1, self.pool_views):  # a pool of none is refused below
            raise UsageError(f"new_views {self.new_views} is out of range", cure="Choose from 0 to pool_views")
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop {self.crop} is out of range", cure="Choose a share above 0, 1 takes whole views")
        if not 0 <= self.jitter <= 2:
            raise UsageError(f"jitter {self.jitter} is out of range", cure="Choose from 0, which is none, to 2")
        if not 0 <= self.backbone_rate <= 1:
            cure = "Choose from 0, which leaves the backbone as it is, to 1"
            raise UsageError(f"backbone_rate {self.backbone_rate} is out of range", cure=cure)
        if not 0 <= self.detail_rate <= 1:
            cure = "Choose from 0, which leaves details out, to 1"
            raise UsageError(f"detail_rate {self.detail_rate} is out of range", cure=cure)
        if not self.learning_rate > 0:
            raise UsageError(f"learning_rate {self.learning_rate} is out of range", cure="Choose a rate above 0")
        if not self.adapt_prior >= 0:
            raise UsageError(f"adapt_prior {self.adapt_prior} is out of range", cure="Choose 0 or more images")
        for name in ("weight_decay", "adapt_rate", "answer_weight", "map_weight"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} {getattr(self, name)} is out of range", cure="Choose 0 or more")
        for name in ("pool_views", "episode_queries", "episode_shots", "distill_batch", "answer_shots", "adapt_batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", cure="Choose 1 or more")

    def transfer_steps(self, shots: int, few: float | None = None) -> int:
        """Steps of the teacher's fine-tuning for this many support images; those beyond ``few`` add none."""
        return self._steps(40, 16, shots if few is None else min(shots, few))

    def distill_steps(self, shots: int, few: float | None = None) -> int:
        """Steps of distillation for this many support images; those beyond ``few`` add none."""
        return self._steps(20, 40, shots if few is None else min(shots, few))

    def adapt_steps(self, shots: int, few: float | None = None) -> int:
        """Steps of student and backbone together for this many support images.

        Those beyond ``few`` add the steps that they add to no other phase, up to ``MOST_ADAPT_STEPS`` in all.
        """
        few = shots if few is None else min(shots, few)
        most = max(60 + 8 * few**0.5, MOST_ADAPT_STEPS)
        return min(self._steps(most, 0, shots), self._steps(60 - 56 * few**0.5, 64, shots))

    def distill_share(self, shots: int) -> float:
        """How far of the way that distillation takes the student from its teacher is kept."""
        return shots / FEW if shots <= HARDLY_ANY else 1.0

    def adapt_share(self, shots: int) -> float:
        """How far of the way that student and backbone went together is kept."""
        return shots / (shots + self.adapt_prior)

    @property
    def backbone_learns(self) -> bool:
        """Whether the backbone's later stages are to be learnt, where it has such."""
        return self.backbone_rate > 0 and not self.instant

    def _steps(self, base: float, slope: float, shots: float) -> int:
        if self.instant:
            return 0
        # more images hold more to learn, but much less than in proportion
        return max(1, round(self.effort * (base + slope * shots**0.5)))

    def views(self, shots: int) -> int:
        """Augmented views held in memory at a time."""
        return min(self.pool_views, max(INSTANT_VIEWS, shots)) if self.instant else self.pool_views

    def queries(self, ways: int) -> int:
        """Queries per transfer step: fewer with many classes, each of which costs a pass through the mixer."""
        return max(1, min(self.episode_queries, 24 // ways))

    def batch(self, ways: int) -> int:
        """Views per distillation step: fewer with many classes, each of which costs a pass through the mixer."""
        return max(2, min(self.distill_batch, 24 // ways))

    def fingerprint(self) -> str:
        """Hex digest of everything that decides the outcome (the device does not, up to rounding).

        Of the weights of backbone and start their content decides, not where they lie: that is for ``fit`` to add.
        """
        knobs = {k: v for k, v in asdict(self).items() if k not in ("device", "backbone_weights", "init")}
        return hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()
