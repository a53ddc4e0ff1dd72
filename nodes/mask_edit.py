"""Turn a mask round, make it larger, soften its edge."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import Mask


class MaskEdit(Node, kind="mask_edit", version=1):
    """Invert a mask, then grow it, then soften its edge.

    grow: so many pixels in each direction; below 0 it shrinks. 8 to 16 cover the old colour that models leave at the
    edge of what they paint.
    feather: the edge is blurred over so many pixels inwards and outwards. `paste` blends there; for `inpaint` the
    middle of the blur counts. Grow by as much, so that nothing old shines through inside.
    """

    invert: bool = Field(default=False, description="swap what is painted and what is kept")
    grow: int = Field(default=0, ge=-512, le=512, description="pixels; below 0 it shrinks")
    feather: int = Field(default=0, ge=0, le=512, description="pixels of soft edge")

    def run(self, ctx: Context, mask: Mask) -> Mask:
        from nodes.sd.masks import edited

        return edited(mask, self.invert, self.grow, self.feather)
