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
from graph.steps import Step


@dataclass
class Held:
    """The bytes of a run's values, from memory or from the cache."""

    cache: Cache
    loaded: Loaded
    outcomes: Mapping[str, Outcome]
    """Of the steps that are settled, by name: the run's own."""
    releases: Mapping[str, tuple[Value, ...]]
    """By step: the values that nobody takes after it."""
    given: dict[str, tuple[Blob | None, ...]] = field(default_factory=dict)
    """By step that ran: its values, each until the last step that takes it is settled. None without any."""
    fetched: dict[str, bytes] = field(default_factory=dict)
    """By digest: what was read from the cache for the step at hand."""
    again: list[Value] = field(default_factory=list)
    """Values that were made again for the step at hand."""
    _over: set[Value] = field(default_factory=set)
    """See `over`; empty as long as nobody asked."""

    def read(self, origin: From) -> bytes | None:
        """The bytes of an output of a settled step; None if they were evicted, or are of a type that is gone."""
        given = self.given.get(origin.step)
        if given and (blob := given[origin.output]):
            return blob.data
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

    def has_all(self, step: Step) -> bool:
        """Whether all that a step takes is at hand, for a step that is not settled yet: nothing else is looked at.

        What a step takes that is still to be settled is let go of by nobody; so it is enough that what gave it ran.
        """
        return all(map(self.given.__contains__, step.needs))

    def lost(self, taken: Iterable[From]) -> str:
        """The first step of these whose value cannot be read; "" if all of them can."""
        for origin in taken:
            if self.read(origin) is None:
                return origin.step
        return ""

    def keep(self, step: str, blobs: tuple[Blob, ...]) -> None:
        """Hold what a step gave."""
        self.given[step] = blobs

    def put_down(self, taken: Iterable[From]) -> None:
        """Hold no longer what a step took that was made again, if the cache has it now."""
        for origin in taken:
            value = origin.step, origin.output
            given = self.given.get(origin.step)
            blob = given[origin.output] if given else None
            if blob and value in self.over() and self.cache.holds(blob.digest):
                self._drop(*value)

    def let_go(self, step: str) -> None:
        """A step is settled: hold neither the values that it was the last to take, nor what was only read for it."""
        released = self.releases.get(step, ())
        if self.fetched:
            self.fetched.clear()
        for value in released:
            self._drop(*value)
        if self.again or (released and (self._over or self.loaded.used)):
            self.over().update(released)
            again = [value for value in self.again if value in self._over]
            for value in again:
                self._drop(*value)
            for value in (*released, *again):
                self.loaded.let_go(value, self.outcomes, self._over, self.read)
            self.again.clear()

    def over(self) -> set[Value]:
        """Values whose last taker is settled: those that are made again are let go of at once."""
        if not self._over:  # of most runs, where nothing is made again and no weights are in memory, never
            self._over.update(value for step in self.outcomes for value in self.releases.get(step, ()))
        return self._over

    def _drop(self, step: str, at: int) -> None:
        given = self.given.pop(step, None)
        if given is None or len(given) == 1:  # as nearly all are
            return
        rest = tuple(None if other == at else blob for other, blob in enumerate(given))
        if any(rest):
            self.given[step] = rest
