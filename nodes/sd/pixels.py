"""Sizes of pictures: what fits, and how pixels are filtered to another size."""

from __future__ import annotations

import math

from PIL import Image

from graph.errors import StepError
from graph.values import Picture

MAX_PIXELS = 100_000_000
"""Of any picture read or made: 300 MB as RGB."""

Box = tuple[float, float, float, float]


def check_area(width: int, height: int, what: str, hint: str) -> None:
    """Raise StepError, before anything is allocated, if a picture would be over 100 million pixels."""
    if width * height > MAX_PIXELS:
        raise StepError(
            f"{what} would be {width:,}x{height:,}, {width * height:,} pixels; at most {MAX_PIXELS:,} are made",
            hint=hint,
        )


def resized(picture: Picture, width: int | None, height: int | None, fit: str, step: int) -> Picture:
    """Resize as the node `resize` says; `step` is what both sides are rounded down to a multiple of."""
    wide, high = _completed(picture, width, height)
    if fit == "contain":
        wide, high = _inside(picture, wide, high)
    wide, high = (max(step, side // step * step) for side in (wide, high))
    check_area(wide, high, "the resized picture", "Choose a smaller width or height.")
    box = _middle(picture, wide, high) if fit == "cover" else None
    return filtered(picture, (wide, high), "lanczos", box)


def enlarged(picture: Picture, factor: float, method: str) -> Picture:
    """Enlarge with a filter, as the node `upscale` says."""
    return filtered(picture, enlarged_size(picture, factor), method)


def enlarged_size(picture: Picture, factor: float) -> tuple[int, int]:
    """Width and height of a picture `factor` times as large. Raises StepError where that is over 100 million pixels."""
    wide, high = (max(1, round(side * factor)) for side in (picture.width, picture.height))
    largest = math.floor(math.sqrt(MAX_PIXELS / (picture.width * picture.height)) * 100) / 100
    check_area(
        wide,
        high,
        f"{factor:g} times {picture.width}x{picture.height}",
        f"The largest factor that fits is {largest:g}.",
    )
    return wide, high


def filtered(picture: Picture, size: tuple[int, int], method: str, box: Box | None = None) -> Picture:
    """Bring a picture, or the part of it in `box`, to a size with one of Pillow's filters."""
    if size == (picture.width, picture.height):
        return picture
    # Pillow weights colours by their alpha here, so that hidden colours do not bleed into visible ones.
    return Picture(picture.pixels.resize(size, Image.Resampling[method.upper()], box=box))


def _completed(picture: Picture, width: int | None, height: int | None) -> tuple[int, int]:
    if width is None and height is None:
        return picture.width, picture.height
    if width is None:
        width = max(1, round(picture.width * (height or 1) / picture.height))
    if height is None:
        height = max(1, round(picture.height * width / picture.width))
    return width, height


def _inside(picture: Picture, width: int, height: int) -> tuple[int, int]:
    """The largest size of the picture's shape that fits inside."""
    scale = min(width / picture.width, height / picture.height)
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def _middle(picture: Picture, width: int, height: int) -> Box:
    """The largest part of the picture, in its middle, that has the shape width to height."""
    wide = min(picture.width, picture.height * width / height)
    high = min(picture.height, picture.width * height / width)
    left, top = (picture.width - wide) / 2, (picture.height - high) / 2
    return left, top, left + wide, top + high
