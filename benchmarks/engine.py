"""What the engine costs a node: workflows of trivial nodes, cold and cached, each run in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.floor import has_joblib
from benchmarks.phases import ENGINE, PHASES
from benchmarks.processes import interleaved, python
from benchmarks.report import Bound, Report, Table
from benchmarks.trivial import SHAPES, result

BUDGET = 80.0
"""CPU microseconds a node of a cached workflow."""
GROWTH = 1.2
"""What a node of a large workflow may cost, in nodes of a small one."""
STATES = ("cold", "cached")
FLOORS = ("toy", *(["joblib"] if has_joblib() else []))


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
        return sum(self.cpu[phase] for phase in ENGINE)


Found = Mapping[Case, Mapping[str, Sequence[Run]]]


def full() -> Report:
    """Measure what the promises are about."""
    return measure(small=1000, large=10_000, rounds=7)


def quick() -> Report:
    """See that it works."""
    return measure(small=10, large=100, rounds=1)


def measure(small: int, large: int, rounds: int) -> Report:
    """Measure workflows of two sizes, beside engines that do no more than remember."""
    with TemporaryDirectory() as below:
        fresh = (Path(below) / str(number) for number in count())
        found: dict[Case, dict[str, list[Run]]] = {}
        for nodes in (small, large):
            cases = [Case(engine, shape, nodes) for shape in SHAPES for engine in ("darkroom", *FLOORS)]
            works = [(str(number), partial(_both, case, fresh)) for number, case in enumerate(cases)]
            pairs = interleaved(rounds, works)
            for number, case in enumerate(cases):
                found[case] = {state: [pair[at] for pair in pairs[str(number)]] for at, state in enumerate(STATES)}
    return _report(found, small, large, rounds)


def _both(case: Case, fresh: Iterator[Path]) -> tuple[Run, Run]:
    """A run with an empty cache, and one after it."""
    run = _darkroom if case.engine == "darkroom" else _floor
    folder = next(fresh)
    return run(case, folder, "run"), run(case, folder, "hit")


def _darkroom(case: Case, folder: Path, action: str) -> Run:
    spent = python("-m", "benchmarks.phases", case.shape, str(case.nodes), folder)
    told: dict[str, Any] = json.loads(spent.printed)
    wanted = {"actions": [action], "warnings": [], "result": result(case.shape, case.nodes), "nodes": case.nodes}
    if {name: told[name] for name in wanted} != wanted:
        raise RuntimeError(f"{case} did not end as it should: {told}")
    return Run({"process": told["start"], **told["cpu"], "all": spent.cpu}, sum(told["wall"][name] for name in ENGINE))


def _floor(case: Case, folder: Path, action: str) -> Run:
    told = json.loads(python("-m", "benchmarks.floor", *case[:2], str(case.nodes), folder).printed)
    if told["result"] != result(case.shape, case.nodes):
        raise RuntimeError(f"{case} of {case.engine} did not end as it should: {told}")
    return Run({"wire": 0.0, "plan": 0.0, "execute": told["cpu"]}, 0.0)


def _report(found: Found, small: int, large: int, rounds: int) -> Report:
    ours = [case for case in found if case.engine == "darkroom"]
    floors = [case for case in found if case.engine != "darkroom"]
    phases = ("process", *PHASES[:3], PHASES[-1], "all")
    tables = (
        Table(
            "CPU microseconds a node",
            ("workflow", "cache", *ENGINE, "together", "wall together"),
            tuple((str(case), state, *_phases(case, found[case][state])) for case in ours for state in STATES),
            "Cold: the cache is empty, every node runs and is remembered. Cached: a new process, every node is known.",
        ),
        Table(
            "The floor: CPU microseconds a node",
            ("engine", "workflow", *STATES),
            tuple((case.engine, str(case), *(_micro(case, found[case][state]) for state in STATES)) for case in floors),
            "toy: sha256, one SQLite table, one commit, and nothing else (`floor.py`). No engine that checks what it "
            "reads, says why it runs, and keeps large values apart can cost less.",
        ),
        Table(
            "The rest of the process: CPU milliseconds",
            ("workflow", "cache", *phases),
            tuple(
                (str(case), state, *(f"{1e3 * median(run.cpu[phase] for run in found[case][state]):.1f}"
                                     for phase in phases))
                for case in ours for state in STATES
            ),
            "process: Python itself, until its first line. all: as the system counts the whole process.",
        ),
    )  # fmt: skip
    question = f"What does the engine cost a node? Medians of {rounds} rounds."
    return Report("engine", question, tables, tuple(_bounds(found, small, large)))


def _phases(case: Case, runs: Sequence[Run]) -> Iterator[str]:
    for phase in ENGINE:
        yield f"{1e6 * median(run.cpu[phase] for run in runs) / case.nodes:.1f}"
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
        cached = _a_node(case, found[case]["cached"])
        yield Bound(f"a node of a cached {case}", f"at most {BUDGET:.0f} us CPU", f"{cached:.1f} us", cached <= BUDGET)
        for state in STATES:
            growth = _a_node(more, found[more][state]) / _a_node(case, found[case][state])
            yield Bound(
                f"a node of a {state} {more}", f"at most {GROWTH} nodes of a {case}", f"{growth:.2f}", growth <= GROWTH
            )
