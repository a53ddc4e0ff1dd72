"""vae_decode: latents into pictures."""

from __future__ import annotations

from typing import NamedTuple

from graph.node import Context, Field, Node
from graph.values import Latents, Picture, Vae


class Pictures(NamedTuple):
    image: Picture
    images: list[Picture]


class VaeDecode(
    Node, kind="vae_decode", version=1, accelerated=True, saves=("tiles",),
    elsewhere={"VAEDecode": "vae_decode", "VAEDecodeTiled": "vae_decode", "samples": "latents", "tile_size": "tile"},
):  # fmt: skip
    """Turn latents into pictures, one at a time.

    image: the first of the batch.
    images: all of them. RGB; values outside the range of a pixel are clipped.
    tile: pictures that do not fit are decoded in parts, blended over a quarter of their side. Each part has a slightly
    different brightness; docs/upscaling.md says how much is seen of it. A tile as large as the picture is the whole.

    Raises OutOfMemory with what was asked for and what lowers it.
    """

    tile: int | None = Field(
        default=None, ge=128, le=16384, multiple_of=64,
        description="pixels on a side that are decoded at a time; 768 for pictures over 1536 x 1024 unless set",
    )  # fmt: skip

    def run(self, ctx: Context, vae: Vae, latents: Latents) -> Pictures:
        from nodes.sd.autoencoder import decode_latents

        pictures = decode_latents(ctx, vae, latents, self.tile)
        return Pictures(pictures[0], pictures)
