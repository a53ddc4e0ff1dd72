"""What a step with weights spends: memory of its device, and seconds of reading weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from graph import gauge
from graph.gauge import Spent
from graph.node import Node
from nodes.sd.residency import weights


def watch(node: type[Node], device: str) -> Callable[[], Spent]:
    """Begin to watch a step; what it gives says what was spent since."""
    loading = weights.seconds
    memory = _cuda(device) if torch.device(device).type == "cuda" else gauge.watch(node, device)
    return lambda: replace(memory(), loading=weights.seconds - loading)


def _cuda(device: str) -> Callable[[], Spent]:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)

    def spent() -> Spent:
        stays = max(0, torch.cuda.memory_allocated(device) - before)
        return Spent(torch.cuda.max_memory_allocated(device) - before, stays)

    return spent
