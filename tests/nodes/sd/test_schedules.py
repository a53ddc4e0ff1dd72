"""Schedules that diffusers does not have for a method, and what a stochastic method draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from nodes.sd.folders import ModelFolder
from nodes.sd.methods import METHODS, SHAPED
from nodes.sd.samplers import Brownian, Schedule, schedule
from nodes.sd.tensors import thaw
from tests.nodes.sd.lab import Lab, settings

KEPT = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
LEVELS = np.sqrt((1 - KEPT) / KEPT)
STEPS = 6
SHAPES = {
    # Karras et al. 2022 (arXiv:2206.00364), equation 5
    "karras": (LEVELS[-1] ** (1 / 7) + np.linspace(0, 1, STEPS) * (LEVELS[0] ** (1 / 7) - LEVELS[-1] ** (1 / 7))) ** 7,
    "exponential": np.exp(np.linspace(np.log(LEVELS[-1]), np.log(LEVELS[0]), STEPS)),
    # Lee et al. 2024 (arXiv:2407.12173), with both parameters 0.6
    "beta": LEVELS[0] + (LEVELS[-1] - LEVELS[0]) * scipy.stats.beta.ppf(1 - np.linspace(0, 1, STEPS), 0.6, 0.6),
}


def run_of(whole: Any, method: str, shape: str) -> Schedule:
    given = settings(method=method, schedule=shape, steps=STEPS)
    return schedule(ModelFolder(whole.folder), given, torch.Generator(), torch.zeros(1, 4, 2, 2), False)


@pytest.mark.parametrize("shape", SHAPED)
@pytest.mark.parametrize("method", ["euler", "euler_a", "lms", "dpmpp_2m"])
def test_a_shape_spans_all_of_the_models_noise(method: str, shape: str, whole: Any) -> None:
    levels = run_of(whole, method, shape).scheduler.sigmas.numpy()

    assert np.allclose([*SHAPES[shape], 0], levels, rtol=1e-4)  # fp32, and logarithms there and back


def test_euler_a_takes_the_times_and_the_first_noise_of_euler(whole: Any) -> None:
    own, lender = (run_of(whole, method, "karras") for method in ("euler_a", "euler"))

    assert torch.equal(lender.times, own.times)
    assert lender.scheduler.init_noise_sigma == own.scheduler.init_noise_sigma


def test_euler_a_steps_down_and_adds_noise_up(lab: Lab, whole: Any) -> None:
    """k-diffusion's ancestral step, over levels shaped by Karras; atol: fp32 over 6 steps of values up to 60."""
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(1, 4, 8, 8, generator=generator).double() * SHAPES["karras"][0]
    run = run_of(whole, "euler_a", "karras")
    for time, level, after in zip(run.times, SHAPES["karras"], [*SHAPES["karras"][1:], 0.0], strict=True):
        with torch.inference_mode():
            seen = (sample / (level**2 + 1) ** 0.5).float()
            noise = whole.unet(seen, time, thaw(lab.prompt.embeddings)).sample.double()
        up = (after**2 * (level**2 - after**2) / level**2) ** 0.5
        sample = sample + noise * ((after**2 - up**2) ** 0.5 - level)
        sample = sample + torch.randn(1, 4, 8, 8, generator=generator).double() * up

    painted = lab.sample(lab.noise, method="euler_a", schedule="karras", steps=STEPS, cfg=1.0)

    assert torch.allclose(sample, thaw(painted.samples).double(), atol=1e-3)


def test_a_brownian_path_is_that_of_the_seed_however_it_is_asked() -> None:
    like, levels = torch.zeros(1, 4, 2, 2), torch.tensor([10.0, 3.0, 1.0, 0.0])
    forth, back = (Brownian(like, levels, 7) for _ in range(2))
    ways = [(levels[0], levels[1]), (levels[1], levels[2])]

    for way, again in zip([forth(*way) for way in ways], [back(*way) for way in ways[::-1]][::-1], strict=True):
        assert torch.equal(way, again)
    assert not torch.equal(forth(*ways[1]), Brownian(like, levels, 8)(*ways[1]))


@pytest.mark.parametrize("method", METHODS)
def test_a_scheduler_can_be_captured_in_mid_sampling(method: str, whole: Any) -> None:
    """What stands in its way would be state in closures and iterators."""
    import copy

    run = schedule(
        ModelFolder(whole.folder), settings(method=method, steps=4), torch.Generator().manual_seed(1),
        torch.ones(1, 4, 2, 2), False,
    )  # fmt: skip
    sample = torch.ones(1, 4, 2, 2)
    for index, time in enumerate(run.times):
        if index == 3:
            held, held_sample, drawn = copy.deepcopy(run.scheduler), sample, run.extras.get("generator")
            state = None if drawn is None else drawn.get_state()
        sample = _stepped(run.scheduler, run.extras, sample, time)
    if drawn is not None:
        drawn.set_state(state)
    for time in run.times[3:]:
        held_sample = _stepped(held, run.extras, held_sample, time)

    assert torch.equal(sample, held_sample)


def _stepped(scheduler: Any, extras: Any, sample: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    seen = scheduler.scale_model_input(sample, time)
    stepped: torch.Tensor = scheduler.step(seen.tanh(), time, sample, **extras, return_dict=False)[0]
    return stepped
