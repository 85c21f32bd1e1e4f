"""What a fit has to show at any moment: the model it has made so far, and what to expect of that."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distillfss.artifact import ModelInfo, tensors_sha256
from distillfss.models.student import Student
from distillfss.models.tail import LearningTail, Tail
from distillfss.quality.advice import advice
from distillfss.quality.calibration import FROZEN, INSTANT, LEARNING
from distillfss.quality.estimate import Estimate, estimate
from distillfss.quality.outcomes import outcomes
from distillfss.quality.strangeness import limit, middle
from distillfss.segmenter import PREPROCESSING, Segmenter

if TYPE_CHECKING:
    from distillfss.fit_run import FitRun


def segmenter_of(run: FitRun) -> Segmenter:
    """A copy of the student as it is now, on the backbone it was made for."""
    backbone, backbone_sha256 = run.ready.backbone, run.ready.backbone_sha256
    strangeness: dict[str, Any] = {"strangeness_limit": run.ready.strangeness_limit}
    if run.adapts:
        student, tail = adapted(run)
    else:
        student, tail = copy.deepcopy(run.student), None
    if isinstance(tail, LearningTail):
        backbone, strangeness = tail.backbone.freeze(), _strangeness(run, tail)
        backbone_sha256 = tensors_sha256({k: t.cpu().contiguous() for k, t in backbone.state_dict().items()})
    info = ModelInfo(
        class_names=run.support.class_names,
        backbone=run.config.backbone,
        backbone_sha256=backbone_sha256,
        backbone_embedded=False,
        size=run.ready.size,
        preprocessing={**PREPROCESSING, "normalise": run.ready.backbone.normalisation},
        summary=_summary(run) | strangeness | _expected(run),
        details=student.detail is not None,
    )
    return Segmenter(backbone, run.ready.standardize, student, info, run.ready.device)


def estimate_of(run: FitRun) -> Estimate | None:
    """What to expect of the model on new images; None before the fit is done, or without a cross-validation."""
    if run.validation is None or not run.done:
        return None
    before, after = run.validation.before.numpy(), run.validation.after.numpy()
    support = run.support
    masks = [run.ready.plain[place].mask[0].cpu().numpy() for place in support.firsts]
    groups = [support.together[place] for place in support.firsts] if support.groups else None
    found = outcomes(before, after, masks, groups)
    return estimate(
        support.class_names,
        found,
        images=support.different,
        gain=INSTANT if run.config.instant else FROZEN if run.tail is None else LEARNING,
        seconds=run.validation.seconds,
    )


@torch.no_grad()
def adapted(run: FitRun) -> tuple[Student, Tail]:
    """Student and backbone, as much of what they learnt together as is kept: see ``training.adapt``."""
    assert run.tail is not None
    student = copy.deepcopy(run.student)
    if run.share == 1:
        return student, copy.deepcopy(run.tail)
    for name, own in student.named_parameters():
        if not name.startswith("detail."):  # which knew nothing to go back to
            own.copy_(run.distilled[name].lerp(own, run.share))
    return student, run.tail.drawn_back(run.ready.backbone, run.share)


@torch.no_grad()
def _strangeness(run: FitRun, tail: LearningTail) -> dict[str, Any]:
    """Limit and middle of the support as a backbone sees it that has learnt."""
    layers, seen = run.ready.backbone.layers, [tail(view.features) for view in run.ready.plain]
    different = [seen[place] for place in run.support.firsts]
    around = [[round(float(v), 3) for v in each] for each in middle(seen, layers)]
    return {"strangeness_limit": limit(different, layers, standardised=True), "strangeness_middle": around}


def _summary(run: FitRun) -> dict[str, Any]:
    """What the model was made of, and how."""
    weights, init = run.config.backbone_weights, run.config.init
    names = {"backbone_weights": None if weights is None else Path(weights).name, "init": Path(init).name}
    return {
        "images": len(run.support),
        "different": run.support.different,
        "groups": len(set(run.support.together)) if run.support.groups else None,
        "shots": run.support.shots(),
        "unlabeled": len(run.unlabeled),
        "start": run.ready.start.name,
        "steps": run.steps_taken(),
        "seconds": round(run.seconds_so_far(), 2),
        "device": run.ready.device.type,
        "torch": torch.__version__,
        "config": {**asdict(run.config), **names},
        "support_sha256": run.support.fingerprint(),
        "support_side": run.support.typical_side(),
        "mirrored": dict(zip(("left_right", "upside_down"), run.ready.augmenter.mirrors, strict=True)),
        "negatives": run.ready.augmenter.negatives,
        "reading": run.support.reading,
    }


def _expected(run: FitRun) -> dict[str, Any]:
    """Estimate and advice, where there is an estimate."""
    found = estimate_of(run)
    if found is None:
        return {}
    assert run.validation is not None
    samples = [run.support.samples[place] for place in run.support.firsts]
    names, masks = [sample.name for sample in samples], [sample.mask for sample in samples]
    said = advice(found, run.validation.after.numpy(), names, masks, run.ready.size)
    return {"estimate": found.to_dict() | {"advice": said}}
