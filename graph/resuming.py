"""The bookmark of a running step: what earlier runs left of its work, and when it leaves one itself.

A step that takes its time says after each part of it how far it is, and what would be needed to go on from there.
That is written down every few seconds, when the user asks to stop, and at the end of a step that ends early, from
which a longer run can go on. It is removed when the result is remembered.

What a bookmark costs is measured, and the next one waits until that is SHARE of the time since: on a slow disk there
are fewer of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graph.cache import Cache
from graph.codec import decode, encode
from graph.events import Sink, Warned
from graph.keys import key_of, without
from graph.ready import Ready
from graph.steps import Step
from graph.values import Value

EVERY = 2.0
"""Seconds between two bookmarks, at least."""
SHARE = 0.005
"""Of the time of a step, what bookmarks may take. Half of what is promised: the copy from the device is not timed,
for it waits until the device has caught up; it moves the bytes faster than they are hashed."""


@dataclass
class Resuming:
    """The bookmark of one running step."""

    cache: Cache
    work: str
    """The key of what is done, wherever it is to end."""
    key: str
    ends_early: bool
    is_fresh: bool
    """Whether it must begin anew, as the user asked for."""
    is_kept: bool
    """Whether anything of this step is remembered."""
    sink: Sink
    name: str
    steps: int = 0
    """How many steps were taken from bookmarks."""
    total: int = 0
    """How many steps there are."""
    _has_left: bool = False
    _due: float = field(default_factory=lambda: time.perf_counter() + EVERY)

    def found(self) -> list[Any]:
        """What earlier runs left, the newest first."""
        found = []
        for data in () if self.is_fresh or not self.is_kept else self.cache.bookmarks(self.work):
            try:
                found.append(decode(data))
            except ValueError:  # of another release of the node
                continue
        return found

    def passed(self, step: int, total: int, mark: Callable[[], Value], *, stops: bool) -> None:
        """Leave a bookmark after a step, if it is time to, or if the run stops here."""
        self.total, is_last = total, step == total
        is_due = not is_last and time.perf_counter() >= self._due
        if self.is_kept and (is_due or stops or (is_last and self.ends_early)):
            self._leave(mark)

    def _leave(self, mark: Callable[[], Value]) -> None:
        try:
            value = mark()
            start = time.perf_counter()
            self.cache.leave_bookmark(self.work, self.key, encode(value).data)
        except Exception as error:  # whatever it is, it is not worth the step
            self.sink.emit(Warned(f"if it is cut off it will begin anew: {error}", self.name))
            self.is_kept = False
            return
        self._has_left = True
        end = time.perf_counter()
        self._due = end + max(EVERY, (end - start) / SHARE)

    def whole(self, seconds: float) -> float:
        """What all of the work takes, of which a part took so long."""
        done = self.total - self.steps
        return seconds * self.total / done if done > 0 else seconds

    def finish(self) -> int:
        """Remove the bookmark now that the result is remembered, but for one that a longer run can go on from.

        Gives how many steps were spared.
        """
        if (self._has_left or self.steps) and not self.ends_early:
            self.cache.flush()
            self.cache.drop_bookmark(self.work, self.key)
        return self.steps


def resuming(step: Step, ready: Ready, cache: Cache, sink: Sink, *, is_fresh: bool) -> Resuming:
    """The bookmark of a step that is about to run. is_fresh: it is not to go on from what others left."""
    work, ends_early = ready.key, False
    if endings := step.node.endings:
        work = key_of(without(ready.recipe, endings))
        ends_early = any(getattr(ready.node, name) != step.node.model_fields[name].default for name in endings)
    return Resuming(cache, work, ready.key, ends_early, is_fresh, step.cache, sink, step.name)
