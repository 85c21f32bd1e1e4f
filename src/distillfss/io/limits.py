"""What a picture file may cost at most: pixels, bytes, seconds; each can be changed by an environment variable."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from distillfss.errors import UsageError

MEGAPIXELS, MEGABYTES, SECONDS = 150.0, 1024.0, 60.0
MAX_MEGAPIXELS_VARIABLE = "DISTILLFSS_MAX_MEGAPIXELS"
MAX_MEGABYTES_VARIABLE = "DISTILLFSS_MAX_FILE_MB"
SECONDS_VARIABLE = "DISTILLFSS_DECODE_SECONDS"
ISOLATE_VARIABLE = "DISTILLFSS_ISOLATE"


@dataclass(frozen=True)
class Limits:
    """What decoding one picture may cost.

    Attributes
    ----------
    pixels
        Largest picture that is decoded. 150 million are 450 MB as RGB: above every ordinary camera.
    bytes
        Largest file that is opened.
    seconds
        Processor time for one picture. The largest picture allowed takes a tenth of it on a slow machine.
    isolated
        Whether pictures are decoded in a process of their own, which may crash or hang without harm.
    """

    pixels: int
    bytes: int
    seconds: float
    isolated: bool


def limits() -> Limits:
    """The limits in force now.

    Raises
    ------
    UsageError
        If a variable holds no positive number.
    """
    return Limits(
        pixels=int(_number(MAX_MEGAPIXELS_VARIABLE, MEGAPIXELS) * 1e6),
        bytes=int(_number(MAX_MEGABYTES_VARIABLE, MEGABYTES) * 2**20),
        seconds=_number(SECONDS_VARIABLE, SECONDS),
        isolated=os.environ.get(ISOLATE_VARIABLE, "1") != "0",
    )


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e9:
        raise UsageError(
            f"the environment variable {variable} is {text!r}", cure=f"Set it to a positive number, such as {default:g}"
        )
    return value
