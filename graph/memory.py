"""A cache that ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from graph.runs import NOW, Noted

if TYPE_CHECKING:
    from graph.codec import Blob
    from graph.store import Result
    from graph.values import SavedFile

_GIB = 1 << 30
_WORKS = 16
"""How many works have bookmarks; those begun first are forgotten."""


class Memory:
    """A cache that ends with the process: for `--cache none`, and where the disk fails.

    Past `most_bytes` of blobs the ones used longest ago are dropped.
    """

    def __init__(self, most_bytes: int = _GIB) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.RLock()
        self._results: dict[str, Result] = {}
        self._blobs: dict[str, bytes] = {}
        self._latest: dict[str, dict[str, str]] = {}
        self._saved: dict[str, SavedFile] = {}
        self._files: dict[str, str] = {}
        self._runs: list[Noted] = []
        self._bookmarks: dict[str, dict[str, bytes]] = {}
        self.notes: dict[tuple[str, str], bytes] = {}
        """By space and name."""

    def result(self, key: str) -> Result | None:
        return self._results.get(key)

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        return {key: found for key in keys if (found := self._results.get(key))}

    def blob(self, digest: str) -> bytes | None:
        with self._lock:
            found = self._blobs.pop(digest, None)
            if found is not None:
                self._blobs[digest] = found  # now the one used last
            return found

    def holds(self, digest: str) -> bool:
        return digest in self._blobs

    def touch(self, digests: Iterable[str]) -> frozenset[str]:
        return frozenset(digest for digest in digests if self.blob(digest) is not None)

    def remember(self, result: Result, blobs: Sequence[Blob]) -> None:
        with self._lock:
            self._results[result.key] = result
            for digest, data in blobs:
                self._bytes += len(data) - len(self._blobs.pop(digest, b""))
                self._blobs[digest] = data
            while self._bytes > self._most_bytes and len(self._blobs) > len(blobs):
                self._bytes -= len(self._blobs.pop(next(iter(self._blobs))))

    def claim(self, key: str) -> str:
        return ""  # nobody else can have it

    def release(self, key: str) -> None:
        """Do nothing."""

    def latest(self, workflow: str) -> dict[str, str]:
        return dict(self._latest.get(workflow, {}))

    def note_latest(self, workflow: str, keys: Mapping[str, str]) -> None:
        with self._lock:
            self._latest.setdefault(workflow, {}).update(keys)

    def saved(self, key: str) -> SavedFile | None:
        return self._saved.get(key)

    def note_saved(self, key: str, file: SavedFile) -> None:
        self._saved[key] = file

    def file_digest(self, stat_key: str) -> str | None:
        return self._files.get(stat_key)

    def note_file_digest(self, stat_key: str, digest: str) -> None:
        self._files[stat_key] = digest

    def gives(self, outputs: Mapping[str, Sequence[str]]) -> bool:
        return all(key in self._results and self._results[key].outputs == tuple(outputs[key]) for key in outputs)

    def note_run(self, run: Noted) -> None:
        with self._lock:
            self._runs.append(replace(run, number=len(self._runs) + 1, last=run.made))

    def note_again(self, run: Noted) -> None:
        with self._lock:
            self._runs[run.number - 1] = replace(run, times=run.times + 1)

    def runs(self, workflow: str = "", most: int = 1, below: int = NOW) -> tuple[Noted, ...]:
        known = (run for run in reversed(self._runs) if workflow in ("", run.workflow) and run.number < below)
        return tuple(known)[:most]

    def run(self, number: int) -> Noted | None:
        return next((run for run in self._runs if run.number == number), None)

    def bookmarks(self, work: str) -> list[bytes]:
        return [*self._bookmarks.get(work, {}).values()][::-1]

    def leave_bookmark(self, work: str, key: str, data: bytes) -> None:
        with self._lock:
            self._bookmarks.setdefault(work, {}).pop(key, None)
            self._bookmarks[work][key] = data
            while len(self._bookmarks) > _WORKS:
                self._bookmarks.pop(next(iter(self._bookmarks)))

    def drop_bookmark(self, work: str, key: str) -> None:
        with self._lock:
            self._bookmarks.get(work, {}).pop(key, None)

    def noted(self, space: str, name: str) -> bytes | None:
        return self.notes.get((space, name))

    def note(self, space: str, name: str, value: bytes) -> None:
        self.notes[space, name] = value

    def recent(self, most: int) -> list[Result]:
        return list(reversed(self._results.values()))[:most]

    def node_of(self, key: str) -> tuple[str, str] | None:
        seen = ((flow, node) for flow, keys in self._latest.items() for node, other in keys.items() if other == key)
        return next(seen, None)

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        return {digest: len(self._blobs[digest]) for digest in digests if digest in self._blobs}

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: what is in memory stays readable."""
