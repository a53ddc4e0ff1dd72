"""A cache that ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graph.store import Result
    from graph.values import Blob, SavedFile

_GIB = 1 << 30


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
        self._rungs: dict[str, str] = {}

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
            for blob in blobs:
                self._bytes += len(blob.data) - len(self._blobs.pop(blob.digest, b""))
                self._blobs[blob.digest] = blob.data
            while self._bytes > self._most_bytes and len(self._blobs) > len(blobs):
                self._bytes -= len(self._blobs.pop(next(iter(self._blobs))))

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

    def rung(self, step: str) -> str:
        return self._rungs.get(step, "")

    def note_rung(self, step: str, rung: str) -> None:
        self._rungs[step] = rung

    def gives(self, outputs: Mapping[str, Sequence[str]]) -> bool:
        return all(key in self._results and self._results[key].outputs == tuple(outputs[key]) for key in outputs)

    def trail(self, name: str) -> bytes | None:
        return None

    def note_trail(self, name: str, trail: bytes) -> None:
        """Do nothing: a trail is for processes to come."""

    def led(self, workflow: str) -> str:
        return ""

    def note_led(self, workflow: str, trail: str) -> None:
        """Do nothing, likewise."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: what is in memory stays readable."""
