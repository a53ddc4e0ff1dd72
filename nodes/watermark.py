"""Sign a picture invisibly."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import Picture

Method = Literal["dwt_dct", "dwt_dct_svd", "dwt_dct_robust", "dwt_dct_svd_robust"]


class Watermark(Node, kind="watermark", version=1):
    """Write a text into the colours of a picture, so that it is read back and not seen.

    The text is written as UTF-8, and is read by `read_watermark` and by the package invisible-watermark (dwt_dct
    is its dwtDct, dwt_dct_svd its dwtDctSvd); both must know its length in bytes. The methods that end in _robust
    write the same marks so that they survive JPEG down to 75, and take some ten times as long; docs/watermarks.md
    tells what each survives. No mark survives a resize: sign last. An L picture becomes RGB, as the mark is in its
    colour; alpha stays as it is.

    Raises StepError for a picture under 65,536 pixels, and for a text too long for the picture.
    """

    text: str = Field(min_length=1, max_length=4096, description="what to write, e.g. StableDiffusionV1")
    method: Method = Field(default="dwt_dct_svd", description="_robust survives JPEG; _svd shows less")

    def run(self, ctx: Context, image: Picture) -> Picture:
        from nodes.sd.marks import signed

        return signed(image, self.text, self.method)
