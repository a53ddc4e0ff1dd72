"""Stable Diffusion XL and its refiner: through the nodes, the bits of diffusers' pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from graph.codec import decode, encode
from graph.errors import StepError
from graph.node import Context
from graph.values import Conditioning, Picture
from nodes.load_model import LoadModel, Parts
from nodes.micro_condition import MicroCondition
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.files import ModelFile
from nodes.sd.tensors import thaw
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode
from nodes.vae_encode import VaeEncode
from tests.nodes.sd.conftest import write_tokenizer
from tests.nodes.sd.parity import compare

PROMPT, NEGATIVE, STEPS = "a cat and a dog", "blurry", 4
METHODS = ["euler", "euler_a", "ddim", "dpmpp_2m", "heun", "unipc", "dpmpp_2m_sde_karras"]
KINDS = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "dpmpp_2m_sde_karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionXLPipeline:
    """A pipeline of random weights, saved where its `folder` says."""
    folder = tmp_path_factory.mktemp("xl") / "base"
    torch.manual_seed(5)
    first, second = tokenizers(folder)
    pipe = StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(text_config(first, 24)).eval(),
        text_encoder_2=CLIPTextModelWithProjection(text_config(second, 40)).eval(),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet(cross_attention_dim=64, added=32 + 6 * 8),
        scheduler=scheduler(),
        add_watermarker=False,
    )
    return saved(pipe, folder)


@pytest.fixture(scope="session")
def refiner(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionXLImg2ImgPipeline:
    folder = tmp_path_factory.mktemp("xl") / "refiner"
    torch.manual_seed(6)
    _, second = tokenizers(folder)
    pipe = StableDiffusionXLImg2ImgPipeline(
        vae=vae(),
        text_encoder=None,
        text_encoder_2=CLIPTextModelWithProjection(text_config(second, 40)).eval(),
        tokenizer=None,
        tokenizer_2=second,
        unet=unet(cross_attention_dim=40, added=32 + 5 * 8),
        scheduler=scheduler(),
        requires_aesthetics_score=True,
        add_watermarker=False,
    )
    return saved(pipe, folder)


def tokenizers(folder: Path) -> tuple[Any, Any]:
    """Like the first encoder's, and one that pads with "!", as the second's does."""
    for name in ("tokenizer", "tokenizer_2"):
        write_tokenizer(folder / name)
    first, second = (CLIPTokenizer.from_pretrained(str(folder / name)) for name in ("tokenizer", "tokenizer_2"))
    second.pad_token = "!"
    return first, second


def text_config(tokenizer: Any, width: int) -> Any:
    words = len(tokenizer)
    return CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=77, projection_dim=32, hidden_act="gelu",
        bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=1,
    )  # fmt: skip


def unet(cross_attention_dim: int, added: int) -> Any:
    return UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, transformer_layers_per_block=(1, 2),
        cross_attention_dim=cross_attention_dim, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=added,
    ).eval()  # fmt: skip


def vae() -> Any:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=4, sample_size=64, scaling_factor=0.13025,
    ).eval()  # fmt: skip


def scheduler() -> Any:
    """With the keys for other schedulers that the published model has."""
    return EulerDiscreteScheduler.from_config(
        {
            "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
            "timestep_spacing": "leading", "clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True,
        }
    )  # fmt: skip


def saved(pipe: Any, folder: Path) -> Any:
    pipe.save_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.folder = folder
    return pipe


def loaded(pipe: Any, ctx: Context) -> Parts:
    return LoadModel(path=ModelFile.find(str(pipe.folder), pipe.folder)).run(ctx)


def encoded(parts: Parts, ctx: Context, **more: Any) -> tuple[Conditioning, Conditioning]:
    positive, negative = (TextEncode(text=text, **more).run(ctx, parts.text_encoder) for text in (PROMPT, NEGATIVE))
    return positive, negative


def expected(pipe: Any, method: str, **call: Any) -> tuple[torch.Tensor, Image.Image]:
    name, options = KINDS[method]
    pipe.scheduler = getattr(diffusers, name).from_config(scheduler().config, **options)
    seen: list[torch.Tensor] = []

    def keep(_pipe: Any, _step: int, _time: Any, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(values["latents"])
        return values

    call = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": STEPS} | call
    image = pipe(**call, generator=torch.Generator().manual_seed(5), callback_on_step_end=keep).images[0]
    return seen[-1], image


def picture() -> Picture:
    return Picture(Image.linear_gradient("L").resize((96, 64)).convert("RGB"))


@pytest.mark.parametrize("cfg", [5.0, 1.0], ids=["guided", "unguided"])
@pytest.mark.parametrize("method", METHODS)
def test_txt2img_is_the_pipeline_bit_for_bit(method: Any, cfg: float, base: Any, ctx: Context) -> None:
    parts = loaded(base, ctx)

    noise = Noise(seed=5, width=96, height=64).run(ctx, parts.model)
    sampler = Sampler(method=method, steps=STEPS, cfg=cfg)
    latents = sampler.run(ctx, parts.model, *encoded(parts, ctx), noise)

    compare(
        "sdxl",
        "txt2img",
        method,
        expected(base, method, width=96, height=64, guidance_scale=cfg),
        latents,
        VaeDecode().run(ctx, parts.vae, latents).image,
    )


@pytest.mark.parametrize("method", METHODS)
def test_img2img_is_the_pipeline_bit_for_bit(method: Any, base: Any, ctx: Context) -> None:
    parts, pipe = loaded(base, ctx), StableDiffusionXLImg2ImgPipeline(**base.components, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)

    start = VaeEncode(seed=5).run(ctx, parts.vae, picture())
    sampler = Sampler(method=method, steps=STEPS, cfg=5.0, strength=0.6)
    latents = sampler.run(ctx, parts.model, *encoded(parts, ctx), start)

    compare(
        "sdxl",
        "img2img",
        method,
        expected(pipe, method, image=picture().pixels, strength=0.6, guidance_scale=5.0),
        latents,
        VaeDecode().run(ctx, parts.vae, latents).image,
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_refiner_is_its_pipeline_bit_for_bit(method: Any, refiner: Any, ctx: Context) -> None:
    parts = loaded(refiner, ctx)

    start = VaeEncode(seed=5).run(ctx, parts.vae, picture())
    sampler = Sampler(method=method, steps=STEPS, cfg=5.0, strength=0.6)
    latents = sampler.run(ctx, parts.model, *encoded(parts, ctx), start)

    compare(
        "sdxl-refiner",
        "img2img",
        method,
        expected(refiner, method, image=picture().pixels, strength=0.6, guidance_scale=5.0),
        latents,
        VaeDecode().run(ctx, parts.vae, latents).image,
    )


def test_what_a_picture_is_said_to_be_is_the_pipelines(base: Any, ctx: Context) -> None:
    parts = loaded(base, ctx)
    positive, negative = encoded(parts, ctx)

    told = MicroCondition(original_width=512, original_height=384, crop_left=8, crop_top=16, target_width=1024)
    noise = Noise(seed=5, width=96, height=64).run(ctx, parts.model)
    unlike = MicroCondition(original_width=64, original_height=32).run(ctx, negative)
    latents = Sampler(method="euler", steps=STEPS, cfg=5.0).run(
        ctx, parts.model, told.run(ctx, positive), unlike, noise
    )

    whole = expected(
        base, "euler", width=96, height=64, guidance_scale=5.0, original_size=(384, 512),
        crops_coords_top_left=(16, 8), target_size=(64, 1024), negative_original_size=(32, 64),
        negative_target_size=(64, 96),
    )  # fmt: skip
    assert torch.equal(whole[0], thaw(latents.samples))


def test_the_refiner_is_told_how_beautiful_to_be(refiner: Any, ctx: Context) -> None:
    parts = loaded(refiner, ctx)
    positive, negative = encoded(parts, ctx)

    start = VaeEncode(seed=5).run(ctx, parts.vae, picture())
    better = MicroCondition(aesthetic_score=9.0).run(ctx, positive)
    latents = Sampler(method="euler", steps=STEPS, cfg=5.0, strength=0.6).run(ctx, parts.model, better, negative, start)

    whole = expected(refiner, "euler", image=picture().pixels, strength=0.6, guidance_scale=5.0, aesthetic_score=9.0)
    assert torch.equal(whole[0], thaw(latents.samples))


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_clip_skip_is_the_pipelines(clip_skip: int, base: Any, ctx: Context) -> None:
    parts = loaded(base, ctx)

    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    prompts = encoded(parts, ctx, clip_skip=clip_skip)
    latents = Sampler(method="euler", steps=STEPS, cfg=1.0).run(ctx, parts.model, *prompts, noise)

    whole = expected(base, "euler", width=64, height=64, guidance_scale=1.0, clip_skip=clip_skip)
    assert torch.equal(whole[0], thaw(latents.samples))


def test_a_clip_skip_that_leaves_no_layer_is_refused(base: Any, ctx: Context) -> None:
    with pytest.raises(StepError, match="clip_skip 3 leaves none of the text encoder's 4 layers"):
        encoded(loaded(base, ctx), ctx, clip_skip=3)


def test_prompts_of_the_refiner_are_refused_by_the_base(base: Any, refiner: Any, ctx: Context) -> None:
    parts = loaded(base, ctx)
    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)

    with pytest.raises(StepError, match='positive was encoded for "sdxl-refiner", but the model understands "sdxl"'):
        Sampler().run(ctx, parts.model, *encoded(loaded(refiner, ctx), ctx), noise)


def test_every_tokenizer_is_looked_for_and_enters_the_digest(base: Any, ctx: Context, tmp_path: Path) -> None:
    names = [name for name, _ in ModelFile.find(str(base.folder), tmp_path).members()]

    assert {"tokenizer/vocab.json", "tokenizer_2/vocab.json", "text_encoder_2/config.json"} <= set(names)


def test_weights_of_both_encoders_are_let_go_together(base: Any, ctx: Context, fresh: Any) -> None:
    parts = loaded(base, ctx)
    encoded(parts, ctx)

    fresh.release(parts.text_encoder)

    encoded(parts, ctx)
    assert 4 == fresh.loads


def test_a_conditioning_with_what_is_said_of_a_picture_survives_the_cache(base: Any, ctx: Context) -> None:
    told = MicroCondition(crop_left=3).run(ctx, encoded(loaded(base, ctx), ctx)[0])

    assert told == decode(encode(told).data)


@pytest.mark.parametrize("method", ["euler", "euler_a", "ddim"])
def test_base_and_refiner_share_the_steps_as_the_pipelines_do(
    method: Any, base: Any, refiner: Any, ctx: Context
) -> None:
    """`denoising_end` and `denoising_start` 0.5 of 4 steps, spaced evenly in time, are step 2."""
    parts, last = loaded(base, ctx), loaded(refiner, ctx)
    share: dict[str, Any] = {"method": method, "steps": STEPS, "cfg": 5.0}

    noise = Noise(seed=5, width=96, height=64).run(ctx, parts.model)
    left = Sampler(**share, end_step=2).run(ctx, parts.model, *encoded(parts, ctx), noise)
    latents = Sampler(**share, start_step=2).run(ctx, last.model, *encoded(last, ctx), left)

    drawn = torch.Generator().manual_seed(5)
    call = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": STEPS, "guidance_scale": 5.0,
            "output_type": "latent", "generator": drawn}  # fmt: skip
    for pipe in (base, refiner):
        name, options = KINDS[method]
        pipe.scheduler = getattr(diffusers, name).from_config(scheduler().config, **options)
    theirs = base(**call, width=96, height=64, denoising_end=0.5).images
    finished = refiner(**call, image=theirs, denoising_start=0.5).images
    assert torch.equal(theirs, thaw(left.samples))
    assert torch.equal(finished, thaw(latents.samples))
