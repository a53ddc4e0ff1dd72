"""upscale_noise: where a picture starts that a diffusion upscaler paints."""

from __future__ import annotations

from graph.node import Context, Field, Node
from graph.values import Denoiser, Latents, Picture


class UpscaleNoise(Node, kind="upscale_noise", version=1, gives={"latents": "noise"}):
    """Draw noise for a diffusion upscaler, and put the picture beside it that is to be enlarged 4 times.

    Sample it with the upscaler, a prompt of what is seen (or none), cfg 9 and 75 steps, and decode it with its VAE.
    noise_level: how much noise is put on the small picture; more of it lets the model invent more.

    Raises StepError for a model that is no upscaler, and for sides that are no multiples of 4, with the nearest.
    Source: diffusers, StableDiffusionUpscalePipeline.
    """

    seed: int = Field(default=0, ge=0, lt=2**64, description="which noise")
    noise_level: int = Field(default=20, ge=0, le=350, description="noise on the small picture")

    def run(self, ctx: Context, model: Denoiser, image: Picture) -> Latents:
        from nodes.sd.upscale_noise import upscale_noise

        return upscale_noise(ctx, model, image, self.seed, self.noise_level)
