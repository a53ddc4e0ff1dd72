"""The least that remembering by content costs: keys, an SQLite table of values, one commit. No checks, no blobs, no
files, no reasons, no devices, no language. And other engines that remember, where they are installed.

    python -m benchmarks.floor toy|joblib|doit|hamilton chain 1000 FOLDER     prints one JSON object
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.trivial import calls

Calls = Iterable[tuple[int, tuple[int, ...]]]


def toy(wanted: Calls, folder: Path) -> int:
    """Look every call up by the digests of what it takes, and make what is not there."""
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


def doit(wanted: Calls, folder: Path) -> int:
    """Let doit bring every call up to date, each a task that takes the values of others."""
    main, loader = importlib.import_module("doit.doit_cmd"), importlib.import_module("doit.cmd_base")
    changed = importlib.import_module("doit.tools").config_changed
    calls = list(wanted)

    def task_add() -> Iterator[dict[str, Any]]:
        for at, (more, taken) in enumerate(calls):
            yield {
                "name": str(at),
                "actions": [(_added, [more])],
                "getargs": {f"call_{other}": (f"add:{other}", "value") for other in taken},
                "uptodate": [changed({"more": more, "taken": list(taken)})],
            }

    config = {"dep_file": str(folder / "doit"), "backend": "sqlite3", "reporter": "zero"}
    if main.DoitMain(loader.ModuleTaskLoader({"task_add": task_add, "DOIT_CONFIG": config})).run(["run"]):
        raise RuntimeError("doit failed")
    with contextlib.closing(sqlite3.connect(folder / "doit")) as kept:
        question = "SELECT task_data FROM doit WHERE task_id = ?"
        (data,) = kept.execute(question, (f"add:{len(calls) - 1}",)).fetchone()
    return int(json.loads(data)["_values_:"]["value"])


def hamilton(wanted: Calls, folder: Path) -> int:
    """Let Hamilton execute every call, each a function that names its arguments after others."""
    sys.setrecursionlimit(10**6)  # it goes down a graph by calling itself
    driver = importlib.import_module("hamilton.driver")
    functions = [
        f"def call_{at}({', '.join(f'call_{other}: int' for other in taken)}) -> int:\n"
        f"    return {' + '.join([str(more), *(f'call_{other}' for other in taken)])}"
        for at, (more, taken) in enumerate(wanted)
    ]
    module = importlib.import_module("hamilton.ad_hoc_utils").module_from_source("\n\n".join(functions))
    last = f"call_{len(functions) - 1}"
    built = driver.Builder().with_modules(module).with_cache(path=str(folder)).build()
    return int(built.execute([last])[last])


def installed(engine: str) -> bool:
    """Whether an engine can be measured; the others are no dependencies of Darkroom."""
    return engine == "toy" or importlib.util.find_spec(engine) is not None


def _added(more: int, **taken: int) -> dict[str, int]:
    return {"value": more + sum(taken.values())}


def _add(more: int, numbers: list[int]) -> int:
    return more + sum(numbers)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


FLOORS: Mapping[str, Callable[[Calls, Path], int]] = {
    "toy": toy, "joblib": joblib, "doit": doit, "hamilton": hamilton,
}  # fmt: skip

if __name__ == "__main__":
    wanted = list(calls(sys.argv[2], int(sys.argv[3])))
    start = time.process_time()
    last = FLOORS[sys.argv[1]](wanted, Path(sys.argv[4]))
    print(json.dumps({"cpu": time.process_time() - start, "result": last}))
