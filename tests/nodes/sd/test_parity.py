"""The nodes, one after another, give what diffusers' pipelines give: the same bits, in one process."""

from __future__ import annotations

import json
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image

from graph.codec import decode, encode
from graph.node import Context
from graph.values import Conditioning, Picture
from nodes.load_model import LoadModel, Parts
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.files import ModelFile
from nodes.sd.methods import METHODS, SCHEDULES, SHAPED, Method
from nodes.sd.tensors import thaw
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode
from nodes.vae_encode import VaeEncode
from tests.nodes.sd.parity import compare

Prompts = tuple[Conditioning, Conditioning]

PROMPT, NEGATIVE = "a cat and a dog", "blurry"
SQUARE, WIDE = (64, 64), (96, 64)
STEPS = 5
ALL = typing.get_args(Method)
# What the model's own scheduler lacks, written out by hand rather than taken from the table.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2m_sde_heun": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
    ),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {}),
    "dpmpp_3m": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "dpmpp_3m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}),
    "dpmpp_sde": ("DPMSolverSDEScheduler", {"noise_sampler_seed": 5}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "kdpm2": ("KDPM2DiscreteScheduler", {}),
    "kdpm2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "plms": ("PNDMScheduler", {"skip_prk_steps": True}),
    "sa_solver": ("SASolverScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
SPACED: dict[str, dict[str, Any]] = {
    "normal": {},
    "karras": {"use_karras_sigmas": True, "timestep_spacing": "linspace"},
    "exponential": {"use_exponential_sigmas": True, "timestep_spacing": "linspace"},
    "beta": {"use_beta_sigmas": True, "timestep_spacing": "linspace"},
    "lu": {"use_lu_lambdas": True},
    "linspace": {"timestep_spacing": "linspace"},
    "leading": {"timestep_spacing": "leading"},
    "sgm_uniform": {"timestep_spacing": "trailing"},
}
# A pipeline's euler_a cannot shape its noise levels; test_schedules.py compares those with formulas.
PAIRS = [
    (method, schedule)
    for method, recipe in METHODS.items()
    for schedule in recipe.schedules
    if schedule != "normal" and not (method == "euler_a" and schedule in SHAPED)
]


@pytest.fixture
def parts(whole: Any, ctx: Context) -> Parts:
    return LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx)


@pytest.fixture
def prompts(parts: Parts, ctx: Context) -> Prompts:
    positive, negative = (TextEncode(text=text).run(ctx, parts.text_encoder) for text in (PROMPT, NEGATIVE))
    return positive, negative


def pipeline(kind: Any, whole: Any, method: str, schedule: str = "normal") -> Any:
    name, options = OPTIONS[method]
    scheduler = getattr(diffusers, name).from_config(whole.scheduler.config, **options, **SPACED[schedule])
    pipe = kind(
        vae=whole.vae,
        text_encoder=whole.text_encoder,
        tokenizer=whole.tokenizer,
        unet=whole.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def expected(pipe: Any, seed: int, **call: Any) -> tuple[torch.Tensor, Image.Image]:
    """The latents after the last step, and the picture that the pipeline makes of them."""
    after, image = watched(pipe, seed, **call)
    return after[-1], image


def watched(pipe: Any, seed: int, **call: Any) -> tuple[list[torch.Tensor], Image.Image]:
    """The latents after each step, and the picture."""
    seen: list[torch.Tensor] = []

    def keep(_pipe: Any, _step: int, _time: Any, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(values["latents"])
        return values

    generator = torch.Generator().manual_seed(seed)
    own = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": STEPS, "generator": generator}
    image = pipe(**(own | call), callback_on_step_end=keep).images[0]
    return seen, image


def picture(size: tuple[int, int]) -> Picture:
    width, height = size
    pixels = np.random.default_rng(3).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Picture(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def same(value: Any) -> Any:
    """A value as the cache gives it back."""
    return decode(encode(value).data)


@pytest.mark.parametrize(("size", "cfg"), [(SQUARE, 7.5), (WIDE, 1.0)], ids=["guided", "unguided"])
@pytest.mark.parametrize("method", ALL)
def test_txt2img_is_the_pipeline_bit_for_bit(
    method: Any, cfg: float, size: tuple[int, int], whole: Any, parts: Parts, prompts: Prompts, ctx: Context
) -> None:
    width, height = size
    pipe = pipeline(StableDiffusionPipeline, whole, method)

    noise = same(Noise(seed=5, width=width, height=height).run(ctx, parts.model))
    latents = same(Sampler(method=method, steps=STEPS, cfg=cfg).run(ctx, parts.model, *prompts, noise))

    compare(
        "sd1",
        "txt2img",
        method,
        expected(pipe, 5, width=width, height=height, guidance_scale=cfg),
        latents,
        VaeDecode().run(ctx, parts.vae, latents).image,
    )


@pytest.mark.parametrize(("size", "cfg", "strength"), [(SQUARE, 1.0, 0.3), (WIDE, 7.5, 0.8), (SQUARE, 7.5, 1.0)])
@pytest.mark.parametrize("method", ALL)
def test_img2img_is_the_pipeline_bit_for_bit(
    method: Any,
    size: tuple[int, int],
    cfg: float,
    strength: float,
    whole: Any,
    parts: Parts,
    prompts: Prompts,
    ctx: Context,
) -> None:
    pipe = pipeline(StableDiffusionImg2ImgPipeline, whole, method)

    start = same(VaeEncode(seed=5).run(ctx, parts.vae, picture(size)))
    sampler = Sampler(method=method, steps=STEPS, cfg=cfg, strength=strength)
    latents = same(sampler.run(ctx, parts.model, *prompts, start))

    compare(
        "sd1",
        "img2img",
        method,
        expected(pipe, 5, image=picture(size).pixels, strength=strength, guidance_scale=cfg),
        latents,
        VaeDecode().run(ctx, parts.vae, latents).image,
    )


@pytest.mark.parametrize(("method", "schedule"), PAIRS)
def test_every_schedule_is_the_pipelines(
    method: Any, schedule: Any, whole: Any, parts: Parts, prompts: Prompts, ctx: Context
) -> None:
    paint = pipeline(StableDiffusionPipeline, whole, method, schedule)
    repaint = StableDiffusionImg2ImgPipeline(**paint.components, requires_safety_checker=False)
    repaint.set_progress_bar_config(disable=True)
    settings: dict[str, Any] = {"method": method, "schedule": schedule, "steps": 3}
    call: dict[str, Any] = {"num_inference_steps": 3, "output_type": "latent"}

    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    painted = Sampler(**settings).run(ctx, parts.model, *prompts, noise)
    image = picture(SQUARE)
    start = VaeEncode(seed=5).run(ctx, parts.vae, image)
    repainted = Sampler(**settings, strength=0.7).run(ctx, parts.model, *prompts, start)

    assert torch.equal(expected(paint, 5, width=64, height=64, **call)[0], thaw(painted.samples))
    assert torch.equal(expected(repaint, 5, image=image.pixels, strength=0.7, **call)[0], thaw(repainted.samples))


@pytest.mark.parametrize("method", ["ddim", "dpmpp_2m", "euler_a", "unipc"])
def test_a_run_that_ends_early_is_where_the_pipeline_was(
    method: Any, whole: Any, parts: Parts, prompts: Prompts, ctx: Context
) -> None:
    after, _ = watched(pipeline(StableDiffusionPipeline, whole, method), 5, width=64, height=64)

    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    for steps in (1, 3):
        latents = Sampler(method=method, steps=STEPS, end_step=steps).run(ctx, parts.model, *prompts, noise)
        assert torch.equal(after[steps - 1], thaw(latents.samples))


def test_rescaled_guidance_is_the_pipelines(whole: Any, parts: Parts, prompts: Prompts, ctx: Context) -> None:
    pipe = pipeline(StableDiffusionPipeline, whole, "ddim")

    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    latents = Sampler(method="ddim", steps=STEPS, rescale=0.7).run(ctx, parts.model, *prompts, noise)

    assert torch.equal(expected(pipe, 5, width=64, height=64, guidance_rescale=0.7)[0], thaw(latents.samples))


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_eta_is_the_pipelines(eta: float, whole: Any, parts: Parts, prompts: Prompts, ctx: Context) -> None:
    pipe = pipeline(StableDiffusionPipeline, whole, "ddim")

    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    latents = Sampler(method="ddim", steps=STEPS, eta=eta).run(ctx, parts.model, *prompts, noise)

    compare(
        "sd1",
        "txt2img, eta",
        "ddim",
        expected(pipe, 5, width=64, height=64, eta=eta),
        latents,
        VaeDecode().run(ctx, parts.vae, latents).image,
    )


@pytest.mark.parametrize("more", [{}, {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}])
@pytest.mark.parametrize("method", ["ddim", "dpmpp_2m", "euler_a", "unipc"])
def test_a_model_that_predicts_velocity_is_the_pipelines(
    method: str, more: dict[str, Any], whole: Any, spoiled: Path, ctx: Context
) -> None:
    own = {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", "clip_sample": False} | more
    config = spoiled / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    scheduler = diffusers.DDIMScheduler.from_pretrained(str(config.parent), local_files_only=True)
    pipe = pipeline(StableDiffusionPipeline, replace(whole, scheduler=scheduler), method)
    parts = LoadModel(path=ModelFile.find(str(spoiled), spoiled)).run(ctx)

    positive, negative = (TextEncode(text=text).run(ctx, parts.text_encoder) for text in (PROMPT, NEGATIVE))
    noise = Noise(seed=5).run(ctx, parts.model)
    latents = Sampler.model_validate({"method": method, "steps": STEPS}).run(
        ctx, parts.model, positive, negative, noise
    )

    compare(
        "sd1",
        "txt2img, v-prediction",
        method,
        expected(pipe, 5, width=64, height=64),
        latents,
        VaeDecode().run(ctx, parts.vae, latents).image,
    )


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_clip_skip_leaves_out_last_layers_and_keeps_the_normalisation(
    clip_skip: int, whole: Any, parts: Parts, ctx: Context
) -> None:
    ids = whole.tokenizer(PROMPT, padding="max_length", max_length=77, return_tensors="pt").input_ids
    states = whole.text_encoder(ids, output_hidden_states=True).hidden_states[3 - clip_skip]

    encoded = TextEncode(text=PROMPT, clip_skip=clip_skip).run(ctx, parts.text_encoder)

    assert torch.equal(whole.text_encoder.final_layer_norm(states), thaw(encoded.embeddings))


@pytest.mark.parametrize("method", ["euler_a", "dpmpp_2m_sde", "dpmpp_sde", "heun"])
def test_sample_i_of_a_batch_is_the_picture_of_seed_plus_i(
    method: Any, parts: Parts, prompts: Prompts, ctx: Context
) -> None:
    sampler = Sampler(method=method, steps=STEPS)
    batch = Noise(seed=8, width=64, height=96, count=3).run(ctx, parts.model)
    painted = sampler.run(ctx, parts.model, *prompts, batch)
    images = VaeDecode().run(ctx, parts.vae, painted).images

    for index in range(3):
        alone = Noise(seed=8 + index, width=64, height=96).run(ctx, parts.model)
        single = sampler.run(ctx, parts.model, *prompts, alone)
        assert torch.equal(thaw(alone.samples)[0], thaw(batch.samples)[index])
        assert torch.equal(thaw(single.samples)[0], thaw(painted.samples)[index])
        assert single.generators[0] == painted.generators[index]
        assert VaeDecode().run(ctx, parts.vae, single).image == images[index]


@pytest.mark.parametrize("method", ["dpmpp_2m", "euler_a"])
def test_a_remembered_value_gives_the_same_bits_as_a_fresh_one(
    method: Any, parts: Parts, prompts: Prompts, ctx: Context
) -> None:
    sampler = Sampler(method=method, steps=STEPS, strength=0.6)
    start = VaeEncode(seed=1).run(ctx, parts.vae, picture(WIDE))

    cold = sampler.run(ctx, parts.model, *prompts, start)
    warm = sampler.run(ctx, same(parts.model), same(prompts[0]), same(prompts[1]), same(start))

    assert encode(cold) == encode(warm)
    assert VaeDecode().run(ctx, parts.vae, cold) == VaeDecode().run(ctx, same(parts.vae), same(cold))


def test_the_table_names_every_method_that_the_node_offers() -> None:
    assert set(ALL) == set(METHODS) == set(OPTIONS)
    assert set(SPACED) == set(SCHEDULES)
