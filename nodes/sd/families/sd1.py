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
    pipelines = frozenset(
        {"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"}
    )
    linear_projection = False
    """Whether its attention is entered by linear layers, not by convolutions."""

    def recognises(self, model: Model) -> bool:
        """By its channels, and by its attention."""
        linear = bool(model.config("unet").get("use_linear_projection", False))
        return super().recognises(model) and linear == self.linear_projection


FAMILY = StableDiffusion1()
