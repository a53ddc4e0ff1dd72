"""Enlarge a picture."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import Picture

Method = Literal["lanczos", "bicubic", "bilinear", "hamming", "box", "nearest"]


class Upscale(Node, kind="upscale", version=1):
    """Enlarge a picture by a factor, with a filter.

    Each side becomes side * factor, rounded to whole pixels. No filter invents detail: lanczos is the sharpest of
    them, nearest keeps hard pixels.

    Raises StepError for a result over 100 million pixels, with the largest factor that fits.
    """

    factor: float = Field(default=4.0, ge=1, le=16, allow_inf_nan=False, description="times as wide and as high")
    method: Method = Field(default="lanczos", description="the filter")

    def run(self, ctx: Context, image: Picture) -> Picture:
        from nodes.sd.pixels import enlarged

        return enlarged(image, self.factor, self.method)
