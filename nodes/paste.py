"""Lay what was painted over the picture that it was painted for."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import Mask, Picture


class Paste(Node, kind="paste", version=1):
    """Take the painted picture where the mask is white, and the picture itself, exactly, where it is black.

    In between they are blended: a feathered mask makes a soft edge. A VAE changes every pixel a little, also those
    that no model touched; after pasting they are the pixels that were there.
    image: what lies below. Where it is clear and the mask repaints, it becomes opaque.
    painted: of the size of image, or of any size with the box that it was cropped from.

    Raises StepError for sizes that differ, and for a box that is no part of the picture.
    """

    box: str = Field(default="", pattern=r"^(\d{1,6}(,\d{1,6}){3})?$", description='"left,top,right,bottom", pixels')

    def run(self, ctx: Context, image: Picture, painted: Picture, mask: Mask) -> Picture:
        from nodes.sd.pasting import Box, pasted

        return pasted(image, painted, mask, Box.read(self.box) if self.box else None)
