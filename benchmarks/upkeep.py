"""A cache with very many entries: what gc of it takes, and whether planning notices."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.processes import interleaved, python
from benchmarks.report import Bound, Report, Table

NODES = 1000
GROWTH = 1.2
"""What planning may take in a large cache, in plans in a small one."""
MEMORY = 100 << 20
"""What a gc may need beyond Python itself."""


class Evicted(NamedTuple):
    """A gc that took everything."""

    entries: int
    cpu: float
    wall: float
    peak_bytes: int


def full() -> Report:
    """Measure what the promises are about."""
    return measure(small=100, large=100_000, rounds=7)


def quick() -> Report:
    """See that it works."""
    return measure(small=10, large=1000, rounds=1)


def measure(small: int, large: int, rounds: int) -> Report:
    """Plan the same workflow in caches of two sizes, then evict all that is in them."""
    with TemporaryDirectory() as below:
        folders = {count: Path(below) / str(count) for count in (small, large)}
        for count, folder in folders.items():
            python("-m", "benchmarks.filled", "fill", str(count), folder / "cache")
            _planned(folder)  # computes the workflow
        works = [(str(count), partial(_planned, folder)) for count, folder in folders.items()]
        plans = interleaved(rounds, works)
        evicted = [_evicted(count, folder) for count, folder in folders.items()]
    return _report({count: median(plans[str(count)]) for count in folders}, evicted)


def _planned(folder: Path) -> float:
    """CPU seconds of planning a chain, every node of which is known after the first time."""
    told = json.loads(python("-m", "benchmarks.phases", "plan", "chain", str(NODES), folder).printed)
    return float(told["cpu"]["plan"])


def _evicted(count: int, folder: Path) -> Evicted:
    spent = python("-m", "benchmarks.filled", "gc", folder / "cache")
    told = json.loads(spent.printed)
    if told["blobs"] < count:
        raise RuntimeError(f"gc left something: {told} of {count}")
    return Evicted(count, told["cpu"], told["wall"], spent.peak_bytes)


def _report(plans: dict[int, float], evicted: list[Evicted]) -> Report:
    small, large = plans
    growth, needed = plans[large] / plans[small], evicted[1].peak_bytes - evicted[0].peak_bytes
    gcs = [(f"{gone.entries:,}", f"{gone.cpu:.2f}", f"{gone.wall:.2f}", f"{gone.peak_bytes / 2**20:.0f}")
           for gone in evicted]  # fmt: skip
    return Report(
        "upkeep",
        f"What does a cache of {large:,} entries cost those who use it, and who looks after it?",
        (
            Table("Planning", ("entries", "CPU, ms"), tuple((f"{count:,}", f"{1e3 * cpu:.1f}") for count, cpu in
                  plans.items()), f"A chain of {NODES:,} nodes, all of them known, in a new process."),
            Table("gc that evicts everything", ("entries", "CPU, s", "wall, s", "peak, MiB"), tuple(gcs),
                  "Every hundredth value is a file; Python's start is in the peak, not in the seconds."),
        ),
        (
            Bound("a plan in a large cache", f"at most {GROWTH} of one in a small", f"{growth:.2f}", growth <= GROWTH),
            Bound("gc's memory for all entries", f"at most {MEMORY >> 20} MiB more than for few",
                  f"{needed / 2**20:.0f} MiB", needed <= MEMORY),
        ),
    )  # fmt: skip
