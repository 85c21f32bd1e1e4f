"""Everything a fit holds between two steps."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distillfss import __version__
from distillfss.artifact import tensors_sha256
from distillfss.backbones import load_backbone, weights_sha256
from distillfss.config import FitConfig
from distillfss.errors import UsageError
from distillfss.fit_outcome import adapted, estimate_of, segmenter_of
from distillfss.models.probe import INSTANT_RIDGE, RIDGE, leave_out, rows_and_columns, sample, unheard
from distillfss.models.standardize import Standardize
from distillfss.models.student import Student
from distillfss.models.tail import LearningTail
from distillfss.models.teacher import SupportTokens, Teacher
from distillfss.quality.estimate import Estimate
from distillfss.quality.strangeness import limit, widened
from distillfss.runtime import resolve_device
from distillfss.segmenter import Segmenter
from distillfss.support import SupportSet
from distillfss.training.adapt import Adapt
from distillfss.training.augment import STRONG, Augmenter, Strength
from distillfss.training.cross_validation import STEPS, CrossValidation, Learning
from distillfss.training.distill import Distill
from distillfss.training.initial import SCRATCH, initialise
from distillfss.training.lanes import at_once
from distillfss.training.loop import Phase, PhaseRunner
from distillfss.training.pool import Batch, EncodedView, ViewPool
from distillfss.training.rivals import Rivals
from distillfss.training.self_training import SelfTrain
from distillfss.training.state import FitState
from distillfss.training.targets import class_masks
from distillfss.training.transfer import Transfer
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


class FitRun:
    """Everything a fit holds between two steps.

    Parameters
    ----------
    support, config
        What to learn from, and how.
    tell
        Told what is being prepared.
    unlabeled
        Images of the target without annotation, (3, h, w) uint8 at the working resolution.
    beside
        A model whose classes stay as they are while those of ``support`` are learnt beside them, on its backbone and
        its standardisation; ``config`` names its backbone, size and device. None to start anew.
    """

    def __init__(
        self,
        support: SupportSet,
        config: FitConfig,
        tell: Callable[[Progress], None],
        beside: Segmenter | None = None,
        unlabeled: Sequence[Tensor] = (),
    ) -> None:
        self.support = support
        self.unlabeled = unlabeled
        self.config = config
        self.beside = beside
        self.device = resolve_device(config.device)
        self.seconds = 0.0
        self._started = time.perf_counter()
        ways, shots = len(support.class_names), len(support)
        tell(Progress("prepare", 0, 1, f"loading {config.backbone}"))
        rivals = self._take_frozen_parts()
        layers = self.backbone.layers
        # beside other classes there is no safe negative either, see Augmenter
        augmenter = Augmenter(support, config.size, Strength() if beside is None else Strength(invert=0))
        self.plain = self._plain_views(augmenter, tell)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.teacher = Teacher(layers)
            self.start = initialise(self.teacher, config.init, config.backbone, self.backbone_sha256)
            if config.instant and shots == 1 and self.start.name == SCRATCH:
                raise UsageError(
                    "one image gives no instant model without a meta-trained start: nothing in it would be learnt",
                    cure="Leave --instant out, annotate a second image, or give a teacher with --init",
                )
            self.teacher.to(self.device)
            self.student = Student(layers, ways).to(self.device)
        pool = ViewPool(
            augmenter, self.encode, seed=config.seed, capacity=config.views(shots), refresh=config.new_views
        )
        tell(Progress("prepare", len(support), len(support), "solving for the probe"))
        first_views = pool.advance(0)
        self.probe, probes = self._probes(first_views, ways)
        if len(support) > 1:
            gains = INSTANT_GAINS if config.instant else GAINS
            gain = best_gain(
                self.teacher, self.plain, probes, ways, gains=gains, shots=config.answer_shots, seed=config.seed
            )
            with torch.no_grad():
                self.teacher.mixer.probe_gain.fill_(gain)
            if gain == 0:  # what misleads on images it has not seen is better not learnt from
                self.probe = unheard(self.probe)
                probes = {source: unheard(weights) for source, weights in probes.items()}
        self.validation = self._validation(first_views, probes) if config.estimate else None
        self.tail = self._learning_tail()
        self._phases: list[Phase] = [
            Transfer(
                self.teacher,
                pool,
                probes,
                ways,
                steps=config.transfer_steps(shots) if config.use_teacher else 0,
                queries=config.queries(ways),
                shots=config.episode_shots,
                crop=config.crop,
                jitter=config.jitter,
                rivals=rivals,
            ),
            Distill(
                self.student,
                self.teacher,
                pool,
                self.plain,
                probes,
                steps=config.distill_steps(shots),
                batch=config.batch(ways),
                shots=config.answer_shots,
                # what crops lose, the whole views of adaptation bring back
                crop=1.0 if self.tail is None else config.crop,
                jitter=config.jitter,
                answer_weight=config.answer_weight if config.use_teacher else 0,
                map_weight=config.map_weight if config.use_teacher else 0,
                rivals=rivals,
            ),
        ]
        if self.tail is not None:
            self._phases += self._learning_phases(self.tail, augmenter.at(STRONG), probes)
        self.distilled: dict[str, Tensor] = {}
        self._phase = 0
        self._runner = self._start_phase()

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

    def _learning_tail(self) -> LearningTail | None:
        """The backbone's later stages, to be learnt; None where they are to stay as they are.

        Beside another model they do: its classes rest on them.
        """
        if not self.config.backbone_learns or self.beside is not None or self.backbone.tail_from is None:
            if self.unlabeled:
                raise UsageError(
                    "images without annotation teach a backbone that learns, and this one does not",
                    cure="Leave them out, or do without --instant and --frozen-backbone, on an EfficientNet-Lite",
                )
            return None
        return LearningTail(self.backbone, self.standardize).to(self.device)

    def _learning_phases(self, tail: LearningTail, augmenter: Augmenter, probes: Mapping[int, Tensor]) -> list[Phase]:
        """Those in which the backbone learns, from views by ``augmenter``."""
        config, shots = self.config, len(self.support)

        def views(seen: Augmenter, seed: int) -> ViewPool:
            batch = config.adapt_batch
            return ViewPool(seen, tail.encode_head, seed=seed, capacity=batch, refresh=batch)

        steps, jitter = config.adapt_steps(shots), config.jitter
        adapt = Adapt(self.student, tail, views(augmenter, config.seed), probes, steps=steps, jitter=jitter)
        if not self.unlabeled:
            return [adapt]
        return [
            adapt,
            SelfTrain(adapt, self.unlabeled, lambda images, masks: views(augmenter.of(images, masks), config.seed + 1)),
        ]

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) pixels 0 to 255 to a standardised pyramid."""
        return self.standardize(self.backbone(images.to(self.device)))

    @torch.no_grad()
    def _plain_views(self, augmenter: Augmenter, tell: Callable[[Progress], None]) -> list[EncodedView]:
        """Calibrate a new standardisation on the support, and encode every image of it once, unaugmented."""
        views = [augmenter.plain(source) for source in range(len(augmenter))]
        raw = []
        for number, view in enumerate(views):
            raw.append(self.backbone(view.image[None].to(self.device)))
            tell(Progress("prepare", number + 1, len(views), "looking at the support"))
        layers = self.backbone.layers
        if self.beside is None:
            self.standardize.calibrate(raw)
            self.strangeness_limit = limit(raw, layers)
        encoded = [self.standardize(features) for features in raw]
        if self.beside is not None:
            most, around = self.beside.strangeness_limit, self.beside.strangeness_middle
            self.strangeness_limit = widened(most, encoded, layers, around)
        return [
            EncodedView(features, view.mask[None].to(self.device), view.source, number)
            for number, (features, view) in enumerate(zip(encoded, views, strict=True))
        ]

    def _probes(self, views: Sequence[EncodedView], ways: int) -> tuple[Tensor, dict[int, Tensor]]:
        """The probe of the whole support, unaugmented and in its first views; and of each image, that of the others."""
        seen = [*self.plain, *views]
        layers, per_side = self.backbone.layers, rows_and_columns(len(seen))
        sampled = [sample(v.features, class_masks(v.mask, ways), layers, per_side)[0] for v in seen]
        ridge = INSTANT_RIDGE if self.config.instant else RIDGE
        return leave_out(sampled, [view.source for view in seen], PROBE_FOLDS, ridge)

    def _validation(self, views: Sequence[EncodedView], probes: Mapping[int, Tensor]) -> CrossValidation:
        config, ways = self.config, len(self.support.class_names)
        how = Learning(
            ways=ways,
            seed=config.seed,
            queries=config.queries(ways),
            episode_shots=config.episode_shots,
            answer_shots=config.answer_shots,
            crop=config.crop,
            jitter=config.jitter,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        steps = max(1, round(STEPS * min(1.0, config.effort)))
        # a copy, since this one will have learnt from all images before its turn comes
        validation = CrossValidation(copy.deepcopy(self.teacher), self.plain, views, probes, how, steps=steps)
        if config.instant and len(self.support) > 1:
            validation.judge_start()
        return validation

    def _start_phase(self) -> PhaseRunner:
        phase, config = self._phases[self._phase], self.config
        offset = sum(earlier.steps for earlier in self._phases[: self._phase])
        return PhaseRunner(
            phase,
            offset,
            peak=config.adapt_rate if isinstance(phase, Adapt) else config.learning_rate,
            weight_decay=config.weight_decay,
            slower=[(phase.tail, config.backbone_rate)] if isinstance(phase, Adapt) else [],
        )

    @property
    def steps_in_all(self) -> int:
        return sum(phase.steps for phase in self._phases)

    @property
    def steps_done(self) -> int:
        return sum(phase.steps for phase in self._phases[: self._phase]) + self._runner.step

    @property
    def done(self) -> bool:
        return self.handed_over and not self.validating and self._last and self._runner.done

    @property
    def _last(self) -> bool:
        return self._phase == len(self._phases) - 1

    @property
    def transferred(self) -> bool:
        """Whether the teacher has learnt all it is going to."""
        return self._phase > 0 or self._runner.done

    @property
    def handed_over(self) -> bool:
        """Whether the student has taken over from the teacher."""
        return self._phase > 0

    @property
    def validating(self) -> bool:
        """Whether there are steps of the cross-validation left, more than fine-tuning had to put beside them."""
        return self.handed_over and self.validation is not None and not self.validation.done

    def progress(self, message: str) -> Progress:
        """Where the fit stands, over all phases."""
        if self.validation is not None and self.validating:
            return Progress("validate", self.validation.steps_done, self.validation.steps_in_all, message)
        return Progress(self._phases[self._phase].name, self.steps_done, self.steps_in_all, message)

    def advance(self) -> str:
        """Take one step; what there is to say about it."""
        message = "no step to take"
        if self.validation is not None and self.validating:
            at_once(CrossValidation.advance, [self.validation])
            message = ""
        elif not self._runner.done:
            message = f"loss {self._step():.3f}"
        if self._runner.done and not self._last:
            if not self.handed_over:
                self._hand_over()
            self._begin_next_phase()
        return message

    def _step(self) -> float:
        """One step of the phase; beside one of fine-tuning, which is short, one of the cross-validation."""
        if self.handed_over:
            return self._runner.advance()
        steps: list[Callable[[], float | None]] = [self._runner.advance]
        if self.validation is not None and not self.validation.done:
            steps.append(self.validation.advance)
        loss = at_once(lambda step: step(), steps)[0]
        assert loss is not None
        return loss

    def _begin_next_phase(self) -> None:
        coming = self._phases[self._phase + 1]
        if isinstance(coming, SelfTrain):
            assert self.tail is not None
            student, tail = adapted(self)
            self.student.load_state_dict(student.state_dict())
            self.tail.load_state_dict(tail.state_dict())
            coming.begin()
            self.distilled = {}  # there is no way back from here
        elif isinstance(coming, Adapt):
            self.distilled = {name: t.detach().clone() for name, t in self.student.state_dict().items()}
        self._phase += 1
        self._runner = self._start_phase()

    def _hand_over(self) -> None:
        """From the teacher, which has learnt all it is going to, to the student, which can be used from here on."""
        self.teacher.requires_grad_(False)
        if self.config.use_teacher:
            self.student.take_over(self.teacher, self.whole_support(), self.config.seed)
        else:
            self.student.mixer.load_state_dict(self.teacher.mixer.state_dict())
            self.student.get_buffer("probe").copy_(self.probe)

    def whole_support(self) -> SupportTokens:
        """Every support image, unaugmented, as the teacher sees it."""
        shown = Batch.of(self.plain)
        masks = class_masks(shown.masks, len(self.support.class_names))
        return self.teacher.support_tokens(shown.features, masks, self.probe)

    def fingerprint(self) -> str:
        """Hex digest of everything that decides the outcome."""
        weights = f"{self.backbone_sha256} {self.start.sha256}"
        identity = (
            f"{self.support.fingerprint()} {self.config.fingerprint()} {weights} {__version__} {torch.__version__}"
        )
        if self.unlabeled:
            identity += f" {tensors_sha256({str(n): image.contiguous() for n, image in enumerate(self.unlabeled)})}"
        if self.beside is not None:
            tensors = {f"{n}.{k}": t for n, part in enumerate(self.beside.parts) for k, t in part.state_dict().items()}
            identity += (
                f" {self.beside.class_names} {tensors_sha256({k: t.cpu().contiguous() for k, t in tensors.items()})}"
            )
        return hashlib.sha256(identity.encode()).hexdigest()

    def state(self) -> FitState:
        """Everything that decides what follows."""
        tensors = {
            prefix + name: t for prefix, model in self._models().items() for name, t in model.state_dict().items()
        }
        tensors |= {f"distilled.{name}": t for name, t in self.distilled.items()}
        phase = self._phases[self._phase]
        if isinstance(phase, SelfTrain):
            tensors |= {f"answers.{number:03}": mask for number, mask in enumerate(phase.answers)}
        tensors |= self._runner.tensors()
        if self.validation is not None:
            tensors |= {f"validation.{name}": t for name, t in self.validation.tensors().items()}
        return FitState(self._phase, self._runner.step, self.seconds_so_far(), tensors)

    def restore(self, state: FitState) -> None:
        """Continue where ``state`` was taken."""
        self._phase = state.phase
        for prefix, model in self._models().items():
            model.load_state_dict(_under(prefix, state.tensors))
        self.distilled = {name: t.to(self.device) for name, t in _under("distilled.", state.tensors).items()}
        phase = self._phases[self._phase]
        if isinstance(phase, SelfTrain):
            phase.begin([mask for _, mask in sorted(_under("answers.", state.tensors).items())])
        if self.validation is not None:
            self.validation.restore(_under("validation.", state.tensors))
        if self._phase > 0:
            self.teacher.requires_grad_(False)
        self._runner = self._start_phase()
        self._runner.restore(state.step, state.tensors)
        self.seconds = state.seconds

    def _models(self) -> dict[str, nn.Module]:
        """What has learnt or is going to, by the prefix of its tensors."""
        models: dict[str, nn.Module] = {"teacher.": self.teacher, "student.": self.student}
        return models | {"tail.": self.tail} if self.adapts and self.tail is not None else models

    @property
    def adapts(self) -> bool:
        """Whether the backbone is learning, or has learnt."""
        return isinstance(self._phases[self._phase], Adapt)

    @property
    def share(self) -> float:
        """How far of the way since distillation a model made now has gone, see ``training.adapt``."""
        adapting = not isinstance(self._phases[self._phase], SelfTrain)
        return self.config.adapt_share(len(self.support)) if adapting else 1.0

    def steps_taken(self) -> dict[str, int]:
        """By the name of the phase."""
        return {phase.name: self._steps_taken(number) for number, phase in enumerate(self._phases)}

    def _steps_taken(self, phase: int) -> int:
        return self._runner.step if phase == self._phase else self._phases[phase].steps * (phase < self._phase)

    def seconds_so_far(self) -> float:
        """Of this run and of those it goes on from."""
        return self.seconds + time.perf_counter() - self._started

    def estimate(self) -> Estimate | None:
        """What to expect of the model on new images, once the cross-validation is through."""
        return estimate_of(self)

    def segmenter(self) -> Segmenter:
        """A copy of the student as it is now."""
        return segmenter_of(self)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
