"""What a step spends beside its own work, read before and after it: memory, and what is paid once a process.

Main memory is read from Linux's account of this process. Its peak only ever grows, so a step is measured where it
raises that peak, and otherwise 0 is told: not measured. The account could be set back before each step (proc(5),
clear_refs), but then everybody else who watches this process would lose its true peak.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from graph.node import Node


@dataclass(frozen=True, slots=True)
class Spent:
    """What a step spent."""

    memory: int = 0
    """Bytes at the peak beyond those in use before; 0 where it was not measured."""
    stays: int = 0
    """Bytes of these in use after it."""
    loading: float = 0.0
    """Seconds of reading weights."""
    starting: float = 0.0
    """Seconds of importing what computes with weights."""
    base: int = 0
    """Bytes that this took; they are not in `memory`."""


Watch = Callable[[type[Node], str], Callable[[], Spent]]
"""Called before an accelerated step with its node and device; what it gives is called after it."""
_NOTHING = Spent()
_LINES = re.compile(rb"^(VmHWM|VmRSS):\s+(\d+) kB", re.MULTILINE)


def unwatched() -> Spent:
    """Of a step that is not worth a look: nothing is known."""
    return _NOTHING


def watch(node: type[Node], device: str) -> Callable[[], Spent]:
    """Watch the main memory of this process, if that is where the step computes."""
    if device != "cpu":
        return unwatched
    peak, before = in_use()

    def spent() -> Spent:
        highest, after = in_use()
        return Spent(highest - before if highest > peak else 0, max(0, after - before))

    return spent


def in_use() -> tuple[int, int]:
    """(peak, now) of the main memory of this process, in bytes; zeros where the system does not tell."""
    try:
        with open("/proc/self/status", "rb", buffering=0) as file:
            told = dict(_LINES.findall(file.read()))
    except OSError:
        return 0, 0
    return tuple(int(told.get(name, 0)) << 10 for name in (b"VmHWM", b"VmRSS"))  # type: ignore[return-value]  # two
