"""A cache with very many entries, made and looked after in a process of its own.

python -m benchmarks.filled fill 100000 CACHE_FOLDER     as if they had been used a day ago, every hundredth large
python -m benchmarks.filled gc CACHE_FOLDER              evicts all of it; prints one JSON object
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from contextlib import closing
from pathlib import Path

from graph.codec import Blob
from graph.store import INLINE, Result, Store
from graph.upkeep import gc

_AT_ONCE = 5_000
_DAY = 86400.0


def fill(count: int, folder: Path) -> None:
    """Remember so many results, each with a value of its own, of several costs and sizes."""
    with closing(Store(folder, print)) as store:
        for start in range(0, count, _AT_ONCE):
            entries = [_entry(number) for number in range(start, min(count, start + _AT_ONCE))]
            store.write([result for result, _ in entries], [blob for _, blob in entries], [])
        with store.transaction() as index:
            index.execute("UPDATE blobs SET used = used - ?", (_DAY,))


def _entry(number: int) -> tuple[Result, Blob]:
    data = f"value {number} ".encode() * (INLINE // 8 if number % 100 == 0 else 1 + number % 7)
    blob = Blob(hashlib.sha256(data).hexdigest(), data)
    recipe = f'{{"kind":"value","number":{number}}}'
    key = hashlib.sha256(recipe.encode()).hexdigest()
    return Result(key, (blob.digest,), recipe, number % 13 / 10, time.time() - _DAY), blob


def evict(folder: Path) -> dict[str, float]:
    """Evict everything, and tell what that took."""
    cpu, wall = time.process_time(), time.perf_counter()
    gone = gc(folder, print, most_bytes=0)
    return {"blobs": gone.blobs, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        print(json.dumps(evict(Path(sys.argv[2]))))
