"""The rows of GeoTIFF and DICOM files, TIFF stacks and videos in the table of areas, beside those of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distillfss.formats.options import Frame, Prediction
from distillfss.outputs import OutputSettings
from distillfss.outputs.areas import Areas
from distillfss.outputs.records import Records
from distillfss.outputs.scale import GEOTIFF
from distillfss.places import Place
from distillfss.predict_plan import refuse_foreign_files


class AreaRows:
    """``areas.csv`` in one folder of results, for files that are no ordinary pictures.

    Parameters
    ----------
    place
        The folder of the results.
    settings
        Classes, and the size of a pixel where it was given.
    overwrite
        Whether to drop what a model with other classes left, and a table that is none of ours.

    Attributes
    ----------
    left_out
        Files that have no rows: masks that exist and are not counted again.
    """

    def __init__(self, place: Place, settings: OutputSettings, *, overwrite: bool) -> None:
        self._place, self._areas, self._overwrite = place, Areas(settings), overwrite
        self._key = self._areas.record_key
        self._names = ["background", *settings.class_names]
        self._records = Records(place, settings.class_names)
        self.left_out: list[Path] = []

    def check(self) -> None:
        """Refuse, before any work, a folder that holds something else.

        Raises
        ------
        UsageError
            Results of a model with other classes are there, or a table that nothing here remembers making.
        """
        self.load()
        if not self._overwrite:
            refuse_foreign_files([self._areas], self._records, self._place)

    def load(self) -> None:
        """Read the rows there are, those of pictures among them."""
        self._records.load(forget=self._overwrite)

    def has(self, path: Path) -> bool:
        """Whether there are rows of a file."""
        return self._records.has(path.name, self._key)

    def add(self, path: Path, prediction: Prediction | None) -> None:
        """Remember what became of a file: None if it was left alone."""
        record = None if prediction is None else self._record(prediction)
        if record is not None:
            self._records.add(path.name, {self._key: record})
            self._records.flush()  # the file may have taken hours
        elif not self.has(path):
            self.left_out.append(path)

    def _record(self, prediction: Prediction) -> dict[str, Any] | None:
        """What the table needs to know of a file; None if it has no rows."""
        frames = [_record_of(frame) for frame in prediction.frames]
        if frames:
            alone = len(frames) == 1 and prediction.frames[0].number is None
            return frames[0] if alone else {"frames": frames}
        if prediction.shape is None:
            return None
        height, width = prediction.shape
        pixels = [prediction.pixels[name] for name in self._names]
        record: dict[str, Any] = {"width": width, "height": height, "pixels": pixels}
        metres = prediction.square_metres
        if metres is not None and any(pixels):
            record |= {
                "square_metres": [metres[name] for name in self._names],
                "square_metres_per_pixel": sum(metres.values()) / sum(pixels),
                "scale_from": GEOTIFF,
            }
        return record

    def write(self) -> bool:
        """Write the table if it has rows and is not there already; returns whether it was written."""
        rows = self._records.of(self._key)
        self._records.compact()
        written = False
        for file, data in self._areas.collect(rows).items() if rows else ():
            if not self._place.exists(file) or self._place.read(file) != data:
                self._place.write(file, data)
                written = True
        return written


def _record_of(frame: Frame) -> dict[str, Any]:
    height, width = frame.shape
    record: dict[str, Any] = {"width": width, "height": height, "pixels": frame.pixels}
    if frame.pixel_area:
        area = frame.pixel_area
        record |= {"square_metres_per_pixel": area.square_metres, "scale_from": area.source}
    return record if frame.number is None else {**record, "frame": frame.number}
