"""What a cache on disk was told since its last commit."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from graph.hindsight import LATEST
from graph.leases import Leases
from graph.memory import Memory
from graph.store import Note, Store

_MANY = 8192
"""Results that wait no longer for more."""
_MUCH = 64 << 20
"""Bytes that wait no longer for more."""


class Batch(Memory):
    """What waits to be written. It answers meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.released: set[str] = set()
        """Keys whose leases are given up."""

    def is_large(self) -> bool:
        """Whether it is to be written now, whatever else may come."""
        return len(self._results) >= _MANY or self._bytes >= _MUCH

    @property
    def keys(self) -> Collection[str]:
        """Of the results."""
        return self._results.keys()

    @property
    def size(self) -> int:
        """Bytes of the blobs."""
        return self._bytes

    def __bool__(self) -> bool:
        parts = (self._results, self._blobs, self._latest, self.notes, self.released, self._runs)
        return any(parts)

    def followed_by(self, newer: Batch) -> Batch:
        """Take in what was remembered after this."""
        self._results |= newer._results
        with newer._lock:  # reading a blob moves it
            self._blobs |= newer._blobs
        self._bytes = sum(map(len, self._blobs.values()))
        self._runs += newer._runs
        self.notes |= newer.notes
        self.released |= newer.released
        for workflow, keys in newer._latest.items():
            self.note_latest(workflow, keys)
        return self

    def write_to(self, store: Store, leases: Leases) -> None:
        """Write all of it in one transaction. A lease that was taken again since it was given up stays."""
        from graph.codec import Blob  # declaring all the types of values takes longer than a run that finds everything

        with self._lock:  # reading a blob moves it
            blobs = [Blob(digest, data) for digest, data in self._blobs.items()]
        ended = (key for key in self.released if not leases.holds(key))  # asked inside the transaction
        store.write(self._results.values(), blobs, self._flat_notes(store), self._runs, ended)

    def _flat_notes(self, store: Store) -> Iterator[Note]:
        """Gone through inside the transaction: last keys come to those that any process has noted before it."""
        yield from ((space, name, value) for (space, name), value in self.notes.items())
        for workflow, keys in self._latest.items():
            before = json.loads(store.standing(LATEST, workflow) or b"{}")
            yield LATEST, workflow, json.dumps(before | keys).encode()
