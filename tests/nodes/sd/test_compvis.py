"""compat: compvis against CompVis' samplers, written anew here from their equations, in float64.

No package of theirs can be installed. DDIM: Song et al. 2020 (arXiv:2010.02502), equation 12. PLMS: Liu et al. 2022
(arXiv:2202.09778), equations 9 to 12. DPM-Solver++(2M): Lu et al. 2022 (arXiv:2211.01095), algorithm 2. Noise on a
picture: Ho et al. 2020 (arXiv:2006.11239), equation 4. atol=1e-4: what the issue promises; fp32 against float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from graph.errors import StepError
from graph.values import Latents
from nodes.sd.compvis import times
from nodes.sd.noise import resumed
from nodes.sd.tensors import thaw
from tests.nodes.sd.lab import Lab

Array: TypeAlias = torch.Tensor
Predict: TypeAlias = Callable[[Array, float], Array]
CFG = 2.0  # a random net explodes with more, and differences with it
KEPT = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2)
"""How much of a picture's variance is left at each time."""
CRASHES = [3, 9, 27, 36, 37, *range(101, 112), *range(251, 334), *range(501, 1001)]
"""Numbers of steps whose last time lies behind the model's."""


def predictor(whole: Any, lab: Lab) -> Predict:
    """The guided noise that the model sees in a sample at a time."""
    both = [thaw(prompt.embeddings) for prompt in (lab.negative, lab.prompt)]

    def predict(sample: Array, time: float) -> Array:
        with torch.inference_mode():
            moment = torch.tensor([time] * 2, dtype=torch.float32)
            without, with_prompt = whole.unet(torch.cat([sample.float()] * 2), moment, torch.cat(both)).sample.chunk(2)
            return (without + CFG * (with_prompt - without)).double()

    return predict


def rule(steps: int) -> list[int]:
    """Every (1000 // steps)-th time, one late, and none that the model has not."""
    return [time + 1 for time in range(0, 1000, 1000 // steps) if time + 1 < 1000]


def ddim_step(sample: Array, noise: Array, now: float, then: float) -> Array:
    clean = (sample - (1 - now) ** 0.5 * noise) / now**0.5
    return then**0.5 * clean + (1 - then) ** 0.5 * noise


def levels(chosen: Sequence[int]) -> list[tuple[int, float, float]]:
    """Time, and what is kept at it and at the next one, latest first. The last goes to what is kept at time 0."""
    kept = [KEPT[0], *(KEPT[time] for time in chosen)]
    return [(time, kept[index + 1], kept[index]) for index, time in enumerate(chosen)][::-1]


def ddim(predict: Predict, sample: Array, chosen: Sequence[int]) -> Array:
    for time, now, then in levels(chosen):
        sample = ddim_step(sample, predict(sample, time), now, then)
    return sample


def plms(predict: Predict, sample: Array, chosen: Sequence[int]) -> Array:
    steps, seen = levels(chosen), list[Array]()
    for index, (time, now, then) in enumerate(steps):
        noise = predict(sample, time)
        if not seen:
            ahead = ddim_step(sample, noise, now, then)
            mean = (noise + predict(ahead, steps[index + 1][0])) / 2
        elif len(seen) == 1:
            mean = (3 * noise - seen[-1]) / 2
        elif len(seen) == 2:
            mean = (23 * noise - 16 * seen[-1] + 5 * seen[-2]) / 12
        else:
            mean = (55 * noise - 59 * seen[-1] + 37 * seen[-2] - 9 * seen[-3]) / 24
        sample = ddim_step(sample, mean, now, then)
        seen.append(noise)
    return sample


def dpm_solver(predict: Predict, sample: Array, steps: int) -> Array:
    """Evenly in continuous time from 1 to 1/1000; the logarithm of what is kept is a polyline between the times."""
    moments = np.linspace(1, 1 / 1000, steps + 1)
    logs = np.interp(moments, np.arange(1, 1001) / 1000, np.log(KEPT) / 2)
    alpha, sigma = np.exp(logs), np.sqrt(1 - np.exp(2 * logs))
    lam = np.log(alpha / sigma)
    before: Array | None = None
    for index in range(steps):
        noise = predict(sample, (moments[index] - 1 / 1000) * 1000)
        clean = (sample - sigma[index] * noise) / alpha[index]
        width = lam[index + 1] - lam[index]
        slope = clean
        if before is not None and not (steps < 15 and index == steps - 1):
            ratio = (lam[index] - lam[index - 1]) / width
            slope = clean + (clean - before) / (2 * ratio)
        sample = sigma[index + 1] / sigma[index] * sample - alpha[index + 1] * np.expm1(-width) * slope
        before = clean
    return sample


@pytest.mark.parametrize("steps", [7, 9, 27])
@pytest.mark.parametrize("method", ["ddim", "plms"])
def test_txt2img_is_what_the_scripts_paint(method: str, steps: int, whole: Any, lab: Lab) -> None:
    sampler = {"ddim": ddim, "plms": plms}[method]
    painted = lab.sample(lab.noise, method=method, steps=steps, cfg=CFG, compat="compvis")

    close(sampler(predictor(whole, lab), thaw(lab.noise.samples).double(), rule(steps)), painted)
    assert painted.level == 0


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_dpm_solver_is_what_the_scripts_paint(steps: int, whole: Any, lab: Lab) -> None:
    painted = lab.sample(lab.noise, method="dpmpp_2m", steps=steps, cfg=CFG, compat="compvis")

    close(dpm_solver(predictor(whole, lab), thaw(lab.noise.samples).double(), steps), painted)


@pytest.mark.parametrize(("steps", "strength"), [(10, 0.5), (10, 0.84), (7, 0.8), (7, 1.0), (10, 1.0)])
def test_img2img_takes_the_noise_of_one_step_more(steps: int, strength: float, whole: Any, lab: Lab) -> None:
    chosen, doing = rule(steps), int(strength * steps)
    kept = KEPT[chosen[min(doing, len(chosen) - 1)]]  # at strength 1 the scripts crash for most numbers of steps
    clean = thaw(lab.clean.samples)
    noise = torch.randn(clean.shape, generator=resumed(lab.clean.generators[0]))
    noised = kept**0.5 * clean.double() + (1 - kept) ** 0.5 * noise.double()

    painted = lab.sample(lab.clean, method="ddim", steps=steps, strength=strength, cfg=CFG, compat="compvis")

    close(ddim(predictor(whole, lab), noised, chosen[:doing]), painted)


@pytest.mark.parametrize(("steps", "evaluations"), [(30, 31), (7, 8), (60, 63), (50, 50), (3, 3), (1000, 999)])
def test_the_scripts_take_more_steps_than_they_are_asked_for(steps: int, evaluations: int) -> None:
    assert evaluations == len(times(steps, 1000))


def test_no_number_of_steps_leaves_the_model() -> None:
    assert CRASHES == [steps for steps in range(1, 1001) if 1000 in np.arange(0, 1000, 1000 // steps) + 1]
    assert all(999 >= times(steps, 1000)[0] > times(steps, 1000)[-1] == 1 for steps in range(2, 1001))


def test_what_the_scripts_cannot_repaint_is_refused(lab: Lab) -> None:
    with pytest.raises(StepError, match="repaints pictures with ddim alone, not plms"):
        lab.sample(lab.clean, method="plms", steps=5, compat="compvis")


def close(expected: Array, found: Latents) -> None:
    assert float((expected - thaw(found.samples).double()).abs().max()) < 1e-4
