"""Whose turn it is to compute a step: this process's, or another's that is at it already.

A lease costs a transaction, which is more than a trivial node does, so only what is or may be costly is claimed: steps
that compute with weights; steps that took at least COSTLY seconds when the workflow last ran; and steps of a kind of
which this run has seen no work yet, or work that long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from graph.ages import ALWAYS
from graph.cache import Cache, Result
from graph.context import Stop
from graph.events import NodeWaiting, Sink
from graph.made import is_known
from graph.plan import Plan, find
from graph.ready import Ready
from graph.steps import Step, values_of

COSTLY = 0.03
"""Seconds of work from which on it is worth while to wait for another process."""
_GLANCE = 0.05
"""Seconds between two looks at whether the other is done, and at whether the user asked to stop."""


@dataclass
class Turns:
    """Claims for one run what it computes."""

    plan: Plan
    cache: Cache
    sink: Sink
    stop: Stop
    longest: dict[str, float] = field(default_factory=dict)
    """By kind: the most seconds that a step of this run took, or once took if it is a hit."""
    holds: bool = False
    """A lease. Who holds one asks for no other, and so never waits: that is why nobody waits for ever."""

    def note(self, kind: str, seconds: float) -> None:
        """A step of this kind is settled."""
        if seconds > self.longest.get(kind, -1.0):
            self.longest[kind] = seconds

    def is_costly(self, step: Step) -> bool:
        """Whether a step that will run is to be claimed; one that runs whatever is known has no use for a result."""
        if self.holds or not step.cache or step.fresh == ALWAYS or step.name in self.plan.forced:
            return False
        if step.accelerated or self.longest.get(step.kind, COSTLY) >= COSTLY:
            return True
        key = self._latest.get(step.name)
        last = self.cache.result(key) if key else None
        return last is not None and last.seconds >= COSTLY

    @cached_property
    def _latest(self) -> dict[str, str]:
        return self.cache.latest(self.plan.graph.workflow.name)

    @contextmanager
    def claimed(self, step: Step, ready: Ready) -> Iterator[Result | None]:
        """Have the turn while the body runs; gives the step's result if another process has just found it.

        Waits while another has the turn. Raises Stopped if the user asks to stop meanwhile.
        """
        told = ""
        while process := self.cache.claim(ready.key):
            if process != told:
                self.sink.emit(NodeWaiting(step.name, step.kind, process))
                told = process
            time.sleep(_GLANCE)
            self.stop.check()
        self.holds = True
        try:
            yield self._found(step, ready)
        finally:
            self.holds = False
            self.cache.release(ready.key)

    def _found(self, step: Step, ready: Ready) -> Result | None:
        """The result, if there is one now, with values that can be read: it may be they that are to be made again."""
        found = find(step, ready, self.cache)
        values = [self.cache.blob(digest) for digest in values_of(step, found.outputs)] if found else []
        return found if all(value is not None and is_known(value) for value in values) else None
