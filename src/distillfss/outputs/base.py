"""What every output format has in common, and what it is given."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from distillfss.errors import UsageError

if TYPE_CHECKING:
    from distillfss.outputs.scale import PixelArea
    from distillfss.quality.judging import Judged

SEGMENTATIONS = ("polygon", "rle")
INSTANCES = ("component", "class")


@dataclass(frozen=True, eq=False)
class Segmented:
    """One image and what the model made of it.

    Attributes
    ----------
    name
        File name of the image, without its folder.
    pixels
        (H, W, 3) uint8 RGB.
    mask
        (H, W) uint8: 0 background, i + 1 for class i.
    probabilities
        (H, W, n + 1) float32, background first; None where no format asked for them.
    pixel_area
        Area a pixel covers; None where the file does not say, or no format asked.
    judged
        What the model says of its answer; None where it cannot tell.
    notices
        What of the file the answer is not about.
    converted
        What was changed so that the file is 8-bit RGB, and upright.
    """

    name: str
    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None = None
    pixel_area: PixelArea | None = None
    judged: Judged | None = None
    notices: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputSettings:
    """What formats need to know besides the image.

    Attributes
    ----------
    class_names
        Foreground classes; mask value i + 1 is ``class_names[i]``.
    coco_segmentation
        ``polygon`` or ``rle``.
    instances
        What one COCO annotation is: a connected ``component``, or all pixels of a ``class``.
    metres_per_pixel
        Side of a square pixel on the ground, in place of what the files say.

    Raises
    ------
    UsageError
        For values that make no sense.
    """

    class_names: Sequence[str]
    coco_segmentation: str = "polygon"
    instances: str = "component"
    metres_per_pixel: float | None = None

    def __post_init__(self) -> None:
        for value, known in ((self.coco_segmentation, SEGMENTATIONS), (self.instances, INSTANCES)):
            if value not in known:
                raise UsageError(f"{value!r} is not known here", cure=f"Choose from {', '.join(known)}")
        side = self.metres_per_pixel
        if side is not None and not (0 < side < float("inf")):
            raise UsageError(f"a pixel of {side} metres", cure="Give a size above 0, such as --metres-per-pixel 0.05")


class Output:
    """One format. A subclass has files of single images, a record per image, or both.

    Attributes
    ----------
    where
        What it writes, for people, relative to the folder of the results; ``STEM`` stands for an image's name.
    folder, suffix
        ``folder/STEM + suffix`` is the file of one image; no suffix, no such files.
    wants_probabilities, wants_scale
        Whether ``Segmented`` has to hold them.
    about_judgement
        Whether it says how the model judges its answers, so that nothing is in it where the model cannot tell.
    """

    where: ClassVar[str]
    folder: ClassVar[str] = ""
    suffix: ClassVar[str] = ""
    wants_probabilities: ClassVar[bool] = False
    wants_scale: ClassVar[bool] = False
    about_judgement: ClassVar[bool] = False

    def __init__(self, settings: OutputSettings) -> None:
        self.settings = settings

    def target(self, stem: str) -> str | None:
        """Name of an image's own file, relative to the folder of the results; None if this format has none."""
        if not self.suffix:
            return None
        return f"{self.folder}/{stem}{self.suffix}" if self.folder else f"{stem}{self.suffix}"

    def encode(self, seen: Segmented) -> bytes:
        """Content of ``target``."""
        raise TypeError(f"{type(self).__name__} has no file per image")

    @property
    def record_key(self) -> str | None:
        """Under which name records are kept, so that other settings do not take them for theirs; None: no records."""
        return None

    def record(self, seen: Segmented) -> Any:
        """What the files about all images need of this one; JSON-safe."""
        raise TypeError(f"{type(self).__name__} keeps no records")

    def shared_files(self) -> tuple[str, ...]:
        """Names of the files about all images."""
        return ()

    def collect(self, records: Mapping[str, Any]) -> dict[str, bytes]:
        """Content of ``shared_files``, from the records of all images by their name."""
        return {}


def require(package: str, what: str) -> None:
    """Refuse, before any work, a format whose package is missing."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{what} needs {package}, which is not installed", cure="pip install 'distillfss[outputs]'")
