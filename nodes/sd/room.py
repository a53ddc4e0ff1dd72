"""Refusing a size that can never fit, before anything of that size is allocated.

What is compared are floors: tensors that a step holds at one time whatever the kernels do. A step may need a few times
as much; then the device says so itself (nodes/sd/memory.py). A system that lends memory which it does not have kills
the process instead, and this is what the floors are for.
"""

from __future__ import annotations

import math

import torch

from graph.errors import TooLarge
from nodes.sd.memory import UNLIMITED, in_words, total_bytes


def check_room(what: str, needed: int, device: str, size: tuple[int, int], step: int) -> None:
    """Raise TooLarge where a device could not hold `needed` bytes if it had nothing else to hold.

    size: width and height in pixels, to which `needed` is in proportion; step: what both are multiples of.
    """
    has = total_bytes(device)
    if needed <= has:
        return
    shrink = math.sqrt(has / needed)
    wide, high = (max(step, int(side * shrink) // step * step) for side in size)
    takes = f"{what} of {size[0]} x {size[1]} pixels takes at least {in_words(needed)}"
    raise TooLarge(
        f"{takes}, and {device} has {in_words(has)} in all",
        hint=f"The largest size of this shape that could fit is {wide} x {high}.",
    )


def roomiest() -> str:
    """The device with the most memory of those that steps may run on."""
    devices = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return max(devices, key=lambda device: -1 if total_bytes(device) == UNLIMITED else total_bytes(device))
