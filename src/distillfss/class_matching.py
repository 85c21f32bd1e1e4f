"""Bringing the classes of a labelled folder into the order of a model's classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distillfss.errors import DataError
from distillfss.io.class_names import alike, class_name
from distillfss.metrics import IGNORE

SHOWN = 10
"""Class names listed in an error."""
CURE = (
    "Name them as the model does, labels in the annotation, values of masks and groups of ROIs with --classes or in "
    "meta.json, or use a model of these classes"
)


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
    model, folder = [class_name(name) for name in model], [class_name(name) for name in folder]
    listed = ", ".join
    made_up = list(folder) == [f"class_{i + 1}" for i in range(len(folder))]
    if made_up and len(folder) <= len(model):
        table[1 : len(folder) + 1] = np.arange(1, len(folder) + 1)
        same = list(folder) == list(model)[: len(folder)]
        return table, [] if same else [f"the masks' classes have no names, taken in the model's order: {listed(model)}"]
    missing = [name for name in model if name not in folder]
    if missing and not (partial and len(missing) < len(model)):
        known = listed(folder[:SHOWN]) + (", ..." if len(folder) > SHOWN else "")
        meant = perhaps_meant([name for name in folder if name not in model], missing)
        raise DataError(
            f"the model's {listed(missing)} is not among the masks' classes ({known})",
            cure=CURE + meant,
        )
    for value, name in enumerate(folder, start=1):
        table[value] = model.index(name) + 1 if name in model else 0
    unknown = [name for name in folder if name not in model]
    if not unknown:
        return table, []
    said = f"the model does not know {listed(unknown)}: counted as background"
    return table, [said + perhaps_meant(unknown, model)]


def perhaps_meant(unknown: Sequence[str], model: Sequence[str]) -> str:
    """The end of a sentence: which names are nearly those of the model. Empty if none is."""
    pairs = [(name, meant) for name in unknown if (meant := alike(name, model)) is not None]
    if not pairs:
        return ""
    theirs, ours = (", ".join(names[:SHOWN]) for names in zip(*pairs, strict=True))
    are, them = ("is", "it") if len(pairs) == 1 else ("are", "them")
    return f"; if {theirs} {are} the model's {ours}, name {them} like that"
