"""What a run would do: which steps are known, which run and why, where, and when their values can be let go.

The policy, in short. Steps are asked in dependency order. A step whose inputs are known has a recipe, and
with it a key: if the cache knows the key the step is a *hit*, and its output digests make the recipes of the next
steps; if not it will *run*. A step behind one that runs is *unknown*: its key depends on bytes that do not exist
yet, and when they do it may turn out a hit after all (early cutoff: a prompt edited in its white space ends there).
Blobs are not asked for: a hit whose bytes were evicted stays a hit, and is made again only if something that runs
takes it.

    text ──run──▶ sampler ──unknown──▶ decode ──unknown──▶ print
    model ─hit──▶ sampler
    noise ─hit──▶ sampler

Two steps with one key are one work: the first of them runs, the second waits for it and is a hit then.

State: `outcomes` grows by one entry per settled step, `runs` by one per key that will run; nothing else is kept.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from graph.ages import ALWAYS, is_fresh
from graph.cache import Cache, Result
from graph.codec import decode
from graph.errors import DarkroomError, MissingError, UsageError, suggest
from graph.explain import Reasons
from graph.ladder import prepared
from graph.node import outputs
from graph.outputs import still_there
from graph.pace import builds
from graph.ready import Done, Off, Outcome, Read, Ready, Wait, World, prepare
from graph.records import record
from graph.sources import From, origins
from graph.steps import Graph, Step, values_of, writes_files
from graph.values import SavedFile

Decision = Literal["hit", "run", "skipped", "unknown"]
Value = tuple[str, int]
"""An output of a step: the step's name, and which output."""


@record
class Planned:
    """What is decided for one step."""

    step: Step
    action: Decision
    why: str
    ready: Ready | None = None
    """Of hits and runs."""
    result: Result | None = None
    """Of hits."""

    @property
    def key(self) -> str:
        return self.ready.key if self.ready else ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph with a decision for every step, in the order of running."""

    graph: Graph
    steps: tuple[Planned, ...]
    releases: Mapping[str, tuple[Value, ...]]
    """By step: the values that nobody takes after it."""
    forced: frozenset[str] = frozenset()


@builds
def plan(graph: Graph, cache: Cache, world: World, force: Collection[str] = ()) -> Plan:
    """Decide what a run would do. Reads the cache, and files that parameters name; changes nothing.

    force: names of nodes to run whatever the cache knows.
    Raises UsageError for a name in `force` that is not in the graph, MissingError for a file that went away.
    """
    _check_names(graph, force)
    ready: dict[str, Ready] = {}
    reasons = Reasons(graph, cache, ready)
    outcomes: dict[str, Outcome] = {}
    read = reader(cache, outcomes)
    planned = []
    runs: dict[str, str] = {}
    for step in graph.steps.values():
        decided = _decide(step, outcomes, read, cache, world, ready, reasons, forced=step.name in force)
        if decided.action == "run" and step.cache and step.fresh != ALWAYS and step.name not in force:
            twin = runs.setdefault(decided.key, step.name)
            if twin != step.name:
                decided = Planned(step, "unknown", f"is made from the same as {twin}")
        planned.append(decided)
        if decided.action == "hit" and decided.result:
            outcomes[step.name] = Done(decided.result.outputs)
        elif decided.action == "skipped":
            outcomes[step.name] = Off(decided.why)
    return Plan(graph, tuple(planned), releases(graph), frozenset(force))


def find(step: Step, ready: Ready, cache: Cache, *, forced: bool = False) -> Result | None:
    """What the cache knows of a step, if it may be used: it is fresh, and a file that was written is still there."""
    if forced or not step.cache:
        return None
    result = cache.result(ready.key)
    if result is None or not is_fresh(step.fresh, result.made):
        return None
    return result if not writes_files(step.node) or _files_stand(step, result, cache) else None


def reader(cache: Cache, outcomes: Mapping[str, Outcome]) -> Read:
    """Read outputs of settled steps from the cache alone."""

    def read(origin: From) -> bytes | None:
        outcome = outcomes[origin.step]
        return cache.blob(outcome.digests[origin.output]) if isinstance(outcome, Done) else None

    return read


def releases(graph: Graph) -> dict[str, tuple[Value, ...]]:
    """By step, which values may be let go once it is settled. What a run gives back is kept to the end.

    By value and not by step: the text encoder of a model is done with long before its VAE is.
    """
    last: dict[Value, str] = {}
    for name, step in graph.steps.items():
        for at in range(len(outputs(step.node))):
            last[name, at] = name
        for source in (*step.inputs.values(), *step.linked.values(), *step.facts.values()):
            for origin in origins(source):
                last[origin.step, origin.output] = name
    for wanted in graph.wanted:
        for origin in origins(wanted.source):
            last.pop((origin.step, origin.output), None)
    released: dict[str, list[Value]] = {}
    for value, after in last.items():
        released.setdefault(after, []).append(value)
    return {after: tuple(values) for after, values in released.items()}


def _decide(
    step: Step,
    outcomes: Mapping[str, Outcome],
    read: Read,
    cache: Cache,
    world: World,
    known: dict[str, Ready],
    reasons: Reasons,
    *,
    forced: bool,
) -> Planned:
    try:
        ready = prepared(step, outcomes, read, world, cache) if not forced else prepare(step, outcomes, read, world)
    except DarkroomError as error:
        if isinstance(error, MissingError) and not step.linked:
            raise
        return Planned(step, "unknown", error.message.splitlines()[0])  # of what others give: when running, it fails
    if isinstance(ready, Off):
        return Planned(step, "skipped", ready.why)
    if isinstance(ready, Wait):
        return Planned(step, "unknown", f"waits for {', '.join(ready.steps)}")
    known[step.name] = ready
    result = find(step, ready, cache, forced=forced)
    if result:
        return Planned(step, "hit", f"computed {_ago(result.made)}", ready, result)
    return Planned(step, "run", reasons.why(step, ready, forced=forced), ready)


def _files_stand(step: Step, result: Result, cache: Cache) -> bool:
    values = [cache.blob(digest) for digest in values_of(step, result.outputs)]
    files = [decode(value) for value in values if value is not None]
    return len(files) == len(values) and all(still_there(file) for file in files if isinstance(file, SavedFile))


def _check_names(graph: Graph, names: Collection[str]) -> None:
    for name in names:
        if name not in graph.steps:
            known = name in graph.workflow.nodes
            what = f'the node "{name}" is not needed here' if known else f'there is no node "{name}"'
            raise UsageError(f"{what}, so it cannot be forced", hint="" if known else suggest(name, graph.steps))


def _ago(made: float) -> str:
    seconds = max(0, int(time.time() - made))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now" if seconds < 5 else f"{seconds} seconds ago"
