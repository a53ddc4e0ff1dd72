"""Draw a mask."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import Mask, Picture


class MaskShape(Node, kind="mask_shape", version=1):
    """Draw a rectangle or an ellipse to be painted anew, as a mask of a picture's size.

    x, y: of its left upper corner, in pixels of the picture. What of it lies outside the picture is left out.

    Raises StepError if all of it lies outside.
    """

    shape: Literal["rectangle", "ellipse"] = Field(default="rectangle", description="what is drawn")
    x: int = Field(default=0, ge=-65536, le=65536, description="from the left, pixels")
    y: int = Field(default=0, ge=-65536, le=65536, description="from the top, pixels")
    width: int = Field(ge=1, le=65536, description="pixels")
    height: int = Field(ge=1, le=65536, description="pixels")

    def run(self, ctx: Context, image: Picture) -> Mask:
        from nodes.sd.masks import of_shape

        return of_shape(image, self.shape, self.x, self.y, self.width, self.height)
