"""Inpainting, depth and the x4 upscaler: through the nodes, the bits of diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
)
from PIL import Image

from graph.node import Context
from graph.values import Conditioning, Mask, Picture
from nodes.depth import Depth
from nodes.inpaint import Inpaint
from nodes.load_model import LoadModel, Parts
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.files import ModelFile
from nodes.text_encode import TextEncode
from nodes.upscale_noise import UpscaleNoise
from nodes.vae_decode import VaeDecode
from nodes.vae_encode import VaeEncode
from tests.nodes.sd.layouts import Built, build
from tests.nodes.sd.parity import compare
from tests.nodes.sd.test_parity import NEGATIVE, OPTIONS, PROMPT, SQUARE, STEPS, WIDE, expected, picture, same

Build = Callable[[str], Built]
FEW = ["ddim", "euler_a", "heun"]
CASES = [
    *((method, WIDE, 7.5, 0.6) for method in OPTIONS),
    *((method, *case) for method in FEW for case in ((SQUARE, 7.5, 1.0), (SQUARE, 1.0, 0.8), (WIDE, 1.0, 1.0))),
]
"""Every method once, and some of them in every way."""
ENLARGED = [
    *((method, (36, 20), 9.0, 20) for method in OPTIONS),
    *((method, *case) for method in FEW for case in (((24, 24), 9.0, 0), ((36, 20), 1.0, 0), ((24, 24), 1.0, 20))),
]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("layouts")

    @cache
    def once(name: str) -> Built:
        return build(name, folder / name)

    return once


class Rig:
    """A model as the nodes have it, and as a pipeline has it."""

    def __init__(self, model: Built, method: str, ctx: Context) -> None:
        self.model, self.method, self.ctx = model, method, ctx
        self.parts: Parts = LoadModel(path=ModelFile.find(str(model.folder), model.folder)).run(ctx)
        self.positive, self.negative = (self.encoded(text) for text in (PROMPT, NEGATIVE))

    def encoded(self, text: str) -> Conditioning:
        return TextEncode(text=text).run(self.ctx, self.parts.text_encoder)

    def sampled(self, start: Any, cfg: float, strength: float = 1.0) -> Any:
        sampler = Sampler.model_validate({"method": self.method, "steps": STEPS, "cfg": cfg, "strength": strength})
        return same(sampler.run(self.ctx, self.parts.model, self.positive, self.negative, same(start)))

    def compare(self, task: str, theirs: tuple[torch.Tensor, Image.Image], latents: Any) -> None:
        image = VaeDecode().run(self.ctx, self.parts.vae, latents).image
        compare(self.model.folder.name, task, self.method, theirs, latents, image)

    def pipeline(self, kind: Any, **more: Any) -> Any:
        name, options = OPTIONS[self.method]
        scheduler = getattr(diffusers, name).from_config(self.model.config, **options)
        pipe = kind(**self.model.parts, scheduler=scheduler, **more)
        pipe.set_progress_bar_config(disable=True)
        return pipe


UNSAFE: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def mask(size: tuple[int, int]) -> Mask:
    """With greys on both sides of the middle, and edges that lie within cells of the latents."""
    width, height = size
    levels = np.zeros((height, width), np.uint8)
    levels[13:41, 5:51] = 255
    levels[20:30, 30:60] = 127
    levels[40:50, 10:20] = 128
    return Mask(Image.fromarray(levels))


@pytest.mark.parametrize(("method", "size", "cfg", "strength"), CASES)
@pytest.mark.parametrize("name", ["sd1", "sd1-inpainting"])
def test_inpainting_is_the_pipeline_bit_for_bit(
    method: str, name: str, size: tuple[int, int], cfg: float, strength: float, built: Build, ctx: Context
) -> None:
    rig, (width, height) = Rig(built(name), method, ctx), size

    start = Inpaint(seed=5).run(ctx, rig.parts.vae, picture(size), mask(size))
    latents = rig.sampled(start, cfg, strength)

    pipe = rig.pipeline(StableDiffusionInpaintPipeline, **UNSAFE)
    call = {"image": picture(size).pixels, "mask_image": mask(size).pixels, "width": width, "height": height}
    rig.compare("inpaint", expected(pipe, 5, **call, strength=strength, guidance_scale=cfg), latents)


@pytest.mark.parametrize("name", ["sd2", "sd2-768-v", "sd2-inpainting"])
@pytest.mark.parametrize("method", FEW)
def test_inpainting_with_stable_diffusion_2_is_the_pipeline(method: str, name: str, built: Build, ctx: Context) -> None:
    rig = Rig(built(name), method, ctx)

    start = Inpaint(seed=5).run(ctx, rig.parts.vae, picture(WIDE), mask(WIDE))
    latents = rig.sampled(start, 7.5, 0.8)

    pipe = rig.pipeline(StableDiffusionInpaintPipeline, **UNSAFE)
    call = {"image": picture(WIDE).pixels, "mask_image": mask(WIDE).pixels, "width": 96, "height": 64}
    rig.compare("inpaint", expected(pipe, 5, **call, strength=0.8, guidance_scale=7.5), latents)


@pytest.mark.parametrize(
    ("method", "name", "cfg"),
    [
        *((method, "sd2-768-v", 7.5) for method in OPTIONS),
        *((method, "sd2", cfg) for method in FEW for cfg in (7.5, 1.0)),
    ],
)
def test_stable_diffusion_2_is_the_pipeline_bit_for_bit(
    method: str, name: str, cfg: float, built: Build, ctx: Context
) -> None:
    rig = Rig(built(name), method, ctx)

    latents = rig.sampled(Noise(seed=5, width=96, height=64).run(ctx, rig.parts.model), cfg)

    pipe = rig.pipeline(StableDiffusionPipeline, **UNSAFE)
    rig.compare("txt2img", expected(pipe, 5, width=96, height=64, guidance_scale=cfg), latents)


@pytest.mark.parametrize("name", ["sd2", "sd2-768-v"])
@pytest.mark.parametrize("method", FEW)
def test_img2img_with_stable_diffusion_2_is_the_pipeline(method: str, name: str, built: Build, ctx: Context) -> None:
    rig = Rig(built(name), method, ctx)

    latents = rig.sampled(VaeEncode(seed=5).run(ctx, rig.parts.vae, picture(WIDE)), 7.5, 0.6)

    pipe = rig.pipeline(StableDiffusionImg2ImgPipeline, **UNSAFE)
    rig.compare("img2img", expected(pipe, 5, image=picture(WIDE).pixels, strength=0.6), latents)


def far(size: tuple[int, int]) -> Picture:
    return Picture(Image.radial_gradient("L").resize(size).rotate(20))


@pytest.mark.parametrize(("method", "size", "cfg", "strength"), CASES)
def test_depth_is_the_pipeline_bit_for_bit(
    method: str, size: tuple[int, int], cfg: float, strength: float, built: Build, ctx: Context
) -> None:
    rig, map = Rig(built("sd2-depth"), method, ctx), far((50, 70))

    start = VaeEncode(seed=5).run(ctx, rig.parts.vae, picture(size))
    latents = rig.sampled(Depth().run(ctx, start, map), cfg, strength)

    pipe = rig.pipeline(StableDiffusionDepth2ImgPipeline, depth_estimator=None, feature_extractor=None)
    given = torch.from_numpy(np.array(map.pixels, np.float32))[None]
    call = {"image": picture(size).pixels, "depth_map": given, "strength": strength, "guidance_scale": cfg}
    rig.compare("depth2img", expected(pipe, 5, **call), latents)


@pytest.mark.parametrize(("method", "size", "cfg", "level"), ENLARGED)
def test_the_upscaler_is_the_pipeline_bit_for_bit(
    method: str, size: tuple[int, int], cfg: float, level: int, built: Build, ctx: Context
) -> None:
    rig, small = Rig(built("x4"), method, ctx), picture((size[0] * 8, size[1] * 8)).pixels.resize(size)

    start = UpscaleNoise(seed=5, noise_level=level).run(ctx, rig.parts.model, Picture(small))
    latents = rig.sampled(start, cfg)

    pipe, seen = rig.pipeline(StableDiffusionUpscalePipeline), []
    whole = pipe(
        PROMPT, small, STEPS, cfg, level, NEGATIVE, generator=torch.Generator().manual_seed(5),
        callback=lambda _step, _time, latents: seen.append(latents),
    ).images[0]  # fmt: skip
    rig.compare("upscale", (seen[-1], whole), latents)
    assert (size[0] * 4, size[1] * 4) == whole.size
