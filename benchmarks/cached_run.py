"""A run that has nothing left to compute, from the shell, beside the script that it replaces."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image, ImageChops, ImageStat

from benchmarks.processes import ROOT, Spent, cpu, interleaved, python, wall
from benchmarks.random_model import folder_of, tiny
from benchmarks.report import Bound, Report, Table
from graph.workflow import load

WORKFLOW = Path("workflows") / "img2img_upscale.yaml"
BUDGET = 0.2
"""CPU seconds of a cached run."""
TIMES = 20
"""How many times a script on diffusers costs at least what a cached run costs."""
SAME = 30.0
"""Decibels between two prints of one picture, signed by two writers of watermarks; other pictures are far below."""


def full() -> Report:
    """Measure what the promises are about."""
    return measure(rounds=5, settings={})


def quick() -> Report:
    """See that it works: one round of few steps."""
    return measure(rounds=1, settings={"steps": "3"})


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs of the workflow below a folder."""

    folder: Path
    model: str
    settings: Mapping[str, str]

    def run(self, cache: str, expected: str) -> Spent:
        """Run it with this cache, and see that every node did what is expected: run or hit."""
        sets = {"model": self.model, **self.settings}
        pairs = [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
        places = ("--cache", self.folder / cache, "--out", self.folder / f"{cache}-prints")
        spent = python("runner.py", "run", WORKFLOW, "--json", *places, *pairs)
        actions = {event["action"] for event in _events(spent) if event["event"] == "node_finished"}
        if actions != {expected}:
            raise RuntimeError(f"nodes were to end as {expected}, but ended as {sorted(actions)}")
        return spent

    def script(self) -> Spent:
        """Make the same print with diffusers alone."""
        params = {name: str(param.value.value) for name, param in load(ROOT / WORKFLOW).params.items()}
        params |= self.settings
        names = ("prompt", "negative", "strength", "size", "steps", "cfg", "seed", "mark")
        options = [f"--{name}={params[name]}" for name in names]
        sketch = ROOT / WORKFLOW.parent / "pictures" / "sketch.png"
        return python("benchmarks/plain_diffusers.py", folder_of(self.model), sketch, self.plain, *options)

    @property
    def plain(self) -> Path:
        """Where the script saves."""
        return self.folder / "plain.png"


def measure(rounds: int, settings: Mapping[str, str]) -> Report:
    """Measure some rounds, after one that only warms the file system and Python's own caches."""
    with TemporaryDirectory() as folder:
        shell = Shell(Path(folder), tiny(Path(folder)), settings)
        printed = Path(_events(shell.run("warm", "run"))[-1]["outputs"][0]["path"])
        shell.run("warm", "hit")
        shell.script()
        closeness = decibels(ROOT / printed, shell.plain)
        if closeness < SAME:
            raise RuntimeError(f"the two prints are not of one picture: {closeness:.1f} dB")
        fresh = count()
        found = interleaved(
            rounds,
            [
                ("cached", lambda: shell.run("warm", "hit")),
                ("cold", lambda: shell.run(f"cold-{next(fresh)}", "run")),
                ("cached", lambda: shell.run("warm", "hit")),
                ("script", shell.script),
                ("cached", lambda: shell.run("warm", "hit")),
                ("empty", lambda: python("-c", "pass")),
            ],
        )
        return _report(found, shell, closeness)


def decibels(one: Path, other: Path) -> float:
    """How alike two pictures are: the peak signal-to-noise ratio."""
    with Image.open(one) as first, Image.open(other) as second:
        difference = ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB")))
    error = sum(rms**2 for rms in difference.rms) / 3
    return 10 * math.log10(255**2 / error) if error else math.inf


def _report(found: Mapping[str, Sequence[Spent]], shell: Shell, closeness: float) -> Report:
    cached, script = cpu(found["cached"]), cpu(found["script"])
    labels = {
        "cached": "Darkroom, everything known",
        "cold": "Darkroom, empty cache",
        "script": "script on diffusers",
        "empty": "`python -c pass`",
    }
    rows = tuple(
        (label, f"{cpu(found[name]):.3f}", f"{wall(found[name]):.3f}",
         f"{cpu(found[name]) / cached:.1f}", str(len(found[name])))
        for name, label in labels.items()
    )  # fmt: skip
    note = (
        f"Model: {'builtin:tiny' if shell.model == 'builtin:tiny' else 'random weights of the same size'}"
        f"{''.join(f', {name} {value}' for name, value in shell.settings.items())}. "
        f"The prints of Darkroom and of the script are {closeness:.1f} dB apart: "
        "one picture, signed by two different writers of the watermark."
    )
    columns = ("process", "CPU, s", "wall, s", "times the cached run", "runs")
    return Report(
        "cached_run",
        f"What does `python runner.py run {WORKFLOW.as_posix()}` cost when nothing changed?",
        (Table("Medians of whole processes", columns, rows, note),),
        (
            Bound("a cached run", f"at most {BUDGET} s CPU", f"{cached:.3f} s", cached <= BUDGET),
            Bound("the script it replaces", f"at least {TIMES} times that", f"{script / cached:.1f} times",
                  script >= TIMES * cached),
        ),
    )  # fmt: skip


def _events(spent: Spent) -> list[dict[str, Any]]:
    return [json.loads(line) for line in spent.printed.splitlines()]
