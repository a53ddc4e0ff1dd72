"""vae_encode: a picture into latents."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import Latents, Picture, Vae


class VaeEncode(
    Node, kind="vae_encode", version=1, accelerated=True, saves=("tiles",),
    elsewhere={"VAEEncode": "vae_encode", "VAEEncodeTiled": "vae_encode", "pixels": "image", "tile_size": "tile"},
):  # fmt: skip
    """Encode a picture into a model's latent space.

    The VAE gives a distribution; one sample of it is drawn with `seed`, and a sampler draws on from there.
    A grey picture becomes RGB; of one with alpha the colours are taken and the alpha is dropped.

    tile: pictures that do not fit are encoded in parts, as vae_decode decodes them.

    Raises StepError for a picture whose sides are no multiples of the VAE's factor (8 for Stable Diffusion).
    """

    seed: int = Field(default=0, ge=0, lt=2**64, description="which sample, and which noise a sampler adds")
    tile: int | None = Field(
        default=None, ge=128, le=16384, multiple_of=64,
        description="pixels on a side that are encoded at a time; 768 for pictures over 1536 x 1024 unless set",
    )  # fmt: skip

    def run(self, ctx: Context, vae: Vae, image: Picture) -> Latents:
        from nodes.sd.autoencoder import encode_picture

        return encode_picture(ctx, vae, image, self.seed, self.tile)
