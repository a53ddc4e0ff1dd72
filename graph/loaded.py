"""Which weights a run may have in memory, and when nothing takes them any more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from graph.codec import decode, encode
from graph.made import gives_handles, handles, weights_of
from graph.node import outputs
from graph.plan import Value
from graph.ready import Done, Outcome, Read
from graph.sources import From
from graph.steps import Step
from graph.values import ModelHandle

_PLAIN = frozenset({str, int, float, bool})


@dataclass
class Loaded:
    """The model handles that steps were run with, by the digest of the value that held them."""

    steps: Mapping[str, Step]
    release: Callable[[ModelHandle], None]
    """Called with a handle when no step takes its weights any more."""
    used: dict[str, tuple[ModelHandle, ...]] = field(default_factory=dict)

    def note(self, arguments: Mapping[str, object]) -> None:
        """A step is about to be run with these: their weights may come into memory."""
        for argument in arguments.values():
            values = argument if isinstance(argument, list) else (argument,)
            for value in () if _PLAIN.issuperset(map(type, values)) else values:
                if found := tuple(handles(value)):
                    self.used[encode(value).digest] = found

    def let_go(self, value: Value, outcomes: Mapping[str, Outcome], over: Collection[Value], read: Read) -> None:
        """The last taker of a value is settled: release the weights that nothing else may take.

        over: all the values of which that is so. Two handles that say different things may stand for the same weights.
        """
        if (digest := _digest(value, outcomes)) not in self.used:
            return
        still_open = {_digest(other, outcomes): other for other in _open(self.steps, outcomes, over)}
        needed = {weights_of(handle) for other in still_open.values() for handle in self._handles(other, read)}
        for handle in () if digest in still_open else self.used.pop(digest):
            if weights_of(handle) not in needed:
                self.release(handle)

    def let_go_of_all(self) -> None:
        """The run is over."""
        for handle in set(chain.from_iterable(self.used.values())):
            self.release(handle)

    def _handles(self, value: Value, read: Read) -> tuple[ModelHandle, ...]:
        """The handles in a value, also in one that no step was run with yet."""
        data = read(From(*value)) if gives_handles(self.steps[value[0]], value[1]) else None
        return tuple(handles(decode(data))) if data else ()


def _open(steps: Mapping[str, Step], outcomes: Mapping[str, Outcome], over: Collection[Value]) -> Iterator[Value]:
    """The values that a step to come may take; two steps may have loaded one model."""
    for name, outcome in outcomes.items():
        count = len(outputs(steps[name].node)) if isinstance(outcome, Done) else 0
        yield from (value for at in range(count) if (value := (name, at)) not in over)


def _digest(value: Value, outcomes: Mapping[str, Outcome]) -> str:
    outcome = outcomes.get(value[0])
    return outcome.digests[value[1]] if isinstance(outcome, Done) else ""
