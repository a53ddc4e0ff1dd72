"""Decoding in tiles: what it spares in memory, what it costs in time, and how far it is from the whole picture."""

from __future__ import annotations

from benchmarks.processes import python
from benchmarks.report import Bound, Report, Table

NAMES = {"tiny": "builtin:tiny", "sd": "SD geometry, random weights"}
Case = tuple[str, int, int]
"""Which VAE, the picture's side and the tile's in pixels; a tile of 0 is the whole picture."""


def full() -> Report:
    """Pictures of 2048 pixels with the built-in VAE; of 1024 with one of Stable Diffusion's geometry."""
    costs: list[Case] = [("tiny", 2048, 0), ("tiny", 2048, 768), ("sd", 1024, 0), ("sd", 1024, 512)]
    return measure(costs, [("tiny", 1024, 512), ("tiny", 1024, 256), ("sd", 768, 384)])


def quick() -> Report:
    """See that it works."""
    return measure([("tiny", 512, 0), ("tiny", 512, 256)], [("tiny", 512, 256)])


def measure(costs: list[Case], differences: list[Case]) -> Report:
    """Run a process for each figure."""
    spent = [(case, python("-m", "benchmarks.tiled_decode", *map(str, case))) for case in costs]
    rows = [(*_words(case), f"{cost.peak_bytes / 2**20:.0f}", f"{cost.cpu:.1f}") for case, cost in spent]
    far = [(case, python("-m", "benchmarks.tiled_decode", *map(str, case), "compare").printed) for case in differences]
    seams = [(*_words(case), who, *four) for case, told in far for who, four in _halves(told)]
    trained = [row for row in seams if row[0] == NAMES["tiny"]]
    ours, theirs = ([float(row[5]) for row in trained if row[3] == who] for who in ("Darkroom", "diffusers"))
    near = all(one <= 1.1 * other for one, other in zip(ours, theirs, strict=True))
    return Report(
        "tiles",
        "What does decoding in tiles spare, cost, and change?",
        (
            Table("One process", ("VAE", "picture", "tile", "peak, MiB", "CPU, s"), tuple(rows), "Start included."),
            Table(
                "Difference from the whole picture, levels of 255",
                ("VAE", "picture", "tile", "by", "mean in overlaps", "max", "mean elsewhere", "max elsewhere"),
                tuple(seams),
                "Random weights say what group norms and attention do at worst: nothing in them was trained to agree.",
            ),
        ),
        (
            Bound(
                "largest difference, trained weights",
                "at most 1.1 times that of diffusers",
                f"{ours} to {theirs}",
                near,
            ),
        ),
    )


def _words(case: Case) -> tuple[str, str, str]:
    name, side, tile = case
    return NAMES[name], f"{side} x {side}", str(tile or "whole")


def _halves(printed: str) -> list[tuple[str, list[str]]]:
    numbers = printed.split()
    return [("Darkroom", numbers[:4]), ("diffusers", numbers[4:])]
