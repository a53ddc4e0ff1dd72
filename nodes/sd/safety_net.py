"""The safety checker of Stable Diffusion 1: how near a picture is to concepts that are known by their embeddings alone.

Source: diffusers, StableDiffusionSafetyChecker, whose layout this is; Rando et al. 2022 (arXiv:2210.04610) read it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPVisionConfig, CLIPVisionModel

from graph.values import Picture
from nodes.sd.checkpoints import built, filled
from nodes.sd.folders import ModelFolder, weights_in
from nodes.sd.safety import vision

CONCEPTS, CARES = 17, 3
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures."""


class SafetyNet(nn.Module):
    """CLIP's eyes, and the embeddings of what they are to look for."""

    config_class = CLIPVisionConfig
    """What it takes, said as the networks of transformers say it."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.side: int = config.image_size
        self.vision_model = CLIPVisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        for name, count in (("concept_embeds", CONCEPTS), ("special_care_embeds", CARES)):
            self.register_parameter(name, nn.Parameter(torch.ones(count, config.projection_dim)))
            self.register_parameter(f"{name}_weights", nn.Parameter(torch.ones(count)))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, side, side) -> how far the cosines are over their limits: F32 (17,) of concepts, (3,) of cares."""
        seen = normalize(self.visual_projection(self.vision_model(pixels)[1]))
        over = (
            torch.mm(seen, normalize(embeds).t()).float()[0] - limits.float()
            for embeds, limits in (
                (self.concept_embeds, self.concept_embeds_weights),
                (self.special_care_embeds, self.special_care_embeds_weights),
            )
        )
        concepts, cares = over
        return concepts, cares


def load_safety(path: Path, dtype: torch.dtype) -> nn.Module:
    """Build a checker on the CPU, in eval mode, with its weights as `dtype`. Raises MissingError."""
    module = built("safety checker", SafetyNet, vision(path), partial(ModelFolder(path).wrong, "config.json"))
    return filled(module, weights_in(path), path.name, dtype)


def prepared(picture: Picture, side: int) -> Tensor:
    """Make of a picture what CLIP looks at: (1, 3, side, side), the middle of it, the shorter side whole."""
    pixels = picture.pixels.convert("RGB")
    short = min(pixels.size)
    size = (int(side * pixels.width / short), int(side * pixels.height / short))
    left, top = ((length - side) // 2 for length in size)
    middle = pixels.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
    scaled = (np.asarray(middle, np.float32) / 255 - np.array(_MEAN, np.float32)) / np.array(_DEVIATION, np.float32)
    return torch.from_numpy(scaled.transpose(2, 0, 1).copy())[None]
