"""What it costs to load a checkpoint in one file: time and memory, beside diffusers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.checkpoint import make
from benchmarks.processes import Spent, cpu, interleaved, peak, python, wall
from benchmarks.report import Bound, Report, Table

PRECISIONS = ("fp32", "bf16", "fp16")
PROMISED = ("fp32", "bf16")
"""In fp16 diffusers leaves the file mapped, and reads nothing before it is touched."""


def full() -> Report:
    """Measure on a checkpoint of the real size."""
    return measure("real", rounds=5)


def quick() -> Report:
    """See that it works."""
    return measure("tiny", rounds=1)


def measure(size: str, rounds: int) -> Report:
    """Load in processes of their own, in turns, from a file that lies in the system's memory already."""
    with TemporaryDirectory() as folder:
        file = make(Path(folder), size)
        spent = {precision: _spent(file, precision, rounds) for precision in PRECISIONS}
        megabytes = file.stat().st_size / 2**20
    return _report(spent, megabytes, rounds)


def _spent(file: Path, precision: str, rounds: int) -> Mapping[str, Sequence[Spent]]:
    def ours() -> Spent:
        return python("-m", "benchmarks.load_graph", file, precision)

    def theirs() -> Spent:
        return python("benchmarks/load_diffusers.py", file, file.parent / "whole", precision)

    ours(), theirs()  # so that file and libraries lie in memory
    return interleaved(rounds, [("Darkroom", ours), ("diffusers", theirs)])


def _report(spent: Mapping[str, Mapping[str, Sequence[Spent]]], megabytes: float, rounds: int) -> Report:
    rows, bounds = [], []
    for precision, works in spent.items():
        for who, each in works.items():
            rows.append((f"{precision}, {who}", f"{wall(each):.2f}", f"{cpu(each):.2f}", f"{peak(each):.0f}"))
        for what, cost in (("load time", wall), ("peak memory", peak)) if precision in PROMISED else ():
            ratio = cost(works["Darkroom"]) / cost(works["diffusers"])
            bounds.append(Bound(f"{what}, {precision}", "at most 1.00 of diffusers'", f"{ratio:.2f}", ratio <= 1))
    table = Table(
        f"A checkpoint of {megabytes:.0f} MiB in half precision, all three networks",
        ("computed in, by", "wall s", "CPU s", "peak, MiB"),
        tuple(rows),
        f"Medians of {rounds} processes each, in turns, with the time for loading the libraries; mapped files count as "
        "memory, and each weight is touched once. In fp16, as the file is, diffusers computes from the mapped file, "
        "where weights are not aligned and round otherwise; Darkroom copies them, and keeps the autoencoder in fp32 "
        "(docs/decisions/0014).",
    )
    question = "What does it cost to load a checkpoint in one file, beside `from_single_file` of diffusers?"
    return Report("loading", question, (table,), tuple(bounds))
