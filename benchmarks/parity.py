"""Write docs/parity.md: how far each family, task and sampling method is from diffusers' pipeline.

python -m benchmarks.parity > docs/parity.md

The figures are those of the tests: each comparison of tests/nodes/sd writes down what it found
(tests/nodes/sd/parity.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from benchmarks.processes import ROOT
from tests.nodes.sd.parity import PARITY

Found = Mapping[str, Mapping[tuple[str, str], list[float]]]
"""By family, then by task and method: the largest difference of each comparison."""
HEAD = """# Parity with diffusers

Written by `python -m benchmarks.parity`; do not edit.

The largest difference of any number of the last latents between Darkroom's nodes and diffusers' pipeline, in one
process, on models of the real layouts with random weights; 0 means the same bits, and so the same picture. In
parentheses: how many settings were compared (guided or not, square or not, strengths, noise levels ...).
torch {torch}, diffusers {diffusers}, transformers {transformers}, CPU, fp32.
"""


def main() -> int:
    """Run the tests that compare, and print the page. Gives pytest's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "found.jsonl")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/nodes/sd"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, PARITY: str(kept)}, stdout=sys.stderr, check=False)
        if not done.returncode:
            print(page(read(kept)), end="")
        return done.returncode


def read(kept: Path) -> Found:
    """Sort what the tests wrote down."""
    found: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in kept.read_text("utf-8").splitlines():
        family, task, method, difference = json.loads(line)
        found[family][task, method].append(difference)
    return found


def page(found: Found) -> str:
    """The page: one table a family."""
    head = HEAD.format(**{name: version(name) for name in ("torch", "diffusers", "transformers")})
    return head + "".join(line for family in sorted(found) for line in _table(family, found[family]))


def _table(family: str, cells: Mapping[tuple[str, str], list[float]]) -> Iterator[str]:
    tasks = sorted({task for task, _ in cells})
    methods = sorted({method for _, method in cells})
    yield f"\n## {family}\n\n| method | {' | '.join(tasks)} |\n| --- | {' | '.join('---' for _ in tasks)} |\n"
    for method in methods:
        yield f"| {method} | {' | '.join(_cell(cells.get((task, method), [])) for task in tasks)} |\n"


def _cell(differences: list[float]) -> str:
    return f"{max(differences):.2g} ({len(differences)})" if differences else ""


if __name__ == "__main__":
    sys.exit(main())
