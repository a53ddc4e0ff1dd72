"""What workflows/txt2img.yaml does, as one writes it with diffusers alone.

python benchmarks/plain_txt2img.py nodes/sd/tiny picture.png
"""

from __future__ import annotations

import argparse

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

words = argparse.ArgumentParser()
words.add_argument("model")
words.add_argument("picture")
words.add_argument("--prompt", default="a painting of a sunset over the sea with a boat")
words.add_argument("--negative", default="")
words.add_argument("--steps", type=int, default=25)
words.add_argument("--cfg", type=float, default=4.0)
words.add_argument("--seed", type=int, default=1)
wish = words.parse_args()

pipeline = StableDiffusionPipeline.from_pretrained(
    wish.model, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
)
pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
pipeline.set_progress_bar_config(disable=True)
picture = pipeline(
    prompt=wish.prompt,
    negative_prompt=wish.negative,
    num_inference_steps=wish.steps,
    guidance_scale=wish.cfg,
    generator=torch.Generator().manual_seed(wish.seed),
).images[0]
picture.save(wish.picture)
