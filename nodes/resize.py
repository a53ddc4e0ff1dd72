"""Give a picture another size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from graph.node import Context, Effort, Field, Node
from graph.values import Picture

Fit = Literal["stretch", "cover", "contain", "floor"]


class Resize(
    Node, kind="resize", version=1,
    elsewhere={"ImageScale": "resize"},
):  # fmt: skip
    """Resize a picture with the Lanczos filter.

    Where one of width and height is missing it follows from the other and the picture's shape; where both are
    missing the size stays. Then both sides are rounded down to `multiple_of`, to one multiple at least.

    stretch: exactly this size, whatever the shape.
    cover: fills the size and cuts off what is over, evenly on both sides.
    contain: the largest size of the same shape that fits inside; no bars are added.
    floor: as stretch, with multiple_of 8 unless it is set (diffusers takes 8, CompVis 32, Stability 64).

    Raises StepError for a result over 100 million pixels.
    """

    width: int | None = Field(default=None, ge=1, le=16384, description="width, pixels")
    height: int | None = Field(default=None, ge=1, le=16384, description="height, pixels")
    fit: Fit = Field(default="stretch", description="what happens when the shape of the picture is another")
    multiple_of: int | None = Field(
        default=None, ge=1, le=4096, description="both sides become multiples of it; 1 unless set, with floor 8"
    )

    def effort(self, sizes: Mapping[str, int]) -> Effort:
        """As many pixels as come out, where both sides are given."""
        return Effort(3 * self.width * self.height if self.width and self.height else sizes["image"])

    def run(self, ctx: Context, image: Picture) -> Picture:
        from nodes.sd.pixels import resized

        step = self.multiple_of or (8 if self.fit == "floor" else 1)
        return resized(image, self.width, self.height, self.fit, step)
