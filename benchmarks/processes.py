"""Processes, and what they cost. The process that measures stays small: a child's peak begins with its parent's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spent:
    """What one process cost."""

    cpu: float
    """Seconds, user and system, of the process and all that it waited for."""
    wall: float
    """Seconds."""
    peak_bytes: int
    """The most memory that was resident at any time, mapped files included."""
    printed: str


def python(*arguments: str | Path) -> Spent:
    """Run Python on a script or module of this repository, with an environment in which nobody set anything."""
    command = [sys.executable, *map(str, arguments)]
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complaints:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=printed, stderr=complaints)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            complaints.seek(0)
            raise RuntimeError(f"{command} gave {process.returncode}:\n{complaints.read().decode()[-4000:]}")
        printed.seek(0)
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Spent(usage.ru_utime + usage.ru_stime, wall, peak, printed.read().decode())


def interleaved(rounds: int, works: Sequence[tuple[str, Callable[[], T]]]) -> dict[str, list[T]]:
    """Do every work once a round, every other round backwards, so that a machine that slows down slows all of them.

    A name may stand several times among the works.
    """
    found: dict[str, list[T]] = {name: [] for name, _ in works}
    for turn in range(rounds):
        for name, work in works if turn % 2 == 0 else reversed(works):
            found[name].append(work())
    return found


def cpu(spent: Iterable[Spent]) -> float:
    """The median of CPU seconds."""
    return median(each.cpu for each in spent)


def wall(spent: Iterable[Spent]) -> float:
    """The median of wall seconds."""
    return median(each.wall for each in spent)


def peak(spent: Iterable[Spent]) -> float:
    """The median of peaks, in MiB."""
    return median(each.peak_bytes for each in spent) / 2**20


def _environment() -> dict[str, str]:
    """Without what a developer's shell may set: no bytecode kept, other caches, other models."""
    foreign = ("DARKROOM_", "PYTHON", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {"HF_HUB_OFFLINE": "1"}
