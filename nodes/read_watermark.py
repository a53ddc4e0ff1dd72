"""Read the invisible signature of a picture."""

from __future__ import annotations

from typing import Literal, NamedTuple

from graph.node import Context, Field, Node
from graph.values import Picture

Method = Literal["dwt_dct", "dwt_dct_svd", "dwt_dct_robust", "dwt_dct_svd_robust"]


class Reading(NamedTuple):
    """What was read."""

    text: str
    found: bool
    chance: float


class ReadWatermark(Node, kind="read_watermark", version=2):
    """Read a text that `watermark`, or the package invisible-watermark, wrote into a picture.

    A mark does not tell its length. Say how many bytes to read, or the text to look for; else lengths up to 64 bytes
    are tried, and the one on which the picture agrees best is taken.

    text: what was read; bytes that are no UTF-8, and control characters, are shown as \\xff.
    found: with `expect`, whether that text was read, or so much of it that chance is at most 1e-6; else, whether the
    blocks agree clearly on what is printable text.
    chance: with `expect`, how likely at most a picture agrees as well with a text that is not in it; else 1.

    Raises StepError for a picture under 65,536 pixels, and for a length that the picture cannot hold.
    """

    length: int | None = Field(default=None, ge=1, le=16384, description="bytes; found by trying unless set")
    expect: str = Field(default="", max_length=4096, description="the text to look for; gives the length")
    method: Method = Field(default="dwt_dct_svd", description="as it was written; CompVis wrote dwt_dct")

    def run(self, ctx: Context, image: Picture) -> Reading:
        from nodes.sd.marks import CHANCE, CLEAR, LONGEST_SOUGHT, find, is_text, presence, read, shown

        if self.expect:
            sought = self.expect.encode()
            written, chance = read(image, len(sought), self.method), presence(image, sought, self.method)
            return Reading(shown(written), written == sought or chance <= CHANCE, chance)
        sighting = find(image, self.method, (self.length,) if self.length else range(1, LONGEST_SOUGHT + 1))
        return Reading(shown(sighting.content), sighting.standing >= CLEAR and is_text(sighting.content), 1.0)
