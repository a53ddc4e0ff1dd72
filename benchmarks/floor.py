"""The least that remembering by content costs: keys, an SQLite table of values, one commit. No checks, no blobs, no
files, no reasons, no devices, no language. And joblib.Memory, where it is installed.

    python -m benchmarks.floor toy|joblib chain 1000 FOLDER     prints one JSON object
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import sqlite3
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.trivial import calls

Calls = Iterable[tuple[int, tuple[int, ...]]]


def toy(wanted: Calls, folder: Path) -> int:
    """Look every call up by the digests of what it takes, and make what is not there."""
    folder.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "index")) as index:
        index.execute("PRAGMA journal_mode = WAL")
        index.execute("PRAGMA synchronous = NORMAL")
        index.execute("CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, value BLOB)")
        values: list[int] = []
        digests: list[str] = []
        for more, taken in wanted:
            key = _digest(json.dumps(["add", 1, more, [digests[at] for at in taken]]).encode())
            row = index.execute("SELECT value FROM results WHERE key = ?", (key,)).fetchone()
            data = row[0] if row else json.dumps(more + sum(values[at] for at in taken)).encode()
            if not row:
                index.execute("INSERT INTO results VALUES (?, ?)", (key, data))
            values.append(json.loads(data))
            digests.append(_digest(data))
        index.commit()
    return values[-1]


def joblib(wanted: Calls, folder: Path) -> int:
    """Let joblib.Memory remember every call."""
    add = importlib.import_module("joblib").Memory(folder, verbose=0).cache(_add)
    values: list[int] = []
    for more, taken in wanted:
        values.append(add(more, [values[at] for at in taken]))
    return values[-1]


def has_joblib() -> bool:
    """Whether joblib is installed; it is no dependency of Darkroom."""
    return importlib.util.find_spec("joblib") is not None


def _add(more: int, numbers: list[int]) -> int:
    return more + sum(numbers)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ENGINES = {"toy": toy, "joblib": joblib}

if __name__ == "__main__":
    wanted = list(calls(sys.argv[2], int(sys.argv[3])))
    start = time.process_time()
    last = ENGINES[sys.argv[1]](wanted, Path(sys.argv[4]))
    print(json.dumps({"cpu": time.process_time() - start, "result": last}))
