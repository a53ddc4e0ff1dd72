"""What the engine costs a node: workflows of trivial nodes, new, known and followed, each run in its own process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.floor import FLOORS, installed
from benchmarks.phases import ENGINE, PHASES
from benchmarks.processes import interleaved, python
from benchmarks.report import Bound, Report, Table
from benchmarks.trivial import SHAPES, result

COLD, CACHED = 100.0, 40.0
"""CPU microseconds a node: of a workflow that is new, and of one that is asked for again in a new process."""
GROWTH = 1.2
"""What a node of a large workflow may cost, in nodes of a small one."""
STATES = ("cold", "known", "cached")
"""known: every result is there, but the run is planned, as if something else had changed."""


class Case(NamedTuple):
    """A workflow of trivial nodes, and what runs it."""

    engine: str
    shape: str
    nodes: int

    def __str__(self) -> str:
        return f"{self.shape} of {self.nodes:,}"


class Run(NamedTuple):
    """One process: CPU seconds by phase, and wall seconds of the engine's own."""

    cpu: Mapping[str, float]
    wall: float

    def engine(self) -> float:
        """CPU seconds of what is counted a node."""
        return sum(self.cpu.get(phase, 0.0) for phase in ENGINE)


Found = Mapping[Case, Mapping[str, Sequence[Run]]]


def full() -> Report:
    """Measure what the promises are about."""
    return measure(small=1000, large=100_000, rounds=7, large_rounds=2)


def quick() -> Report:
    """See that it works."""
    return measure(small=10, large=100, rounds=1, large_rounds=1)


def measure(small: int, large: int, rounds: int, large_rounds: int) -> Report:
    """Measure workflows of two sizes, and the small ones with other engines that remember."""
    with TemporaryDirectory() as below:
        fresh = (Path(below) / str(number) for number in count())
        found: dict[Case, dict[str, list[Run]]] = {}
        for nodes, turns in ((small, rounds), (large, large_rounds)):
            engines = ("darkroom", *(filter(installed, FLOORS) if nodes == small else ["toy"]))
            cases = [Case(engine, shape, nodes) for shape in SHAPES for engine in engines]
            works = [(str(number), partial(_all, case, fresh)) for number, case in enumerate(cases)]
            runs = interleaved(turns, works)
            for number, case in enumerate(cases):
                found[case] = {state: [run[state] for run in runs[str(number)]] for state in runs[str(number)][0]}
    return _report(found, small, large, rounds)


def _all(case: Case, fresh: Iterator[Path]) -> dict[str, Run]:
    """A run with an empty cache, and those after it."""
    folder = next(fresh)
    folder.mkdir()
    if case.engine != "darkroom":
        return {state: _floor(case, folder) for state in ("cold", "cached")}
    return {
        "cold": _darkroom(case, folder, "plan", "run"),
        "known": _darkroom(case, folder, "plan", "hit"),
        "cached": _darkroom(case, folder, "follow", "hit"),
    }


def _darkroom(case: Case, folder: Path, way: str, action: str) -> Run:
    spent = python("-m", "benchmarks.phases", way, case.shape, str(case.nodes), folder)
    told: dict[str, Any] = json.loads(spent.printed)
    wanted = {"actions": [action], "warnings": [], "result": result(case.shape, case.nodes), "nodes": case.nodes}
    if {name: told[name] for name in wanted} != wanted:
        raise RuntimeError(f"{case} did not end as it should: {told}")
    wall = sum(told["wall"].get(name, 0.0) for name in ENGINE)
    return Run({"process": told["start"], **told["cpu"], "all": spent.cpu}, wall)


def _floor(case: Case, folder: Path) -> Run:
    told = json.loads(python("-m", "benchmarks.floor", *case[:2], str(case.nodes), folder).printed)
    if told["result"] != result(case.shape, case.nodes):
        raise RuntimeError(f"{case} of {case.engine} did not end as it should: {told}")
    return Run({"execute": told["cpu"]}, 0.0)


def _report(found: Found, small: int, large: int, rounds: int) -> Report:
    ours = [case for case in found if case.engine == "darkroom"]
    floors = [case for case in found if case.engine != "darkroom"]
    phases = ("process", *PHASES[:3], PHASES[-1], "all")
    tables = (
        Table(
            "CPU microseconds a node",
            ("workflow", "cache", *ENGINE, "together", "wall together"),
            tuple((str(case), state, *_phases(case, found[case][state])) for case in ours for state in STATES),
            "Cold: the cache is empty, every node runs and is remembered. Known: a new process that plans, and finds "
            "every node. Cached: a new process that is asked for the same again.",
        ),
        Table(
            "Others: CPU microseconds a node",
            ("engine", "workflow", "cold", "cached"),
            tuple(
                (case.engine, str(case), *(_micro(case, found[case][state]) for state in ("cold", "cached")))
                for case in floors
            ),
            "toy: sha256, one SQLite table, one commit, and nothing else (`floor.py`). No engine that checks what it "
            "reads, says why it runs, and keeps large values apart can cost less. joblib: Memory. doit: with SQLite. "
            "hamilton: with its cache on disk.",
        ),
        Table(
            "The rest of the process: CPU milliseconds",
            ("workflow", "cache", *phases),
            tuple(
                (str(case), state, *(f"{1e3 * median(run.cpu.get(phase, 0.0) for run in found[case][state]):.1f}"
                                     for phase in phases))
                for case in ours for state in STATES
            ),
            "process: Python itself, until its first line. all: as the system counts the whole process. Of a run that "
            "is followed, opening and closing the cache are counted to the nodes, and no file is parsed.",
        ),
    )  # fmt: skip
    question = f"What does the engine cost a node? Medians of {rounds} rounds, of large workflows of fewer."
    return Report("engine", question, tables, tuple(_bounds(found, small, large)))


def _phases(case: Case, runs: Sequence[Run]) -> Iterator[str]:
    for phase in ENGINE:
        yield f"{1e6 * median(run.cpu.get(phase, 0.0) for run in runs) / case.nodes:.1f}"
    yield _micro(case, runs)
    yield f"{1e6 * median(run.wall for run in runs) / case.nodes:.1f}"


def _micro(case: Case, runs: Sequence[Run]) -> str:
    return f"{_a_node(case, runs):.1f}"


def _a_node(case: Case, runs: Sequence[Run]) -> float:
    """CPU microseconds a node."""
    return 1e6 * median(run.engine() for run in runs) / case.nodes


def _bounds(found: Found, small: int, large: int) -> Iterator[Bound]:
    for shape in SHAPES:
        case, more = Case("darkroom", shape, small), Case("darkroom", shape, large)
        for state, budget in (("cold", COLD), ("cached", CACHED)):
            for each in (case, more):
                spent = _a_node(each, found[each][state])
                yield Bound(
                    f"a node of a {state} {each}", f"at most {budget:.0f} us CPU", f"{spent:.1f} us", spent <= budget
                )
            growth = _a_node(more, found[more][state]) / _a_node(case, found[case][state])
            yield Bound(
                f"a node of a {state} {more}", f"at most {GROWTH} nodes of a {case}", f"{growth:.2f}", growth <= GROWTH
            )
