"""Weights that stay in main memory, and visit a device a layer at a time: the bits of the device, little of its memory.

with visiting(module, "cuda:0"):
    module(signal)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import Module, Parameter


@contextmanager
def visiting(module: Module, device: str) -> Iterator[None]:
    """Let a module on the CPU compute on another device. Its inputs are brought there."""
    layers = [layer for layer in module.modules() if layer is module or _own(layer)]
    visits = [Visit(device) for _ in layers]
    pairs = list(zip(layers, visits, strict=True))
    hooks = [layer.register_forward_pre_hook(visit.begin, with_kwargs=True) for layer, visit in pairs]
    hooks += [layer.register_forward_hook(visit.end, always_call=True) for layer, visit in pairs]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(slots=True)
class Visit:
    """Of one layer, with the weights that are its own and not of layers in it."""

    device: str
    home: dict[str, Tensor] = field(default_factory=dict)
    """The weights in main memory, while copies compute."""

    def begin(self, layer: Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        """Bring the layer's weights, and what it is given."""
        own = _own(layer)
        _put(layer, {name: weight.to(self.device) for name, weight in own.items()})
        self.home = own
        return self._brought(args), self._brought(named)

    def end(self, layer: Module, args: object, made: object) -> None:
        """Drop the copies; also where the layer failed."""
        _put(layer, self.home)
        self.home = {}

    def _brought(self, given: Any) -> Any:
        if isinstance(given, Tensor):
            return given.to(self.device)
        if isinstance(given, dict):
            return {name: self._brought(one) for name, one in given.items()}
        return type(given)(map(self._brought, given)) if type(given) in (list, tuple) else given


def _own(layer: Module) -> dict[str, Tensor]:
    named = (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
    return dict(named)


def _put(layer: Module, weights: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        if name in layer._buffers:
            layer._buffers[name] = weight
        else:
            layer._parameters[name] = (
                weight if isinstance(weight, Parameter) else Parameter(weight, requires_grad=False)
            )
