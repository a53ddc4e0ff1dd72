"""The refiner of Stable Diffusion XL: the second text encoder alone, and a U-Net that is told how beautiful to be.

Source: Podell et al. 2023 (arXiv:2307.01952), section 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nodes.sd.families import Part, Prompt, Task
from nodes.sd.families.sdxl import StableDiffusionXL
from nodes.sd.models import Model

BEAUTIFUL, UGLY = 6.0, 2.5
"""The aesthetic scores of the two prompts, where they do not say them. Source: diffusers' pipeline."""


class Refiner(StableDiffusionXL):
    """The family "sdxl-refiner"."""

    name = "sdxl-refiner"
    network = "sdxl-refiner"
    conditioning = "sdxl-refiner"
    encoders = ("text_encoder_2",)
    components: Mapping[str, Part] = MappingProxyType(
        {name: part for name, part in StableDiffusionXL.components.items() if name != "text_encoder"}
    )

    def recognises(self, model: Model) -> bool:
        return not super().recognises(model)

    def told(self, task: Task, prompt: Prompt, is_positive: bool) -> list[float]:
        """The aesthetic score takes the place of the target size."""
        score = prompt.micro.get("aesthetic_score", BEAUTIFUL if is_positive else UGLY)
        return [*super().told(task, prompt, is_positive)[:4], score]


FAMILY = Refiner()
