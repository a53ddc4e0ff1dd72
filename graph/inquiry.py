"""What `why` tells of one node: what changed and where that began, compared with which run; or what came nearest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from graph.cache import Cache, Result
from graph.explain import Cause, Change, Reasons
from graph.keys import differences
from graph.order import ancestors
from graph.plan import Plan, Planned
from graph.steps import values_of

RECENT = 5000
"""Results that are looked through: for what gave a value once, and for what is like a node that never ran."""
_MOST = 8
"""Differences up to which two results count as alike."""
_IN_FULL = 10
"""Nodes that one waits for, of which it is looked up what they are most like."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A result, and under which name it was seen last; "" where no workflow has it as its last one."""

    workflow: str
    node: str
    made: float


@dataclass(frozen=True, slots=True)
class Like:
    """The earlier result that differs least from a node that never ran."""

    seen: Seen
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What a node is to be told of."""

    planned: Planned
    since: Seen | None = None
    """What it is compared with: its last run under this workflow's name."""
    changes: tuple[Change, ...] | None = None
    roots: Mapping[str, tuple[Cause, ...]] | None = None
    """By input that changed: where that began."""
    like: Like | None = None
    origin: Seen | None = None
    """Of a hit that never ran under this name: what it was computed as."""
    evicted: bool = False
    """Of a hit: a value of it is no longer there, and is made again if something that runs takes it."""
    before: tuple[Told, ...] = ()
    """Of a node that waits: the nodes before it that are sure to run."""

    def causes(self) -> Iterator[Cause]:
        """Where what changed began: in the node itself and those before it."""
        for change in self.changes or ():
            yield from (self.roots or {}).get(change.field) or (Cause(self.planned.step.name, change),)
        for part in self.before:
            yield from part.causes()


def inquire(plan: Plan, node: str, cache: Cache) -> Told:
    """Find out all that can be told of a node's part in a plan. Reads a bounded part of the cache."""
    return _Inquiry(plan, cache).told(node)


class _Inquiry:
    def __init__(self, plan: Plan, cache: Cache) -> None:
        self._workflow = plan.graph.workflow.name
        self._cache = cache
        self._steps = {part.step.name: part for part in plan.steps}
        self._recent: dict[str, list[Result]] = {}
        """By kind, newest first."""
        self._gave: dict[tuple[str, str], Result] = {}
        """By digest, and by digest and kind: the newest result that gave it."""
        for result in cache.recent(RECENT):
            kind = json.loads(result.recipe)["kind"]
            self._recent.setdefault(kind, []).append(result)
            for digest in result.outputs:
                self._gave.setdefault((digest, kind), result)
                self._gave.setdefault((digest, ""), result)
        ready = {name: part.ready for name, part in self._steps.items() if part.ready}
        self._reasons = Reasons(plan.graph, cache, ready, self._past)

    def told(self, node: str) -> Told:
        planned = self._steps[node]
        if planned.ready:
            return self._with_like(self._compared(planned))
        before = [self._compared(part) for part in self._first(node)]
        return Told(planned, before=(*map(self._with_like, before[:_IN_FULL]), *before[_IN_FULL:]))

    def _compared(self, planned: Planned) -> Told:
        node = planned.step.name
        last = self._reasons.last(node)
        changes = self._reasons.changes(node)
        result = planned.result
        return Told(
            planned,
            Seen(self._workflow, node, last.made) if last else None,
            changes,
            {change.field: self._reasons.behind(node, change) for change in changes or () if change.topic == "input"},
            origin=self._seen(result) if result and not last else None,
            evicted=bool(result and not all(map(self._cache.holds, values_of(planned.step, result.outputs)))),
        )

    def _past(self, digest: str, kind: str) -> Result | None:
        return self._gave.get((digest, kind)) or self._gave.get((digest, ""))

    def _first(self, node: str) -> Iterator[Planned]:
        """What a node that waits is waiting for in the end."""
        before = ancestors({name: list(part.step.needs) for name, part in self._steps.items()}, [node])
        return (part for name, part in self._steps.items() if name in before and part.action == "run")

    def _seen(self, result: Result) -> Seen:
        return Seen(*(self._cache.node_of(result.key) or ("", "")), result.made)

    def _with_like(self, told: Told) -> Told:
        """Add to a node that never ran the result of its kind with the fewest differences, the newest of several."""
        part = told.planned
        if told.since or part.action != "run" or not part.ready:
            return told
        now = part.ready.recipe
        counted = [(len(differences(old.recipe, now)), old) for old in self._recent.get(part.step.kind, ())]
        fewest, best = min(counted, key=lambda pair: pair[0], default=(0, None))
        if best is None or fewest > _MOST:
            return told
        return replace(told, like=Like(self._seen(best), self._reasons.changes(part.step.name, best) or ()))
