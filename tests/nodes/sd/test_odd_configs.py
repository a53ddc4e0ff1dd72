"""Configs with senseless values: refused in words, whatever would have become of them in diffusers or transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPVisionConfig

from graph.errors import MissingError, StepError
from nodes.load_controlnet import LoadControlNet
from nodes.load_model import LoadModel
from nodes.sd.alone_files import ControlNetFile, VaeFile
from nodes.sd.checkpoints import MOST_WEIGHTS
from nodes.sd.configs import odd
from nodes.sd.files import ModelFile
from nodes.sd.residency import weights
from nodes.text_encode import TextEncode
from tests.nodes.sd.lab import Lab
from tests.nodes.sd.single_files import sdxl

ODD: tuple[object, ...] = (None, "x", -1, 10**12, float("nan"), [], [[1]], {"a": 1})
MESSAGE = 1000
"""Characters that a refusal has at most, however long the value is."""


def edit(config: Path, **changes: object) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


def use(folder: Path, ctx: Any) -> None:
    """Check a model, then compute with all of it."""
    parts = LoadModel(path=ModelFile.find(str(folder), folder)).run(ctx)
    lab = Lab(parts, ctx)
    lab.sample(lab.noise, steps=1)


def refused(folder: Path, ctx: Any) -> str:
    with pytest.raises(MissingError) as caught:
        use(folder, ctx)
    assert len(str(caught.value)) < MESSAGE
    return str(caught.value)


@pytest.mark.parametrize("value", ODD, ids=str)
@pytest.mark.parametrize(
    ("component", "key"),
    [
        ("unet", "in_channels"),
        ("unet", "freq_shift"),
        ("unet", "mid_block_scale_factor"),
        ("unet", "downsample_padding"),
        ("unet", "norm_num_groups"),
        ("vae", "block_out_channels"),
        ("vae", "scaling_factor"),
        ("vae", "layers_per_block"),
        ("vae", "down_block_types"),
        ("text_encoder", "layer_norm_eps"),
        ("text_encoder", "eos_token_id"),
        ("text_encoder", "num_attention_heads"),
    ],
)
def test_what_is_no_number_where_one_is_needed_is_named(
    component: str, key: str, value: object, spoiled: Path, ctx: Any, fresh: Any
) -> None:
    edit(spoiled / component / "config.json", **{key: value})

    assert key in refused(spoiled, ctx)


@pytest.mark.parametrize(
    ("component", "key", "value"),
    [("unet", "downsample_padding", 2), ("text_encoder", "output_hidden_states", "x")],
)
def test_what_builds_and_cannot_be_computed_with_is_named(
    component: str, key: str, value: object, spoiled: Path, ctx: Any, fresh: Any
) -> None:
    edit(spoiled / component / "config.json", **{key: value})

    assert key in refused(spoiled, ctx)


def test_sides_are_halved_with_padding_on_one_side_too(spoiled: Path, ctx: Any, fresh: Any) -> None:
    edit(spoiled / "unet" / "config.json", downsample_padding=0)

    use(spoiled, ctx)


@pytest.mark.parametrize(
    ("component", "key", "value"),
    [
        ("unet", "layers_per_block", 900_000),
        ("unet", "transformer_layers_per_block", [[900_000]]),
        ("vae", "layers_per_block", 60_000),
        ("text_encoder", "num_hidden_layers", 900_000),
    ],
)
def test_a_network_that_would_be_built_for_ever_is_refused(
    component: str, key: str, value: object, spoiled: Path, ctx: Any, monkeypatch: pytest.MonkeyPatch, fresh: Any
) -> None:
    monkeypatch.setattr("nodes.sd.checkpoints.MOST_WEIGHTS", MOST_WEIGHTS // 10)
    edit(spoiled / component / "config.json", **{key: value})

    assert f"{component}/config.json" in refused(spoiled, ctx)


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_a_long_list_is_not_told_at_its_length(component: str, spoiled: Path, ctx: Any, fresh: Any) -> None:
    long = ["CrossAttnDownBlock2D"] * 5_000
    edit(spoiled / "unet" / "config.json", down_block_types=long)
    assert "UNet2DConditionModel" in refused(spoiled, ctx)

    edit(spoiled / "model_index.json", **{component: long})
    assert component in refused(spoiled, ctx)


def test_an_index_with_another_kind_of_text_encoder_is_refused(tmp_path: Path) -> None:
    sdxl(tmp_path / "xl")

    odd: tuple[object, ...] = ("x", [], {}, 3, [[1]])
    for value in odd:
        edit(tmp_path / "xl" / "model_index.json", text_encoder=value)
        with pytest.raises(MissingError, match="text_encoder"):
            ModelFile.find(str(tmp_path / "xl"), tmp_path)


@pytest.mark.parametrize("value", ["x", -1e300, [], {}, {"a": 1}], ids=str)
def test_a_tokenizer_without_a_length_is_refused(value: object, spoiled: Path, ctx: Any, fresh: Any) -> None:
    edit(spoiled / "tokenizer" / "tokenizer_config.json", model_max_length=value)

    assert "cannot read the tokenizer" in refused(spoiled, ctx)


@pytest.mark.parametrize("length", [-1, 0, 2])
def test_a_text_encoder_without_room_for_a_word_is_refused(length: int, spoiled: Path, ctx: Any, fresh: Any) -> None:
    edit(spoiled / "tokenizer" / "tokenizer_config.json", model_max_length=length)

    assert f"takes {length} tokens" in refused(spoiled, ctx)


def test_a_tokenizer_without_a_filler_is_refused(spoiled: Path, ctx: Any, fresh: Any) -> None:
    edit(spoiled / "tokenizer" / "tokenizer_config.json", pad_token=None)

    assert "pad_token_id" in refused(spoiled, ctx)


@pytest.mark.parametrize("value", [[[1]], ["x"], [2.0], [0.0], -1, 10**12, float("nan"), "x", {}], ids=str)
@pytest.mark.parametrize("key", ["trained_betas", "beta_start", "beta_end", "solver_order"])
def test_a_schedule_of_senseless_numbers_is_refused(key: str, value: object, spoiled: Path, ctx: Any) -> None:
    edit(spoiled / "scheduler" / "scheduler_config.json", **{key: value})

    assert key in refused(spoiled, ctx)


@pytest.mark.parametrize("key", ["beta_schedule", "_class_name"])
def test_a_long_word_in_a_schedule_is_not_told_at_its_length(key: str, spoiled: Path, ctx: Any) -> None:
    edit(spoiled / "scheduler" / "scheduler_config.json", **{key: "x" * 5_000})

    assert "scheduler/scheduler_config.json" in refused(spoiled, ctx)


@pytest.mark.parametrize("key", ["block_out_channels", "scaling_factor"])
@pytest.mark.parametrize("value", [*ODD, 10**400], ids=lambda value: str(value)[:9])
def test_a_vae_by_itself_is_refused_when_it_is_found(key: str, value: object, spoiled: Path) -> None:
    edit(spoiled / "vae" / "config.json", **{key: value})

    with pytest.raises(MissingError, match=key):
        VaeFile.find(str(spoiled / "vae"), spoiled)


@pytest.mark.parametrize("key", ["controlnet_conditioning_channel_order", "cross_attention_dim"])
@pytest.mark.parametrize("value", ODD, ids=str)
def test_a_controlnet_by_itself_is_refused(key: str, value: object, whole: Any, tmp_path: Path, ctx: Any) -> None:
    ControlNetModel.from_unet(whole.unet).save_pretrained(tmp_path / "net")
    edit(tmp_path / "net" / "config.json", **{key: value})

    with pytest.raises(MissingError, match=key), weights.use(_net(tmp_path / "net", ctx), ctx):
        pass


def test_a_controlnet_that_does_not_halve_the_sides_is_refused(whole: Any, tmp_path: Path, ctx: Any) -> None:
    ControlNetModel.from_unet(whole.unet).save_pretrained(tmp_path / "net")
    edit(tmp_path / "net" / "config.json", downsample_padding=2)

    with pytest.raises(MissingError, match='"downsample_padding" is 2'), weights.use(_net(tmp_path / "net", ctx), ctx):
        pass


def _net(folder: Path, ctx: Any) -> Any:
    return LoadControlNet(path=ControlNetFile.find(str(folder), folder)).run(ctx)


def test_prompts_are_read_where_a_config_leaves_open_what_no_encoder_uses(spoiled: Path, ctx: Any, fresh: Any) -> None:
    edit(spoiled / "text_encoder" / "config.json", bos_token_id=None, pad_token_id=None)
    parts = LoadModel(path=ModelFile.find(str(spoiled), spoiled)).run(ctx)

    assert "clip-l" == TextEncode(text="a cat").run(ctx, parts.text_encoder).family


def test_a_list_of_weights_may_name_what_no_file_is_called(spoiled: Path, ctx: Any) -> None:
    (spoiled / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    index = spoiled / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.bias": "a" * 5_000 + ".safetensors"}}))

    assert "are not there" in refused(spoiled, ctx)


def test_a_tokenizer_whose_marks_the_encoder_does_not_know_is_refused(spoiled: Path, ctx: Any, fresh: Any) -> None:
    words = spoiled / "tokenizer" / "vocab.json"
    words.write_text(json.dumps({word: number + 5 for word, number in json.loads(words.read_text()).items()}))

    with pytest.raises(StepError, match="knows more words"):
        use(spoiled, ctx)


def test_a_tokenizer_whose_parts_do_not_go_together_is_refused(spoiled: Path, ctx: Any, fresh: Any) -> None:
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    (spoiled / "tokenizer" / "tokenizer.json").write_text(
        json.dumps({"version": "1.0", "added_tokens": [{"id": 999_999_999, "content": "x"}], "model": model})
    )

    assert "tokenizer" in refused(spoiled, ctx)


PUBLISHED: dict[str, tuple[type, dict[str, Any]]] = {
    "the U-Net of SDXL, and of its inpainting": (
        UNet2DConditionModel,
        {
            "addition_embed_type_num_heads": 64, "addition_time_embed_dim": 256, "attention_head_dim": [5, 10, 20],
            "block_out_channels": [320, 640, 1280], "class_embed_type": None, "conv_in_kernel": 3,
            "cross_attention_dim": 2048, "cross_attention_norm": None, "downsample_padding": 1,
            "encoder_hid_dim": None, "freq_shift": 0, "in_channels": 9, "mid_block_only_cross_attention": None,
            "mid_block_scale_factor": 1, "norm_eps": 1e-05,
            "num_attention_heads": None, "num_class_embeds": None, "power": 0.6666666666666666,
            "projection_class_embeddings_input_dim": 2816, "sample_size": 128, "time_cond_proj_dim": None,
            "time_embedding_dim": None, "transformer_layers_per_block": [1, 2, 10], "upcast_attention": None,
        },
    ),
    "the U-Net of the x4 upscaler": (
        UNet2DConditionModel,
        {
            "attention_head_dim": 8, "block_out_channels": [256, 512, 512, 1024], "cross_attention_dim": 1024,
            "in_channels": 7, "num_class_embeds": 1000, "only_cross_attention": [True, True, True, False],
        },
    ),
    "an autoencoder": (
        AutoencoderKL,
        {"block_out_channels": [128, 256, 512, 512], "latents_mean": None, "latents_std": None, "sample_size": 1024,
         "scaling_factor": 0.13025, "shift_factor": None},
    ),
    "a ControlNet of SDXL": (
        ControlNetModel,
        {"conditioning_embedding_out_channels": [16, 32, 96, 256], "encoder_hid_dim": None, "num_attention_heads": None,
         "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10], "upcast_attention": None},
    ),
    "a text encoder": (
        CLIPTextConfig,
        {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "attention_dropout": 0.0, "initializer_factor": 1.0,
         "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "projection_dim": 1280, "vocab_size": 49408},
    ),
    "the safety checker": (
        CLIPVisionConfig,
        {"attention_dropout": 0.0, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "patch_size": 14,
         "sep_token_id": None, "decoder_start_token_id": None, "image_size": 224, "layer_norm_eps": 1e-05},
    ),
}  # fmt: skip
"""What stands in the configs of models that people use, where it is not what the class has by itself."""


@pytest.mark.parametrize("model", PUBLISHED)
def test_configs_of_published_models_are_in_order(model: str) -> None:
    built, config = PUBLISHED[model]

    assert [] == list(odd(built, config))
