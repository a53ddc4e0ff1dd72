"""vae_decode: latents into pictures."""

from __future__ import annotations

from typing import NamedTuple

from graph.node import Context, Node
from graph.values import Latents, Picture, Vae


class Pictures(NamedTuple):
    image: Picture
    images: list[Picture]


class VaeDecode(Node, kind="vae_decode", version=1, accelerated=True):
    """Turn latents into pictures, one at a time.

    image: the first of the batch; images: all of them. RGB; values outside the range of a pixel are clipped.

    Raises OutOfMemory with what was asked for and what lowers it.
    """

    def run(self, ctx: Context, vae: Vae, latents: Latents) -> Pictures:
        from nodes.sd.autoencoder import decode_latents

        pictures = decode_latents(ctx, vae, latents)
        return Pictures(pictures[0], pictures)
