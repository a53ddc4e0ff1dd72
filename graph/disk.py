"""A cache on disk: what is remembered waits in memory, and a thread of its own writes it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from graph import hindsight, runs
from graph.absent import Absent
from graph.batch import Batch
from graph.bookmarks import Bookmarks
from graph.eviction import keep_within
from graph.hindsight import LATEST
from graph.index import is_broken, is_busy
from graph.leases import Leases
from graph.runs import NOW, Noted
from graph.store import Result, Store

if TYPE_CHECKING:  # see graph/store.py
    from graph.codec import Blob
    from graph.values import SavedFile

Warn = Callable[[str], None]
T = TypeVar("T")
_WAIT = 0.05
"""Seconds of work that a kill may lose: a batch is written at the latest so long after its first result, or, where the
last one took long, after _SHARE times as long as that, up to _MOST_WAIT: the more a batch holds, the less it costs."""
_SHARE = 10
_MOST_WAIT = 0.5
LED = "led"
"""The space of notes that tell which trail led to the latest keys of a workflow; none where another run came since."""
_KNOWN = 20_000
"""Results kept in memory."""


class Disk:
    """A cache in a folder, shared with other processes.

    What is remembered waits in memory for the next commit, which a thread of its own makes: only after work that
    took long does the run wait for the disk. If the disk fails it stays in memory: the run goes on, with one
    warning, and what was committed before can still be read.
    """

    def __init__(self, folder: Path, warn: Warn, most_bytes: int | None = None) -> None:
        """most_bytes: down to which a run that adds something evicts in the end; None for no limit.

        Raises OSError or sqlite3.Error if the folder cannot be used.
        """
        self._store = Store(folder, warn)
        self._bookmarks = Bookmarks(self._store.folder, self._store.name, warn)
        self._warn = warn
        self._leases = Leases(self._store)
        self._absent = Absent(self._store)
        self._most_bytes = most_bytes
        self._added = 0
        self._lock = threading.RLock()
        self._committing = threading.Lock()
        """Never asked for by who has `_lock`."""
        self._waiting: tuple[Batch, ...] = (Batch(),)
        """What is not committed: what was remembered last, and behind it what is being written just now."""
        self._known: dict[str, Result] = {}
        self._latest: dict[str, dict[str, str]] = {}
        self._writer: threading.Thread | None = None
        self._due = threading.Event()
        """Something waits to be written."""
        self._ending = threading.Event()
        self._failed = False
        self._closed = False
        self._mended = False

    def result(self, key: str) -> Result | None:
        if found := self._near(key):
            return found
        return None if self._absent.rules_out(key) else self._read(lambda: self._far(key))

    def _far(self, key: str) -> Result | None:
        found = self._store.result(key)
        if found:
            self._know({key: found})
        else:
            self._absent.missed()
        return found

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        wanted = list(keys)
        near = {key: found for key in wanted if (found := self._near(key))}
        far = self._read(lambda: self._store.results(key for key in wanted if key not in near)) or {}
        self._know(far)
        return near | far

    def _near(self, key: str) -> Result | None:
        for batch in self._waiting:
            if found := batch.result(key):
                return found
        return self._known.get(key)

    def _know(self, results: dict[str, Result]) -> None:
        if len(self._known) > _KNOWN:
            self._known = {}
        self._known |= results

    def blob(self, digest: str) -> bytes | None:
        for batch in self._waiting:
            if (found := batch.blob(digest)) is not None:
                return found
        found = self._read(lambda: self._store.blob(digest))
        if self._store.stale:
            self._commit_soon()
        return found

    def holds(self, digest: str) -> bool:
        near = any(batch.holds(digest) for batch in self._waiting)
        return near or digest in (self._read(lambda: self._store.held([digest])) or {})

    def touch(self, digests: Iterable[str]) -> frozenset[str]:
        wanted = list(digests)
        near = frozenset[str]().union(*(batch.touch(wanted) for batch in self._waiting))
        far = [digest for digest in wanted if digest not in near]
        return near | (self._read(lambda: self._store.touch(far)) or frozenset())

    def remember(self, result: Result, blobs: Sequence[Blob]) -> None:
        with self._lock:
            batch = self._waiting[0]
            batch.remember(result, blobs)
            self._give_up(result.key)
        was_work = bool(blobs) and result.seconds > _WAIT  # without values it is what a shared cache told
        if was_work or batch.is_large():
            self._commit()
        else:
            self._commit_soon()

    def claim(self, key: str) -> str:
        holder = "" if self._failed else self._read(lambda: self._leases.claim(key)) or ""
        self._absent.expire()
        return holder

    def release(self, key: str) -> None:
        with self._lock:
            if self._give_up(key):
                self._commit_soon()

    def _give_up(self, key: str) -> bool:
        """Have the next commit give up a lease; says whether there is one."""
        if had := self._leases.give_up(key):
            self._waiting[0].released.add(key)
        return had

    def latest(self, workflow: str) -> dict[str, str]:
        with self._lock:
            if not self._latest.get(workflow):
                self._latest[workflow] = self._noted_latest(workflow)
                self.results(self._latest[workflow].values())  # most of them are asked for next
            return dict(self._latest[workflow])

    def note_latest(self, workflow: str, keys: Mapping[str, str]) -> None:
        with self._lock:
            before = self._noted_latest(workflow)  # others may have noted some since
            self._latest[workflow] = before | dict(keys)
            if self._latest[workflow] != before:
                self.note(LED, workflow, b"")
                self._waiting[0].note_latest(workflow, keys)
                self._commit_soon()

    def _noted_latest(self, workflow: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._read(lambda: self._store.note(LATEST, workflow)) or b"{}")
        for batch in reversed(self._waiting):
            found |= batch.latest(workflow)
        return found

    def saved(self, key: str) -> SavedFile | None:
        from graph.codec import decode
        from graph.values import SavedFile

        found = self.noted("saved", key)
        value = decode(found) if found else None
        return value if isinstance(value, SavedFile) else None

    def note_saved(self, key: str, file: SavedFile) -> None:
        from graph.codec import encode

        self.note("saved", key, encode(file).data)

    def file_digest(self, stat_key: str) -> str | None:
        found = self.noted("file", stat_key)
        return found.decode() if found else None

    def note_file_digest(self, stat_key: str, digest: str) -> None:
        self.note("file", stat_key, digest.encode())

    def gives(self, outputs: Mapping[str, Sequence[str]]) -> bool:
        found = self._read(lambda: self._store.outputs(outputs)) or {}
        return all(found.get(key) == " ".join(digests) for key, digests in outputs.items())

    def bookmarks(self, work: str) -> list[bytes]:
        return self._bookmarks.left(work)

    def leave_bookmark(self, work: str, key: str, data: bytes) -> None:
        self._bookmarks.leave(work, key, data)

    def drop_bookmark(self, work: str, key: str) -> None:
        self._bookmarks.drop(work, key)

    def noted(self, space: str, name: str) -> bytes | None:
        for batch in self._waiting:
            if (found := batch.notes.get((space, name))) is not None:
                return found
        return self._read(lambda: self._store.note(space, name))

    def note(self, space: str, name: str, value: bytes) -> None:
        if self.noted(space, name) != value:
            with self._lock:
                self._waiting[0].notes[space, name] = value
                self._commit_soon()

    def recent(self, most: int) -> list[Result]:
        self.flush()
        return self._read(lambda: hindsight.recent(self._store, most)) or []

    def node_of(self, key: str) -> tuple[str, str] | None:
        self.flush()
        return self._read(lambda: hindsight.node_of(self._store, key))

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        wanted = list(digests)
        found = self._read(lambda: hindsight.sizes(self._store, wanted)) or {}
        return found | {digest: size for batch in self._waiting for digest, size in batch.sizes(wanted).items()}

    def note_run(self, run: Noted) -> None:
        with self._lock:
            self._waiting[0].note_run(run)
            self._commit_soon()

    def note_again(self, run: Noted) -> None:
        runs.repeat(self._store.folder, run)

    def runs(self, workflow: str = "", most: int = 1, below: int = NOW) -> tuple[Noted, ...]:
        store = self._store
        return self._read(lambda: runs.newest(store.rows, store.folder, workflow, most, below)) or ()

    def run(self, number: int) -> Noted | None:
        return self._read(lambda: runs.numbered(self._store.rows, self._store.folder, number))

    def flush(self) -> None:
        self._commit()

    def close(self) -> None:
        self._ending.set()
        self._due.set()
        if self._writer:
            self._writer.join()
        self._commit()
        with self._committing, self._lock:
            if self._closed:
                return
            if self._waiting[0] and not self._failed:
                self._stop_writing("another process kept its index locked")
            if self._added and self._most_bytes is not None and not self._failed:
                with contextlib.suppress(OSError, sqlite3.Error):  # the next run does it
                    keep_within(self._store, self._most_bytes, self._added)
            self._closed = self._failed = True
            self._leases.close()
            self._store.close()

    def _commit_soon(self) -> None:
        if not self._due.is_set():  # a tenth of the time of setting it, and asked for by every step
            self._due.set()
        if not self._writer:
            with self._lock:
                if not self._writer and not self._ending.is_set():
                    self._writer = threading.Thread(target=self._write_behind, name="cache", daemon=True)
                    self._writer.start()

    def _write_behind(self) -> None:
        """Commit batch after batch, until the cache is closed."""
        wait = _WAIT
        while self._due.wait() and not self._ending.wait(wait):
            self._due.clear()
            if self._ending.is_set():  # just now, and `due` with it, which would be waited for in vain
                return
            begun = time.perf_counter()
            self._commit()
            wait = min(max(_WAIT, _SHARE * (time.perf_counter() - begun)), _MOST_WAIT)

    def _commit(self) -> None:
        """Write what waits. If that fails it goes on waiting, and readers go on finding it."""
        with self._committing:
            with self._lock:
                (batch,) = self._waiting
                if self._failed or not (batch or self._store.stale):
                    return
                self._waiting = (Batch(), batch)
            try:
                self._write(batch)
                self._added += batch.size
                self._absent.wrote(batch.keys)
                batch = Batch()
            except (OSError, sqlite3.Error) as error:
                self._fault(error)
            finally:
                with self._lock:
                    self._waiting = (batch.followed_by(self._waiting[0]),)

    def _write(self, batch: Batch) -> None:
        try:
            batch.write_to(self._store, self._leases)
        except sqlite3.Error as error:
            if not is_broken(error) or self._mended:
                raise
            self._mend()
            batch.write_to(self._store, self._leases)

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
                self._stop_writing(str(error))
            else:
                self._try_to_mend()

    def _try_to_mend(self) -> None:
        try:
            self._mend()
        except (OSError, sqlite3.Error) as error:
            self._stop_writing(str(error))

    def _mend(self) -> None:
        self._mended = True
        self._store.mend()

    def _stop_writing(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._warn(f"what is computed from here on is not kept: the cache cannot be written ({reason})")
