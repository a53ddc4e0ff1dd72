"""Stable Diffusion XL: two CLIP text encoders side by side, and a U-Net that is told a picture's size.

Source: Podell et al. 2023 (arXiv:2307.01952).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from graph.errors import StepError
from nodes.sd.families import Part, Prompt, Task
from nodes.sd.latent_diffusion import LatentDiffusion
from nodes.sd.models import Model

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from nodes.sd.tokens import Tokens


class StableDiffusionXL(LatentDiffusion):
    """The family "sdxl"."""

    name = "sdxl"
    conditioning = "sdxl"
    latents = "sdxl"
    pipelines = frozenset({"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"})
    encoders: tuple[str, ...] = ("text_encoder", "text_encoder_2")
    components: Mapping[str, Part] = MappingProxyType(
        {**LatentDiffusion.components, "text_encoder_2": Part("transformers", "CLIPTextModelWithProjection")}
    )
    fed = MappingProxyType({"addition_embed_type": "text_time"})
    trained = 128

    def recognises(self, model: Model) -> bool:
        """The refiner has one text encoder, the second."""
        return model.index.get("text_encoder") not in (None, [None, None])

    def states(self, encoder: Module, tokens: Tokens, clip_skip: int) -> tuple[Tensor, Tensor]:
        """One layer before the last, as it is; pooled is the encoder's projection."""
        from nodes.sd import encoding

        return encoding.penultimate(encoder, tokens, clip_skip)

    def added(self, model: Model, denoiser: Module, task: Task) -> Mapping[str, Tensor]:
        """What is said of the picture, and the pooled prompt. Raises StepError for prompts without one.

        Source: the paper, section 2.2, with the order of diffusers: original size, corner of the crop, target size.
        """
        import torch

        prompts = [task.positive] if task.cfg <= 1 else [task.negative, task.positive]
        pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
        if len(pooled) < len(prompts):
            raise StepError("the prompts have no pooled embedding", hint="Encode them with this model's text encoder.")
        told = [self.told(task, prompt, prompt is task.positive) for prompt in prompts]
        times = torch.tensor(told, dtype=pooled[0].dtype, device=pooled[0].device)
        return {"text_embeds": torch.cat(pooled), "time_ids": times}

    def told(self, task: Task, prompt: Prompt, is_positive: bool) -> list[float]:
        """What the U-Net is told of the picture, in pixels."""
        said, here = prompt.micro, {"width": task.width, "height": task.height}
        return [
            said.get("original_height", here["height"]), said.get("original_width", here["width"]),
            said.get("crop_top", 0), said.get("crop_left", 0),
            said.get("target_height", here["height"]), said.get("target_width", here["width"]),
        ]  # fmt: skip


FAMILY = StableDiffusionXL()
