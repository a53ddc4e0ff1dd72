"""Noise is what torch draws for a seed, and its size is a picture's."""

from __future__ import annotations

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
    config.write_text(config.read_text().replace('"block_out_channels": [', '"block_out_channels": [8,'))
    model = LoadModel(path=ModelFile.find(str(spoiled), spoiled)).run(ctx).model

    with pytest.raises(StepError, match="72 pixels are no multiple of 16") as caught:
        Noise(width=72).run(ctx, model)

    assert "The nearest sizes are 64 and 80." == caught.value.hint
