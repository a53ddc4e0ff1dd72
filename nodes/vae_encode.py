"""vae_encode: a picture into latents."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import Latents, Picture, Vae


class VaeEncode(Node, kind="vae_encode", version=1, accelerated=True):
    """Encode a picture into a model's latent space.

    The VAE gives a distribution; one sample of it is drawn with `seed`, and a sampler draws on from there.
    A grey picture becomes RGB; of one with alpha the colours are taken and the alpha is dropped.

    Raises StepError for a picture whose sides are no multiples of the VAE's factor (8 for Stable Diffusion).
    """

    seed: int = Field(default=0, ge=0, lt=2**64, description="which sample, and which noise a sampler adds")

    def run(self, ctx: Context, vae: Vae, image: Picture) -> Latents:
        from nodes.sd.autoencoder import encode_picture

        return encode_picture(ctx, vae, image, self.seed)
