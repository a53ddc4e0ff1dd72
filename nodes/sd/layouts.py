"""What the checkpoints of Stable Diffusion do not say of themselves, by kind; and what their shapes do. Light.

A checkpoint holds weights alone. How wide and deep its networks are is told from the weights' shapes; what shapes
cannot tell (the number of heads, the schedule of the noise, the scale of the latents) is the same for all of a kind,
and stands here, as in the configs that were published with the models.
Source: the configs of CompVis' and Stability's repositories, in diffusers' words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nodes.sd.conversion import Entries, Level, levels

Config = dict[str, Any]

SCHEDULE: Mapping[str, Any] = {
    "_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000, "prediction_type": "epsilon", "clip_sample": False, "set_alpha_to_one": False,
    "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None,
}  # fmt: skip
EULER = {**SCHEDULE, "_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}
UPSCALER = {**SCHEDULE, "_class_name": "DDIMScheduler", "beta_start": 0.0001, "beta_end": 0.02}
NOISING = {**UPSCALER, "_class_name": "DDPMScheduler", "clip_sample": True}
CLIP = {
    "vocab_size": 49408, "max_position_embeddings": 77, "layer_norm_eps": 1e-5, "attention_dropout": 0.0,
    "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip
HEAD = 64
"""How wide a head is, in all text encoders, and in the U-Nets since Stable Diffusion 2."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """A text encoder of a checkpoint."""

    component: str
    prefix: str
    act: str
    pad: str
    """What a short prompt is filled up with."""
    is_projected: bool = False
    most_layers: int = 1_000
    """Those behind are in the file, and not used."""

    @property
    def kind(self) -> str:
        return "CLIPTextModelWithProjection" if self.is_projected else "CLIPTextModel"


CLIP_L = Encoder("text_encoder", "cond_stage_model.transformer.", "quick_gelu", "<|endoftext|>")
CLIP_H = Encoder("text_encoder", "cond_stage_model.model.", "gelu", "!", most_layers=23)
CLIP_L_XL = Encoder("text_encoder", "conditioner.embedders.0.transformer.", "quick_gelu", "<|endoftext|>")
CLIP_G = Encoder("text_encoder_2", "conditioner.embedders.1.model.", "gelu", "!", is_projected=True)
CLIP_G_ALONE = Encoder("text_encoder_2", "conditioner.embedders.0.model.", "gelu", "!", is_projected=True)


@dataclass(frozen=True, slots=True)
class Layout:
    """A kind of checkpoint."""

    name: str
    pipeline: str
    encoders: tuple[Encoder, ...]
    channels: int
    """That its U-Net takes."""
    side: int
    """Of the latents that it was trained at."""
    heads: int = 0
    """In every attention of its U-Net; 0 where they are `HEAD` wide."""
    scale: float = 0.18215
    schedules: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"scheduler": SCHEDULE})
    unet: Mapping[str, Any] = field(default_factory=dict)
    says: Mapping[str, Any] = field(default_factory=dict)
    """In model_index.json."""
    prediction: str = "epsilon"
    """What its U-Net predicts, where nothing says otherwise."""
    is_doubtful: bool = False
    """Whether there are models of this kind that predict something else."""


def _xl(name: str, pipeline: str, encoders: tuple[Encoder, ...], channels: int = 4, **says: object) -> Layout:
    fed = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}
    pipeline = f"StableDiffusionXL{pipeline}Pipeline"
    return Layout(
        name, pipeline, encoders, channels, 128, scale=0.13025, schedules={"scheduler": EULER}, unet=fed, says=says
    )


LAYOUTS = (
    Layout("sd1", "StableDiffusionPipeline", (CLIP_L,), 4, 64, heads=8),
    Layout("sd1-inpainting", "StableDiffusionInpaintPipeline", (CLIP_L,), 9, 64, heads=8),
    Layout("sd1-pix2pix", "StableDiffusionInstructPix2PixPipeline", (CLIP_L,), 8, 64, heads=8),
    Layout("sd2", "StableDiffusionPipeline", (CLIP_H,), 4, 96, unet={"upcast_attention": True},
           prediction="v_prediction", is_doubtful=True),
    Layout("sd2-depth", "StableDiffusionDepth2ImgPipeline", (CLIP_H,), 5, 64),
    Layout("sd2-inpainting", "StableDiffusionInpaintPipeline", (CLIP_H,), 9, 64),
    Layout("x4", "StableDiffusionUpscalePipeline", (CLIP_H,), 7, 128, heads=8, scale=0.08333,
           schedules={"scheduler": UPSCALER, "low_res_scheduler": NOISING}, says={"max_noise_level": 350},
           prediction="v_prediction"),
    _xl("sdxl", "", (CLIP_L_XL, CLIP_G), force_zeros_for_empty_prompt=True),
    _xl("sdxl-inpainting", "Inpaint", (CLIP_L_XL, CLIP_G), 9),
    _xl("sdxl-refiner", "Img2Img", (CLIP_G_ALONE,), requires_aesthetics_score=True),
)  # fmt: skip
"""The first that fits counts."""


def unet_config(entries: Entries, layout: Layout) -> Config:
    """Of a U-Net, or a ControlNet, by its names without prefix. Raises ValueError for what is neither."""
    down = levels(entries.keys(), "input_blocks")
    if not down or "input_blocks.0.0.weight" not in entries:
        raise ValueError("it has no blocks of a U-Net")
    widths = [entries[f"{level.resnets[-1]}out_layers.3.weight"].shape[0] for level in down]
    crossed = [bool(level.attentions) for level in down]
    depths = [_depth(entries, level.attentions[:1]) for level in down]
    middle = _depth(entries, ("middle_block.1.",))
    inner = next((prefix for level in down for prefix in level.attentions), "middle_block.1.")
    told: Config = {
        "in_channels": entries["input_blocks.0.0.weight"].shape[1],
        "block_out_channels": widths,
        "layers_per_block": len(down[0].resnets),
        "down_block_types": ["CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in crossed],
        "up_block_types": ["CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(crossed)],
        "transformer_layers_per_block": [depth or 1 for depth in depths[:-1]] + [middle or depths[-1] or 1],
        "cross_attention_dim": entries[f"{inner}transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "use_linear_projection": len(entries[f"{inner}proj_in.weight"].shape) == 2,
        "only_cross_attention": [_is_cross_alone(entries, level) for level in down],
        "attention_head_dim": layout.heads or [max(1, width // HEAD) for width in widths],
        "sample_size": layout.side,
    }
    if "out.2.weight" in entries:
        told["out_channels"] = entries["out.2.weight"].shape[0]
    if "label_emb.weight" in entries:
        told["num_class_embeds"] = entries["label_emb.weight"].shape[0]
    if "label_emb.0.0.weight" in entries:
        told["projection_class_embeddings_input_dim"] = entries["label_emb.0.0.weight"].shape[1]
    return {**layout.unet, **told}


def _depth(entries: Entries, prefixes: tuple[str, ...]) -> int:
    """How many transformer blocks an attention has."""
    blocks = re.compile("|".join(re.escape(f"{prefix}transformer_blocks.") + r"(\d+)" for prefix in prefixes) or "$^")
    return len({found[0] for name in entries if (found := blocks.match(name))})


def _is_cross_alone(entries: Entries, level: Level) -> bool:
    """Whether its pixels attend to the prompt alone, also where they usually attend to each other."""
    if not level.attentions:
        return False
    first, second = (
        entries[f"{level.attentions[0]}transformer_blocks.0.{attention}.to_k.weight"].shape
        for attention in ("attn1", "attn2")
    )
    return first[1] == second[1] != first[0]


def vae_config(entries: Entries, scale: float, side: int = 64) -> Config:
    """Of an autoencoder, by diffusers' names. side: of the latents. Raises ValueError for what is none."""
    widths: list[int] = []
    first = "encoder.down_blocks.0.resnets."
    while (last := f"encoder.down_blocks.{len(widths)}.resnets.0.conv2.weight") in entries:
        widths.append(entries[last].shape[0])
    if not widths:
        raise ValueError("it has no levels of an autoencoder")
    return {
        "in_channels": entries["encoder.conv_in.weight"].shape[1],
        "out_channels": entries["decoder.conv_out.weight"].shape[0],
        "latent_channels": entries["decoder.conv_in.weight"].shape[1],
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": len({name.split(".")[4] for name in entries if name.startswith(first)}),
        "sample_size": side * 2 ** (len(widths) - 1),
        "scaling_factor": scale,
        "use_quant_conv": "quant_conv.weight" in entries,
        "use_post_quant_conv": "post_quant_conv.weight" in entries,
    }


def text_config(entries: Entries, encoder: Encoder) -> Config:
    """Of a text encoder, by the names of transformers, as `conversion` gives them."""
    words = entries["text_model.embeddings.token_embedding.weight"].shape
    wide = entries["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
    layers = {name.split(".")[3] for name in entries if name.startswith("text_model.encoder.layers.")}
    projection = entries.get("text_projection.weight")
    return {
        **CLIP,
        "vocab_size": words[0],
        "hidden_size": words[1],
        "intermediate_size": wide,
        "max_position_embeddings": entries["text_model.embeddings.position_embedding.weight"].shape[0],
        "num_hidden_layers": min(len(layers), encoder.most_layers),
        "num_attention_heads": max(1, words[1] // HEAD),
        "hidden_act": encoder.act,
        "projection_dim": projection.shape[0] if projection else words[1],
    }
