"""Train the denoiser: noise and a prompt to latents. The text encoder stays as its own lesson left it.

The prompt reaches the UNet twice: word by word through cross-attention at 8x8 and 4x4, and as a whole
through an attention pool that is added to the time embedding, so that it steers every layer.
"""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from training.captions import caption
from training.pictures import scene_of
from training.text import WIDTH, tokens_of

BATCH = 24
_DROPPED = 0.1
"""Share of prompts that are emptied, for guidance. Source: Ho and Salimans 2022 (arXiv:2207.12598)."""


def new_unet() -> UNet2DConditionModel:
    """Make an untrained denoiser for (4, 16, 16) latents, 3.1 million weights."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(48, 64, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def new_scheduler() -> DDIMScheduler:
    """Make Stable Diffusion's noise schedule with v-prediction.

    Source: Salimans and Ho 2022 (arXiv:2202.00512), section 4; Rombach et al. 2022 (arXiv:2112.10752).
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


class Denoising:
    """Lesson: predict the velocity of noised latents from a caption of their scene."""

    def __init__(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, latents: NDArray[np.float32]) -> None:
        self.tokenizer, self.latents = tokenizer, latents
        self.scheduler = new_scheduler()
        self.encoder = encoder.eval()
        self.student = new_unet()

    def loss(self, rng: np.random.Generator, progress: float) -> Tensor:
        numbers = rng.integers(0, len(self.latents), BATCH)
        clean = torch.from_numpy(self.latents[numbers])
        noise = torch.randn_like(clean)
        times = torch.from_numpy(rng.integers(0, 1000, BATCH))
        noised = self.scheduler.add_noise(clean, noise, times)
        wanted = self.scheduler.get_velocity(clean, noise, times)
        with torch.no_grad():
            states = self.encoder(self._tokens(numbers, rng)).last_hidden_state
        made = self.student(noised, times, states).sample
        return nn.functional.mse_loss(made, wanted)

    def _tokens(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        chance = Random(int(rng.integers(2**31)))
        prompts = ["" if chance.random() < _DROPPED else caption(scene_of(int(n)).words, chance)[0] for n in numbers]
        return tokens_of(prompts, self.tokenizer)
