"""What changes a model's weights after they were loaded: the patches of a handle, in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from graph.node import Context
from nodes.sd import lora

Patch = Callable[[torch.nn.Module, str, Mapping[str, Any], Context], Iterator[tuple[str, torch.Tensor]]]
"""Gives what weights of a module become, one by one: for the component, the words of the patch, and the run."""


def apply(module: torch.nn.Module, component: str, patches: tuple[str, ...], ctx: Context) -> frozenset[str]:
    """Change a module's weights; gives the names of those that were changed.

    A changed weight is a new tensor: what shares memory with the old one stays as it is.
    """
    changed: set[str] = set()
    for text in patches:
        patch = json.loads(text)
        for name, weight in KINDS[patch["kind"]](module, component, patch, ctx):
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, torch.nn.Parameter(weight, requires_grad=False))
            changed.add(name)
    return frozenset(changed)


def _lora(
    module: torch.nn.Module, component: str, patch: Mapping[str, Any], ctx: Context
) -> Iterator[tuple[str, torch.Tensor]]:
    return lora.merged(module, component, ctx.locate(patch["digest"]), patch["strength"])


def _scale(
    module: torch.nn.Module, component: str, patch: Mapping[str, Any], ctx: Context
) -> Iterator[tuple[str, torch.Tensor]]:
    """Tell an autoencoder by what latents are multiplied, where its file does not say it."""
    module.register_to_config(scaling_factor=patch["scale"])
    return iter(())


KINDS: Mapping[str, Patch] = {"lora": _lora, "scale": _scale}
