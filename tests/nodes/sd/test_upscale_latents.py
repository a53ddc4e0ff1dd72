"""upscale_latents: what a second pass starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate

from graph.errors import StepError
from graph.values import Latents, SmallPicture
from nodes.load_model import LoadModel, Parts
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.files import ModelFile
from nodes.sd.tensors import freeze, thaw
from nodes.text_encode import TextEncode
from nodes.upscale_latents import UpscaleLatents


@pytest.fixture
def parts(whole: Any, ctx: Any) -> Parts:
    return LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx)


def clean(*shape: int) -> Latents:
    return Latents(freeze(torch.randn(shape)), (b"a", b"b"))


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize(("factor", "size"), [(1, (6, 10)), (1.5, (9, 15)), (2, (12, 20)), (1.3, (8, 13))])
def test_latents_are_enlarged_as_torch_does_and_keep_their_generators(
    method: Any, factor: float, size: tuple[int, int], ctx: Any
) -> None:
    latents = clean(2, 4, 6, 10)

    made = UpscaleLatents(factor=factor, method=method).run(ctx, latents)

    assert interpolate(thaw(latents.samples), size, mode=method).equal(thaw(made.samples))
    assert latents.generators == made.generators


def test_how_latents_lie_in_memory_changes_nothing_but_how_they_lie(ctx: Any) -> None:
    latents = clean(1, 4, 6, 10)
    beside = replace(latents, channels_last=True)

    made, other = UpscaleLatents().run(ctx, latents), UpscaleLatents().run(ctx, beside)

    assert (False, True) == (made.channels_last, other.channels_last)
    torch.testing.assert_close(thaw(made.samples), thaw(other.samples))


def test_what_does_not_grow_is_refused(ctx: Any) -> None:
    guided = replace(clean(1, 4, 2, 2), guide=SmallPicture(freeze(torch.zeros(1, 3, 2, 2)), 20))

    with pytest.raises(StepError, match="noise no longer"):
        UpscaleLatents().run(ctx, replace(clean(1, 4, 2, 2), is_noise=True))
    with pytest.raises(StepError, match=r"a guide \(SmallPicture\) that does not grow"):
        UpscaleLatents().run(ctx, guided)
    with pytest.raises(StepError, match="latents of 3,600 x 3,600 are too large"):
        UpscaleLatents(factor=8).run(ctx, clean(1, 4, 450, 450))


def test_a_second_pass_is_the_pipelines_img2img_on_enlarged_latents(whole: Any, parts: Parts, ctx: Any) -> None:
    """Bit for bit, with the generator that the first pass left."""
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    from nodes.sd.noise import resumed

    prompt = TextEncode(text="a cat and a dog").run(ctx, parts.text_encoder)
    negative = TextEncode(text="").run(ctx, parts.text_encoder)
    start = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    draft = Sampler(method="ddim", steps=4).run(ctx, parts.model, prompt, negative, start)
    larger = UpscaleLatents(factor=1.5).run(ctx, draft)
    second = Sampler(method="ddim", steps=6, strength=0.5).run(ctx, parts.model, prompt, negative, larger)

    pipeline = StableDiffusionImg2ImgPipeline(
        whole.vae, whole.text_encoder, whole.tokenizer, whole.unet, DDIMScheduler.from_config(whole.scheduler.config),
        None, None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "a cat and a dog", thaw(larger.samples), 0.5, 6, generator=resumed(draft.generators[0]), output_type="latent"
    ).images

    assert (1, 4, 12, 12) == tuple(theirs.shape)
    assert theirs.equal(thaw(second.samples))
