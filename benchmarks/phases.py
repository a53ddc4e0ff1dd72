"""One workflow through the engine in a process of its own, and what each phase cost there.

python -m benchmarks.phases chain 1000 CACHE_FOLDER     prints one JSON object
"""

from __future__ import annotations

import time

_BEGUN = time.process_time()  # before anything of Darkroom is imported: what the process itself costs

import json  # noqa: E402  # as above, for all that follow
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

PHASES = ("import", "open the cache", "read the file", "wire", "plan", "execute", "close the cache")
ENGINE = ("wire", "plan", "execute")
"""What is counted a node."""


class Clock:
    """CPU and wall seconds by phase."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}
        self._last = time.process_time(), time.perf_counter()

    def end(self, phase: str) -> None:
        """Count all since the end of the phase before towards this one."""
        now = time.process_time(), time.perf_counter()
        self.cpu[phase], self.wall[phase] = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now


def run(shape: str, nodes: int, folder: Path) -> dict[str, Any]:
    """Read, wire, plan and run a workflow of trivial nodes, with its cache in a folder."""
    clock = Clock()
    from benchmarks.trivial import REGISTRY, SHAPES
    from graph.cache import open_cache
    from graph.events import Silent
    from graph.execute import execute
    from graph.placement import survey
    from graph.plan import plan
    from graph.ready import World
    from graph.wiring import wire
    from graph.workflow import parse

    clock.end("import")
    warnings: list[str] = []
    cache = open_cache(folder, warnings.append)
    world = World(cache, folder / "out", survey(), "auto", "trivial")
    clock.end("open the cache")
    text = SHAPES[shape](nodes).encode()
    clock.end("(write the text)")
    workflow = parse(text, "trivial.yaml", folder)
    clock.end("read the file")
    graph = wire(workflow, REGISTRY)
    clock.end("wire")
    planned = plan(graph, cache, world)
    clock.end("plan")
    results = execute(planned, cache, Silent(), world, keep_values=True)
    clock.end("execute")
    cache.close()
    clock.end("close the cache")
    actions = sorted(set(results.actions.values()))
    return {"start": _BEGUN, "cpu": clock.cpu, "wall": clock.wall, "actions": actions, "warnings": warnings,
            "result": results.outputs["result"], "nodes": len(results.actions)}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
