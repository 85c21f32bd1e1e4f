"""Files all of whose objects lie outside the image: their coordinates mean something else than they are taken for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from distillfss.errors import DataError
from distillfss.io.annotations.areas import Outline
from distillfss.io.annotations.drawing import Thing


def inside(things: Iterable[Thing], size: tuple[int, int], cure: str, path: Path) -> list[Thing]:
    """The objects of a file as they are, if any of those with an outline reaches into an image of this size.

    Raises
    ------
    DataError
        None does.
    """
    found = list(things)
    outlines = [thing.area for thing in found if isinstance(thing.area, Outline) and thing.area.rings]
    if outlines and all(outline.is_outside(*size) for outline in outlines):
        x, y = outlines[0].rings[0][0]
        raise DataError(
            f"all its objects lie outside the image, the first at {x:.1f}, {y:.1f} of {size[1]}x{size[0]} pixels",
            cure=cure,
            path=path,
        )
    return found
