"""What workflows/img2img_upscale.yaml does, as one writes it with diffusers alone: every run does all of it.

python benchmarks/plain_diffusers.py nodes/sd/tiny workflows/pictures/sketch.png print.png
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline
from imwatermark import WatermarkEncoder
from PIL import Image, ImageOps

PROMPT = "a painting of a sunset over the sea with a boat on the left and the sun on the right"

words = argparse.ArgumentParser()
words.add_argument("model")
words.add_argument("sketch")
words.add_argument("print")
words.add_argument("--prompt", default=PROMPT)
words.add_argument("--negative", default="")
words.add_argument("--strength", type=float, default=0.55)
words.add_argument("--size", type=int, default=128)
words.add_argument("--steps", type=int, default=25)
words.add_argument("--cfg", type=float, default=4.0)
words.add_argument("--seed", type=int, default=8)
words.add_argument("--mark", default="darkroom")
wish = words.parse_args()

pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
    wish.model, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
)
pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
pipeline.set_progress_bar_config(disable=True)

sketch = Image.open(wish.sketch).convert("RGB")
sketch = ImageOps.fit(sketch, (wish.size, wish.size), Image.Resampling.LANCZOS)
picture = pipeline(
    prompt=wish.prompt,
    negative_prompt=wish.negative,
    image=sketch,
    strength=wish.strength,
    num_inference_steps=wish.steps,
    guidance_scale=wish.cfg,
    generator=torch.Generator().manual_seed(wish.seed),
).images[0]

large = picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.LANCZOS)

encoder = WatermarkEncoder()
encoder.set_watermark("bytes", wish.mark.encode())
signed = encoder.encode(cv2.cvtColor(np.array(large), cv2.COLOR_RGB2BGR), "dwtDctSvd")
Image.fromarray(cv2.cvtColor(signed, cv2.COLOR_BGR2RGB)).save(wish.print)
