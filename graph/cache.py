"""What was computed before: asked by key, kept on disk, shared by processes.

Two things are remembered apart. A `Result` says which values a key gave; it is tiny and kept long. The values
themselves are blobs, found by the sha256 of their bytes; they are large and may be evicted at any time, so a
caller that knows a result must still be ready for `blob` to give None.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from graph.index import is_broken, is_busy
from graph.memory import Memory
from graph.store import INLINE, Note, Result, Store

if TYPE_CHECKING:  # see graph/store.py
    from graph.values import Blob, SavedFile

__all__ = ["Cache", "Disk", "Memory", "Result", "Warn", "default_folder", "open_cache"]

Warn = Callable[[str], None]
T = TypeVar("T")
_WAIT = 0.05
"""Seconds of work that a kill may lose: a batch is committed at the latest so long after its first result."""
_BATCH = 1024
"""Results after which a batch is committed in any case."""
_KNOWN = 20_000
"""Results kept in memory."""


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

    def rung(self, step: str) -> str:
        """How a step was done whose device had not enough memory (graph/ladder.py); "" where nothing is noted."""

    def note_rung(self, step: str, rung: str) -> None:
        """Set how a step was done; "" to forget it."""

    def gives(self, outputs: Mapping[str, Sequence[str]]) -> bool:
        """Whether each of these keys is known to have given just these digests."""

    def trail(self, name: str) -> bytes | None:
        """The trail of this name, which a run laid (graph/laying.py)."""

    def note_trail(self, name: str, trail: bytes) -> None:
        """Set the trail of this name."""

    def led(self, workflow: str) -> str:
        """The trail that led to the latest keys of a workflow; "" where none did, or one was noted since."""

    def note_led(self, workflow: str, trail: str) -> None:
        """Say that the latest keys of a workflow are those of this trail."""

    def flush(self) -> None:
        """Return when everything remembered is in the index."""

    def close(self) -> None:
        """Flush and let go of everything. May be called twice."""


class Disk:
    """A cache in a folder, shared with other processes.

    What is remembered waits in memory for the next commit. If the disk fails it stays there: the run goes on,
    with one warning, and what was committed before can still be read.
    """

    def __init__(self, folder: Path, warn: Warn) -> None:
        """Raises OSError or sqlite3.Error if the folder cannot be used."""
        self._store = Store(folder, warn)
        self._warn = warn
        self._lock = threading.RLock()
        self._fresh = _Batch()
        self._known: dict[str, Result] = {}
        self._latest: dict[str, dict[str, str]] = {}
        self._timer: threading.Timer | None = None
        self._failed = False
        self._closed = False
        self._mended = False

    def result(self, key: str) -> Result | None:
        if found := self._fresh.result(key) or self._known.get(key):
            return found
        if found := self._read(lambda: self._store.result(key)):
            self._know({key: found})
        return found

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        wanted = list(keys)
        near = {key: found for key in wanted if (found := self._fresh.result(key) or self._known.get(key))}
        far = self._read(lambda: self._store.results(key for key in wanted if key not in near)) or {}
        self._know(far)
        return near | far

    def _know(self, results: dict[str, Result]) -> None:
        if len(self._known) > _KNOWN:
            self._known = {}
        self._known |= results

    def blob(self, digest: str) -> bytes | None:
        found = self._fresh.blob(digest)
        if found is None:
            found = self._read(lambda: self._store.blob(digest))
        if self._store.stale:
            self._commit_soon()
        return found

    def holds(self, digest: str) -> bool:
        return self._fresh.holds(digest) or digest in (self._read(lambda: self._store.held([digest])) or {})

    def touch(self, digests: Iterable[str]) -> frozenset[str]:
        wanted = list(digests)
        fresh = self._fresh.touch(wanted)
        far = [digest for digest in wanted if digest not in fresh]
        return fresh | (self._read(lambda: self._store.touch(far)) or frozenset())

    def remember(self, result: Result, blobs: Sequence[Blob]) -> None:
        is_large = self._put([blob for blob in blobs if len(blob.data) > INLINE])
        with self._lock:
            self._fresh.remember(result, blobs)
            if is_large or result.seconds > _WAIT or self._fresh.count >= _BATCH:
                self._commit()
            else:
                self._commit_soon()

    def _put(self, blobs: Sequence[Blob]) -> bool:
        """Write large blobs without keeping other threads waiting; the commit finds them in place."""
        try:
            for blob in () if self._failed else blobs:
                self._store.put(blob)
        except OSError as error:
            self._fault(error)
        return bool(blobs)

    def latest(self, workflow: str) -> dict[str, str]:
        with self._lock:
            if workflow not in self._latest:
                found = self._read(lambda: self._store.notes(f"latest:{workflow}")) or {}
                self._latest[workflow] = {node: key.decode() for node, key in found.items()}
                self.results(self._latest[workflow].values())  # most of them are asked for next
            return dict(self._latest[workflow])

    def note_latest(self, workflow: str, keys: Mapping[str, str]) -> None:
        with self._lock:
            before = self.latest(workflow)
            changed = {node: key for node, key in keys.items() if before.get(node) != key}
            self._latest[workflow] |= changed
            if not changed:
                return
            self.note_led(workflow, "")
            self._fresh.notes |= {(f"latest:{workflow}", node): key.encode() for node, key in changed.items()}
            self._commit_soon()

    def saved(self, key: str) -> SavedFile | None:
        from graph.values import SavedFile, decode

        found = self._noted("saved", key)
        value = decode(found) if found else None
        return value if isinstance(value, SavedFile) else None

    def note_saved(self, key: str, file: SavedFile) -> None:
        from graph.values import encode

        self._note("saved", key, encode(file).data)

    def file_digest(self, stat_key: str) -> str | None:
        found = self._noted("file", stat_key)
        return found.decode() if found else None

    def note_file_digest(self, stat_key: str, digest: str) -> None:
        self._note("file", stat_key, digest.encode())

    def rung(self, step: str) -> str:
        return (self._noted("rung", step) or b"").decode()

    def note_rung(self, step: str, rung: str) -> None:
        self._note("rung", step, rung.encode())

    def gives(self, outputs: Mapping[str, Sequence[str]]) -> bool:
        found = self._read(lambda: self._store.outputs(outputs)) or {}
        return all(found.get(key) == " ".join(digests) for key, digests in outputs.items())

    def trail(self, name: str) -> bytes | None:
        return self._noted("trail", name)

    def note_trail(self, name: str, trail: bytes) -> None:
        self._note("trail", name, trail)

    def led(self, workflow: str) -> str:
        return (self._noted("led", workflow) or b"").decode()

    def note_led(self, workflow: str, trail: str) -> None:
        self._note("led", workflow, trail.encode())

    def _noted(self, space: str, name: str) -> bytes | None:
        found = self._fresh.notes.get((space, name))
        return found if found is not None else self._read(lambda: self._store.note(space, name))

    def _note(self, space: str, name: str, value: bytes) -> None:
        if self._noted(space, name) != value:
            with self._lock:
                self._fresh.notes[space, name] = value
                self._commit_soon()

    def flush(self) -> None:
        with self._lock:
            self._commit()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._commit()
            if self._timer:
                self._timer.cancel()
            if self._fresh and not self._failed:
                self._give_up("another process kept its index locked")
            self._closed = self._failed = True
            self._store.close()

    def _commit_soon(self) -> None:
        with self._lock:
            if not self._timer and not self._failed:
                self._timer = threading.Timer(_WAIT, self._commit)
                self._timer.daemon = True
                self._timer.start()

    def _commit(self) -> None:
        """Write what is fresh. If that fails it stays fresh, and readers go on finding it."""
        with self._lock:
            if self._timer and self._timer is not threading.current_thread():
                self._timer.cancel()
            self._timer = None
            if self._failed or not (self._fresh or self._store.stale):
                return
            try:
                self._write()
            except (OSError, sqlite3.Error) as error:
                self._fault(error)

    def _write(self) -> None:
        try:
            self._fresh.write_to(self._store)
        except sqlite3.Error as error:
            if not is_broken(error) or self._mended:
                raise
            self._mend()
            self._fresh.write_to(self._store)
        self._fresh = _Batch()

    def _read(self, ask: Callable[[], T | None]) -> T | None:
        """Ask the store; after a fault the answer is that nothing is known."""
        try:
            return None if self._closed else ask()
        except (OSError, sqlite3.Error) as error:
            self._fault(error)
            return None

    def _fault(self, error: OSError | sqlite3.Error) -> None:
        with self._lock:
            if is_busy(error):
                self._commit_soon()
            elif not is_broken(error) or self._mended:
                self._give_up(str(error))
            else:
                self._try_to_mend()

    def _try_to_mend(self) -> None:
        try:
            self._mend()
        except (OSError, sqlite3.Error) as error:
            self._give_up(str(error))

    def _mend(self) -> None:
        self._mended = True
        self._store.mend()

    def _give_up(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._warn(f"what is computed from here on is not kept: the cache cannot be written ({reason})")


class _Batch(Memory):
    """What was remembered since the last commit."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: dict[tuple[str, str], bytes] = {}

    @property
    def count(self) -> int:
        return len(self._results)

    def __bool__(self) -> bool:
        return bool(self._results or self._blobs or self.notes)

    def write_to(self, store: Store) -> None:
        """Write all of it in one transaction."""
        from graph.values import Blob

        with self._lock:  # reading a blob moves it
            blobs = [Blob(digest, data) for digest, data in self._blobs.items()]
        store.write(self._results.values(), blobs, self._flat_notes())

    def _flat_notes(self) -> Iterator[Note]:
        return ((space, name, value) for (space, name), value in self.notes.items())


def open_cache(folder: Path | None, warn: Warn) -> Cache:
    """Open the cache in a folder, by default the user's; in memory, with one warning, if that fails."""
    try:
        return Disk(folder or default_folder(), warn)
    except (OSError, sqlite3.Error, RuntimeError) as error:
        warn(f"results are not kept: the cache cannot be opened ({error})")
        return Memory()


def default_folder() -> Path:
    """DARKROOM_CACHE, else `darkroom` in the folder that the platform has for such files.

    Raises RuntimeError where the user has no home.
    """
    if named := os.environ.get("DARKROOM_CACHE"):
        return Path(named).expanduser().absolute()
    return _user_caches() / "darkroom"


def _user_caches() -> Path:
    """Source: XDG Base Directory Specification 0.8; Apple's File System Programming Guide; KNOWNFOLDERID."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if named.startswith("/") else Path.home() / ".cache"
