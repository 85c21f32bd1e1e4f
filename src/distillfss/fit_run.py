"""Everything a fit holds between two steps."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from distillfss import __version__
from distillfss.artifact import tensors_sha256
from distillfss.config import FitConfig
from distillfss.fit_outcome import adapted, estimate_of, segmenter_of
from distillfss.fit_phases import phases_of, tail_of, validation_of
from distillfss.fit_preparation import Preparation, Progress
from distillfss.models.tail import LearningTail
from distillfss.models.teacher import SupportTokens
from distillfss.quality.estimate import Estimate
from distillfss.segmenter import Segmenter
from distillfss.support import SupportSet
from distillfss.training.adapt import Adapt
from distillfss.training.cross_validation import CrossValidation
from distillfss.training.distill import Distill
from distillfss.training.lanes import at_once
from distillfss.training.loop import PhaseRunner
from distillfss.training.pool import Batch
from distillfss.training.self_training import SelfTrain
from distillfss.training.state import FitState
from distillfss.training.targets import class_masks


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
        started = time.perf_counter()
        self.ready = Preparation(support, config, tell, beside)
        self.support = support
        self.config = config
        self.unlabeled = unlabeled
        self.teacher, self.student = self.ready.teacher, self.ready.student
        self.validation = validation_of(self.ready) if config.estimate else None
        self.tail = tail_of(self.ready, unlabeled)
        self.seconds = 0.0
        self._started = started
        self._phases = phases_of(self.ready, self.tail, unlabeled)
        self.distilled: dict[str, Tensor] = {}
        self._phase = 0
        self._runner = self._start_phase()

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) pixels 0 to 255 to a standardised pyramid of the frozen backbone."""
        return self.ready.encode(images)

    def _start_phase(self) -> PhaseRunner:
        phase, config = self._phases[self._phase], self.config
        offset = sum(earlier.steps for earlier in self._phases[: self._phase])
        return PhaseRunner(
            phase,
            offset,
            peak=config.adapt_rate if isinstance(phase, Adapt) else config.learning_rate,
            weight_decay=config.weight_decay,
            apart=self._apart(phase) if isinstance(phase, Adapt) else [],
        )

    def _apart(self, phase: Adapt) -> list[tuple[nn.Module, float]]:
        """What has a learning rate of its own in a phase in which the backbone learns."""
        detail = self.student.detail
        return [
            *([(phase.tail, self.config.backbone_rate)] if isinstance(phase.tail, LearningTail) else []),
            *([(detail, self.config.detail_rate)] if detail is not None else []),
        ]

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
            if self._runner.done and isinstance(self._phases[self._phase], Distill):
                self._go_back_to_teacher()
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
            self.student.get_buffer("probe").copy_(self.ready.probe)

    @torch.no_grad()
    def _go_back_to_teacher(self) -> None:
        """Of what distillation made of the student, one or two images keep only a part."""
        share = self.config.distill_share(self.support.different)
        if share == 1 or not self.ready.well_begun:
            return
        start = copy.deepcopy(self.student)
        start.take_over(self.teacher, self.whole_support(), self.config.seed)
        for own, before in zip(self.student.parameters(), start.parameters(), strict=True):
            own.copy_(before.lerp(own, share))

    def whole_support(self) -> SupportTokens:
        """Every support image, unaugmented, as the teacher sees it."""
        shown = Batch.of(self.ready.plain)
        return self.teacher.support_tokens(shown.features, class_masks(shown.masks, self.ready.ways), self.ready.probe)

    def fingerprint(self) -> str:
        """Hex digest of everything that decides the outcome."""
        weights = f"{self.ready.backbone_sha256} {self.ready.start.sha256}"
        identity = (
            f"{self.support.fingerprint()} {self.config.fingerprint()} {weights} {__version__} {torch.__version__}"
        )
        if self.support.groups:
            identity += f" {self.support.together}"
        if self.unlabeled:
            identity += f" {tensors_sha256({str(n): image.contiguous() for n, image in enumerate(self.unlabeled)})}"
        if (beside := self.ready.beside) is not None:
            tensors = {f"{n}.{k}": t for n, part in enumerate(beside.parts) for k, t in part.state_dict().items()}
            identity += f" {beside.class_names} {tensors_sha256({k: t.cpu().contiguous() for k, t in tensors.items()})}"
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
        self.distilled = {name: t.to(self.ready.device) for name, t in _under("distilled.", state.tensors).items()}
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
        """Whether the last phase has begun, in which the backbone learns if it is to."""
        return isinstance(self._phases[self._phase], Adapt)

    @property
    def share(self) -> float:
        """How far of the way since distillation a model made now has gone, see ``training.adapt``."""
        adapting = not isinstance(self._phases[self._phase], SelfTrain)
        return self.config.adapt_share(self.support.different) if adapting else 1.0

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
