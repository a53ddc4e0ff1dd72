"""The values that a run has in its hands: what steps gave, each until its last taker, and what was just read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graph.cache import Cache
from graph.codec import Blob
from graph.loaded import Loaded
from graph.made import is_known
from graph.plan import Value
from graph.ready import Done, Outcome
from graph.sources import From


@dataclass
class Held:
    """The bytes of a run's values, from memory or from the cache."""

    cache: Cache
    loaded: Loaded
    outcomes: Mapping[str, Outcome]
    """Of the steps that are settled, by name: the run's own."""
    given: dict[Value, Blob] = field(default_factory=dict)
    """The values of steps that ran, each until the last step that takes it is settled."""
    fetched: dict[str, bytes] = field(default_factory=dict)
    """By digest: what was read from the cache for the step at hand."""
    over: set[Value] = field(default_factory=set)
    """Values whose last taker is settled: those that are made again are let go of at once."""
    again: list[Value] = field(default_factory=list)
    """Values that were made again for the step at hand."""

    def read(self, origin: From) -> bytes | None:
        """The bytes of an output of a settled step; None if they were evicted, or are of a type that is gone."""
        given = self.given.get((origin.step, origin.output))
        if given:
            return given.data
        outcome = self.outcomes[origin.step]
        if not isinstance(outcome, Done):
            return None
        digest = outcome.digests[origin.output]
        if digest not in self.fetched:
            data = self.cache.blob(digest)
            if data is None or not is_known(data):
                return None
            self.fetched[digest] = data
        return self.fetched[digest]

    def lost(self, taken: Iterable[From]) -> str:
        """The first step of these whose value cannot be read; "" if all of them can."""
        for origin in taken:
            if self.read(origin) is None:
                return origin.step
        return ""

    def keep(self, step: str, blobs: tuple[Blob, ...]) -> None:
        """Hold what a step gave."""
        for at, blob in enumerate(blobs):
            self.given[step, at] = blob

    def put_down(self, taken: Iterable[From]) -> None:
        """Hold no longer what a step took that was made again, if the cache has it now."""
        for origin in taken:
            value = origin.step, origin.output
            if value in self.over and value in self.given and self.cache.holds(self.given[value].digest):
                del self.given[value]

    def let_go(self, released: tuple[Value, ...]) -> None:
        """A step is settled, the last that takes these: hold neither them, nor what was only read for it."""
        if self.fetched:
            self.fetched.clear()
        self.over.update(released)
        again = [value for value in self.again if value in self.over] if self.again else ()
        for value in (*released, *again):
            self.given.pop(value, None)
            if self.loaded.used:
                self.loaded.let_go(value, self.outcomes, self.over, self.read)
        self.again.clear()
