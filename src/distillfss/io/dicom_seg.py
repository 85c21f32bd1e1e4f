"""Masks as DICOM segmentations, which viewers and archives show over the images they belong to."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillfss import __version__
from distillfss.errors import DataError
from distillfss.io.dicom import in_words
from distillfss.io.extras import optional
from distillfss.io.files import atomic_write
from distillfss.io.masks import PALETTE

SCHEME = "99DISTILLFSS"
"""Codes of classes are ours: nobody knows which entry of a clinical vocabulary a user's class name stands for."""

# What every image should hold, though it may be empty, and files in the wild do not.
_MAY_BE_EMPTY = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)


def write_segmentation(path: Path, dataset: Any, masks: NDArray[np.uint8], class_names: Sequence[str]) -> None:
    """Write a segmentation, see ``segmentation_of``, whole or not at all. Raises ``OutputError`` too."""
    segmentation = segmentation_of(dataset, masks, class_names)
    atomic_write(path, lambda file: segmentation.save_as(file))


def segmentation_of(dataset: Any, masks: NDArray[np.uint8], class_names: Sequence[str]) -> Any:
    """A DICOM segmentation (binary, one segment per class) of one image, as pydicom dataset.

    Parameters
    ----------
    dataset
        The image, as pydicom dataset. Fields that a segmentation needs and it lacks are added to it.
    masks
        (frames, H, W): 0 for background, i + 1 for ``class_names[i]``.
    class_names
        Names of the segments.

    Raises
    ------
    DataError
        The image lacks what a segmentation has to refer to.
    """
    source = Path(getattr(dataset, "filename", None) or "the image")
    highdicom, pydicom = optional("highdicom", source), optional("pydicom", source)
    _complete(dataset)
    # Nothing but the image and the masks decides the identifiers: the same run again gives the same object.
    identity = hashlib.sha256(f"{dataset.get('SOPInstanceUID')} {list(class_names)} ".encode() + masks.tobytes())
    series, instance = (
        pydicom.uid.generate_uid(entropy_srcs=[identity.hexdigest(), part]) for part in ("series", "instance")
    )
    try:
        if len(masks) > 1 and not highdicom.utils.is_multiframe_image(dataset):
            raise ValueError("several frames in a kind of file that has one")  # all but the first would be lost
        with _silence():
            return highdicom.seg.Segmentation(
                source_images=[dataset],
                pixel_array=masks,
                segmentation_type="BINARY",
                segment_descriptions=[
                    _description(highdicom, number, name) for number, name in enumerate(class_names, start=1)
                ],
                series_instance_uid=series,
                series_number=900,
                sop_instance_uid=instance,
                instance_number=1,
                manufacturer="distillfss",
                manufacturer_model_name="distillfss",
                software_versions=__version__,
                device_serial_number="0",
                content_label="SEGMENTATION",
            )
    except Exception as error:  # highdicom checks the image's header, with whatever error it stumbles over
        reason = in_words(error)
        if len(masks) > 1 and "Frame of Reference" in reason and not _has_positions(dataset):
            # which it says of files that have a frame of reference, too
            reason = "several frames without plane positions, as in secondary capture, endoscopy and ultrasound"
        raise DataError(
            f"a DICOM segmentation cannot refer to this image ({reason})",
            cure="Use --masks png",
            path=source,
        ) from error


def _has_positions(dataset: Any) -> bool:
    """Whether a file of several frames says where in space they lie."""
    names = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
    groups = [item for name in names for item in (dataset.get(name) or [])[:1]]
    return any("PlanePositionSequence" in item or "PlanePositionSlideSequence" in item for item in groups)


@contextmanager
def _silence() -> Iterator[None]:
    """highdicom warns and logs that a mask is empty, which is nothing to warn about."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _description(highdicom: Any, number: int, name: str) -> Any:
    coded = highdicom.sr.CodedConcept
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=coded("309825002", "SCT", "Spatial and Relational Concept"),
        segmented_property_type=coded(f"CLASS{number}", SCHEME, name[:64]),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="distillfss", version=__version__, family=coded("123110", "DCM", "Artificial Intelligence")
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(*(int(value) for value in PALETTE[number])),
    )


def _complete(header: Any) -> None:
    """Add the fields that may be empty but must be there, and a slice thickness."""
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    if not header.get("SliceThickness"):
        # Photographs with a pixel spacing, and some scans, have none. Readers refuse pixel measures without it, but use
        # it for nothing but volumes, which a single image cannot have.
        header.SliceThickness = abs(header.get("SpacingBetweenSlices") or 0.0) or 1.0
