"""The diffusion upscaler of Stable Diffusion 2: its latents have the size of the small picture, which its U-Net sees.

Source: the model card of Stability's stable-diffusion-x4-upscaler; Rombach et al. 2022 (arXiv:2112.10752), section 4.4.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from nodes.sd.families.sd2 import StableDiffusion2
from nodes.sd.models import Model
from nodes.sd.sights import SeesSmallPicture

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

NOISING = ("low_res_scheduler", "scheduler_config.json")
"""How noise is put on the small picture."""
SCALE = 0.08333
"""What its latents are multiplied by, also where the config of an early copy says another number."""


class Upscaler4(SeesSmallPicture, StableDiffusion2):
    """The family "x4"."""

    name = "x4"
    latents = "x4"
    pipelines = frozenset({"StableDiffusionUpscalePipeline"})
    fed = MappingProxyType({"addition_embed_type": "text", "num_class_embeds": 1000})
    trained = 128

    def cannot(self, model: Model) -> str:
        """Raises MissingError where nothing says how noise is put on the small picture."""
        model.json(*NOISING)
        return super().cannot(model)

    def decode(self, vae: Module, latents: Tensor) -> Tensor:
        picture: Tensor = vae.decode(latents / SCALE, return_dict=False)[0]
        return picture


FAMILY = Upscaler4()
