"""The picks as one picture, to look at before anybody annotates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from distillfss.io.decode import read_image
from distillfss.picking.picking import Selection
from distillfss.report.overlay import encode_jpeg, for_display

CELL, MARGIN, CAPTION = 256, 12, 40
BACKGROUND, INK, FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def contact_sheet(selection: Selection) -> NDArray[np.uint8]:
    """All picks side by side in their order, each with its rank, name and the number of images it stands for.

    Returns
    -------
    NDArray
        (H, W, 3) uint8.
    """
    count = len(selection.picks)
    columns = min(5, max(1, math.ceil(math.sqrt(count))))
    rows = math.ceil(count / columns)
    width, height = CELL + MARGIN, CELL + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + MARGIN), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, pick in enumerate(selection.picks):
        row, column = divmod(place, columns)
        left, top = MARGIN + column * width, MARGIN + row * height
        picture = Image.fromarray(for_display(read_image(pick.path).pixels, CELL))
        sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
        draw.text((left, top + CELL + 3), _fitting(f"{place + 1}. {pick.path.name}", font), INK, font)
        said = f"stands for {pick.stands_for} image{'s' * (pick.stands_for != 1)}"
        if pick.doubt is not None:
            said += f", doubt {100 * pick.doubt:.0f} %"
        draw.text((left, top + CELL + 21), said, FAINT, font)
    return np.asarray(sheet)


def sheet_bytes(selection: Selection) -> bytes:
    """The contact sheet as a JPEG file."""
    return encode_jpeg(contact_sheet(selection), quality=90)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its middle left out if it is wider than a cell."""
    if font.getlength(text) <= CELL:
        return text
    keep = len(text)
    while keep > 4 and font.getlength(_cut(text, keep)) > CELL:
        keep -= 1
    return _cut(text, keep)


def _cut(text: str, keep: int) -> str:
    return f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"
