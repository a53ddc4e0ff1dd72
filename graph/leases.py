"""Leases: of several processes that want one result, one computes it and the others wait.

    nobody's ──claim──> held ──the result is remembered──> given up, in the very transaction of the result
                         │ ├────the step fails or is stopped──> given up, with the next commit
                         │ ├────the holder dies──> taken over at once: the lock on living/<holder> is free
                         │ └────the holder hangs──> taken over after PATIENCE seconds without a beat
                         └──beat every BEAT seconds──┘

A lease is a row of the index, so SQLite's one writer settles who gets it. It is advice: whoever computes a key without
one, or goes on computing after it was taken over, does work twice and nothing wrong, for equal keys give equal results.

No two processes ever wait for each other: a run claims a lease when everything that the step takes is in its hands,
asks for no other while it holds it, gives it up before the next step, and so holds none while it waits; the commit that
tells the others is made by the cache's own thread, whatever the run does meanwhile. No clock is compared with another
process's: a beat is a count, and who waits measures by its own clock for how long the count stood still.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

from graph.failpoints import reached
from graph.living import is_alive
from graph.store import Store

BEAT = 2.0
"""Seconds between the signs of life of who holds a lease."""
PATIENCE = 30.0
"""Seconds without a sign of life after which a holder is thought to hang."""
_GLANCE = 1.0
"""Seconds between two looks that count at most: who was itself stopped meanwhile has not watched."""

_Row = tuple[str, int]
"""(holder, beat)"""


class Leases:
    """The leases of one opening of a store. Safe to use from several threads.

    `claim` raises OSError or sqlite3.Error where the disk does not do as it should.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._watched: dict[str, tuple[_Row, float, float]] = {}
        """By key: what was seen last, when, and for how long it did not change."""
        self._timer: threading.Timer | None = None
        drop_dead(store)

    def claim(self, key: str) -> str:
        """Take the lease of a key; or give the number of the process that has it."""
        with self._lock:
            if key in self._held:
                return _process(self._store.name)
            seen = self._row(key)
            if seen and not self._is_free(key, seen):
                return _process(seen[0])
            try:
                with self._store.transaction() as index:
                    now = self._row(key)
                    if now and now != seen:  # another was faster, or awoke
                        return _process(now[0])
                    reached("lease.claim")
                    index.execute("REPLACE INTO leases VALUES (?, ?, 0)", (key, self._store.name))
                    self._held.add(key)  # before anybody else can write: see `holds`
            except BaseException:
                self._held.discard(key)
                raise
            self._watched.pop(key, None)
            self._beat_later()
            return ""

    def holds(self, key: str) -> bool:
        """Whether a lease is held; inside a transaction of this store, whether its row is to stay."""
        return key in self._held

    def give_up(self, key: str) -> bool:
        """Hold a lease no longer, and say whether it was held. Its row is whoever's who commits next."""
        if key not in self._held:  # of nearly every step
            return False
        with self._lock:
            held = key in self._held
            self._held.discard(key)
            return held

    def close(self) -> None:
        """Give no further sign of life."""
        with self._lock:
            self._held.clear()
            if self._timer:
                self._timer.cancel()

    def _row(self, key: str) -> _Row | None:
        rows = self._store.rows("SELECT holder, beat FROM leases WHERE key = ?", key)
        return (str(rows[0][0]), rows[0][1]) if rows else None

    def _is_free(self, key: str, seen: _Row) -> bool:
        """Whether the holder of a lease is dead, hangs, or is this process, which then is about to give it up."""
        if seen[0] == self._store.name or not is_alive(self._store.folder / "living", seen[0]):
            return True
        now = time.monotonic()
        row, last, still = self._watched.get(key, (seen, now, 0.0))
        still = still + min(now - last, _GLANCE) if row == seen else 0.0
        self._watched[key] = (seen, now, still)
        return still > PATIENCE

    def _beat_later(self) -> None:
        if not self._timer and self._held:
            self._timer = threading.Timer(BEAT, self._beat)
            self._timer.daemon = True
            self._timer.start()

    def _beat(self) -> None:
        with contextlib.suppress(OSError, sqlite3.Error), self._store.transaction() as index:
            reached("lease.beat")
            index.execute("UPDATE leases SET beat = beat + 1 WHERE holder = ?", (self._store.name,))
        with self._lock:
            self._timer = None
            self._beat_later()


def drop_dead(store: Store) -> None:
    """Remove the leases of processes that ended without giving them up."""
    with contextlib.suppress(OSError, sqlite3.Error):  # who claims one of these finds out
        holders = [str(row[0]) for row in store.rows("SELECT DISTINCT holder FROM leases")]
        dead = [holder for holder in holders if not is_alive(store.folder / "living", holder)]
        if dead:
            with store.transaction() as index:
                reached("lease.drop")
                index.executemany("DELETE FROM leases WHERE holder = ?", ((holder,) for holder in dead))


def _process(holder: str) -> str:
    return holder.partition("-")[0]
