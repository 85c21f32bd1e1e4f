"""Pictures of a report: what every method made of the median and of the worst test image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distillfss.bench.contents import find_dataset, open_dataset
from distillfss.bench.report.tables import shots_text
from distillfss.bench.results import Gathered, Row
from distillfss.bench.summary import Arena, shown_images
from distillfss.errors import DistillFSSError
from distillfss.io.labelled import LabelledFolder
from distillfss.io.masks import read_mask
from distillfss.metrics import resize_mask
from distillfss.report.overlay import class_colours, for_display, mask_for_display, overlay
from distillfss.report.page import Picture, embed, percent

LONGEST = 300


@dataclass(frozen=True)
class Shelf:
    """The pictures of one test image: (caption, picture) of the image, the annotation, every method."""

    title: str
    pictures: tuple[tuple[str, Picture], ...]


@dataclass(frozen=True)
class Gallery:
    """The shelves of a data set, and which cells they are of; or why there are none. Classes with their colours."""

    note: str
    shelves: tuple[Shelf, ...] = ()
    classes: tuple[tuple[str, str], ...] = ()


def gallery(arena: Arena, dataset: str, folder: Gathered, data: Path | None) -> Gallery:
    """Median and worst test image of a data set.

    Parameters
    ----------
    data
        The folder of data sets.
    """
    shown = shown_images(arena, dataset)
    if shown is None:
        return Gallery(
            "No pictures, for there are no predicted masks here: --no-masks keeps none, 'bench merge' leaves them out."
        )
    if data is None:
        return Gallery("The data sets are not where they were; say where with --data to get pictures.")
    try:
        labelled = open_dataset(find_dataset(data, dataset))
        shelves = tuple(
            _shelf(title, name, labelled, shown.rows, folder)
            for title, name in (("Median image", shown.median), ("Worst image", shown.worst))
        )
    except (DistillFSSError, ValueError, OSError) as error:
        return Gallery(f"Pictures could not be made: {error}")
    note = (
        f"Both with {shots_text(shown.shots)}, seed {shown.seed}. Test images are ordered by the mean of all methods' "
        "IoU of the image at 384×384: the one in the middle and the last."
    )
    colours = class_colours(len(labelled.class_names))[1:]
    keys = ("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours)
    return Gallery(note, shelves, tuple(zip(labelled.class_names, keys, strict=True)))


def _shelf(title: str, name: str, labelled: LabelledFolder, rows: dict[str, Row], folder: Gathered) -> Shelf:
    sample = labelled[labelled.names.index(name)]
    image = for_display(sample.image, LONGEST)
    pictures = [
        ("image", embed(image, f"{name}: the image")),
        ("annotation", embed(overlay(image, mask_for_display(sample.mask, LONGEST)), f"{name}: what people marked")),
    ]
    for label, row in rows.items():
        mask = resize_mask(read_mask(folder.masks_folder(row["key"]) / f"{name}.png"), image.shape[:2])
        iou = next(each["iou_384"] for each in row["result"]["images"] if each["image"] == name)
        pictures.append((f"{label}: {percent(iou)} %", embed(overlay(image, mask), f"{name}: what {label} marked")))
    return Shelf(f"{title}: {name}", tuple(pictures))
