"""What sampling costs through the graph: CPU beside a bare loop, memory beside the pipeline of diffusers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL import Image

from benchmarks.processes import ROOT, Spent, cpu, interleaved, peak, python
from benchmarks.random_model import folder_of, make, tiny
from benchmarks.report import Bound, Report, Table

WORKFLOW = Path("workflows") / "txt2img.yaml"
OVERHEAD = 1.02
"""CPU time through the graph, in that of a bare loop."""


class Sizes(NamedTuple):
    """How much is measured."""

    rounds: int
    steps: int
    runs: int
    models: tuple[str, ...]
    run_steps: int


class Peaks(NamedTuple):
    """Whole runs on one model."""

    model: str
    megabytes: float
    """Of weights."""
    spent: Mapping[str, Sequence[Spent]]


def full() -> Report:
    """Measure what the promises are about."""
    return measure(Sizes(rounds=21, steps=25, runs=5, models=("tiny", "large"), run_steps=5))


def quick() -> Report:
    """See that it works."""
    return measure(Sizes(rounds=1, steps=2, runs=1, models=("tiny",), run_steps=2))


def measure(sizes: Sizes) -> Report:
    """Measure CPU time in one process, and memory in processes of their own."""
    with TemporaryDirectory() as below:
        folder = Path(below)
        model = tiny(folder)
        printed = python("-m", "benchmarks.bare", model, str(sizes.rounds), str(sizes.steps)).printed
        models = [model if size == "tiny" else str(make(folder, size)) for size in sizes.models]
        peaks = [_peaks(each, sizes, folder) for each in models]
    return _report(json.loads(printed), peaks, sizes)


def _peaks(model: str, sizes: Sizes, folder: Path) -> Peaks:
    """Paint the same picture with Darkroom and with the pipeline, in turns, after one unmeasured run of both."""
    fresh = count()
    picture = folder / "plain.png"
    steps = str(sizes.run_steps)

    def ours() -> Spent:
        places = ("--cache", folder / f"cache-{next(fresh)}", "--out", folder / "prints")
        return python("runner.py", "run", WORKFLOW, "--json", *places, "--set", f"model={model}", "--set",
                      f"steps={steps}")  # fmt: skip

    def theirs() -> Spent:
        return python("benchmarks/plain_txt2img.py", folder_of(model), picture, "--steps", steps)

    finished = json.loads(ours().printed.splitlines()[-1])
    theirs()
    if _pixels(ROOT / finished["outputs"][0]["path"]) != _pixels(picture):
        raise RuntimeError(f"Darkroom and the pipeline paint different pictures with {model}")
    spent = interleaved(sizes.runs, [("graph", ours), ("pipeline", theirs)])
    megabytes = sum(path.stat().st_size for path in folder_of(model).rglob("*.safetensors")) / 2**20
    return Peaks("builtin:tiny" if model == "builtin:tiny" else f"random, {Path(model).name}", megabytes, spent)


def _pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.convert("RGB").tobytes()


def _report(found: Mapping[str, Sequence[float]], peaks: Sequence[Peaks], sizes: Sizes) -> Report:
    ratio = median(ours / bare for ours, bare in zip(found["graph"], found["loop"], strict=True))
    graph, loop = median(found["graph"]), median(found["loop"])
    tables = (
        Table(
            f"Sampling {sizes.steps} steps and decoding, in one process: CPU seconds",
            ("", "median", "fastest", "slowest"),
            (_spread("through the graph", found["graph"]), _spread("bare loop", found["loop"])),
            f"Medians of {sizes.rounds} pictures each, in turns, on one thread, with the same modules; every picture "
            f"is the same, bit for bit. The graph costs {1e3 * (graph - loop):.1f} ms a picture.",
        ),
        Table(
            f"Whole runs with an empty cache, {sizes.run_steps} steps: peak memory",
            ("model", "weights, MiB", "Darkroom, MiB", "pipeline, MiB", "Darkroom, CPU s", "pipeline, CPU s"),
            tuple(
                (each.model, f"{each.megabytes:.0f}", f"{peak(each.spent['graph']):.0f}",
                 f"{peak(each.spent['pipeline']):.0f}", f"{cpu(each.spent['graph']):.2f}",
                 f"{cpu(each.spent['pipeline']):.2f}")
                for each in peaks
            ),
            f"Medians of {sizes.runs} processes each, in turns; the pictures are the same, bit for bit. "
            "Most of the memory of a run on a small model is torch itself.",
        ),
    )  # fmt: skip
    bounds = [Bound("CPU time through the graph", f"at most {OVERHEAD} of a bare loop", f"{ratio:.4f}",
                    ratio <= OVERHEAD)]  # fmt: skip
    for each in peaks:
        ours, theirs = peak(each.spent["graph"]), peak(each.spent["pipeline"])
        what = f"peak memory, {each.model}"
        bounds.append(Bound(what, "not above the pipeline's", f"{ours:.0f} to {theirs:.0f} MiB", ours <= theirs))
    question = "What does the graph add to sampling, in time and in memory?"
    return Report("sampling", question, tables, tuple(bounds))


def _spread(what: str, seconds: Sequence[float]) -> tuple[str, ...]:
    return what, f"{median(seconds):.4f}", f"{min(seconds):.4f}", f"{max(seconds):.4f}"
