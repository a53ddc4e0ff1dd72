"""Make a mask of a picture."""

from __future__ import annotations

from typing import Literal

from graph.node import Context, Field, Node
from graph.values import Mask, Picture


class MaskOfPicture(Node, kind="mask", version=1):
    """Make a mask of a picture: of its brightness, or of its alpha.

    brightness: white is painted anew, black is kept; so most programs save masks.
    alpha: what is clear is painted anew, what is opaque is kept: erase with any picture editor. load_image gives the
    same mask; this node is for a picture that was resized since.
    """

    by: Literal["brightness", "alpha"] = Field(default="brightness", description="what tells where to paint")

    def run(self, ctx: Context, image: Picture) -> Mask:
        from nodes.sd.masks import of_alpha, of_brightness

        return of_alpha(image) if self.by == "alpha" else of_brightness(image)
