"""A cell: one method on one support of one data set. Its identity decides whether it was computed already."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from distillfss.bench.contents import Contents, find_dataset, look_into, open_dataset
from distillfss.bench.methods import METHODS
from distillfss.bench.methods.base import Method, MethodSettings
from distillfss.bench.methods.variants import base_of, varied
from distillfss.bench.protocol import PICKED, PROTOCOLS, SUPPORTS, draw_support, draw_unlabeled
from distillfss.bench.surroundings import deciding_versions
from distillfss.errors import DataError, UsageError

SHOWN = 5
"""Names that a line tells."""


@dataclass(frozen=True)
class Cell:
    """Everything that decides one result.

    Attributes
    ----------
    dataset, fingerprint
        Name of the data set's folder, and the digest of what is in it.
    method
        A key of ``METHODS``, or ``module:attribute``; after an ``@`` the knobs that differ (``methods.variants``).
    settings, identity
        ``MethodSettings`` as a dict, and what the method adds to it (``Method.identity``).
    protocol, support, shots, seed, unlabeled
        Key of ``PROTOCOLS``, key of ``SUPPORTS`` or ``PICKED``, shots, seed, number of images without annotation.
    support_names, unlabeled_names, test_names
        What came of these.
    versions
        Those that decide a result.
    """

    dataset: str
    fingerprint: str
    method: str
    settings: dict[str, Any]
    identity: dict[str, Any]
    protocol: str
    support: str
    shots: int
    seed: int
    unlabeled: int
    support_names: tuple[str, ...]
    unlabeled_names: tuple[str, ...]
    test_names: tuple[str, ...]
    versions: dict[str, str]

    @property
    def key(self) -> str:
        """16 hex digits of everything above."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """For people: ``kvasir_seg, distill, 5 shots, seed 0``."""
        shots = f"{self.shots} shot{'s' * (self.shots != 1)}"
        return f"{self.dataset}, {self.method}, {shots}, seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, and what ``from_dict`` takes."""
        return dict(json.loads(json.dumps(asdict(self), default=str)))

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Cell:
        """The cell of a dict as ``to_dict`` makes it."""
        names = {key: tuple(row[key]) for key in ("support_names", "unlabeled_names", "test_names")}
        return cls(**(row | names))


@dataclass(frozen=True)
class Plan:
    """What a run was asked for; the cells are all combinations."""

    data: Path
    datasets: Sequence[str]
    methods: Sequence[str]
    shots: Sequence[int]
    seeds: Sequence[int]
    protocol: str
    support: str
    unlabeled: int
    settings: MethodSettings


def find_method(name: str) -> Callable[[MethodSettings], Method]:
    """The class behind a key of ``METHODS`` or a ``module:attribute``, with the changes that follow an ``@``.

    Raises ``UsageError`` if there is none.
    """
    base = base_of(name)
    if ":" not in base and base not in METHODS:
        cure = f"Choose from {', '.join(METHODS)}, or name a class of yours as module:Class"
        raise UsageError(f"there is no method {base!r}", cure=cure)
    module_name, _, attribute = METHODS.get(base, base).partition(":")
    # as with `python -m`: a module in the working directory is found
    here = os.getcwd()  # noqa: PTH109 (an entry of sys.path is a string)
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Callable[[MethodSettings], Method] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        cure = "Name a class as package.module:Class, in the working directory or installed"
        raise UsageError(f"the method {base!r} cannot be loaded ({error})", cure=cure) from error
    except SystemExit as error:  # a script that was not meant to be imported
        cure = "Put what it does as a program under 'if __name__ == \"__main__\":'"
        raise UsageError(f"the method {base!r} cannot be loaded ({_said(error)})", cure=cure) from error
    except Exception as error:  # whatever a module of somebody else's does when it is imported
        cure = f"Make 'python -c \"import {module_name}\"' work"
        raise UsageError(f"the method {base!r} cannot be loaded ({_said(error)})", cure=cure) from error
    return found if name == base else varied(found, name)


def make_cells(
    plan: Plan,
    cache: Path,
    tell: Callable[[str], None] = lambda text: None,
    note: Callable[[str], None] = lambda text: None,
) -> list[Cell]:
    """All cells of a plan, ordered so that a run that is stopped half-way holds whole seeds.

    Parameters
    ----------
    cache
        Where ``look_into`` keeps what it found.
    tell
        Told what is being read.
    note
        Told what a reader of the results should know: which images are left out and why, what nobody can learn.

    Raises
    ------
    UsageError, DataError
        A data set or method that is not there, settings that make no sense, a data set that cannot be divided.
    """
    found = {name: find_method(name) for name in plan.methods}
    _check(plan.settings)
    folders = [find_dataset(plan.data, name) for name in plan.datasets]
    datasets = []
    for folder in folders:
        tell(f"reading {folder.name}")
        contents = look_into(folder, cache)
        if contents.unreadable:
            note(_left_out(contents))
        divided = _divided(contents, plan.protocol)
        if said := _not_to_be_learnt(*divided):
            note(said)
        datasets.append(divided)
    cells = []
    given: dict[str, set[int]] = {}
    for seed in plan.seeds:
        settings = replace(plan.settings, seed=seed)
        identities = {name: _identity(name, method, settings) for name, method in found.items()}
        for contents, pool, test in datasets:
            before: tuple[int, list[str]] | None = None
            for shots in sorted(plan.shots):
                drawn = drawn_support(plan, contents, pool, shots, seed, cache.parent)
                if before is not None and sorted(before[1]) == sorted(drawn) and seed == plan.seeds[0]:
                    note(
                        f"{contents.name}: {shots} shots are the same {len(drawn)} images as {before[0]}, all there are"
                    )
                before = shots, drawn
                if not drawn:
                    problem = f"{contents.name}: no image of the pool can be support"
                    raise DataError(problem, cure="Check its masks: none to learn from holds a class")
                extra = draw_unlabeled(pool, drawn, plan.unlabeled, seed)
                given.setdefault(contents.name, set()).add(len(extra))
                cells += [
                    Cell(
                        dataset=contents.name,
                        fingerprint=contents.fingerprint,
                        method=name,
                        settings=asdict(settings),
                        identity=identities[name],
                        protocol=plan.protocol,
                        support=plan.support,
                        shots=shots,
                        seed=seed,
                        unlabeled=plan.unlabeled,
                        support_names=tuple(drawn),
                        unlabeled_names=tuple(extra),
                        test_names=tuple(test),
                        versions=deciding_versions(),
                    )
                    for name in plan.methods
                ]
    for name, numbers in given.items():
        if min(numbers) < plan.unlabeled:
            number = " to ".join(str(each) for each in sorted({min(numbers), max(numbers)}))
            note(
                f"{name}: {number} images without annotation where {plan.unlabeled} are asked for, the pool has no "
                "more beside the support"
            )
    return list({cell.key: cell for cell in cells}.values())


def _identity(name: str, method: Callable[[MethodSettings], Method], settings: MethodSettings) -> dict[str, Any]:
    """What a method says of itself, JSON-safe; one of somebody else's may do anything when it is asked."""
    try:
        return dict(json_safe(method(settings).identity()))
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        cure = (
            "A method is made from MethodSettings alone, and its identity() returns a dict of what decides its "
            "outcome, without numbers that are none (nan); see distillfss.bench.methods.base"
        )
        raise UsageError(f"the method {name!r} cannot be made ({_said(error)})", cure=cure) from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _check(settings: MethodSettings) -> None:
    """Refuse what would let every cell fail, one after the other."""
    from distillfss.backbones import IMPORTED, check_backbone

    if settings.backbone not in IMPORTED:  # their weights come with --init
        check_backbone(settings.backbone)
    if settings.init not in ("auto", "scratch") and not Path(settings.init).is_file():
        problem = f"there is no file {settings.init!r} for teachers to start from"
        raise UsageError(problem, cure="Check the path, or use --init auto or scratch")


def drawn_support(plan: Plan, contents: Contents, pool: Sequence[str], shots: int, seed: int, cache: Path) -> list[str]:
    """Names of the support images. Picked ones are as many as would be drawn at random, whatever they show."""
    classes = {name: contents.classes[name] for name in pool if name in contents.classes}
    if plan.support != PICKED:
        return SUPPORTS[plan.support](classes, shots, seed)
    return picked(plan.data / contents.name, sorted(classes), len(draw_support(classes, shots, seed)), plan, cache)


def picked(folder: Path, pool: Sequence[str], count: int, plan: Plan, cache: Path) -> list[str]:
    """What ``distillfss pick`` chooses among the pool's images, best first."""
    from distillfss.picking import pick

    paths = dict(pairs_by_name(folder, pool))
    settings = plan.settings
    chosen = pick(paths.values(), count, backbone=settings.backbone, device=settings.device, cache=cache)
    names = {path: name for name, path in paths.items()}
    return [names[choice.path] for choice in chosen.picks]


def pairs_by_name(folder: Path, names: Sequence[str]) -> list[tuple[str, Path]]:
    """Name and image file of those ``names`` of a data set."""
    data = open_dataset(folder)
    wanted = set(names)
    return [(name, data.image_path(index)) for index, name in enumerate(data.names) if name in wanted]


def json_safe(value: Any) -> Any:
    """As it comes back from a file of results: tuples as lists, paths and the like as text."""
    return json.loads(json.dumps(value, sort_keys=True, default=str, allow_nan=False))


def _left_out(contents: Contents) -> str:
    names, total = contents.unreadable, len(contents.unreadable) + len(contents.classes)
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return (
        f"{contents.name}: {len(names)} of {total} images are left out, their masks cannot be read ({shown}); "
        "'distillfss check' says why"
    )


def _not_to_be_learnt(contents: Contents, pool: Sequence[str], test: Sequence[str]) -> str:
    """What to say of classes that test images show and no image of the pool does; empty if there are none."""
    tested, there = ({value for name in names for value in contents.classes[name]} for names in (test, pool))
    missing = sorted(tested - there)
    if not missing:
        return ""
    names = ", ".join(contents.class_names[value - 1] for value in missing)
    count = sum(not set(missing).isdisjoint(contents.classes[name]) for name in test)
    are = "is" if len(missing) == 1 else "are"
    return (
        f"{contents.name}: {names} {are} in {count} of {len(test)} test images and in no image of the pool: 0 in the "
        "mean of every method"
    )


def _divided(contents: Contents, protocol: str) -> tuple[Contents, list[str], list[str]]:
    """The data set with its pool and its test set."""
    try:
        divide = PROTOCOLS[protocol].divide
        pool, test = divide(contents.name, list(contents.classes), contents.official, contents.copies)
    except DataError as error:
        raise DataError(f"{contents.name}: {error.problem}", cure=error.cure) from None
    if not pool or not test:
        problem = f"{contents.name}: {len(pool)} images to learn from and {len(test)} to test on"
        raise DataError(problem, cure="A data set needs both; it has too few images, or nearly all of them look alike")
    return contents, pool, test
