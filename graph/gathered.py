"""What the cache knows of a workflow, as it would run now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from graph.errors import UsageError
from graph.plan import Plan, Planned
from graph.steps import writes_files
from graph.store import Result


@dataclass(frozen=True, slots=True)
class Gathered:
    """The results of a workflow."""

    name: str
    """The workflow's."""
    results: tuple[Result, ...]
    missing: tuple[str, ...]
    """Nodes that are not computed yet."""

    @property
    def digests(self) -> frozenset[str]:
        """Of all outputs."""
        return frozenset(digest for result in self.results for digest in result.outputs)


def gather(plan: Plan) -> Gathered:
    """Give the results of all steps. Raises UsageError where there is none."""
    return _gathered(plan.graph.workflow.name, plan.steps)


def gather_shared(plan: Plan) -> Gathered:
    """Give the results that mean something on another machine: not those of steps that write files.

    Raises UsageError where there is none.
    """
    return _gathered(plan.graph.workflow.name, (part for part in plan.steps if not writes_files(part.step.node)))


def _gathered(name: str, steps: Iterable[Planned]) -> Gathered:
    kept = [part for part in steps if part.step.cache]
    results = {part.result.key: part.result for part in kept if part.result}
    missing = tuple(part.step.name for part in kept if part.action in ("run", "unknown"))
    if not results:
        raise UsageError(f'nothing of the workflow "{name}" is in the cache', hint="Run it first.")
    return Gathered(name, tuple(results[key] for key in sorted(results)), missing)
