"""What `why` tells of one node: what changed and where that began, compared with which run; or what came nearest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graph.cache import Cache, Result
from graph.explain import Cause, Change, Reasons
from graph.keys import differences
from graph.order import ancestors
from graph.plan import Plan, Planned

RECENT = 5000
"""Results that are looked through: for what gave a value once, and for what is like a node that never ran."""
_MOST = 8
"""Differences up to which two results count as alike."""


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
        self._recent = cache.recent(RECENT)
        self._gave: dict[tuple[str, str], Result] = {}
        for result in reversed(self._recent):
            kind = _kind(result)
            self._gave |= {(digest, of): result for digest in result.outputs for of in (kind, "")}
        ready = {name: part.ready for name, part in self._steps.items() if part.ready}
        self._reasons = Reasons(plan.graph, cache, ready, self._past)

    def told(self, node: str) -> Told:
        planned = self._steps[node]
        if not planned.ready:
            return Told(planned, before=tuple(self.told(name) for name in self._first(node)))
        last = self._reasons.last(node)
        changes = self._reasons.changes(node)
        return Told(
            planned,
            Seen(self._workflow, node, last.made) if last else None,
            changes,
            {change.field: self._reasons.behind(node, change) for change in changes or () if change.topic == "input"},
            None if last or planned.action == "hit" else self._like(planned),
            self._origin(planned) if planned.result and not last else None,
            bool(planned.result and not all(map(self._cache.holds, planned.result.outputs))),
        )

    def _past(self, digest: str, kind: str) -> Result | None:
        return self._gave.get((digest, kind)) or self._gave.get((digest, ""))

    def _first(self, node: str) -> Iterator[str]:
        """What a node that waits is waiting for in the end."""
        before = ancestors({name: list(part.step.needs) for name, part in self._steps.items()}, [node])
        return (name for name, part in self._steps.items() if name in before and part.action == "run")

    def _origin(self, planned: Planned) -> Seen | None:
        assert planned.result
        seen = self._cache.node_of(planned.key)
        return Seen(*seen, planned.result.made) if seen else None

    def _like(self, planned: Planned) -> Like | None:
        """The recent result of the same kind with the fewest differences, the newest of several."""
        assert planned.ready
        near = [result for result in self._recent if _kind(result) == planned.step.kind]
        counted = [(len(differences(result.recipe, planned.ready.recipe)), result) for result in near]
        fewest, best = min(counted, key=lambda pair: pair[0], default=(0, None))
        if best is None or fewest > _MOST:
            return None
        workflow, node = self._cache.node_of(best.key) or ("", "")
        return Like(Seen(workflow, node, best.made), self._reasons.changes(planned.step.name, best) or ())


def _kind(result: Result) -> str:
    return str(json.loads(result.recipe)["kind"])
