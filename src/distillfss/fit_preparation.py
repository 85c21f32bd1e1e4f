"""What a fit knows before its first step: views, probes, the teacher it starts from, and how far to trust it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distillfss.backbones import load_backbone, weights_sha256
from distillfss.config import FitConfig
from distillfss.errors import UsageError
from distillfss.models.composite import members_of
from distillfss.models.mixer import JOINING_STRIDES, Mixer, joining_strides
from distillfss.models.probe import INSTANT_RIDGE, RIDGE, leave_out, rows_and_columns, sample, unheard
from distillfss.models.standardize import Standardize, statistics
from distillfss.models.student import Student
from distillfss.models.teacher import Teacher
from distillfss.quality.strangeness import limit, widened
from distillfss.runtime import resolve_device
from distillfss.segmenter import Segmenter
from distillfss.support import SupportSet
from distillfss.training.augment import Augmenter
from distillfss.training.details import FINE_ENOUGH, kept_by_the_grid, working_resolution
from distillfss.training.initial import SCRATCH, initialise
from distillfss.training.pool import EncodedView, ViewPool
from distillfss.training.rivals import Rivals
from distillfss.training.safe_views import MOST_IMAGES, LeftOut, keep_safe
from distillfss.training.targets import class_masks
from distillfss.training.weighing import GAINS, INSTANT_GAINS, best_gain

PROBE_FOLDS = 10
"""Probes that are solved, each without a part of the images: with up to so many images, each without one of them."""


@dataclass(frozen=True)
class Progress:
    """Where a fit stands: phase, step of steps in it, and a remark."""

    phase: str
    step: int
    steps: int
    message: str = ""


class Preparation:
    """What a fit knows before its first step.

    Parameters
    ----------
    support, config, tell, beside
        As for ``FitRun``.

    Attributes
    ----------
    backbone, standardize, rivals
        Frozen: what makes features, and the classes that are fixed already.
    size
        Working resolution: that of the settings, a higher one for thin objects, or that of the model beside.
    plain, first_views
        Every support image, unaugmented and encoded; the first augmented views of ``pool``.
    probe, probes, probes_of_groups
        The probe of the whole support; of every image that of the others, and that of the other groups.
    teacher, student
        As they start; the teacher trusts its probe as far as left-out images say.
    """

    def __init__(
        self,
        support: SupportSet,
        config: FitConfig,
        tell: Callable[[Progress], None],
        beside: Segmenter | None,
    ) -> None:
        self.support = support
        self.config = config
        self.beside = beside
        self.device = resolve_device(config.device)
        self.ways = len(support.class_names)
        tell(Progress("prepare", 0, 1, f"loading {config.backbone}"))
        self.rivals = self._take_frozen_parts()
        self.size = working_resolution(support, config.size, config.fine_size) if beside is None else beside.size
        self.augmenter = Augmenter(support, self.size, view_size=config.size, alone=beside is None)
        self.plain = self._plain_views(tell)
        self._keep_views_safe()
        self._make_models()
        self.pool = ViewPool(
            self.augmenter,
            self.encode,
            seed=config.seed,
            capacity=config.views(len(support)),
            refresh=config.new_views,
        )
        tell(Progress("prepare", len(support), len(support), "solving for the probe"))
        self.first_views = self.pool.advance(0)
        self.probe, self.probes, self.probes_of_groups = self._probes()
        if support.different > 1:
            self._weigh_the_probe()

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) pixels 0 to 255 to a standardised pyramid."""
        return self.standardize(self.backbone(images.to(self.device)))

    def _take_frozen_parts(self) -> Rivals:
        """Backbone, standardisation and fixed classes: those of the model beside, or new ones."""
        if self.beside is not None:
            self.backbone, self.standardize, student = self.beside.parts
            self.backbone_sha256 = self.beside.info.backbone_sha256
            return Rivals(student, len(self.beside.class_names))
        weights = self.config.backbone_weights
        self.backbone = load_backbone(self.config.backbone, weights).to(self.device)
        self.backbone_sha256 = weights_sha256(self.config.backbone, weights)
        self.standardize = Standardize(self.backbone.layers).to(self.device)
        return Rivals()

    @torch.no_grad()
    def _plain_views(self, tell: Callable[[Progress], None]) -> list[EncodedView]:
        """Calibrate a new standardisation on the support, and encode every image of it once, unaugmented."""
        views = [self.augmenter.plain(source) for source in range(len(self.augmenter))]
        raw = []
        for number, view in enumerate(views):
            raw.append(self.backbone(view.image[None].to(self.device)))
            tell(Progress("prepare", number + 1, len(views), "looking at the support"))
        layers = self.backbone.layers
        if self.beside is None:
            self.standardize.calibrate(raw)
            self.strangeness_limit = limit([raw[place] for place in self.support.firsts], layers)
        encoded = [self.standardize(features) for features in raw]
        if self.beside is not None:
            most, around = self.beside.strangeness_limit, self.beside.strangeness_middle
            self.strangeness_limit = widened(most, encoded, layers, around)
        return [
            EncodedView(features, view.mask[None].to(self.device), view.source, number, view.scene)
            for number, (features, view) in enumerate(zip(encoded, views, strict=True))
        ]

    @torch.no_grad()
    def _keep_views_safe(self) -> None:
        """No change of views that the support says makes something else of an image."""
        augmenter, looked_at = self.augmenter, [self.plain[place] for place in self.support.firsts[:MOST_IMAGES]]
        views, features = [augmenter.plain(view.source) for view in looked_at], [v.features for v in looked_at]
        beside = [self.rivals.masks(pyramid) for pyramid in features] if self.rivals else None
        left_out = LeftOut(views, features, self.encode, self.backbone.layers, self.ways)
        keep_safe(augmenter, left_out, beside)

    def _make_models(self) -> None:
        config, layers, learnt = self.config, self.backbone.layers, self._mixer_beside()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            # meta-trained logits need what was joined at stride 4; steps can make up for it
            joining = JOINING_STRIDES if config.instant else joining_strides(self.ways)
            if learnt is not None:
                joining = learnt.joining
            self.teacher = Teacher(layers, joining)
            self.start = initialise(self.teacher, config.init, config.backbone, self.backbone_sha256)
            if config.instant and self.support.different == 1 and self.start.name == SCRATCH:
                raise UsageError(
                    "one image gives no instant model without a meta-trained start: nothing in it would be learnt",
                    cure="Leave --instant out, annotate a second image, or give a teacher with --init",
                )
            if learnt is not None:
                self.teacher.mixer.load_state_dict(learnt.state_dict())
                self.start = replace(self.start, name=f"{self.start.name}, mixer of the model")
            self.teacher.to(self.device)
            self.student = Student(layers, self.ways, self._fine_channels(), joining).to(self.device)
        if self.student.detail is not None:
            self.student.detail.calibrate(*self._fine_statistics())

    def _mixer_beside(self) -> Mixer | None:
        """Of the model beside. It knows no class, but this backbone and this kind of image: what a fit learns for."""
        if self.beside is None:
            return None
        members, _ = members_of(self.beside.parts[2], len(self.beside.class_names))
        return members[0].mixer if isinstance(members[0], Student) else None

    @property
    def well_begun(self) -> bool:
        """Whether the teacher was meta-trained and is asked, so that the student starts as a usable model."""
        return self.config.use_teacher and self.beside is None and self.start.name != SCRATCH

    @property
    def learns(self) -> bool:
        """Whether the backbone's later stages are to learn; beside another model, whose classes rest on them, never."""
        return self.config.backbone_learns and self.beside is None and self.backbone.tail_from is not None

    @property
    def learns_beside(self) -> bool:
        """Whether the student learns on after distillation while the backbone stays as it is, see ``FixedTail``."""
        return self.config.backbone_learns and self.beside is not None and self.backbone.fine_channels is not None

    def _fine_channels(self) -> int | None:
        """Of the backbone's map of stride 2, if the student is to draw details, which it learns after distillation.

        Beside classes without details it does not: theirs would come out on another grid than before.
        """
        possible = self.learns or (self.learns_beside and self.rivals.draws_details)
        if not possible or self.config.detail_rate == 0:
            return None
        kept = kept_by_the_grid([view.mask for view in self.plain], self.ways)
        return self.backbone.fine_channels if min(kept) < FINE_ENOUGH else None

    @torch.no_grad()
    def _fine_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (C,) of the channels of the map of stride 2 over the support."""
        sources = range(len(self.augmenter))
        (mean,), (std,) = statistics(
            [self.backbone.fine(self.augmenter.plain(source).image[None].to(self.device))] for source in sources
        )
        return mean, std

    def _probes(self) -> tuple[Tensor, dict[int, Tensor], dict[int, Tensor]]:
        """The probe of the whole support, unaugmented and in its first views; and of each image, that of the others.

        Its copies are not among these, nor, in the last, any image of its group.
        """
        seen = [*self.plain, *self.first_views]
        layers, per_side = self.backbone.layers, rows_and_columns(len(seen))
        sampled = [sample(v.features, class_masks(v.mask, self.ways), layers, per_side)[0] for v in seen]
        ridge = INSTANT_RIDGE if self.config.instant else RIDGE
        scenes, together = self.support.scenes, self.support.together
        probe, probes = leave_out(sampled, [view.scene for view in seen], PROBE_FOLDS, ridge)
        of_groups = probes
        if together != scenes:
            groups = {scene: together[scene] for scene in scenes}
            _, of_groups = leave_out(sampled, [view.scene for view in seen], PROBE_FOLDS, ridge, groups)
        of_image, of_its_group = (
            {place: found[scene] for place, scene in enumerate(scenes)} for found in (probes, of_groups)
        )
        return probe, of_image, of_its_group

    def _weigh_the_probe(self) -> None:
        """How far the teacher trusts its probe; what misleads on images it has not seen is better not learnt from."""
        config = self.config
        gains = INSTANT_GAINS if config.instant else GAINS
        gain = best_gain(
            self.teacher, self.plain, self.probes, self.ways, gains=gains, shots=config.answer_shots, seed=config.seed
        )
        with torch.no_grad():
            self.teacher.mixer.probe_gain.fill_(gain)
        if gain == 0:
            self.probe = unheard(self.probe)
            for probes in (self.probes, self.probes_of_groups):
                probes.update({source: unheard(weights) for source, weights in probes.items()})
