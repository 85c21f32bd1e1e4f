"""Several faulty files, reported together: nobody wants to repair a folder one error at a time."""

from __future__ import annotations

from collections.abc import Sequence

from distillfss.errors import DataError

SHOWN = 10


class FormatFaultError(DataError):
    """An annotation file is not what its format says."""


class SizeFaultError(DataError):
    """An annotation is for an image of another size."""


class LabelFaultError(DataError):
    """A label or a mask value is no class."""


class BetweenFaultError(DataError):
    """A mask holds values between those it may hold: it was smoothed."""


class ValuesFaultError(DataError):
    """Values of black-and-white masks differ: they may be classes."""


class SeveralFaultsError(DataError):
    """Several faults found in one go.

    The first one is the headline (``problem``, ``cure``, ``path`` are its own); the message goes on with one line per
    fault, at most ``SHOWN`` of them. ``faults`` holds them all.
    """

    def __init__(self, faults: Sequence[DataError]) -> None:
        first = faults[0]
        shown = "".join(f"\n  - {fault}" for fault in faults[:SHOWN])
        rest = f"\n  - and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        super().__init__(
            first.problem, cure=f"{first.cure}\n{len(faults)} faults in all:{shown}{rest}", path=first.path
        )
        self.cure = first.cure
        self.faults = tuple(faults)


def raise_faults(faults: Sequence[DataError]) -> None:
    """Raise the one fault as it is, several as one ``SeveralFaultsError``, none not at all."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise SeveralFaultsError(faults)
