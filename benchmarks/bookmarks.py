"""What it costs that sampling can be gone on with after a kill: bookmarks, as a share of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.processes import python
from benchmarks.random_model import folder_of, make, tiny
from benchmarks.report import Bound, Report, Table
from graph.resuming import EVERY

MOST = 1.0
"""Percent of a run."""
Found = Mapping[str, Sequence[Sequence[float]]]
"""CPU and wall seconds of every picture, by mode."""


class Case(NamedTuple):
    """A model, and how much is painted with it."""

    model: str
    steps: int
    rounds: int


def full() -> Report:
    """Measure what the promises are about: runs that are longer than the time between two bookmarks."""
    return measure([Case("tiny", 400, 3), Case("large", 30, 3)])


def quick() -> Report:
    """See that it works."""
    return measure([Case("tiny", 3, 1)])


def measure(cases: Sequence[Case]) -> Report:
    """Measure each case in a process of its own."""
    with TemporaryDirectory() as below:
        found = []
        for case in cases:
            model = tiny(Path(below)) if case.model == "tiny" else str(make(Path(below), case.model))
            printed = python("-m", "benchmarks.marked", model, str(case.rounds), str(case.steps)).printed
            name = "builtin:tiny" if model == "builtin:tiny" else f"random, {folder_of(model).name}"
            found.append((case._replace(model=name), json.loads(printed)))
    return _report(found)


def _report(found: Sequence[tuple[Case, Found]]) -> Report:
    rows, bounds = [], []
    for case, spent in found:
        (cpu, wall), (cpu_each, wall_each) = (_medians(spent[mode]) for mode in ("none", "each"))
        one = max(wall_each - wall, cpu_each - cpu) / case.steps
        shares = [100 * _ratio(spent, which) for which in (0, 1)]
        rows.append((f"{case.model}, {case.steps} steps", f"{cpu:.2f}", f"{wall:.2f}", f"{shares[0]:+.2f}",
                     f"{shares[1]:+.2f}", f"{1e3 * one:.2f}"))  # fmt: skip
        share = 100 * one / EVERY
        told = f"{share:.3f} % ({1e3 * one:.2f} ms every {EVERY:g} s)"
        bounds.append(Bound(f"bookmarks, {case.model}", f"at most {MOST:g} % of a run", told, share <= MOST))
    table = Table(
        "Sampling with bookmarks, beside the same without",
        ("", "without, CPU s", "wall s", "as shipped, CPU %", "wall %", "one bookmark, ms"),
        tuple(rows),
        "Medians of pictures painted in turns, in one process, on one thread, with the cache on disk. As shipped: one "
        f"every {EVERY:g} seconds; the difference to none is mostly noise. What one costs is the difference between a "
        "run with one after each step and a run without, by the step.",
    )
    question = "What does it cost that sampling can be gone on with after a kill?"
    return Report("bookmarks", question, (table,), tuple(bounds))


def _medians(spent: Sequence[Sequence[float]]) -> tuple[float, float]:
    return median(cpu for cpu, _ in spent), median(wall for _, wall in spent)


def _ratio(spent: Found, which: int) -> float:
    """How much more a run with bookmarks takes, as a share of one without."""
    pairs = zip(spent["shipped"], spent["none"], strict=True)
    return median(shipped[which] / none[which] for shipped, none in pairs) - 1
