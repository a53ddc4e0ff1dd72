"""ControlNets: steering a denoiser by pictures.

Source: Zhang et al. 2023 (arXiv:2302.05543); which steps, and how pictures are prepared, as diffusers' pipelines do it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from graph.errors import StepError
from graph.node import Context
from graph.values import Control, Picture
from nodes.sd.families import Steering, Task
from nodes.sd.halves import unbatched
from nodes.sd.residency import weights

ALIKE = ("cross_attention_dim", "block_out_channels", "layers_per_block", "addition_embed_type", "class_embed_type")
"""What the configs of a ControlNet and of its U-Net have in common: it is a copy of the U-Net's first half."""


@dataclass(frozen=True, slots=True)
class Held:
    """One ControlNet with its picture, for the steps from `start` to `end` (0 to 1)."""

    steering: Steering
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Net:
    """A ControlNet that looks at one picture."""

    module: Any
    picture: torch.Tensor
    """(1, 3, height, width), 0 to 1, on the module's device, in its dtype."""
    strength: float

    def __call__(
        self,
        latents: torch.Tensor,
        time: torch.Tensor,
        embeddings: torch.Tensor,
        added: Mapping[str, torch.Tensor] | None,
    ) -> tuple[Sequence[torch.Tensor], torch.Tensor]:
        """See `families.Steering`. Guided, the positive prompt comes second."""
        if self.module.config.global_pool_conditions and len(latents) == 2:
            told = added and {name: tensor[1:] for name, tensor in added.items()}
            down, middle = self(latents[1:], time, embeddings[1:], told)
            return [_after_nothing(one) for one in down], _after_nothing(middle)
        pictures = torch.cat([self.picture] * len(latents))
        down, middle = self.module(
            latents, time, encoder_hidden_states=embeddings, controlnet_cond=pictures,
            conditioning_scale=self.strength, added_cond_kwargs=added, return_dict=False,
        )  # fmt: skip
        return down, middle


def _after_nothing(residual: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(residual), residual])


@contextmanager
def steered(ctx: Context, controls: Sequence[Control], task: Task, denoiser: Any) -> Iterator[tuple[Held, ...]]:
    """Lend the networks of all controls, with their pictures in the size of the task.

    Raises StepError, before any step, for a network that was made for another kind of denoiser.
    """
    with ExitStack() as borrowed:
        yield tuple(_held(ctx, control, task, denoiser, borrowed) for control in controls)


def active(held: Sequence[Held], step: int, steps: int) -> list[Steering]:
    """What steers at step `step` (from 0) of `steps`."""
    return [one.steering for one in held if not step / steps < one.start and not (step + 1) / steps > one.end]


def _held(ctx: Context, control: Control, task: Task, denoiser: Any, borrowed: ExitStack) -> Held:
    module = borrowed.enter_context(weights.use(control.net, ctx))
    name = ctx.locate(control.net.digest).name
    for key in ALIKE:
        made_for, needed = _listed(module.config[key]), _listed(denoiser.config[key])
        if made_for != needed:
            raise StepError(
                f'ControlNet "{name}" is made for a model with {key} {made_for}, but this one has {needed}',
                hint="Use a ControlNet that was trained on this family of models.",
            )
    if (control.image.width, control.image.height) != (task.width, task.height):
        ctx.warn(
            f'the picture for ControlNet "{name}" is resized from {control.image.width} x {control.image.height} '
            f"to {task.width} x {task.height} pixels"
        )
    dtype = next(module.parameters()).dtype
    picture = prepared(control.image, task.width, task.height).to(ctx.device, dtype)
    return Held(Net(unbatched(ctx, module), picture, control.strength), control.start, control.end)


def _listed(said: object) -> object:
    """What a config says; its own defaults are tuples, those of files are lists."""
    return list(said) if isinstance(said, tuple) else said


def prepared(picture: Picture, width: int, height: int) -> torch.Tensor:
    """Turn a picture into float32 (1, 3, height, width), 0 to 1, resized by Lanczos' filter. Alpha is dropped."""
    resized = picture.pixels.resize((width, height), Image.Resampling.LANCZOS).convert("RGB")
    pixels = np.array(resized).astype(np.float32) / 255.0
    return torch.from_numpy(pixels[None].transpose(0, 3, 1, 2))
