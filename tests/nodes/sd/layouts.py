"""Small models with random weights in the layouts of Stable Diffusion's variants, saved as diffusers saves them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tests.nodes.sd.conftest import scheduler, unet, vae, write_json, write_tokenizer

LINEAR = {"use_linear_projection": True, "attention_head_dim": [4, 8]}
"""What the U-Nets of Stable Diffusion 2 have: linear layers around the attention, heads by their number a block."""


@dataclass(frozen=True)
class Layout:
    """How one variant differs."""

    pipeline: str
    unet: dict[str, Any] = field(default_factory=dict)
    vae: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    gelu: bool = False
    """Whether its text encoder is an OpenCLIP, as of Stable Diffusion 2."""
    more: dict[str, Any] = field(default_factory=dict)


VELOCITY = {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
THREE = {
    "block_out_channels": (8, 8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "scaling_factor": 0.08333,
}
LAYOUTS = {
    "sd1": Layout("StableDiffusionPipeline"),
    "sd1-inpainting": Layout("StableDiffusionInpaintPipeline", {"in_channels": 9}),
    "sd2": Layout("StableDiffusionPipeline", LINEAR, gelu=True),
    "sd2-768-v": Layout("StableDiffusionPipeline", LINEAR, scheduler=VELOCITY, gelu=True),
    "sd2-inpainting": Layout("StableDiffusionInpaintPipeline", LINEAR | {"in_channels": 9}, gelu=True),
    "sd2-depth": Layout("StableDiffusionDepth2ImgPipeline", LINEAR | {"in_channels": 5}, gelu=True),
    "x4": Layout(
        "StableDiffusionUpscalePipeline",
        LINEAR | {"in_channels": 7, "num_class_embeds": 1000, "only_cross_attention": [True, False]},
        THREE,
        VELOCITY,
        gelu=True,
        more={"max_noise_level": 350},
    ),
}


@dataclass(frozen=True)
class Built:
    """The modules in memory, and the folder they were saved to."""

    folder: Path
    parts: dict[str, Any]
    config: Any
    """Of the model's own scheduler."""


def build(name: str, folder: Path) -> Built:
    """Make one, with a depth estimator in its index but none on the disk, and whatever else the real one names."""
    layout = LAYOUTS[name]
    torch.manual_seed(sum(name.encode()))
    words = write_tokenizer(folder / "tokenizer")
    parts = {
        "unet": _changed(unet, layout.unet, UNet2DConditionModel),
        "vae": _changed(vae, layout.vae, AutoencoderKL),
        "text_encoder": _encoder(words, layout.gelu),
    }
    for component, part in parts.items():
        part.save_pretrained(folder / component)
    # As published: not every pipeline repairs a config that clips.
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler() | {"clip_sample": False} | layout.scheduler)
    own = getattr(diffusers, layout.scheduler.get("_class_name", "PNDMScheduler"))
    parts["tokenizer"] = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    if name == "x4":
        parts["low_res_scheduler"] = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.0001, beta_end=0.02)
        parts["low_res_scheduler"].save_pretrained(folder / "low_res_scheduler")
    write_json(folder / "model_index.json", _index(layout))
    return Built(folder, parts, own.from_pretrained(str(folder / "scheduler"), local_files_only=True).config)


def _changed(make: Any, changes: dict[str, Any], kind: Any) -> Any:
    plain = {key: value for key, value in make().config.items() if not key.startswith("_")}
    return kind.from_config(plain | changes).eval().requires_grad_(False)


def _encoder(words: int, gelu: bool) -> Any:
    """Of OpenCLIP: 23 of 24 layers; here 2, which the folder has as its own."""
    config = CLIPTextConfig(
        vocab_size=words, hidden_size=32, intermediate_size=64, num_hidden_layers=2 if gelu else 3,
        num_attention_heads=4, max_position_embeddings=77, projection_dim=32,
        hidden_act="gelu" if gelu else "quick_gelu",
        bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=1 if gelu else words - 1,
    )  # fmt: skip
    return CLIPTextModel(config).eval().requires_grad_(False)


def _index(layout: Layout) -> dict[str, Any]:
    index = {
        "_class_name": layout.pipeline, "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", layout.scheduler.get("_class_name", "PNDMScheduler")],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    if "Depth" in layout.pipeline:
        index |= {"depth_estimator": ["transformers", "DPTForDepthEstimation"]}
        index |= {"feature_extractor": ["transformers", "DPTFeatureExtractor"]}
    return index | layout.more
