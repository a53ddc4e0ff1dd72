"""LoRA: low-rank changes added to a module's weights.

Source: Hu et al. 2021 (arXiv:2106.09685), equation 3, scaled by alpha / rank (section 4.1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch.nn.functional import conv2d

from graph.errors import StepError
from graph.node import Context
from graph.values import Denoiser, ModelHandle, TextEncoder
from nodes.sd import families
from nodes.sd.checkpoints import empty, read_weight
from nodes.sd.lora_files import Change, Lora, LoraFile, named, read_lora, trimmed
from nodes.sd.models import opened
from nodes.sd.unet_names import compvis_names

Handle = TypeVar("Handle", bound=ModelHandle)


def add_lora(
    ctx: Context, model: Denoiser, text_encoder: TextEncoder, file: LoraFile, strength: float, text_strength: float
) -> tuple[Denoiser, TextEncoder]:
    """Describe a model with a LoRA on top. A component that it leaves as it is keeps its handle.

    Raises StepError, naming both, for a LoRA whose tensors do not all fit.
    """
    lora, encoders = read_lora(file.path), families.named(text_encoder.family).encoders
    shapes = {name: _shapes(ctx, text_encoder, name) for name in encoders} | {"unet": _shapes(ctx, model, "unet")}
    _refuse_misfits(lora, shapes, opened(ctx.locate(model.digest)).path.name)
    changed, digest = {component for component, _ in lora.changes}, ctx.digest(file)
    if "unet" in changed:
        model = _patched(model, digest, strength)
    if not changed.isdisjoint(encoders):
        text_encoder = _patched(text_encoder, digest, text_strength)
    return model, text_encoder


def merged(module: torch.nn.Module, component: str, path: Path, strength: float) -> Iterator[tuple[str, torch.Tensor]]:
    """What each weight becomes that a LoRA changes: summed in float32, and rounded once to the module's dtype."""
    lora, spelled = read_lora(path), spellings(module.state_dict())
    for (owner, place), change in lora.changes.items():
        if owner == component:
            weight = module.get_parameter(spelled[place])
            delta = _tensors(lora, change).delta(weight.shape, strength)
            yield spelled[place], (weight.float() + delta).to(weight.dtype)


class Tensors(NamedTuple):
    """One change, read."""

    down: torch.Tensor
    up: torch.Tensor
    mid: torch.Tensor | None
    alpha: float

    def delta(self, shape: torch.Size, strength: float) -> torch.Tensor:
        """What is added to a weight."""
        up, down, rank = self.up.flatten(1), self.down, self.down.shape[0]
        if self.mid is not None:
            # Yeh et al. 2023 (arXiv:2309.14859), section 3.1: the middle convolution, between two of 1 x 1
            made = torch.einsum("mnij,om,nk->okij", self.mid, up, down.flatten(1))
        elif down.ndim == 4:
            # As peft does it: a product of matrices would round otherwise.
            made = conv2d(down.transpose(0, 1), up[..., None, None]).transpose(0, 1)
        else:
            made = up @ down
        return made.reshape(shape) * (strength * self.alpha / rank)


def spellings(names: Mapping[str, Any]) -> dict[str, str]:
    """The weights of a module by the ways in which LoRA files write them: see `Lora.changes`."""
    plain = {name.removesuffix(".weight"): name for name in names if name.endswith(".weight")}
    here = {module.replace(".", "_").removeprefix("text_model_"): name for module, name in plain.items()}
    return {other.replace(".", "_"): plain[module] for module, other in compvis_names(plain).items()} | here


def _tensors(lora: Lora, change: Change) -> Tensors:
    def read(name: str) -> torch.Tensor:
        return read_weight(lora.path, lora.tensors[name], torch.float32)

    down, up = read(change.down), read(change.up)
    mid = read(change.mid) if change.mid else None
    return Tensors(down, up, mid, read(change.alpha).item() if change.alpha else down.shape[0])


def _patched(handle: Handle, digest: str, strength: float) -> Handle:
    if not strength:
        return handle
    patch = json.dumps({"digest": digest, "kind": "lora", "strength": strength}, sort_keys=True)
    return replace(handle, patches=(*handle.patches, patch))


def _shapes(ctx: Context, handle: ModelHandle, component: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a component's weights, by the spelling of LoRA files. No weight is read."""
    weights = empty(opened(ctx.locate(handle.digest)), handle.family, component).state_dict()
    return {spelled: trimmed(weights[name].shape) for spelled, name in spellings(weights).items()}


def _refuse_misfits(lora: Lora, shapes: Mapping[str, Mapping[str, tuple[int, ...]]], model: str) -> None:
    unknown, wrong = [], []
    for (component, module), change in lora.changes.items():
        wanted = shapes.get(component, {}).get(module)
        if wanted is None:
            unknown += [change.down]
        elif wanted != lora.shape(change):
            wrong += [f'"{change.down}" is for a weight of {list(lora.shape(change))}, the model has {list(wanted)}']
    if unknown:
        share = "none" if len(unknown) == len(lora.changes) else "not all"
        raise StepError(
            f'LoRA "{lora.path.name}" does not fit model "{model}": {share} of what it changes is there; '
            f"it lacks what {named(unknown)} would change",
            hint="Use a LoRA that was trained on this family of models.",
        )
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise StepError(
            f'LoRA "{lora.path.name}" does not fit model "{model}": {wrong[0]}{more}',
            hint="Use a LoRA that was trained on this family of models.",
        )
