"""A network that is given the members of a batch one by one: half the memory for guidance, other last bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from graph.node import Context


def unbatched(ctx: Context, net: Any) -> Any:
    """The network itself; where memory must be saved so, one that sees one sample at a time."""
    return OneByOne(net) if ctx.saving == "halves" else net


class OneByOne:
    """Stands for a U-Net or a ControlNet in every other respect."""

    def __init__(self, net: Any) -> None:
        self._net = net

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)

    def __call__(self, batch: torch.Tensor, time: torch.Tensor, **beside: Any) -> Any:
        """batch: (samples, channels, rows, columns). Whatever else comes once for each sample is parted likewise."""
        count = len(batch)
        made = [self._net(batch[at : at + 1], time, **_part(beside, at, count)) for at in range(count)]
        return _together(made)


def _part(given: Any, at: int, count: int) -> Any:
    if isinstance(given, dict):
        return {name: _part(one, at, count) for name, one in given.items()}
    if isinstance(given, (list, tuple)):
        return [_part(one, at, count) for one in given]
    is_parted = isinstance(given, torch.Tensor) and given.ndim > 0 and len(given) == count
    return given[at : at + 1] if is_parted else given


def _together(made: Sequence[Any]) -> Any:
    """Tensors of one sample each, or tuples and lists of such, as one batch."""
    if isinstance(made[0], torch.Tensor):
        return torch.cat(list(made))
    return tuple(_together(parts) for parts in zip(*made, strict=True))
