"""What was computed before: asked by key, kept on disk, shared by processes.

Two things are remembered apart. A `Result` says which values a key gave; it is tiny and kept long. The values
themselves are blobs, found by the sha256 of their bytes; they are large and may be evicted at any time, so a
caller that knows a result must still be ready for `blob` to give None.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from graph.values import Blob, SavedFile

Warn = Callable[[str], None]
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Result:
    """What a key gave."""

    key: str
    outputs: tuple[str, ...]
    """Digests of the outputs' blobs, main output first."""
    recipe: str
    """The canonical JSON whose sha256 is the key."""
    seconds: float
    """Wall time of the original work."""
    made: float
    """When, in seconds since 1970."""


class Cache(Protocol):
    """What plans and runs ask of a cache.

    Every method may be called from any thread; none raises for a fault of the disk: what cannot be read is
    None, and what cannot be written is remembered in memory.
    """

    def result(self, key: str) -> Result | None:
        """What this key gave. Says nothing about its blobs."""

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        """The results that are known among these keys, read in bulk."""

    def blob(self, digest: str) -> bytes | None:
        """The bytes with this sha256, verified; None if they were evicted or are damaged."""

    def holds(self, digest: str) -> bool:
        """Whether a blob is there. Cheap: neither read nor kept from eviction."""

    def touch(self, digests: Iterable[str]) -> frozenset[str]:
        """Keep blobs from eviction while this cache is open; gives those that are there."""

    def remember(self, result: Result, blobs: Sequence[Blob]) -> None:
        """Keep a result with the blobs of its outputs."""

    def latest(self, workflow: str) -> dict[str, str]:
        """Key of every node when it last ran, or was taken from the cache, under this workflow's name."""

    def note_latest(self, workflow: str, keys: Mapping[str, str]) -> None:
        """Set the last keys of these nodes; others of the workflow stay."""

    def saved(self, key: str) -> SavedFile | None:
        """The file that was last written for this key."""

    def note_saved(self, key: str, file: SavedFile) -> None:
        """Set the file that was last written for this key."""

    def file_digest(self, stat_key: str) -> str | None:
        """The sha256 of a file that looked just like this."""

    def note_file_digest(self, stat_key: str, digest: str) -> None:
        """Set the sha256 of a file that looks like this."""

    def flush(self) -> None:
        """Return when everything remembered is in the index."""

    def close(self) -> None:
        """Flush and let go of everything. May be called twice."""


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

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: what is in memory stays readable."""


def open_cache(folder: Path | None, warn: Warn) -> Cache:
    """Open the cache in a folder, by default the user's; in memory, with one warning, if that fails."""
    return Memory()
