"""Stable Diffusion 1: one CLIP text encoder (ViT-L), a U-Net on four channels.

Source: Rombach et al. 2022 (arXiv:2112.10752), and the model cards of CompVis' stable-diffusion-v1.
"""

from __future__ import annotations

from nodes.sd.latent_diffusion import LatentDiffusion
from nodes.sd.models import Model


class StableDiffusion1(LatentDiffusion):
    """The family "sd1"."""

    name = "sd1"
    conditioning = "clip-l"
    pipelines = frozenset({"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"})

    def recognises(self, model: Model) -> bool:
        """Its attention is entered by convolutions, that of Stable Diffusion 2 by linear layers."""
        return not model.config("unet").get("use_linear_projection", False)

    def cannot(self, model: Model) -> str:
        """A U-Net that takes more channels than the latents have is one for another task."""
        if not super().recognises(model):
            return f"takes {model.config('unet').get('in_channels')} channels (inpainting, depth or an upscaler)"
        return super().cannot(model)


FAMILY = StableDiffusion1()
