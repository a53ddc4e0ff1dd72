"""A model ready to be sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from graph.values import Latents, Picture
from nodes.load_model import Parts
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.settings import Settings
from nodes.text_encode import TextEncode
from nodes.vae_encode import VaeEncode


class Lab:
    """A model with its two prompts, noise and a clean picture, ready to be sampled."""

    def __init__(self, parts: Parts, ctx: Any) -> None:
        self.ctx, self.parts = ctx, parts
        self.prompt, self.negative = (TextEncode(text=text).run(ctx, parts.text_encoder) for text in ("a cat", "dog"))
        self.noise = Noise(seed=2, width=64, height=64).run(ctx, parts.model)
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        self.clean = VaeEncode(seed=2).run(ctx, parts.vae, Picture(Image.fromarray(pixels)))

    def sample(self, latents: Latents, noise: Latents | None = None, **settings: Any) -> Latents:
        sampler = Sampler(**({"steps": 2} | settings))
        return sampler.run(self.ctx, self.parts.model, self.prompt, self.negative, latents, noise)


def settings(**given: Any) -> Settings:
    """What the sampler node makes of its parameters."""
    return Settings(**Sampler(**given).model_dump())
