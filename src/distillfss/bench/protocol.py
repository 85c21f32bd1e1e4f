"""The protocol of every accuracy figure: a locked test split and nested random support draws.

Groups of look-alike images stay on one side of the split: tiles of one aerial picture and frames of one drive, which
are known by their names, and copies, also mirrored or turned ones, which are known by their pixels
(``contents.copies_in``). Groups that share an image are one. A group is tested if the hash of its name falls into the
lowest fifth, or is the lowest of all; groups that copies have joined go by the name that their alphabetically first
image would have alone. So nothing depends on the order of files or on chance, and a data set without copies is split
by names alone. Support images are drawn from the rest, so that five shots are among the ten, and every class is
present.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distillfss.bench.paper_protocol import paper_split, paper_support
from distillfss.grouping import joined

TEST_SHARE = 0.2
SEEDS = (0, 1, 2)
FRAMES_PER_BLOCK = 5


def frame_block(name: str) -> str:
    """``dataset1_07`` belongs to the block of frames 5 to 9 of ``dataset1``."""
    match = re.fullmatch(r"(.*?)(\d+)", name)
    return name if match is None else f"{match[1]}{int(match[2]) // FRAMES_PER_BLOCK}"


GROUPS: dict[str, Callable[[str], str]] = {
    "dubai_aerial": lambda name: name.split("_")[0],
    "pothole": frame_block,
}
"""What an image belongs to, by data set; where none is given, every image stands for itself."""


def hash_share(group: str) -> float:
    """A group's fixed place between 0 and 1."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64


def split(dataset: str, names: Sequence[str], copies: Sequence[Sequence[str]] = ()) -> tuple[list[str], list[str]]:
    """Names of the pool (support may be drawn from it) and of the locked test set, both sorted.

    Parameters
    ----------
    dataset
        May be one of ``GROUPS``.
    names
        Every image of the data set.
    copies
        Groups of images that show the same picture.
    """
    place = places(GROUPS.get(dataset, lambda name: name), names, copies)
    # with a handful of groups none may fall below the line: then the lowest is tested
    line = max(TEST_SHARE, min(place.values()))
    pool = sorted(name for name in names if place[name] > line)
    return pool, sorted(set(names) - set(pool))


def places(group: Callable[[str], str], names: Sequence[str], copies: Sequence[Sequence[str]]) -> dict[str, float]:
    """The place between 0 and 1 of every name: that of its group (see above)."""
    alike = defaultdict(set)
    for name in names:
        alike[group(name)].add(name)
    found = {}
    for members in joined([*alike.values(), *(set(names) & set(each) for each in copies)]):
        found.update(dict.fromkeys(members, hash_share(group(members[0]))))
    return found


def draw_support(classes: Mapping[str, Sequence[int]], shots: int, seed: int) -> list[str]:
    """Names of a random support set with ``shots`` images per class, nested in ``shots``.

    Round s adds, for every class that has fewer than s images so far, the next image of a random order that shows it.

    Parameters
    ----------
    classes
        Name of every image of the pool, and the classes in its mask.
    """
    names = sorted(classes)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    wanted = sorted({c for present in classes.values() for c in present})
    drawn: list[str] = []
    for round_ in range(1, shots + 1):
        for wanted_class in wanted:
            have = sum(wanted_class in classes[name] for name in drawn)
            fresh = (n for n in order if wanted_class in classes[n] and n not in drawn)
            if have < round_ and (name := next(fresh, None)) is not None:
                drawn.append(name)
    return drawn


Divide = Callable[[str, Sequence[str], Mapping[str, str] | None, Sequence[Sequence[str]]], tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Protocol:
    """Who is tested, and which images may be learnt from.

    Attributes
    ----------
    text
        What a reader of a report must know, in full sentences.
    support
        The kind of support (a key of ``SUPPORTS``) that belongs to it.
    seeds
        Seeds of its draws.
    divide
        Name of the data set, names of its images, its official split if it has one, groups of copies, to (pool, test).
    """

    text: str
    support: str
    seeds: tuple[int, ...]
    divide: Divide


PROTOCOLS = {
    "locked": Protocol(
        text=(
            "The test set is locked: a fifth of the images, by the hash of their name. Groups of look-alikes (tiles "
            "of one aerial picture, neighbouring frames of one drive, and in every data set copies of a picture, also"
            " mirrored or turned ones) stay on one side, by the hash of the first name in the group. Support images "
            "are drawn from the rest; k shots are k images per class. Nothing, not even a number of steps, is chosen "
            "on test images. The measure is the foreground IoU over all pixels of the whole test set, mean over the "
            "classes, at 384×384 and at the images' own sizes. Every figure is the median over the seeds, with "
            "minimum and maximum."
        ),
        support="random",
        seeds=SEEDS,
        divide=lambda dataset, names, official, copies: split(dataset, names, copies),
    ),
    "paper": Protocol(
        text=(
            "The paper's protocol, for comparison with published tables: the official split where the data set comes "
            "with one, else 20 % of the sorted names by seed 42, look-alikes and copies on both sides. k shots are k "
            "support images in all, spread evenly over the sorted names; where every image shows one class, k // "
            "(classes + 1) of each class. There is one draw, so it says nothing about spread: seeds decide only what "
            "else is random in a method. The measure is the foreground IoU over all pixels of the whole test set, "
            "mean over the classes, at 384×384."
        ),
        support="even",
        seeds=(0,),
        divide=lambda dataset, names, official, copies: paper_split(names, official),
    ),
}

Draw = Callable[[Mapping[str, Sequence[int]], int, int], list[str]]
"""The classes in every image of the pool, shots and seed, to the names of the support images."""

SUPPORTS: dict[str, Draw] = {
    "random": draw_support,
    "even": lambda classes, shots, seed: paper_support(classes, shots),
}
"""Ways to choose the support images by what is known of them before a picture is opened."""

PICKED = "picked"
"""The way that opens them (``distillfss.picking``)."""

SUPPORT_TEXTS = {
    "random": "drawn at random, nested: the images of few shots are among those of more, every class that the pool "
    "shows is present",
    "even": "spread evenly over the sorted names",
    PICKED: "picked by our own selection, which sees images but no annotation; as many as are drawn at random",
}

METHODS_TEXT = (
    "All methods have the same support images. Those that come with distillfss change views of them in the same way, "
    "start from the same weights of the backbone, and work at 384×384 pixels unless a row gives another size. Only our "
    "own fit and its parts (distill, distill-no-teacher, instant, transfer, teacher) go up to 640×640 or 896×896 by "
    "themselves, where the objects of a support set are too thin or too tiny for 384, as fit does by default. "
    "Opponents that learn by steps get as many as fit into the seconds of our fit, unet three times as many; "
    "distill-no-teacher, which is no opponent, takes longer than our fit."
)
"""What a reader of a report must know of how methods compare."""
OWN_TEXT = "What becomes of them in {methods}, and how long it takes, is up to that code."
"""Of classes that are not ours, after ``METHODS_TEXT``."""


def methods_text(methods: Sequence[str]) -> str:
    """How methods of these names compare."""
    others = [name for name in methods if ":" in name]
    return " ".join([METHODS_TEXT, *([OWN_TEXT.format(methods=", ".join(others))] if others else [])])


def draw_unlabeled(pool: Sequence[str], support: Sequence[str], number: int, seed: int) -> list[str]:
    """Names of ``number`` images of the pool that are not in the support, nested in ``number``."""
    rest = sorted(set(pool) - set(support))
    order = np.random.default_rng([seed, 1]).permutation(len(rest))
    return [rest[place] for place in order[:number]]
