"""Sampling that is cut off and gone on with: the very bits of a run that nobody disturbed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from graph.codec import decode, encode
from graph.values import Latents, Mask, Picture, Value
from nodes.inpaint import Inpaint
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.bookmarks import go_on, stand
from nodes.sd.methods import METHODS
from nodes.sd.settings import COMPVIS
from nodes.text_encode import TextEncode
from tests.nodes.conftest import Bench
from tests.nodes.sd.lab import Lab

STEPS = 4


@dataclass
class Marked(Bench):
    """A bench on which a step is given bookmarks, and which writes down all that it leaves, as bytes."""

    given: list[bytes] = field(default_factory=list)
    left: list[bytes] = field(default_factory=list)
    spared: int = 0

    def progress(self, step: int, total: int, mark: Callable[[], Value] | None = None) -> None:
        super().progress(step, total)
        assert mark is not None
        self.left.append(encode(mark()).data)

    def bookmarks(self) -> list[Value]:
        return [decode(data) for data in self.given]

    def resumed(self, steps: int) -> None:
        self.spared += steps


Sample = Callable[[Marked], Latents]


def same_from_everywhere(ctx: Bench, sample: Sample) -> int:
    """Go on from every bookmark of a run; each time its bits come out. Gives how many there were."""
    undisturbed = fresh(ctx)
    whole = sample(undisturbed)
    for at, left in enumerate(undisturbed.left, start=1):
        again = fresh(ctx, left)
        assert whole == sample(again), f"after {at} steps"
        assert at == again.spared
        assert undisturbed.steps[at:] == again.steps
    assert whole == sample(fresh(ctx))  # bookmarks leave no trace in what is shared
    return len(undisturbed.left)


def fresh(ctx: Bench, *given: bytes) -> Marked:
    return Marked(ctx.folder, places=ctx.places, given=list(given))


def sampling(lab: Lab, latents: Latents, **settings: Any) -> Sample:
    sampler, inputs = Sampler(**({"steps": STEPS} | settings)), (lab.parts.model, lab.prompt, lab.negative, latents)
    return lambda ctx: sampler.run(ctx, *inputs)


EVERY = [(method, schedule) for method, recipe in METHODS.items() for schedule in recipe.schedules]


@pytest.mark.parametrize(("method", "schedule"), EVERY)
def test_every_method_and_schedule_goes_on_from_every_step(method: str, schedule: str, lab: Lab) -> None:
    assert STEPS <= same_from_everywhere(lab.ctx, sampling(lab, lab.noise, method=method, schedule=schedule))


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_that_is_repainted_goes_on_from_every_step(method: str, lab: Lab) -> None:
    more = {"eta": 0.5} if method in ("ddim", "tcd") else {}
    sample = sampling(lab, lab.clean, method=method, strength=0.8, steps=6, **more)

    assert 4 <= same_from_everywhere(lab.ctx, sample)


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_a_run_go_on_from_every_step(method: str, lab: Lab) -> None:
    first = sampling(lab, lab.noise, method=method, steps=5, end_step=3)
    same_from_everywhere(lab.ctx, first)
    second = sampling(lab, first(fresh(lab.ctx)), method=method, steps=5, start_step=3)

    assert 2 <= same_from_everywhere(lab.ctx, second)


@pytest.mark.parametrize("method", ["euler_a", "plms", "dpmpp_sde", "heun"])
def test_a_batch_goes_on_in_the_middle_of_any_sample(method: str, lab: Lab) -> None:
    batch = Noise(seed=4, width=64, height=64, count=3).run(lab.ctx, lab.parts.model)

    assert 3 * 3 <= same_from_everywhere(lab.ctx, sampling(lab, batch, method=method, steps=3))


@pytest.mark.parametrize("method", COMPVIS)
def test_the_scripts_steps_go_on_from_every_step(method: str, lab: Lab) -> None:
    assert STEPS <= same_from_everywhere(lab.ctx, sampling(lab, lab.noise, method=method, compat="compvis"))


@pytest.mark.parametrize("strength", [1.0, 0.7])
@pytest.mark.parametrize("method", ["euler_a", "ddim", "dpmpp_3m_sde", "kdpm2_a"])
def test_what_inpainting_keeps_is_kept_from_every_step(method: str, strength: float, lab: Lab) -> None:
    pixels = Picture.of_bytes("RGB", 64, 64, bytes(range(256)) * 48)
    mask = Mask.of_bytes("L", 64, 64, bytes(2048) + b"\xff" * 2048)
    masked = Inpaint(seed=3).run(lab.ctx, lab.parts.vae, pixels, mask)

    assert 3 <= same_from_everywhere(lab.ctx, sampling(lab, masked, method=method, strength=strength, steps=5))


def test_prompts_that_change_go_on_from_every_step(lab: Lab) -> None:
    turning = TextEncode(text="[a|the] cat [and dog:2]").run(lab.ctx, lab.parts.text_encoder)
    lab.prompt = turning

    assert STEPS == same_from_everywhere(lab.ctx, sampling(lab, lab.noise, method="unipc"))


# The same work that ended elsewhere


@pytest.mark.parametrize("method", METHODS)
def test_a_longer_run_begins_where_the_longest_shorter_one_ended(method: str, lab: Lab) -> None:
    begins_where_others_ended(lab, lab.noise, method)


def test_every_sample_of_a_batch_begins_where_it_ended(lab: Lab) -> None:
    batch = Noise(seed=4, width=64, height=64, count=2).run(lab.ctx, lab.parts.model)

    begins_where_others_ended(lab, batch, "dpmpp_2m_sde")


@pytest.mark.parametrize("method", METHODS)
def test_a_part_whose_steps_are_others_is_not_gone_on_from(method: str, lab: Lab) -> None:
    """With a strength, a part of plms begins otherwise than a whole run of it."""

    def run(end: int | None, *given: bytes) -> tuple[Latents, Marked]:
        ctx = fresh(lab.ctx, *given)
        return sampling(lab, lab.clean, method=method, steps=6, strength=0.7, end_step=end)(ctx), ctx

    given, ctx = run(None, *run(4)[1].left)

    assert run(None)[0] == given
    assert (method == "plms") == (ctx.spared == 0)


def begins_where_others_ended(lab: Lab, latents: Latents, method: str) -> None:
    def run(end: int | None, *given: bytes) -> tuple[Latents, Marked]:
        ctx = fresh(lab.ctx, *given)
        return sampling(lab, latents, method=method, steps=6, end_step=end)(ctx), ctx

    shorter = [run(end)[1].left[-1] for end in (2, 3, 5)]
    behind = [sum(one.done for one in decode(left).stands) for left in shorter]
    for end, begins in ((4, behind[1]), (5, behind[2]), (None, behind[2])):
        given, ctx = run(end, *shorter)
        assert run(end)[0] == given
        assert begins == ctx.spared


# What is not gone on from


@pytest.mark.parametrize("other", ["cpu, fp32, torch 1.0", ""])
def test_what_another_machine_left_is_not_used(other: str, lab: Lab) -> None:
    sample, undisturbed = sampling(lab, lab.noise), fresh(lab.ctx)
    whole = sample(undisturbed)
    foreign = fresh(lab.ctx, encode(replace(decode(undisturbed.left[1]), machine=other)).data)

    assert whole == sample(foreign)
    assert 0 == foreign.spared


def test_a_machine_is_told_by_its_device_precision_and_libraries(lab: Lab) -> None:
    ctx = fresh(lab.ctx)
    sampling(lab, lab.noise)(ctx)
    told = decode(ctx.left[0]).machine

    assert told.startswith(f"cpu, fp32, torch {torch.__version__}, diffusers ")


# What a scheduler remembers


@dataclass
class Remembering:
    """Stands for a run whose scheduler remembers one thing."""

    scheduler: Any
    times: torch.Tensor = field(default_factory=lambda: torch.arange(2))
    left: float = 0.0
    before: int = 0
    whole: int = 2


class Scheduler:
    def __init__(self, part: Any) -> None:
        self.part = part


def test_what_cannot_be_written_down_is_an_error_and_not_lost() -> None:
    for part in ({}, (1,), object(), [torch.Generator()], len):
        run: Any = Remembering(Scheduler(part))
        with pytest.raises(TypeError, match="which cannot be written down"):
            stand(run, torch.Generator(), torch.zeros(1), 1)


def test_everything_else_comes_back_as_it_was() -> None:
    pixelwise = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    parts: list[Any] = [
        None, True, 3, 0.1, "text", [], [None, [torch.tensor(5)]], torch.tensor(math.inf), torch.arange(3.0).half(),
        torch.arange(3).to(torch.bfloat16), pixelwise, np.arange(3), np.array([]), np.float64(0.1), np.float32(0.1),
    ]  # fmt: skip
    for part in parts:
        before: Any = Remembering(Scheduler(part))
        after: Any = Remembering(Scheduler(0))
        stood = decode(encode(stand(before, torch.Generator(), torch.zeros(1), 1)).data)
        go_on(stood, after, torch.Generator(), torch.zeros(1))

        assert repr(part) == repr(after.scheduler.part)
        assert type(part) is type(after.scheduler.part)
        if isinstance(part, torch.Tensor):
            assert part.stride() == after.scheduler.part.stride()
