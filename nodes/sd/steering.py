"""ControlNets: steering a denoiser by pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graph.node import Context
from graph.values import Control
from nodes.sd.families import Steering, Task


@dataclass(frozen=True, slots=True)
class Held:
    """One ControlNet with its picture, for the steps from `start` to `end` (0 to 1)."""

    steering: Steering
    start: float
    end: float


@contextmanager
def steered(ctx: Context, controls: Sequence[Control], task: Task) -> Iterator[tuple[Held, ...]]:
    """Lend the networks of all controls, with their pictures in the size of the task."""
    if controls:
        raise NotImplementedError("ControlNets are not there yet")
    yield ()


def active(held: Sequence[Held], step: int, steps: int) -> list[Steering]:
    """What steers at step `step` (from 0) of `steps`."""
    return [one.steering for one in held if not step / steps < one.start and not (step + 1) / steps > one.end]
