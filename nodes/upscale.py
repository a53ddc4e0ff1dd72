"""Enlarge a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from graph.node import Context, Effort, Field, Node
from graph.values import Picture, SuperResolution

Method = Literal["lanczos", "bicubic", "bilinear", "hamming", "box", "nearest"]


class Upscale(
    Node, kind="upscale", version=1, accelerated=True,
    elsewhere={
        "ImageUpscaleWithModel": "upscale", "ImageScaleBy": "upscale", "upscale_model": "model", "scale_by": "factor",
        "upscale_method": "method",
    },
):  # fmt: skip
    """Enlarge a picture by a factor, with a filter or with a net.

    Each side becomes side * factor, rounded to whole pixels. No filter invents detail: lanczos is the sharpest of
    them, nearest keeps hard pixels.
    model: a net of load_upscaler. It enlarges by its own factor, again until the picture is at least as large as
    asked for; then the filter brings it to the size. A grey picture becomes RGB; alpha goes through the filter alone.
    tile: the net's memory is in proportion to its square. A compact net gives the same with any tile, but for rounding
    (one value in ten millions is off by 1 of 255); an ESRGAN net, which sees farther than tiles overlap, may give a
    little else near the seams.

    Raises StepError for a result over 100 million pixels, with the largest factor that fits; OutOfMemory.
    """

    factor: float = Field(default=4.0, ge=1, le=16, allow_inf_nan=False, description="times as wide and as high")
    method: Method = Field(default="lanczos", description="the filter")
    tile: int | None = Field(
        default=None, ge=64, le=16384,
        description="pixels on a side that the net sees at a time; 512 for pictures over 512 x 512 unless set",
    )  # fmt: skip

    def effort(self, sizes: Mapping[str, int]) -> Effort:
        """As many pixels as come out."""
        return Effort(sizes["image"] * self.factor**2)

    def run(self, ctx: Context, image: Picture, model: SuperResolution | None = None) -> Picture:
        if model is None:
            from nodes.sd.pixels import enlarged

            return enlarged(image, self.factor, self.method)
        from nodes.sd.enlarging import enlarged_by

        return enlarged_by(ctx, model, image, self.factor, self.method, self.tile)
