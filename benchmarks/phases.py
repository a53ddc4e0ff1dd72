"""One workflow through the engine in a process of its own, and what each phase cost there.

python -m benchmarks.phases plan|follow chain 1000 FOLDER     prints one JSON object

plan: as a run that is new goes, or one of which anything is another. follow: as one goes that was asked for before.
"""

from __future__ import annotations

import time

_BEGUN = time.process_time()  # before anything of Darkroom is imported: what the process itself costs

import argparse  # noqa: E402  # as above, for all that follow
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

PHASES = ("import", "open the cache", "read the file", "wire", "plan", "execute", "lay the trail", "close the cache")
ENGINE = ("wire", "plan", "execute", "lay the trail", "follow")
"""What is counted a node."""
NODES = Path(__file__).parent / "trivial_nodes"


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


class Heard:
    """A sink that counts what is finished."""

    def __init__(self) -> None:
        self.actions: list[str] = []
        self.result: object = None
        self.warnings: list[str] = []

    def emit(self, event: Any) -> None:
        """Take an event."""
        if event.name == "node_finished":
            self.actions.append(event.action)
        elif event.name == "run_finished":
            self.result = event.outputs[0].value
        elif event.name == "warning":
            self.warnings.append(event.message)


def request(shape: str, nodes: int, folder: Path) -> argparse.Namespace:
    """The words of a run, its workflow written where it is not yet there."""
    import runner
    from benchmarks.trivial import SHAPES
    from graph.words import parse

    file = folder / f"{shape}-{nodes}.yaml"
    if not file.exists():
        file.write_text(SHAPES[shape](nodes))
    places = ["--nodes", str(NODES), "--cache", str(folder / "cache"), "--out", str(folder / "out")]
    return parse(["run", str(file), *places], runner.COMMANDS)


def planned(asked: argparse.Namespace, heard: Heard, clock: Clock) -> None:
    """Do what `runner.run` does of a run without a trail."""
    import darkroom
    from graph.laying import begun, lay
    from graph.wiring import wire
    from graph.witness import Seen, watching
    from graph.workflow import load

    clock.end("import")
    session = darkroom.open_session(cache=asked.cache, out=asked.out, nodes=asked.nodes, sink=heard)
    clock.end("open the cache")
    beginning, seen = begun(asked), Seen()
    with watching(seen):
        workflow = load(asked.file)
        clock.end("read the file")
        graph = wire(workflow, session.registry)
        clock.end("wire")
        plan = session.plan(graph)
        clock.end("plan")
    results = session.run(plan)
    clock.end("execute")
    lay(asked, beginning, graph, results, session.cache, seen, ())
    clock.end("lay the trail")
    session.cache.close()
    clock.end("close the cache")


def followed(asked: argparse.Namespace, heard: Heard, clock: Clock) -> None:
    """Do what `runner.run` does first."""
    from graph.trail import follow

    clock.end("import")
    if not follow(asked, heard, heard.warnings.append):
        raise RuntimeError("there is no trail that holds")
    clock.end("follow")


def run(way: str, shape: str, nodes: int, folder: Path) -> dict[str, Any]:
    """Do a run in one of the two ways, and tell what it cost."""
    clock, heard = Clock(), Heard()
    asked = request(shape, nodes, folder)
    clock.end("(write the text)")
    {"plan": planned, "follow": followed}[way](asked, heard, clock)
    return {"start": _BEGUN, "cpu": clock.cpu, "wall": clock.wall, "actions": sorted(set(heard.actions)),
            "warnings": heard.warnings, "result": heard.result, "nodes": len(heard.actions)}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
