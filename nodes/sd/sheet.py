"""Contact sheets: pictures in rows, with a label below each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from graph.errors import StepError
from graph.values import Picture
from nodes.sd.pixels import check_area

_LONGEST = 300
"""Letters of a label that are measured at all."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def sheet(pictures: Sequence[Picture], columns: int | None, padding: int, labels: str) -> Picture:
    """Lay pictures out as the node `grid` says. `columns` None makes the sheet as square as it goes."""
    if not pictures:
        raise StepError("there is no picture to lay out", hint="Link at least one picture to images.")
    texts = _texts(labels, len(pictures))
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    rows = math.ceil(len(pictures) / columns)
    wide, high = max(one.width for one in pictures), max(one.height for one in pictures)
    font = _font(wide)
    strip = _strip(font) if texts else 0
    width, height = columns * (wide + padding) + padding, rows * (high + strip + padding) + padding
    check_area(width, height, f"a sheet of {len(pictures):,} pictures", "Lay out fewer or smaller pictures.")
    mode = _mode(pictures, bool(texts))
    page = Image.new(mode, (width, height))
    for number, picture in enumerate(pictures):
        left = padding + number % columns * (wide + padding)
        top = padding + number // columns * (high + strip + padding)
        middle = (left + (wide - picture.width) // 2, top + (high - picture.height) // 2)
        page.paste(picture.pixels.convert(mode), middle)
        if texts:
            page.paste(_label(texts[number], wide, strip, font).convert(mode), (left, top + high))
    return Picture(page)


def _texts(labels: str, count: int) -> list[str]:
    if not labels.strip():
        return []
    texts = _parted(labels.removesuffix("\n"))
    if len(texts) != count:
        texts = _parted(labels.strip("\n"))  # empty lines around the labels are no labels
    if len(texts) != count:
        raise StepError(
            f"there are {len(texts):,} labels for {count:,} pictures",
            hint="Write one line for each picture (it may be empty), or a | between the labels.",
        )
    return texts


def _parted(labels: str) -> list[str]:
    return [part.strip() for part in labels.split("\n" if "\n" in labels else "|")]


def _mode(pictures: Sequence[Picture], labelled: bool) -> str:
    modes = {picture.mode for picture in pictures}
    if "RGBA" in modes:
        return "RGBA"
    return "RGB" if "RGB" in modes or labelled else "L"


def _font(width: int) -> Font:
    return ImageFont.load_default(max(10, min(width // 16, 40)))


def _strip(font: Font) -> int:
    """The height of a label, in pixels, whatever its letters."""
    return math.ceil(font.getbbox("Ág")[3]) + 4


def _label(text: str, width: int, height: int, font: Font) -> Image.Image:
    """White on black, in the middle; cut where it is wider than its picture."""
    image = Image.new("RGB", (width, height))
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    pen = ImageDraw.Draw(image)
    while shown and pen.textlength(shown, font) > width:
        shown = shown.rstrip("…")[:-1] + "…" if len(shown.rstrip("…")) > 1 else ""
    pen.text(((width - pen.textlength(shown, font)) / 2, 1), shown, fill="white", font=font)
    return image
