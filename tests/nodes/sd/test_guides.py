"""Masks, depth pictures and small pictures beside latents: what is refused, what is warned of, what is drawn."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from darkroom import load, run
from graph.errors import MissingError, StepError
from graph.values import DepthMap, Inpainting, Mask, Picture
from nodes.depth import Depth
from nodes.inpaint import Inpaint
from nodes.load_model import LoadModel, Parts
from nodes.noise import Noise
from nodes.paste import Paste
from nodes.sampler import Sampler
from nodes.sd.files import ModelFile
from nodes.sd.tensors import thaw
from nodes.text_encode import TextEncode
from nodes.upscale_noise import UpscaleNoise
from nodes.vae_decode import VaeDecode
from tests.nodes.sd.layouts import build
from tests.nodes.sd.test_parity import picture

PHOTO = picture((64, 64))
NOTHING, ALL = (Mask(Image.new("L", (64, 64), level)) for level in (0, 255))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guided")
    for name in ("sd1", "sd1-inpainting", "sd2-depth", "x4"):
        build(name, folder / name)
    return folder


@pytest.fixture
def spoiled_upscaler(models: Path, tmp_path: Path) -> Path:
    return shutil.copytree(models / "x4", tmp_path / "x4")


def opened(folder: Path, ctx: Any) -> Parts:
    return LoadModel(path=ModelFile.find(str(folder), folder)).run(ctx)


def sample(parts: Parts, ctx: Any, latents: Any, noise: Any = None, **settings: Any) -> Any:
    prompt = TextEncode(text="a cat").run(ctx, parts.text_encoder)
    return Sampler(**({"steps": 3} | settings)).run(ctx, parts.model, prompt, prompt, latents, noise)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# What must go together


@pytest.mark.parametrize(
    ("name", "what", "node"),
    [
        ("sd1-inpainting", "a mask with its picture", "an inpaint"),
        ("sd2-depth", "a depth picture", "a depth"),
        ("x4", "the picture to enlarge", "an upscale_noise"),
    ],
)
def test_a_model_that_lacks_what_it_must_see_says_so_before_it_is_read(
    name: str, what: str, node: str, models: Path, ctx: Any, fresh: Any
) -> None:
    parts = opened(models / name, ctx)
    noise = Noise(width=64, height=64).run(ctx, parts.model)
    prompt = TextEncode().run(ctx, parts.text_encoder)
    before = fresh.loads

    with pytest.raises(StepError, match=f'family "{name}" sees {what} beside the latents') as caught:
        Sampler().run(ctx, parts.model, prompt, prompt, noise)

    assert f"Let the latents come from {node} node." == caught.value.hint
    assert before == fresh.loads


def test_a_model_is_not_shown_what_it_cannot_see(models: Path, ctx: Any) -> None:
    parts = opened(models / "sd1", ctx)
    shown = Depth().run(ctx, Noise(width=64, height=64).run(ctx, parts.model), PHOTO)

    with pytest.raises(StepError, match='the latents carry a depth picture, which a model of family "sd1" cannot see'):
        sample(parts, ctx, shown)


def test_an_ordinary_model_is_no_upscaler(models: Path, ctx: Any) -> None:
    with pytest.raises(StepError, match='family "sd1" is no diffusion upscaler'):
        UpscaleNoise().run(ctx, opened(models / "sd1", ctx).model, PHOTO)


# Masks


def test_a_mask_of_another_size_names_both(models: Path, ctx: Any) -> None:
    with pytest.raises(StepError, match="the mask is 64 x 64 pixels, but the picture 96 x 64"):
        Inpaint().run(ctx, opened(models / "sd1", ctx).vae, picture((96, 64)), ALL)


def test_a_picture_that_no_vae_takes_is_refused_with_the_nearest_sizes(models: Path, ctx: Any) -> None:
    odd = PHOTO.pixels.crop((0, 0, 60, 64))

    with pytest.raises(StepError, match="60 x 64 pixels, but the VAE takes multiples of 8") as caught:
        Inpaint().run(ctx, opened(models / "sd1", ctx).vae, Picture(odd), Mask(odd.convert("L")))

    assert "56 x 64 or 64 x 64" in caught.value.hint


@pytest.mark.parametrize("name", ["sd1", "sd1-inpainting"])
def test_a_mask_that_keeps_everything_gives_the_picture_back_and_says_so(name: str, models: Path, ctx: Any) -> None:
    parts = opened(models / name, ctx)
    latents = sample(parts, ctx, Inpaint().run(ctx, parts.vae, PHOTO, NOTHING))
    painted = VaeDecode().run(ctx, parts.vae, latents).image

    assert PHOTO == Paste().run(ctx, PHOTO, painted, NOTHING)
    assert "the mask keeps the whole picture: nothing is painted" in ctx.warnings


def test_a_mask_of_everything_keeps_nothing(models: Path, ctx: Any) -> None:
    parts = opened(models / "sd1", ctx)
    white, black = (Picture(Image.new("RGB", (64, 64), (level,) * 3)) for level in (255, 0))
    one, other = (sample(parts, ctx, Inpaint().run(ctx, parts.vae, photo, ALL)) for photo in (white, black))

    assert one.samples == other.samples
    assert [] == ctx.warnings


def test_a_mask_too_thin_for_the_latents_is_told(models: Path, ctx: Any) -> None:
    line = Image.new("L", (64, 64))
    line.paste(255, (3, 0, 6, 64))
    Inpaint().run(ctx, opened(models / "sd1", ctx).vae, PHOTO, Mask(line))

    assert ["the mask is too thin for the latents: nothing is painted. Let a mask_edit node grow it."] == ctx.warnings


def test_a_model_that_sees_no_mask_is_held_to_the_picture_outside_it(models: Path, ctx: Any) -> None:
    parts = opened(models / "sd1", ctx)
    half = Image.new("L", (64, 64))
    half.paste(255, (0, 0, 32, 64))
    latents = Inpaint(seed=1).run(ctx, parts.vae, PHOTO, Mask(half))
    one, other = (thaw(sample(parts, ctx, latents, method="euler", cfg=cfg).samples) for cfg in (1.0, 9.0))

    assert torch.equal(one[..., 4:], other[..., 4:])
    assert not torch.equal(one[..., :4], other[..., :4])


def test_strength_0_returns_what_came(models: Path, ctx: Any) -> None:
    parts = opened(models / "sd1", ctx)
    latents = Inpaint().run(ctx, parts.vae, PHOTO, ALL)

    assert latents is sample(parts, ctx, latents, strength=0.0)


@pytest.mark.parametrize("strength", [1.0, 0.7])
def test_given_noise_takes_the_place_of_what_would_be_drawn(strength: float, models: Path, ctx: Any) -> None:
    parts = opened(models / "sd1", ctx)
    latents = Inpaint(seed=1).run(ctx, parts.vae, PHOTO, ALL)
    first, second = (Noise(seed=seed, width=64, height=64).run(ctx, parts.model) for seed in (2, 3))
    alike = replace(second, samples=first.samples)

    def made(noise: Any) -> Any:
        return sample(parts, ctx, latents, noise, method="euler", strength=strength).samples

    assert made(first) != made(second)
    assert (made(first) == made(alike)) is (strength == 1.0), "below strength 1 the picture is drawn too"


def test_tiles_change_the_bits_and_little_else(models: Path, ctx: Any) -> None:
    photo = picture((256, 192))
    mask = Mask(Image.new("L", (256, 192), 255))
    vae = opened(models / "sd1", ctx).vae
    whole, tiled = (Inpaint(tile=tile).run(ctx, vae, photo, mask) for tile in (None, 128))

    assert isinstance(whole.guide, Inpainting)
    assert isinstance(tiled.guide, Inpainting)
    assert whole.guide.mask == tiled.guide.mask
    assert whole.guide.picture.shape == tiled.guide.picture.shape


# Depth


def test_depth_goes_from_far_to_near_whatever_the_range_of_the_picture(models: Path, ctx: Any) -> None:
    noise = Noise(width=64, height=64).run(ctx, opened(models / "sd2-depth", ctx).model)
    dim = Picture(PHOTO.pixels.convert("L").point([100 + level // 4 for level in range(256)]))
    near, far = (Depth(near=near).run(ctx, noise, dim).guide for near in ("bright", "dark"))

    assert isinstance(near, DepthMap)
    assert isinstance(far, DepthMap)
    assert (-1.0, 1.0) == (thaw(near.samples).min().item(), thaw(near.samples).max().item())
    assert torch.equal(-thaw(near.samples), thaw(far.samples))


def test_a_new_picture_is_painted_to_a_depth(models: Path, ctx: Any) -> None:
    parts = opened(models / "sd2-depth", ctx)
    noise = Noise(width=64, height=64).run(ctx, parts.model)
    near, far = (sample(parts, ctx, Depth(near=near).run(ctx, noise, PHOTO)) for near in ("bright", "dark"))

    assert near.samples != far.samples


def test_a_depth_picture_of_one_grey_is_refused(models: Path, ctx: Any) -> None:
    noise = Noise(width=64, height=64).run(ctx, opened(models / "sd2-depth", ctx).model)

    with pytest.raises(StepError, match="one grey: everything would be equally far away"):
        Depth().run(ctx, noise, Picture(Image.new("L", (9, 9), 7)))


def test_latents_carry_one_guide(models: Path, ctx: Any) -> None:
    start = Inpaint().run(ctx, opened(models / "sd1", ctx).vae, PHOTO, ALL)

    with pytest.raises(StepError, match="carry a mask with its picture already"):
        Depth().run(ctx, start, PHOTO)


# The upscaler


def test_sizes_that_diffusers_shrinks_in_silence_are_refused(models: Path, ctx: Any, fresh: Any) -> None:
    with pytest.raises(StepError, match="33 x 25 pixels, but the upscaler takes multiples of 4") as caught:
        UpscaleNoise().run(ctx, opened(models / "x4", ctx).model, Picture(PHOTO.pixels.resize((33, 25))))

    assert "32 x 24 or 36 x 28" in caught.value.hint
    assert 0 == fresh.loads


def test_a_picture_that_would_become_too_large_is_refused(models: Path, ctx: Any) -> None:
    with pytest.raises(StepError, match="the enlarged picture would be 12,000x12,000"):
        UpscaleNoise().run(ctx, opened(models / "x4", ctx).model, Picture(Image.new("L", (3000, 3000))))


def test_noise_levels_end_where_the_model_says(spoiled_upscaler: Path, ctx: Any) -> None:
    edit(spoiled_upscaler / "model_index.json", max_noise_level=100)
    model = opened(spoiled_upscaler, ctx).model

    UpscaleNoise(noise_level=100).run(ctx, model, PHOTO)
    with pytest.raises(StepError, match="noise_level is 101, but the model takes at most 100"):
        UpscaleNoise(noise_level=101).run(ctx, model, PHOTO)
    with pytest.raises(ValidationError):
        UpscaleNoise(noise_level=351)


@pytest.mark.parametrize(
    "changes", [{"num_train_timesteps": 10**12}, {"beta_schedule": "none"}, {"trained_betas": [0.5]}]
)
def test_a_senseless_schedule_of_noise_is_named(changes: Any, spoiled_upscaler: Path, ctx: Any) -> None:
    edit(spoiled_upscaler / "low_res_scheduler" / "scheduler_config.json", **changes)

    with pytest.raises(MissingError, match=r'"low_res_scheduler/scheduler_config\.json" of model "x4"'):
        UpscaleNoise().run(ctx, opened(spoiled_upscaler, ctx).model, PHOTO)


def test_an_upscaler_without_its_schedule_of_noise_is_found_when_checking(spoiled_upscaler: Path) -> None:
    shutil.rmtree(spoiled_upscaler / "low_res_scheduler")

    with pytest.raises(MissingError, match=r'has no "low_res_scheduler/scheduler_config\.json"'):
        ModelFile.find(str(spoiled_upscaler), spoiled_upscaler)


def test_the_schedule_of_noise_is_a_part_of_the_upscalers_content(spoiled_upscaler: Path, models: Path) -> None:
    names = dict(ModelFile.find(str(spoiled_upscaler), spoiled_upscaler).members())

    assert "low_res_scheduler/scheduler_config.json" in names


def test_an_early_copy_of_the_upscaler_is_scaled_as_the_others(spoiled_upscaler: Path, models: Path, ctx: Any) -> None:
    edit(spoiled_upscaler / "vae" / "config.json", scaling_factor=0.18215)
    latents = Noise(width=64, height=64).run(ctx, opened(models / "x4", ctx).model)
    early, late = (
        VaeDecode().run(ctx, opened(folder, ctx).vae, latents) for folder in (spoiled_upscaler, models / "x4")
    )

    assert late == early


# From a file


WORKFLOWS = {
    "x4": """\
  start: {use: upscale_noise, model: $model, image: $small, noise_level: 20}
""",
    "sd2-depth": """\
  blank: {use: vae_encode, vae: $model.vae, image: $small}
  start: {use: depth, latents: $blank, image: $small}
""",
    "sd1-inpainting": """\
  hole:  {use: mask_shape, image: $small, x: 8, y: 8, width: 32, height: 32}
  start: {use: inpaint, vae: $model.vae, image: $small, mask: $hole}
""",
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_samples_with_what_the_model_sees(name: str, models: Path, tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "photo.png")
    path = tmp_path / "guided.yaml"
    path.write_text(f"""\
darkroom: 1
name: guided
nodes:
  model: {{use: load_model, path: "{models / name}"}}
  small: {{use: load_image, path: photo.png}}
  words: {{use: text_encode, text_encoder: $model.text_encoder, text: a cat}}
{WORKFLOWS[name]}\
  made:  {{use: sampler, model: $model, positive: $words, negative: $words, latents: $start, steps: 2}}
  image: {{use: vae_decode, vae: $model.vae, latents: $made}}
outputs:
  image: $image
""")

    first, second = (run(load(path)) for _ in range(2))

    side = 256 if name == "x4" else 64
    assert (side, side) == (first.outputs["image"].width, first.outputs["image"].height)
    assert {"hit"} == set(second.actions.values())
