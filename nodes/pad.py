"""Add borders to a picture, to be painted."""

from __future__ import annotations

from typing import Literal, NamedTuple

from graph.node import Context, Field, Node
from graph.values import Mask, Picture


class Padded(NamedTuple):
    image: Picture
    mask: Mask


class Pad(
    Node, kind="pad", version=1,
    elsewhere={"ImagePadForOutpaint": "pad"},
):  # fmt: skip
    """Add borders to a picture, with a mask of them: outpainting is inpainting of what was added.

    fill: what stands there until it is painted. edge draws the outermost pixels out, mirror reflects the picture,
    grey is grey. A sampler that starts below strength 1 sees it.
    mask: 255 on the borders. Let mask_edit grow it by 8 to 32 pixels, so that the seam is painted too.

    Raises StepError for a result over 100 million pixels.
    """

    left: int = Field(default=0, ge=0, le=16384, description="pixels to add")
    top: int = Field(default=0, ge=0, le=16384, description="pixels to add")
    right: int = Field(default=0, ge=0, le=16384, description="pixels to add")
    bottom: int = Field(default=0, ge=0, le=16384, description="pixels to add")
    fill: Literal["edge", "mirror", "grey"] = Field(default="edge", description="what the borders begin as")

    def run(self, ctx: Context, image: Picture) -> Padded:
        from nodes.sd.masks import padded

        return Padded(*padded(image, self.left, self.top, self.right, self.bottom, self.fill))
