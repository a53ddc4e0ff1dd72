"""inpaint: the latents of a picture of which a part is to be painted anew."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import Latents, Mask, Picture, Vae


class Inpaint(
    Node, kind="inpaint", version=1, accelerated=True, saves=("tiles",),
    elsewhere={"VAEEncodeForInpaint": "inpaint", "SetLatentNoiseMask": "inpaint", "pixels": "image"},
):  # fmt: skip
    """Encode a picture with a mask, for a sampler that paints what is white in the mask and keeps what is black.

    Any model paints from them: one trained for inpainting sees the mask and what is around it; every other is held
    to the picture outside the mask after each step. The sampler's strength says how much may change of what was
    there; 1 starts from noise alone.
    mask: grey counts as black below 128 and as white from there; for soft edges, paste the painted picture back with
    a feathered mask. What is thinner than one of the latents (8 pixels) can be lost: let mask_edit grow it.
    tile: as of vae_encode.

    Raises StepError for a mask of another size than the picture's, and for a picture whose sides are no multiples of
    the VAE's factor.
    """

    seed: int = Field(default=0, ge=0, lt=2**64, description="which noise the sampler draws")

    tile: int | None = Field(
        default=None, ge=128, le=16384, multiple_of=64,
        description="pixels on a side that are encoded at a time; 768 for pictures over 1536 x 1024 unless set",
    )  # fmt: skip

    def run(self, ctx: Context, vae: Vae, image: Picture, mask: Mask) -> Latents:
        from nodes.sd.inpainting import inpainting

        return inpainting(ctx, vae, image, mask, self.seed, self.tile)
