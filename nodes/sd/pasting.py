"""Cutting out the part of a picture that is painted anew, and laying it back."""

from __future__ import annotations

from typing import NamedTuple, Self

from PIL import Image, ImageChops

from graph.errors import StepError
from graph.values import Mask, Picture


class Box(NamedTuple):
    """A part of a picture, in pixels; right and bottom are the first that are no part of it."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Of "left,top,right,bottom"."""
        return cls(*map(int, text.split(",")))

    def __str__(self) -> str:
        return ",".join(map(str, self))


class Cut(NamedTuple):
    """What was cut out, in the size asked for, and where it came from."""

    image: Picture
    mask: Mask
    box: Box


def cut_out(picture: Picture, mask: Mask, width: int, height: int, padding: int) -> Cut:
    """Cut out what a mask repaints, as the node `crop_to_mask` says."""
    check_same_size(picture, mask)
    found = mask.pixels.getbbox()
    if found is None:
        raise StepError("the mask keeps the whole picture: there is nothing to crop to")
    box = _shaped(Box(*found), (picture.width, picture.height), width / height, padding)
    image, hole = (
        part.pixels.crop(box).resize((width, height), Image.Resampling.LANCZOS) for part in (picture, mask)
    )  # fmt: skip
    return Cut(Picture(image), Mask(hole), box)


def _shaped(box: Box, size: tuple[int, int], shape: float, padding: int) -> Box:
    """Add padding, then widen or heighten a box to a shape (width / height), as far as the picture goes.

    Source: diffusers, VaeImageProcessor.get_crop_region, which gives the same.
    """
    across = (max(box.left - padding, 0), min(box.right + padding, size[0]))
    down = (max(box.top - padding, 0), min(box.bottom + padding, size[1]))
    wide, high = across[1] - across[0], down[1] - down[0]
    if wide / high > shape:
        down = _stretched(down, int(wide / shape - high), size[1])
    else:
        across = _stretched(across, int(high * shape - wide), size[0])
    return Box(across[0], down[0], across[1], down[1])


def _stretched(span: tuple[int, int], by: int, limit: int) -> tuple[int, int]:
    """Make a span longer on both sides; what would be beyond a border is added on the other side."""
    low, high = span[0] - by // 2, span[1] + by - by // 2
    back = max(0, high - limit)
    forth = max(0, back - low)
    return low - back + forth, min(high - back + forth, limit)


def pasted(picture: Picture, painted: Picture, mask: Mask, box: Box | None) -> Picture:
    """Lay what was painted over a picture, as the node `paste` says."""
    check_same_size(picture, mask)
    base = picture.pixels.convert("RGB") if picture.mode == "L" and mask.pixels.getbbox() else picture.pixels
    over = painted.pixels.convert("RGB") if box is None else _placed(base, painted, box)
    if over.size != base.size:
        raise StepError(
            f"the painted picture is {over.width} x {over.height} pixels, "
            f"but the one below it {base.width} x {base.height}",
            hint="Resize one of them, or give the box of crop_to_mask.",
        )
    result = Image.composite(over.convert(base.mode), base, mask.pixels)
    if base.mode == "RGBA":
        result.putalpha(ImageChops.add(base.getchannel("A"), mask.pixels))
    return Picture(result.convert("RGB") if result.getextrema()[3:] == ((255, 255),) else result)


def _placed(base: Image.Image, painted: Picture, box: Box) -> Image.Image:
    """The picture with what was painted in its place. Raises StepError for a box that is not in the picture."""
    if not (box.left < box.right <= base.width and box.top < box.bottom <= base.height):
        raise StepError(f"the box {box} is no part of the picture, which is {base.width} x {base.height} pixels")
    size = (box.right - box.left, box.bottom - box.top)
    over = base.convert("RGB")
    over.paste(painted.pixels.convert("RGB").resize(size, Image.Resampling.LANCZOS), box[:2])
    return over


def check_same_size(picture: Picture, mask: Mask) -> None:
    """Raise StepError for a mask of another size than the picture's."""
    if (mask.width, mask.height) != (picture.width, picture.height):
        raise StepError(
            f"the mask is {mask.width} x {mask.height} pixels, but the picture {picture.width} x {picture.height}",
            hint="Resize the picture first, and make the mask (mask, mask_shape) of the resized one.",
        )
