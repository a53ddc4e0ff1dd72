"""Cut out the part of a picture that is to be painted anew."""

from __future__ import annotations

from typing import NamedTuple

from graph.node import Context, Field, Node
from graph.values import Mask, Picture


class Cropped(NamedTuple):
    image: Picture
    mask: Mask
    box: str


class CropToMask(Node, kind="crop_to_mask", version=1):
    """Cut out what a mask repaints, with something around it, in the size that a model paints best.

    A face that is 60 pixels wide is painted at the model's full size, and `paste` lays it back by the `box`. The part
    gets the shape of width and height; a picture that is too narrow for that is stretched, and pasted back unstretched.
    box: where it lies, "left,top,right,bottom" in pixels.

    Raises StepError for a mask that keeps everything, or is of another size than the picture.
    """

    width: int = Field(default=512, ge=64, le=16384, multiple_of=8, description="of what is cut out, pixels")
    height: int = Field(default=512, ge=64, le=16384, multiple_of=8, description="of what is cut out, pixels")
    padding: int = Field(default=32, ge=0, le=16384, description="pixels of the picture to see around the mask")

    def run(self, ctx: Context, image: Picture, mask: Mask) -> Cropped:
        from nodes.sd.pasting import cut_out

        cut = cut_out(image, mask, self.width, self.height, self.padding)
        return Cropped(cut.image, cut.mask, str(cut.box))
