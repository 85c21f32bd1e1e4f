"""What the header of a picture says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distillfss.io.deep import raw_modes
from distillfss.io.opening import open_picture
from distillfss.io.special import special_header

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """Height and width as stored, bits per channel, and the EXIF orientation (1 is upright)."""

    height: int
    width: int
    bits: int
    orientation: int

    @property
    def turned(self) -> bool:
        """Whether upright it has other sides than stored."""
        return self.orientation >= 5


def read_header(path: Path) -> Header:
    """Raises ``DataError`` if the file cannot be opened."""
    special = special_header(path)
    if special is not None:
        return Header(special.height, special.width, 16 if special.bits > 8 else 8, 1)
    with open_picture(path) as picture:
        deep = picture.mode.startswith(("I", "F")) or any(";16" in mode for mode in raw_modes(picture))
        try:
            orientation = picture.getexif().get(_ORIENTATION, 1)
        except Exception:  # damaged metadata, as in decode
            orientation = 1
        known = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
        return Header(picture.height, picture.width, 16 if deep else 8, known)
