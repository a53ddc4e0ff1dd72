"""Keys that the index does not have, so that it is not asked in vain for each of thousands of new steps.

Asking in vain costs a step that does little more than its own work: the run and the thread that writes behind take
turns at the index. After some such misses all keys are read at once, no more than the misses have paid for: where
little is new in a large cache it is never done.

What other processes write since then is not in it. So it is believed for LASTS seconds, and not at all for a step that
is claimed: its key is asked for once more. At worst another step is done twice, with equal results.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Collection

from graph.store import Store

LASTS = 0.5
"""Seconds for which other processes' new results may go unseen."""
_FEW = 32
"""Misses before anything is read."""
_WORTH = 32
"""Keys that are read in the time of one miss."""


class Absent:
    """What one opening of a store knows to be absent. Safe to use from several threads.

    `missed` raises OSError or sqlite3.Error where the disk does not do as it should.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self._last = 0
        """The row up to which the keys are known."""
        self._others = -1
        """SQLite's count of what others committed, when the keys were read."""
        self._until = 0.0
        self._missed = 0
        self._enough = _FEW

    def rules_out(self, key: str) -> bool:
        """Whether the index has no result of a key; False where it has to be asked."""
        return time.monotonic() < self._until and key not in self._keys

    def missed(self) -> None:
        """Take note that the index was asked in vain."""
        self._missed += 1
        if self._missed < self._enough:
            return
        with self._lock:
            others = self._count_of_others()
            if others != self._others:  # they may have removed rows, whose numbers are given again
                self._keys, self._last, self._others = set(), 0, others
            newest = self._newest()
            if newest - self._last > self._missed * _WORTH:
                self._enough = 2 * self._missed
                return
            rows = self._store.rows("SELECT key FROM results WHERE rowid > ?", self._last)
            self._keys.update(str(row[0]) for row in rows)
            self._last, self._missed, self._enough = newest, 0, 1
            self._until = time.monotonic() + LASTS

    def wrote(self, keys: Collection[str]) -> None:
        """Take in what was just written here; if that is all that is new, what was known goes on being so."""
        with self._lock:
            until, self._until = self._until, 0.0
            with contextlib.suppress(sqlite3.Error):  # what was written stays so, whatever this comes to
                if until and self._count_of_others() == self._others:
                    self._keys.update(keys)
                    self._last, self._until = self._newest(), until

    def expire(self) -> None:
        """Believe none of it until it is read again: the answer has to be sure."""
        with self._lock:
            self._until = 0.0

    def _count_of_others(self) -> int:
        return int(self._store.rows("PRAGMA data_version")[0][0])

    def _newest(self) -> int:
        return self._store.rows("SELECT max(rowid) FROM results")[0][0] or 0
