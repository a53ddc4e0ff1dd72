"""Bring in a picture from a file."""

from __future__ import annotations

from typing import NamedTuple

from graph.filerefs import PictureFile
from graph.node import Context, Field, Node
from graph.values import Mask, Picture


class Loaded(NamedTuple):
    """What a picture file holds."""

    image: Picture
    mask: Mask


class LoadImage(
    Node, kind="load_image", version=1,
    elsewhere={"LoadImage": "load_image", "image": "path"},
):  # fmt: skip
    """Read a PNG, JPEG or WEBP file, upright and in sRGB.

    image: RGB, or RGBA (straight alpha) where the file has transparency. Of an animation, the first frame.
    mask: 255 (repaint) where the picture is fully transparent, 0 (keep) where it is opaque, or between.
    docs/pictures.md says how each kind of file is converted.

    Raises MissingError for a file of another format, cut short, damaged, or over 100 million pixels.
    """

    path: PictureFile = Field(description="the picture file; a relative path starts at the workflow's folder")

    def run(self, ctx: Context) -> Loaded:
        from nodes.sd.picture_files import read_picture

        picture, mask, remarks = read_picture(self.path.path, self.path.written)
        for remark in remarks:
            ctx.warn(remark)
        return Loaded(picture, mask)
