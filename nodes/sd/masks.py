"""Masks: made of pictures and shapes, grown and softened. 255 repaints, 0 keeps."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from graph.errors import StepError
from graph.values import Mask, Picture
from nodes.sd.pixels import check_area

GREY = 128


def of_brightness(picture: Picture) -> Mask:
    """Repaint what is white. Alpha makes no difference."""
    return Mask(picture.pixels.convert("RGB").convert("L"))


def of_alpha(picture: Picture) -> Mask:
    """Repaint what is clear; of a picture without alpha, nothing is."""
    if picture.mode != "RGBA":
        return Mask(Image.new("L", (picture.width, picture.height)))
    return Mask(ImageOps.invert(picture.pixels.getchannel("A")))


def of_shape(picture: Picture, shape: str, left: int, top: int, width: int, height: int) -> Mask:
    """Repaint a rectangle or an ellipse. What of it lies outside the picture is left out.

    Raises StepError if all of it does.
    """
    right, bottom = left + width, top + height
    if left >= picture.width or top >= picture.height or right <= 0 or bottom <= 0:
        raise StepError(
            f"the {shape} from {left},{top} to {right},{bottom} lies outside the picture, "
            f"which is {picture.width} x {picture.height} pixels"
        )
    pixels = Image.new("L", (picture.width, picture.height))
    canvas = ImageDraw.Draw(pixels)
    draw = canvas.rectangle if shape == "rectangle" else canvas.ellipse
    draw((left, top, right - 1, bottom - 1), fill=255)
    return Mask(pixels)


def edited(mask: Mask, invert: bool, grow: int, feather: int) -> Mask:
    """Invert, then grow or shrink, then soften, as the node `mask_edit` says."""
    pixels = ImageOps.invert(mask.pixels) if invert else mask.pixels
    if grow > 0:
        pixels = _grown(pixels, grow)
    if grow < 0:
        pixels = ImageOps.invert(_grown(ImageOps.invert(pixels), -grow))
    return Mask(pixels.filter(ImageFilter.GaussianBlur(feather / 2)) if feather else pixels)


def _grown(pixels: Image.Image, by: int) -> Image.Image:
    """The brightest within `by` pixels in each direction; what is at the border goes on beyond it."""
    levels = np.asarray(pixels)
    for _ in range(2):
        levels, seen = np.pad(levels, ((0, 0), (by, by)), mode="edge"), 1
        while seen <= 2 * by:  # each turn doubles how many pixels a value is the brightest of
            step = min(seen, 2 * by + 1 - seen)
            levels, seen = np.maximum(levels[:, :-step], levels[:, step:]), seen + step
        levels = levels.T
    return Image.fromarray(np.ascontiguousarray(levels))


def padded(picture: Picture, left: int, top: int, right: int, bottom: int, fill: str) -> tuple[Picture, Mask]:
    """Add borders, as the node `pad` says; the mask repaints them."""
    size = (left + picture.width + right, top + picture.height + bottom)
    check_area(*size, "the padded picture", "Add less.")
    pixels = picture.pixels
    if fill == "grey":
        canvas = Image.new("RGB", size, (GREY, GREY, GREY)).convert(picture.mode)
        canvas.paste(pixels, (left, top))
    else:
        levels = np.asarray(pixels)
        borders = ((top, bottom), (left, right), (0, 0))[: levels.ndim]
        canvas = Image.fromarray(np.pad(levels, borders, mode="edge" if fill == "edge" else "symmetric"))
    new = Image.new("L", size, 255)
    new.paste(0, (left, top, left + picture.width, top + picture.height))
    return Picture(canvas), Mask(new)
