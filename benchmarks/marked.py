"""Sampling without bookmarks, with them as they are, and with one after every step, in turns, in one process.

python -m benchmarks.marked MODEL ROUNDS STEPS     prints one JSON object
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.bare import WORKFLOW, Graph
from benchmarks.processes import interleaved
from darkroom import load, open_session
from graph import resuming
from graph.workflow import set_values

MODES = {"none": (math.inf, 1.0), "shipped": (resuming.EVERY, resuming.SHARE), "each": (0.0, math.inf)}
"""The least seconds between two bookmarks, and the most of a step's time that they may take."""


@dataclass
class Painter:
    """Paints a picture after the other, each of another seed and so never from the cache."""

    graph: Graph
    seed: int = 0

    def spent(self, mode: str) -> tuple[float, float]:
        """CPU and wall seconds of a picture."""
        resuming.EVERY, resuming.SHARE = MODES[mode]
        self.seed += 1
        cpu, wall = time.process_time(), time.perf_counter()
        self.graph.paint(self.seed)
        return time.process_time() - cpu, time.perf_counter() - wall


def compare(model: str, rounds: int, steps: int) -> dict[str, list[tuple[float, float]]]:
    """CPU and wall seconds of every picture, by mode, on one thread."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        session = open_session(cache=Path(folder) / "cache", out=folder, device="cpu")
        try:
            painter = Painter(Graph(session, set_values(load(WORKFLOW), {"model": model}), steps))
            painter.spent("each")  # this loads the weights
            return interleaved(rounds, [(mode, partial(painter.spent, mode)) for mode in MODES])
        finally:
            session.cache.close()


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
