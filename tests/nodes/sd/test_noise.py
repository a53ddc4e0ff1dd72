"""Noise is what torch draws for a seed, and its size is a picture's."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from graph.errors import StepError
from graph.values import Denoiser
from nodes.load_model import LoadModel
from nodes.noise import Noise
from nodes.sd.files import ModelFile
from nodes.sd.tensors import thaw


@pytest.fixture
def model(whole: Any, ctx: Any) -> Denoiser:
    return LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx).model


def test_noise_is_what_torch_draws(model: Denoiser, ctx: Any) -> None:
    source = torch.Generator().manual_seed(3)

    noise = Noise(seed=3, width=96, height=64).run(ctx, model)

    assert torch.equal(torch.randn(1, 4, 8, 12, generator=source), thaw(noise.samples))
    assert (source.get_state().numpy().tobytes(),) == noise.generators
    assert noise.is_noise


def test_the_size_is_the_models_own_unless_given(model: Denoiser, ctx: Any) -> None:
    assert (1, 4, 8, 8) == Noise().run(ctx, model).samples.shape
    assert (2, 4, 16, 8) == Noise(height=128, count=2).run(ctx, model).samples.shape


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_a_small_seed_gives_no_warning(seed: int, model: Denoiser, ctx: Any) -> None:
    Noise(seed=seed).run(ctx, model)

    assert [] == ctx.warnings


def test_a_large_seed_names_the_small_one_that_gives_the_same(model: Denoiser, ctx: Any) -> None:
    large, small = Noise(seed=2**32 + 7).run(ctx, model), Noise(seed=7).run(ctx, model)

    assert large.samples == small.samples
    assert ["seed 4294967303 gives the same noise as seed 7: torch's generator takes 32 bits of it"] == ctx.warnings


def test_seeds_of_a_batch_begin_again_after_the_largest(model: Denoiser, ctx: Any) -> None:
    batch = Noise(seed=2**64 - 1, count=2).run(ctx, model)

    assert torch.equal(thaw(Noise(seed=0).run(ctx, model).samples)[0], thaw(batch.samples)[1])


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9])
def test_a_variation_lies_on_the_arc_between_two_noises(strength: float, model: Denoiser, ctx: Any) -> None:
    """Shoemake 1985, section 3.3, for the columns of each channel: as A1111 does it. atol: fp32."""
    first, other = (thaw(Noise(seed=seed, width=96).run(ctx, model).samples).double() for seed in (3, 9))
    cosine = (first / first.norm(dim=-2, keepdim=True) * (other / other.norm(dim=-2, keepdim=True))).sum(-2)
    angle = cosine.arccos().unsqueeze(-2)
    arc = (((1 - strength) * angle).sin() * first + (strength * angle).sin() * other) / angle.sin()

    varied = Noise(seed=3, variation_seed=9, variation_strength=strength, width=96).run(ctx, model)

    assert torch.allclose(arc, thaw(varied.samples).double(), atol=1e-5)
    assert varied.is_noise


def test_a_variation_goes_from_the_seeds_own_noise_to_the_others(model: Denoiser, ctx: Any) -> None:
    first, other = (Noise(seed=seed, count=2).run(ctx, model) for seed in (3, 9))

    assert first == Noise(seed=3, count=2, variation_seed=9, variation_strength=0.0).run(ctx, model)
    assert first == Noise(seed=3, count=2, variation_seed=3, variation_strength=0.4).run(ctx, model)
    whole = Noise(seed=3, count=2, variation_seed=9, variation_strength=1.0).run(ctx, model)
    assert other.samples == whole.samples
    assert first.generators == whole.generators


def test_a_variation_of_a_batch_is_that_of_each_alone(model: Denoiser, ctx: Any) -> None:
    batch = Noise(seed=3, count=2, variation_seed=9, variation_strength=0.4).run(ctx, model)
    alone = Noise(seed=4, variation_seed=10, variation_strength=0.4).run(ctx, model)

    assert torch.equal(thaw(alone.samples)[0], thaw(batch.samples)[1])
    assert alone.generators[0] == batch.generators[1]


@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.1])
def test_a_variation_is_from_0_to_1(wrong: float) -> None:
    with pytest.raises(ValidationError):
        Noise(variation_strength=wrong)


def test_no_weights_are_loaded_for_noise(model: Denoiser, ctx: Any, fresh: Any) -> None:
    Noise().run(ctx, model)

    assert fresh.loads == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1}, {"seed": 2**64}, {"seed": 1.5}, {"seed": "42"}, {"seed": True}, {"width": 0}, {"width": -8},
        {"width": 513}, {"height": 10**9}, {"count": 0}, {"count": 65},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Noise(**wrong)


def test_a_size_that_the_vae_cannot_have_names_the_nearest(spoiled: Any, ctx: Any) -> None:
    config = spoiled / "vae" / "config.json"
    said = json.loads(config.read_text())
    for name in ("block_out_channels", "down_block_types", "up_block_types"):
        said[name].insert(0, said[name][0])
    config.write_text(json.dumps(said))
    model = LoadModel(path=ModelFile.find(str(spoiled), spoiled)).run(ctx).model

    with pytest.raises(StepError, match="72 pixels are no multiple of 16") as caught:
        Noise(width=72).run(ctx, model)

    assert "The nearest sizes are 64 and 80." == caught.value.hint
