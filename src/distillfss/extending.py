"""A class more, or a class less, in a model that was fitted before; its other classes stay the same to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distillfss.config import FitConfig
from distillfss.errors import UsageError
from distillfss.fit_preparation import Progress
from distillfss.fit_run import FitRun
from distillfss.fitting import run_to_the_end
from distillfss.io.class_names import alike, class_name
from distillfss.io.labelled import Sample
from distillfss.io.legend import made_names
from distillfss.metrics import IGNORE
from distillfss.model_info import MAX_CLASSES
from distillfss.models.composite import draws_details, members_of, side_by_side
from distillfss.notices import NoticeKind
from distillfss.runtime import keep_freed_memory
from distillfss.segmenter import Segmenter
from distillfss.support import SupportSet

EXTENDABLE = "distillfss"
SHARE_OF_STEPS = 0.75
"""Of the steps that a fit of the new images alone would take; more made the new class no better."""
LIMIT, LIMIT_BEFORE = "strangeness_limit", "strangeness_limit_before"
"""Of a model's summary, and of what it says of classes that came later."""
GIVE_WAY = 2.0
"""Logits that new classes give the old ones in advance: in doubt, what was there stays.

Against background nothing changes. Without it a new class takes at least as many right pixels from an old one as wrong
ones, which cost the old ones up to 3 points of IoU. Chosen on pools: the least of 0, 0.5, 1, 2, 3, 4 and 6 with which
the old classes lost no more than half a point on average on each of three data sets (docs/extend.md)."""


@dataclass(frozen=True)
class NewClasses:
    """What of a support set a model is going to learn.

    Attributes
    ----------
    support
        The same images; the masks hold the new classes only, old ones are background like anything else. After them
        images that are annotated for old classes only, but for those that are among the first: these classes are
        background, and the rest does not count.
    known
        Classes of the support set that the model has already.
    notices
        What was assumed.
    """

    support: SupportSet
    known: tuple[str, ...]
    notices: tuple[str, ...]


def new_classes(model: Segmenter, support: SupportSet, known: Sequence[SupportSet] = ()) -> NewClasses:
    """The part of a support set that is new to a model.

    Parameters
    ----------
    model, support
        See ``extend``.
    known
        Images that are annotated for classes of the model alone.

    Raises
    ------
    UsageError
        If there is no new class in it, too many come together, the model cannot be extended, or ``known`` holds none of
        its classes.
    """
    names, notices = support.class_names, []
    old = tuple(name for name in names if name in model.class_names)
    shots = support.shots()
    absent = [name for name in names if name not in old and not shots[name]]
    fresh = [name for name in names if name not in old and shots[name]]
    if absent:
        notices.append(f"no pixel of {', '.join(absent)} in any mask: not added")
    if fresh and names == made_names([len(names)]):
        notices.append(
            f"the masks' classes have no names and are called {', '.join(fresh)}; name them with --classes or in "
            f"meta.json, and what the model knows as it does ({', '.join(model.class_names)})"
        )
    for name in fresh:
        if (meant := alike(name, model.class_names)) is not None:
            notices.append(f"{name} is added as a class of its own; if it is the model's {meant}, name it like that")
    if not fresh:
        raise UsageError(
            f"the model knows {', '.join(old)} already, and there is no other class in the masks"
            if old
            else "there is no new class in the masks",
            cure="Name the new class with --classes or in meta.json, or take the old one away with --remove first",
            path=support.folder,
        )
    if len(model.class_names) + len(fresh) > MAX_CLASSES:
        raise UsageError(
            f"{len(model.class_names)} classes and {len(fresh)} new ones are more than {MAX_CLASSES}",
            cure="Take some away with --remove, or fit a second model",
        )
    for given in (support, *known):
        notices += _reading_notices(model, given)
    if drawn := [name for name in old if shots[name]]:
        notices.append(f"the model knows {', '.join(drawn)}: what the masks say of it only tells what is not new")
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    for value, name in enumerate(fresh, start=1):
        table[names.index(name) + 1] = value
    samples = [Sample(s.name, s.image, table[s.mask], s.shrunk) for s in support.samples]
    for given in known:
        more, said = _what_is_not_new(model, given)
        samples = _each_once(samples, more)
        notices += said
    remarks = [remark for remark in support.remarks if remark.kind is not NoticeKind.NEVER_FOUND]
    return NewClasses(SupportSet(samples, fresh, remarks, support.reading, support.folder), old, tuple(notices))


def _what_is_not_new(model: Segmenter, known: SupportSet) -> tuple[list[Sample], list[str]]:
    """Images annotated for classes of the model alone: what shows one of these is no new class, the rest may be."""
    foreign = [name for name in known.class_names if name not in model.class_names]
    if len(foreign) == len(known.class_names):
        raise UsageError(
            f"the model knows none of {', '.join(foreign)}, so these images do not tell what is not new",
            cure=f"Name their classes as the model does ({', '.join(model.class_names)}), in meta.json, or leave these "
            "images out",
            path=known.folder,
        )
    table = np.full(256, IGNORE, np.uint8)
    for value, name in enumerate(known.class_names, start=1):
        if name not in foreign:
            table[value] = 0
    notices = [f"the model does not know {', '.join(foreign)}: left out of the known images"] if foreign else []
    return [Sample(s.name, s.image, table[s.mask], s.shrunk) for s in known.samples], notices


def _each_once(samples: Sequence[Sample], more: Sequence[Sample]) -> list[Sample]:
    """Both, an image of both once: what ``more`` says of it counts where its own mask says nothing.

    So no pixel is told to be two things, and none of an image's views leaves out what is known of it.
    """
    merged = list(samples)
    for sample in more:
        place = next((i for i, own in enumerate(merged) if np.array_equal(own.image, sample.image)), None)
        if place is None:
            merged.append(sample)
        else:
            own = merged[place]
            merged[place] = replace(own, mask=np.where(own.mask == IGNORE, sample.mask, own.mask))
    return merged


def _reading_notices(model: Segmenter, support: SupportSet) -> list[str]:
    """Maps and scans have to be read as the model's own were (``meta.json``: bands, range)."""
    theirs = model.summary.get("reading") or {}
    if support.reading and support.reading != theirs:
        raise UsageError(
            f"the new images were read with {_in_json(support.reading)}, those of the model with "
            f"{_in_json(theirs) or 'neither bands nor a range'}",
            cure="Let meta.json say what the model's did" if theirs else "Take them out of meta.json",
            path=support.folder,
        )
    if theirs == support.reading:
        return []
    said = f"the model's images were read with {_in_json(theirs)}, which the new ones are not"
    return [f"{said}; if they are maps or scans, give SupportSet.from_folder the model's reading"]


def _in_json(reading: Any) -> str:
    """Bands and range as ``meta.json`` holds them."""
    return json.dumps(reading)[1:-1]


def check_extendable(model: Segmenter) -> None:
    """Refuse, before any work, a model that nothing can be added to or taken from.

    Raises
    ------
    UsageError
        For ONNX models and the paper's own student.
    """
    from distillfss.export.served import OnnxSegmenter

    if isinstance(model, OnnxSegmenter):
        raise UsageError(
            "an ONNX model cannot be extended",
            cure="Extend the .safetensors model that it was made from, and export that again",
            path=model.path,
        )
    if model.info.architecture != EXTENDABLE:
        raise UsageError(
            f"a student of architecture {model.info.architecture!r} cannot be extended",
            cure="Fit a model with `distillfss fit`",
        )


def extend(
    model: Segmenter | str | Path,
    support: SupportSet | str | Path,
    config: FitConfig | None = None,
    *,
    known: SupportSet | str | Path | Sequence[SupportSet | str | Path] = (),
    state: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Segmenter:
    """Add the classes of a support set that a model does not know yet.

    The model's backbone, standardisation and students are not touched: the logits of its classes stay the same to the
    last bit. A student of the new classes is fitted beside them, so that it competes with them on every view.

    Parameters
    ----------
    model
        A fitted model, or its file. It stays as it is.
    support
        Images of the new classes, annotated for these alone or for old classes too (``SupportSet``, or a folder, whose
        GeoTIFF and DICOM images are read as the model's were unless its ``meta.json`` says how).
        Background means "none of the new classes"; it may be anything the model knows.
    config
        Settings of the fit; backbone, working resolution and device are those of the model, whatever is said here.
        Steps look at parts of ``size * size`` pixels where that is less. ``effort`` 1 means three quarters of the steps
        of a fit.
    known
        Images that are annotated for classes of the model alone, such as those it was fitted on: one set, one
        folder, or several. What shows one of these classes is none of the new ones; all else in them does not count.
    state, progress
        As for ``fit``.

    Returns
    -------
    Segmenter
        The old classes in their order, then the new ones in that of ``support``.

    Raises
    ------
    UsageError
        If there is no new class, there would be more than 20, ``known`` holds none of the model's, or the model cannot
        be extended.
    FitInterrupted
        On Ctrl-C or SIGTERM, after the state was written.
    """
    model = model if isinstance(model, Segmenter) else Segmenter.load(model)
    check_extendable(model)
    folders = [known] if isinstance(known, SupportSet | str | Path) else known
    fresh = new_classes(model, _support(support, model), [_support(each, model) for each in folders]).support
    tell = progress if progress is not None else lambda _: None
    keep_freed_memory()
    run = FitRun(fresh, config_for(model, config), tell, beside=model)
    run_to_the_end(run, None if state is None else Path(state), tell)
    added = run.segmenter()
    bias = added.parts[2].get_parameter("mixer.logits.bias")
    bias.sub_(GIVE_WAY)  # of foreground and background: what decides between the two stays
    return joined(model, added)


def _support(given: SupportSet | str | Path, model: Segmenter) -> SupportSet:
    return (
        given if isinstance(given, SupportSet) else SupportSet.from_folder(given, reading=model.summary.get("reading"))
    )


def config_for(model: Segmenter, config: FitConfig | None) -> FitConfig:
    """The settings, with the model's backbone and device, views no larger than its images, and fewer steps."""
    config = FitConfig() if config is None else config
    return replace(
        config,
        effort=SHARE_OF_STEPS * config.effort,
        estimate=False,  # its constants were found for whole fits
        backbone=model.info.backbone,
        backbone_weights=None,
        size=min(config.size, model.size),
        device=str(model.device).split(":")[0],
    )


def joined(model: Segmenter, added: Segmenter) -> Segmenter:
    """A model with the classes of both, ``added`` having been fitted beside ``model``."""
    members, kept = members_of(model.parts[2], len(model.class_names))
    more, more_kept = members_of(added.parts[2], len(added.class_names))
    student, parts = side_by_side([*members, *more], (*kept, *more_kept))
    before = {LIMIT_BEFORE: model.summary.get(LIMIT)}
    addition = {"classes": list(added.class_names), **before, **added.summary}
    extended = _changed(model, student, parts, (*model.class_names, *added.class_names), "extended", addition)
    if (limit := added.summary.get(LIMIT)) is not None:
        extended.summary[LIMIT] = limit  # it knows the new images as well
    return extended


def without(model: Segmenter, names: Sequence[str]) -> Segmenter:
    """A model that lacks some classes; the others' logits stay the same to the last bit.

    Raises
    ------
    UsageError
        If a name is none of the model's, none would be left, or it is a model of another kind.
    """
    check_extendable(model)
    names = [class_name(name) for name in names]
    unknown = [name for name in names if name not in model.class_names]
    if unknown:
        raise UsageError(
            f"the model has no class {', '.join(unknown)}", cure=f"Choose among {', '.join(model.class_names)}"
        )
    left = tuple(name for name in model.class_names if name not in names)
    if not left:
        raise UsageError("no class would be left", cure="Keep at least one, or fit a new model")
    members, kept = members_of(model.parts[2], len(model.class_names))
    order = iter(model.class_names)
    wanted = tuple(tuple(is_kept and next(order) in left for is_kept in part) for part in kept)
    student, parts = side_by_side(members, wanted)
    gone = [name for name in model.class_names if name in names]
    reduced = _changed(model, student, parts, left, "removed", {"classes": gone})
    for addition in reversed(model.summary.get("extended", [])):
        # a model file may say anything
        if not isinstance(addition, dict) or LIMIT_BEFORE not in addition or set(addition["classes"]) & set(left):
            break
        reduced.summary[LIMIT] = addition[LIMIT_BEFORE]  # it no longer knows the images of those classes
    return reduced


def _changed(
    model: Segmenter, student: Any, parts: Any, class_names: tuple[str, ...], how: str, entry: dict[str, Any]
) -> Segmenter:
    import torch

    backbone, standardize, _ = model.parts
    summary = {**model.summary, how: [*model.summary.get(how, []), entry]}
    summary.pop("estimate", None)  # it was of other classes
    details = draws_details(student)
    info = replace(model.info, class_names=class_names, parts=parts, summary=summary, details=details)
    return Segmenter(backbone, standardize, student, info, torch.device(model.device))
