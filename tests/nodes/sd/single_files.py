"""Tiny checkpoints of the real layouts: pipelines of random weights, and their weights by the names of CompVis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from nodes.sd.unet_names import compvis_names
from tests.nodes.sd.conftest import write_tokenizer

SCHEDULE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
    "set_alpha_to_one": False, "skip_prk_steps": True, "clip_sample": False,
}  # fmt: skip
POOLED, HEAD = 32, 64


def sd1(folder: Path, channels: int = 4) -> Any:
    """Stable Diffusion 1, saved as diffusers does: eight heads, attention entered by convolutions."""
    words = tokenizer(folder / "tokenizer")
    unet = network((32, 64), 64, in_channels=channels, attention_head_dim=8, sample_size=64, layers_per_block=2)
    parts = {"unet": unet, "text_encoder": CLIPTextModel(clip(words, 64, "quick_gelu", 3)).eval()}
    return saved(StableDiffusionPipeline, folder, PNDMScheduler.from_config(SCHEDULE), words, parts)


def sd2(folder: Path, layers: int = 3) -> Any:
    """Stable Diffusion 2 at 768 pixels: heads of 64, linear layers, OpenCLIP, which pads with "!"."""
    words = tokenizer(folder / "tokenizer", "!")
    unet = network((64, 128), 128, attention_head_dim=(1, 2), use_linear_projection=True, sample_size=96)
    parts = {"unet": unet, "text_encoder": CLIPTextModel(clip(words, 128, "gelu", layers)).eval()}
    schedule = DDIMScheduler.from_config(SCHEDULE, prediction_type="v_prediction")
    return saved(StableDiffusionPipeline, folder, schedule, words, parts)


def sdxl(folder: Path) -> Any:
    first, second = tokenizer(folder / "tokenizer"), tokenizer(folder / "tokenizer_2", "!")
    unet = large(cross_attention_dim=64 + 128, added=POOLED + 6 * 256)
    parts = {
        "unet": unet,
        "text_encoder": CLIPTextModel(clip(first, 64, "quick_gelu", 3)).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(clip(second, 128, "gelu", 4)).eval(),
        "tokenizer_2": second,
        "add_watermarker": False,
    }
    return saved(StableDiffusionXLPipeline, folder, euler(), first, parts)


def refiner(folder: Path) -> Any:
    second = tokenizer(folder / "tokenizer_2", "!")
    parts = {
        "unet": large(cross_attention_dim=128, added=POOLED + 5 * 256),
        "text_encoder": None,
        "text_encoder_2": CLIPTextModelWithProjection(clip(second, 128, "gelu", 4)).eval(),
        "tokenizer_2": second,
        "requires_aesthetics_score": True,
        "add_watermarker": False,
    }
    return saved(StableDiffusionXLImg2ImgPipeline, folder, euler(), None, parts)


def euler() -> Any:
    return EulerDiscreteScheduler.from_config(SCHEDULE, timestep_spacing="leading")


def large(cross_attention_dim: int, added: int) -> Any:
    return network(
        (64, 128), cross_attention_dim, attention_head_dim=(1, 2), use_linear_projection=True, sample_size=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2), addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=added,
    )  # fmt: skip


def network(widths: tuple[int, ...], cross_attention_dim: int, **options: Any) -> Any:
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
    }
    return UNet2DConditionModel(
        block_out_channels=widths, cross_attention_dim=cross_attention_dim, **{**blocks, **options}
    ).eval()


def autoencoder(scale: float, side: int) -> Any:
    return AutoencoderKL(
        block_out_channels=(32, 32, 64, 64), down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 4, sample_size=side, scaling_factor=scale,
    ).eval()  # fmt: skip


def clip(tokenizer: Any, width: int, act: str, layers: int) -> Any:
    words = len(tokenizer)
    return CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=48, num_hidden_layers=layers,
        num_attention_heads=width // HEAD, max_position_embeddings=77, projection_dim=POOLED, hidden_act=act,
        bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip


def tokenizer(folder: Path, pad: str = "<|endoftext|>") -> Any:
    write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True, pad_token=pad)


def saved(kind: Any, folder: Path, scheduler: Any, tokenizer: Any, parts: dict[str, Any]) -> Any:
    if kind is StableDiffusionPipeline:
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    vae = autoencoder(0.18215 if kind is StableDiffusionPipeline else 0.13025, 8 * parts["unet"].config.sample_size)
    pipe = kind(scheduler=scheduler, tokenizer=tokenizer, vae=vae, **parts)
    pipe.save_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# By the names of CompVis and OpenCLIP


def checkpoint(pipe: Any) -> dict[str, torch.Tensor]:
    """The weights of a pipeline, as the scripts would have saved them."""
    found = {f"model.diffusion_model.{name}": weight for name, weight in unet_weights(pipe.unet).items()}
    found |= {f"first_stage_model.{name}": weight for name, weight in vae_weights(pipe.vae).items()}
    encoders = [part for part in (pipe.text_encoder, getattr(pipe, "text_encoder_2", None)) if part is not None]
    for at, encoder in enumerate(encoders):
        is_large = getattr(pipe, "text_encoder_2", None) is not None
        place = f"conditioner.embedders.{at}." if is_large else "cond_stage_model."
        if encoder.config.hidden_act == "quick_gelu":
            found |= {f"{place}transformer.text_model.{plain(name)}": weight for name, weight in states(encoder)}
        else:
            found |= {f"{place}model.{name}": weight for name, weight in open_clip_weights(encoder).items()}
    return {name: weight.clone().contiguous() for name, weight in found.items()}


def unet_weights(unet: Any) -> dict[str, torch.Tensor]:
    modules = compvis_names({name for name, _ in split(unet)})
    return {f"{modules[name]}.{kind}": weight for (name, kind), weight in split(unet).items()}


def split(module: Any) -> dict[tuple[str, str], torch.Tensor]:
    return {(name.rpartition(".")[0], name.rpartition(".")[2]): weight for name, weight in states(module)}


def states(module: Any) -> list[tuple[str, torch.Tensor]]:
    return list(module.state_dict().items())


def plain(name: str) -> str:
    return name.removeprefix("text_model.")


def vae_weights(vae: Any) -> dict[str, torch.Tensor]:
    top = len(vae.config.block_out_channels) - 1
    found = {}
    for name, weight in states(vae):
        new = re.sub(r"encoder\.down_blocks\.(\d)\.resnets", r"encoder.down.\1.block", name)
        new = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d)\.resnets", lambda at: f"up.{top - int(at[1])}.block", new)
        new = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda at: f"up.{top - int(at[1])}.upsample", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda at: f"mid.block_{int(at[1]) + 1}", new)
        new = new.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        if "mid_block.attentions.0" in new:
            new = new.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            new = new.replace("to_out.0", "proj_out").replace(".to_", ".")
            weight = weight[:, :, None, None] if weight.ndim == 2 else weight
        found[new] = weight
    return found


def open_clip_weights(encoder: Any) -> dict[str, torch.Tensor]:
    own = {plain(name): weight for name, weight in states(encoder)}
    found = {
        "token_embedding.weight": own["embeddings.token_embedding.weight"],
        "positional_embedding": own["embeddings.position_embedding.weight"],
        "ln_final.weight": own["final_layer_norm.weight"],
        "ln_final.bias": own["final_layer_norm.bias"],
        "logit_scale": torch.tensor(4.6),
        "text_projection": own.get("text_projection.weight", torch.ones([encoder.config.hidden_size] * 2)).T,
    }
    renamed = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
               "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
    for layer in range(encoder.config.num_hidden_layers):
        for kind in ("weight", "bias"):
            here, there = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
            found |= {f"{there}.{new}.{kind}": own[f"{here}.{old}.{kind}"] for old, new in renamed.items()}
            three = [own[f"{here}.self_attn.{which}_proj.{kind}"] for which in "qkv"]
            found[f"{there}.attn.in_proj_{kind}"] = torch.cat(three)
    return found
