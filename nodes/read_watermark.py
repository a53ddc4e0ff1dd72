"""Read the invisible signature of a picture."""

from __future__ import annotations

from typing import Literal, NamedTuple

from graph.node import Context, Field, Node
from graph.values import Picture

Method = Literal["dwt_dct", "dwt_dct_svd"]


class Reading(NamedTuple):
    """What was read."""

    text: str
    found: bool


class ReadWatermark(Node, kind="read_watermark", version=1):
    """Read a text that `watermark`, or the package invisible-watermark, wrote into a picture.

    A mark does not tell its length: say how many bytes to read, or the text to look for. A picture that was never
    signed gives bytes too; they mean nothing.

    text: what was read; bytes that are no UTF-8, and control characters, are shown as \\xff.
    found: with `expect`, whether exactly that text was read; without, whether it is printable text at all.

    Raises StepError for a picture under 65,536 pixels, and for a length that the picture cannot hold.
    """

    length: int = Field(default=17, ge=1, le=16384, description="bytes; StableDiffusionV1 has 17, SDV2 has 4")
    expect: str = Field(default="", max_length=4096, description="the text to look for; gives the length")
    method: Method = Field(default="dwt_dct_svd", description="as it was written; CompVis wrote dwt_dct")

    def run(self, ctx: Context, image: Picture) -> Reading:
        from nodes.sd.marks import is_text, read, shown

        written = read(image, len(self.expect.encode()) or self.length, self.method)
        found = written == self.expect.encode() if self.expect else is_text(written)
        return Reading(shown(written), found)
