"""Weights are loaded once, lent, moved out when others need the room, and forgotten when released."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from graph.errors import OutOfMemory
from nodes.load_model import LoadModel, Parts
from nodes.sd.files import ModelFile
from nodes.sd.memory import free_bytes, named_out_of_memory
from nodes.sd.residency import Weights
from nodes.text_encode import TextEncode


@pytest.fixture
def parts(whole: Any, ctx: Any) -> Parts:
    return LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx)


def test_weights_are_loaded_once_for_many_steps(parts: Parts, ctx: Any, fresh: Weights) -> None:
    for text in ("a", "b", "c"):
        TextEncode(text=text).run(ctx, parts.text_encoder)

    assert fresh.loads == 1


def test_what_the_user_asked_for_does_not_matter_only_what_is_computed_in(
    parts: Parts, ctx: Any, fresh: Weights
) -> None:
    with fresh.use(parts.vae, ctx) as first, fresh.use(replace(parts.vae, precision="fp32"), ctx) as second:
        assert first is second
    ctx.precision = "fp16"
    with fresh.use(parts.vae, ctx) as third:
        assert first is third  # a VAE stays in fp32


def test_another_precision_is_another_module(parts: Parts, ctx: Any, fresh: Weights) -> None:
    with fresh.use(parts.model, ctx) as full:
        assert full.dtype == torch.float32
    ctx.precision = "bf16"
    with fresh.use(parts.model, ctx) as half:
        assert half.dtype == torch.bfloat16

    assert fresh.loads == 2


def test_released_weights_are_forgotten_and_loaded_anew(parts: Parts, ctx: Any, fresh: Weights) -> None:
    with fresh.use(parts.vae, ctx), fresh.use(parts.model, ctx):
        fresh.release(parts.vae)
    with fresh.use(parts.vae, ctx), fresh.use(parts.model, ctx):
        pass

    assert fresh.loads == 3


def test_running_out_of_memory_in_a_step_says_what_lowers_it(parts: Parts, ctx: Any, fresh: Weights) -> None:
    with pytest.raises(OutOfMemory) as caught, fresh.use(parts.vae, ctx):
        torch.empty(2**60, dtype=torch.uint8)

    assert "1073741824.0 GiB asked for on cpu, which has" in caught.value.message
    assert "a smaller width and height" in caught.value.hint
    assert [0] == [held.users for held in fresh._held.values()]


def test_an_accelerators_message_is_understood() -> None:
    with pytest.raises(OutOfMemory, match=r"2\.5 GiB asked for on meta"), named_out_of_memory("meta"):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8 GiB"
        )


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="shapes"), named_out_of_memory("cpu"):
        raise RuntimeError("shapes do not match")


def test_the_cpu_knows_what_it_has_free() -> None:
    assert free_bytes("cpu") > 2**20


def test_idle_weights_leave_a_full_device_least_recently_used_first(
    parts: Parts, ctx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[tuple[str, str]] = []
    free = {"meta": 4 << 30}
    owner = Weights(budget=lambda device: free[device])
    # Moves are written down, not made: no second device can be counted on.
    monkeypatch.setattr(owner, "_move", lambda held, device: _moved(moves, held, device))
    ctx.device = "meta"
    for handle in (parts.text_encoder, parts.vae):
        with owner.use(handle, ctx):
            pass
    free["meta"] = 1 << 30
    with owner.use(parts.text_encoder, ctx), owner.use(parts.model, ctx):
        pass

    assert [
        ("CLIPTextModel", "meta"),
        ("AutoencoderKL", "meta"),
        ("AutoencoderKL", "cpu"),
        ("UNet2DConditionModel", "meta"),
    ] == moves


def _moved(moves: list[tuple[str, str]], held: Any, device: str) -> None:
    moves.append((type(held.module).__name__, device))
    held.device = device
