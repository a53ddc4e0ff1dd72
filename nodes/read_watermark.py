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

    A mark does not tell its length. Say how many bytes to read, or the text to look for; else lengths up to 64 bytes
    are tried, and the one on which the picture agrees best is taken.

    text: what was read; bytes that are no UTF-8, and control characters, are shown as \\xff.
    found: with `expect`, whether exactly that text was read; with `length`, whether it is printable text; else,
    whether there is a mark at all.

    Raises StepError for a picture under 65,536 pixels, and for a length that the picture cannot hold.
    """

    length: int | None = Field(default=None, ge=1, le=16384, description="bytes; found by trying unless set")
    expect: str = Field(default="", max_length=4096, description="the text to look for; gives the length")
    method: Method = Field(default="dwt_dct_svd", description="as it was written; CompVis wrote dwt_dct")

    def run(self, ctx: Context, image: Picture) -> Reading:
        from nodes.sd.marks import CLEAR, find, is_text, read, shown

        if self.expect:
            written = read(image, len(self.expect.encode()), self.method)
            return Reading(shown(written), written == self.expect.encode())
        if self.length:
            written = read(image, self.length, self.method)
            return Reading(shown(written), is_text(written))
        sighting = find(image, self.method)
        return Reading(shown(sighting.content), sighting.clarity >= CLEAR and is_text(sighting.content))
