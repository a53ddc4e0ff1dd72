"""Load all of a checkpoint with the pipeline of diffusers.

python benchmarks/load_diffusers.py FILE CONFIGS fp32|bf16|fp16
"""

from __future__ import annotations

import sys
import time

start = time.perf_counter()

import torch  # noqa: E402 - the libraries are loaded within the time
from diffusers import StableDiffusionPipeline  # noqa: E402

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
pipeline = StableDiffusionPipeline.from_single_file(
    sys.argv[1], config=sys.argv[2], torch_dtype=DTYPES[sys.argv[3]], local_files_only=True, safety_checker=None
)
for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
    sum(int(weight.view(-1)[::1024].isnan().sum()) for weight in module.parameters())  # every page of it
print(time.perf_counter() - start)
