"""A run in two parts: what one sampler leaves, another goes on from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from graph.codec import decode, encode
from graph.errors import StepError
from graph.values import Latents
from nodes.noise import Noise
from nodes.sd.folders import ModelFolder
from nodes.sd.methods import METHODS
from nodes.sd.samplers import noise_levels, schedule
from nodes.sd.tensors import freeze, thaw
from nodes.vae_decode import VaeDecode
from tests.nodes.sd.lab import Lab, settings

STEPS, CUT = 5, 3


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_of_a_one_step_method_are_the_one_run_bit_for_bit(method: str, lab: Lab) -> None:
    whole = lab.sample(lab.noise, method=method, steps=STEPS)
    left = remembered(lab.sample(lab.noise, method=method, steps=STEPS, end_step=CUT))
    parted = lab.sample(left, method=method, steps=STEPS, start_step=CUT)

    assert METHODS[method].one_step == (whole == parted)
    assert whole.generators == parted.generators
    assert [] == lab.ctx.warnings


@pytest.mark.parametrize(
    ("method", "schedule"), [("euler_a", "karras"), ("dpmpp_sde", "beta"), ("heun", "exponential")]
)
def test_shaped_schedules_are_parted_as_well(method: str, schedule: str, lab: Lab) -> None:
    parts: dict[str, Any] = {"method": method, "schedule": schedule, "steps": STEPS}

    left = lab.sample(lab.noise, **parts, end_step=CUT)

    assert lab.sample(lab.noise, **parts) == lab.sample(left, **parts, start_step=CUT)


def test_every_sample_of_a_batch_goes_on_by_itself(lab: Lab) -> None:
    batch = Noise(seed=4, width=64, height=64, count=2).run(lab.ctx, lab.parts.model)
    left = lab.sample(batch, method="euler_a", steps=STEPS, end_step=CUT)

    assert lab.sample(batch, method="euler_a", steps=STEPS) == lab.sample(
        left, method="euler_a", steps=STEPS, start_step=CUT
    )


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"plms"}))
def test_a_picture_that_starts_late_is_repainted(method: str, lab: Lab) -> None:
    late = lab.sample(lab.clean, method=method, steps=4, start_step=2)

    assert late == lab.sample(lab.clean, method=method, steps=4, strength=0.5)
    assert late.level == 0


def test_a_part_of_plms_begins_as_the_whole_does(lab: Lab, whole: Any) -> None:
    def times(**part: int) -> list[int]:
        given = settings(method="plms", steps=STEPS, **part)
        run = schedule(ModelFolder(whole.folder), given, torch.Generator(), torch.zeros(1, 4, 8, 8), False)
        return [int(time) for time in run.times]

    assert [801, 601, 601, 401, 201, 1] == times()
    assert [801, 601, 601] == times(end_step=2)
    assert [401, 201, 201, 1] == times(start_step=2)
    assert [1] == times(start_step=4)


@pytest.mark.parametrize(("first", "second"), [("euler", "ddim"), ("ddim", "euler"), ("ddim", "heun")])
def test_a_method_that_adds_noise_goes_on_from_one_that_mixes_it(first: str, second: str, lab: Lab) -> None:
    left = lab.sample(lab.noise, method=first, schedule="leading", steps=STEPS, end_step=CUT)
    grown = math.sqrt(1 + left.level**2)
    moved = thaw(left.samples) * grown if METHODS[second].adds else thaw(left.samples) / grown
    told = replace(left, samples=freeze(moved), adds=not left.adds)

    assert METHODS[first].adds == left.adds
    assert lab.sample(told, method=second, schedule="leading", steps=STEPS, start_step=CUT) == lab.sample(
        left, method=second, schedule="leading", steps=STEPS, start_step=CUT
    )


def test_ddim_and_euler_are_one_method_in_two_scales(lab: Lab) -> None:
    """Song et al. 2020, section 4.3: both step along the same line. atol: fp32 rounding over 4 steps."""
    leading: dict[str, Any] = {"schedule": "leading", "steps": STEPS}
    ddim, euler = (lab.sample(lab.noise, method=method, **leading, end_step=4) for method in ("ddim", "euler"))
    left = lab.sample(lab.noise, method="euler", **leading, end_step=CUT)
    mixed = lab.sample(left, method="ddim", **leading, start_step=CUT, end_step=4)

    assert ddim.level == pytest.approx(euler.level, rel=1e-6)
    assert torch.allclose(thaw(ddim.samples), thaw(euler.samples) / math.sqrt(1 + euler.level**2), atol=1e-4)
    assert torch.allclose(thaw(ddim.samples), thaw(mixed.samples), atol=1e-4)


def test_another_step_than_the_noise_left_is_refused_with_the_right_one(lab: Lab) -> None:
    left = lab.sample(lab.noise, method="euler", steps=STEPS, end_step=3)

    wrongs: tuple[dict[str, Any], ...] = ({}, {"start_step": 2}, {"start_step": 4})
    for wrong in wrongs:
        with pytest.raises(StepError, match=rf"noise of level {left.level:.3g} left, but step .* begins at") as caught:
            lab.sample(left, method="euler", steps=STEPS, **wrong)
        assert "Write start_step: 3" in caught.value.hint


def test_noise_that_is_nearly_that_of_the_step_is_warned_of(lab: Lab) -> None:
    left = lab.sample(lab.noise, method="ddim", steps=30, end_step=10)
    lab.sample(left, method="dpmpp_2m", schedule="leading", steps=30, start_step=10)

    (told,) = lab.ctx.warnings
    assert told.startswith(f"the latents have noise of level {left.level:.3g} left, but step 10 of 30 begins at")


def test_noise_that_is_left_takes_no_more_noise(lab: Lab) -> None:
    left = lab.sample(lab.noise, method="ddim", steps=STEPS, end_step=3)

    with pytest.raises(StepError, match="can only be sampled on from there"):
        lab.sample(left, method="ddim", steps=STEPS, strength=0.5)
    with pytest.raises(StepError, match="can only be sampled on from there"):
        lab.sample(left, lab.noise, method="ddim", steps=STEPS, start_step=3)
    with pytest.raises(StepError, match="start_step 3 would keep a part of the latents, but they are noise"):
        lab.sample(lab.noise, method="ddim", steps=STEPS, start_step=3)


def test_decoding_noise_that_is_left_is_warned_of(lab: Lab) -> None:
    left = lab.sample(lab.noise, method="ddim", steps=STEPS, end_step=3)
    VaeDecode().run(lab.ctx, lab.parts.vae, left)

    assert ["another sampler" in told for told in lab.ctx.warnings] == [True]


@pytest.mark.parametrize("method", METHODS)
def test_levels_fall_to_nothing(method: str, whole: Any) -> None:
    run = schedule(
        ModelFolder(whole.folder), settings(method=method, steps=8), torch.Generator(), torch.zeros(1, 4, 2, 2), False
    )
    levels = noise_levels(run.scheduler)

    assert 9 == len(levels)
    assert sorted(levels, reverse=True) == levels
    assert 0 == levels[-1] < levels[-2]


def remembered(latents: Latents) -> Latents:
    """As the cache gives them back."""
    found = decode(encode(latents).data)
    assert isinstance(found, Latents)
    return found
