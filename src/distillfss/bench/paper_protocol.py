"""The paper's own protocol, for figures that stand beside published tables. It is not ours, for three reasons.

Look-alike images may be on both sides of its split, its support is one fixed draw that depends on how files are named,
and one draw says nothing about spread. What is here follows what the authors' code does, except that their 20 % split
runs over the unsorted listing of a folder, which differs from disk to disk: the names are sorted first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from distillfss.errors import DataError

TEST_SHARE = 0.2
SPLIT_SEED = 42
TRAIN, TEST = "train", "test"


def paper_split(names: Sequence[str], official: Mapping[str, str] | None = None) -> tuple[list[str], list[str]]:
    """Names of the pool and of the test set, both sorted.

    Parameters
    ----------
    names
        Every image of the data set.
    official
        ``train`` or ``test`` by name, where the data set comes with a split; names with another word (a validation
        set) or without one belong to neither.

    Raises
    ------
    DataError
        If the official split leaves the pool or the test set empty.
    """
    ordered = sorted(names)
    if official is not None:
        pool = [name for name in ordered if official.get(name) == TRAIN]
        test = [name for name in ordered if official.get(name) == TEST]
        if not pool or not test:
            problem = f'its official split names {len(pool)} images "train" and {len(test)} "test"'
            raise DataError(problem, cure="Prepare it again with 'distillfss bench prepare', or use --protocol locked")
        return pool, test
    # scikit-learn's train_test_split(test_size=0.2, random_state=42), without scikit-learn
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(len(ordered))
    tested = set(shuffled[: int(np.ceil(TEST_SHARE * len(ordered)))].tolist())
    return (
        [name for place, name in enumerate(ordered) if place not in tested],
        [name for place, name in enumerate(ordered) if place in tested],
    )


def evenly_spread(length: int, number: int) -> list[int]:
    """``number`` places of a list of this ``length``: the two ends, then midpoints, from the left, again and again.

    Midpoints are added level by level and from the left, so a level that is cut short is denser at the beginning.
    """
    if number <= 1 or length <= 1:
        return list(range(min(number, length)))
    chosen = [0, length - 1]
    while len(chosen) < number:
        middles = [(a + b) // 2 for a, b in pairwise(chosen)]
        fresh = [m for m in dict.fromkeys(middles) if m not in chosen]
        if not fresh:
            break
        chosen = sorted([*chosen, *fresh[: number - len(chosen)]])
    return chosen


def paper_support(classes: Mapping[str, Sequence[int]], shots: int) -> list[str]:
    """Names of the evenly spread support, ``shots`` images in all.

    Where every image shows one class at most (skin lesions, defects of parts), each class gets
    ``shots // (classes + 1)`` of its own images: the authors' code divides by the number of classes with background.

    Parameters
    ----------
    classes
        Name of every image of the pool, and the classes in its mask.
    """
    names = sorted(classes)
    wanted = sorted({c for present in classes.values() for c in present})
    if len(wanted) < 2 or any(len(present) > 1 for present in classes.values()):
        return [names[place] for place in evenly_spread(len(names), shots)]
    each = max(1, shots // (len(wanted) + 1))
    own = [[name for name in names if wanted_class in classes[name]] for wanted_class in wanted]
    return [group[place] for group in own for place in evenly_spread(len(group), each)]
