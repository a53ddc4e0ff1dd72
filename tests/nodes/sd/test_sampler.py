"""The sampler's refusals, its progress, and what it does at its limits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import darkroom
from graph.errors import MissingError, StepError, Stopped, WorkflowError
from graph.values import Latents
from graph.workflow import parse
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.folders import ModelFolder
from nodes.sd.methods import METHODS
from nodes.sd.samplers import schedule, smallest_strength
from nodes.sd.tensors import freeze, thaw
from tests.nodes.sd.lab import Lab, settings


def test_strength_0_returns_the_input(lab: Lab) -> None:
    assert lab.clean is lab.sample(lab.clean, strength=0.0)


@pytest.mark.parametrize("strength", [0.0, 0.99])
def test_noise_with_a_strength_below_1_is_explained(strength: float, lab: Lab) -> None:
    with pytest.raises(StepError, match="they are noise") as caught:
        lab.sample(lab.noise, strength=strength)

    assert "Leave strength at 1" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("s: {use: sampler, LINKS, strength: 0.8}", "strength 0.8 would keep"),
        ("s: {use: sampler, LINKS, start_step: 5}", "start_step 5 would keep"),
        ("s: {use: sampler, LINKS, noise: $noise}", "latents and noise are both noise"),
        ("s: {use: upscale_latents, latents: $noise}", "they would be noise no longer"),
    ],
)
def test_noise_where_a_picture_is_needed_is_told_by_check(given: str, named: str, tmp_path: Path) -> None:
    links = "model: $model, positive: $text, negative: $text, latents: $noise"
    text = f"""\
darkroom: 1
nodes:
  model: {{use: load_model, path: "builtin:tiny"}}
  text: {{use: text_encode, text_encoder: $model.text_encoder, text: a cat}}
  noise: {{use: noise, model: $model}}
  {given.replace("LINKS", links)}
"""
    with pytest.raises(WorkflowError, match=named):
        darkroom.check(parse(text.encode(), "a.yaml", tmp_path))


@pytest.mark.parametrize(("steps", "smallest"), [(1, 1.0), (30, 0.034), (49, 0.021), (1000, 0.001), (3, 0.334)])
def test_the_smallest_strength_leaves_one_step(steps: int, smallest: float) -> None:
    assert smallest == smallest_strength(steps)
    assert int(steps * smallest) == 1


def test_less_than_one_step_names_the_smallest_strength(lab: Lab) -> None:
    with pytest.raises(StepError, match=r"strength 0\.03 of 30 steps is less than one step") as caught:
        lab.sample(lab.clean, strength=0.03, steps=30)

    assert "The smallest strength that works is 0.034, or use more steps." == caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"steps": 10**9}, {"cfg": math.nan}, {"cfg": math.inf}, {"cfg": -1.0}, {"cfg": 101.0},
        {"strength": 1.01}, {"strength": -0.1}, {"strength": math.nan}, {"eta": 1.1}, {"method": "eular"},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Sampler(**wrong)


def test_progress_counts_every_evaluation_of_the_model(lab: Lab) -> None:
    batch = Noise(width=64, height=64, count=2).run(lab.ctx, lab.parts.model)
    lab.ctx.steps.clear()  # of encoding the clean picture
    lab.sample(batch, method="heun", steps=3)

    assert [(step, 10) for step in range(1, 11)] == lab.ctx.steps


def test_a_stop_ends_within_one_step_and_gives_the_model_back(lab: Lab, fresh: Any) -> None:
    seen: list[int] = []

    def stop_at_the_third(step: int, _total: int, _mark: object) -> None:
        seen.append(step)
        if step == 3:
            raise Stopped(2)

    lab.ctx.progress = stop_at_the_third
    with pytest.raises(Stopped):
        lab.sample(lab.noise, steps=20)

    assert [1, 2, 3] == seen
    assert [0] == [held.users for held in fresh._held.values()]


@pytest.mark.parametrize("method", METHODS)
def test_one_step_is_enough_for_every_method(method: str, lab: Lab) -> None:
    assert bool(thaw(lab.sample(lab.noise, method=method, steps=1).samples).isfinite().all())


@pytest.mark.parametrize("method", ["ddim", "plms", "dpmpp_2m", "unipc"])
def test_more_steps_than_levels_of_noise_are_refused(method: str, lab: Lab) -> None:
    with pytest.raises(StepError, match=f"{method} cannot do 1000 steps") as caught:
        lab.sample(lab.noise, method=method, steps=1000)

    assert "Use at most 999 steps." == caught.value.hint


def test_lcm_says_how_many_steps_it_can_do(lab: Lab) -> None:
    with pytest.raises(StepError, match="lcm cannot do 51 steps") as caught:
        lab.sample(lab.noise, method="lcm", steps=51)

    assert "Use at most 50 steps." == caught.value.hint


def test_given_noise_takes_the_place_of_drawn_noise(lab: Lab) -> None:
    generator = torch.Generator()
    generator.set_state(torch.frombuffer(bytearray(lab.clean.generators[0]), dtype=torch.uint8))
    drawn = freeze(torch.randn(1, 4, 8, 8, generator=generator))
    same = Latents(drawn, (generator.get_state().numpy().tobytes(),), is_noise=True)

    assert lab.sample(lab.clean, method="euler_a", strength=0.8, steps=5) == lab.sample(
        lab.clean, same, method="euler_a", strength=0.8, steps=5
    )


def test_given_noise_must_be_noise_of_the_same_shape(lab: Lab) -> None:
    wide = Noise(width=96, height=64).run(lab.ctx, lab.parts.model)

    with pytest.raises(StepError, match="noise is given a clean picture"):
        lab.sample(lab.clean, lab.clean)
    with pytest.raises(StepError, match="latents and noise are both noise"):
        lab.sample(lab.noise, lab.noise)
    with pytest.raises(StepError, match=r"noise is \[1, 4, 8, 12\], but latents are \[1, 4, 8, 8\]"):
        lab.sample(lab.clean, wide)


def test_what_does_not_belong_to_the_model_is_refused(lab: Lab) -> None:
    wrong = replace(lab.noise, samples=freeze(torch.zeros(1, 16, 8, 8)))
    with pytest.raises(StepError, match="latents have 16 channels, but the model takes 4"):
        lab.sample(wrong)

    lab.prompt = replace(lab.prompt, embeddings=freeze(torch.zeros(1, 77, 768)))
    with pytest.raises(StepError, match="positive is 768 wide, but the model takes 32"):
        lab.sample(lab.noise)


def test_values_that_are_no_numbers_are_an_error(lab: Lab) -> None:
    lab.prompt = replace(lab.prompt, embeddings=freeze(torch.full((1, 77, 32), math.nan)))

    with pytest.raises(StepError, match="dpmpp_2m ended in values that are no numbers"):
        lab.sample(lab.noise)


def test_eta_is_said_to_make_no_difference_where_it_does_not(lab: Lab) -> None:
    assert lab.sample(lab.noise, method="euler") == lab.sample(lab.noise, method="euler", eta=0.5)
    assert ["eta makes no difference to euler"] == lab.ctx.warnings


@pytest.mark.parametrize("changes", [{"_class_name": "os"}, {"beta_schedule": "none"}])
def test_a_senseless_scheduler_config_is_named(changes: dict[str, Any], spoiled: Any) -> None:
    import json

    path = spoiled / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    with pytest.raises(MissingError, match=r'"scheduler/scheduler_config\.json" of model "spoiled"'):
        schedule(ModelFolder(spoiled), settings(method="ddim"), torch.Generator(), torch.zeros(1, 4, 2, 2), False)


def test_karras_spacing_works_where_the_noise_ends_in_nothing_else(spoiled: Any) -> None:
    import json

    path = spoiled / "scheduler" / "scheduler_config.json"
    changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "_class_name": "DDIMScheduler"}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    latents = torch.ones(1, 4, 2, 2)
    karras = settings(method="dpmpp_2m", schedule="karras", steps=50)
    run = schedule(ModelFolder(spoiled), karras, torch.Generator(), latents, False)

    for time in run.times:
        latents = run.scheduler.step(latents.tanh(), time, latents, return_dict=False)[0]

    assert run.times[0] == run.times[1]
    assert bool(latents.isfinite().all())
