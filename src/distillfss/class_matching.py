"""Bringing the classes of a labelled folder into the order of a model's classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distillfss.errors import DataError
from distillfss.metrics import IGNORE

SHOWN = 10
"""Class names listed in an error."""


def match_classes(
    model: Sequence[str], folder: Sequence[str], *, partial: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Translate the folder's class indices into the model's, by name.

    Names a folder does not give are made up (``class_1`` …); unless there are more than the model's, they go by
    position. Where the folder is annotated for some of the model's classes only, ``partial`` says that this is meant.

    Returns
    -------
    table
        uint8 (256,): the folder's mask value → the model's. Classes unknown to the model become background.
    notices
        What was assumed.
    """
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    listed = ", ".join
    made_up = list(folder) == [f"class_{i + 1}" for i in range(len(folder))]
    if made_up and len(folder) <= len(model):
        table[1 : len(folder) + 1] = np.arange(1, len(folder) + 1)
        same = list(folder) == list(model)[: len(folder)]
        return table, [] if same else [f"the masks' classes have no names, taken in the model's order: {listed(model)}"]
    missing = [name for name in model if name not in folder]
    if missing and not (partial and len(missing) < len(model)):
        known = listed(folder[:SHOWN]) + (", ..." if len(folder) > SHOWN else "")
        raise DataError(
            f"the model's {listed(missing)} is not among the masks' classes ({known})",
            cure="Name them as the model does, with --classes or in meta.json, or use a model of these classes",
        )
    for value, name in enumerate(folder, start=1):
        table[value] = model.index(name) + 1 if name in model else 0
    unknown = [name for name in folder if name not in model]
    if not unknown:
        return table, []
    return table, [f"the model does not know {listed(unknown)}: counted as background"]
