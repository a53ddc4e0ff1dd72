"""Measure: `python -m benchmarks` everything, `python -m benchmarks engine edits` some of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks import (
    bookmarks,
    cached_run,
    edits,
    engine,
    loading,
    marks,
    recovery,
    sampling,
    store,
    tiles,
    upkeep,
)
from benchmarks.report import Report, write


class Benchmark(NamedTuple):
    """Something to measure."""

    full: Callable[[], Report]
    quick: Callable[[], Report]


BENCHMARKS: Mapping[str, Benchmark] = {
    "cached_run": Benchmark(cached_run.full, cached_run.quick),
    "engine": Benchmark(engine.full, engine.quick),
    "sampling": Benchmark(sampling.full, sampling.quick),
    "bookmarks": Benchmark(bookmarks.full, bookmarks.quick),
    "edits": Benchmark(edits.full, edits.quick),
    "watermark": Benchmark(marks.full, marks.quick),
    "recovery": Benchmark(recovery.full, recovery.quick),
    "loading": Benchmark(loading.full, loading.quick),
    "store": Benchmark(store.full, store.quick),
    "tiles": Benchmark(tiles.full, tiles.quick),
    "upkeep": Benchmark(upkeep.full, upkeep.quick),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for, print it, and write it into benchmarks/results."""
    words = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    words.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all by default")
    words.add_argument("--quick", action="store_true", help="small sizes, to see that it works; writes nothing")
    wish = words.parse_args(argv)
    for name in wish.names:
        if name not in BENCHMARKS:
            words.error(f'there is no benchmark "{name}"; there are {", ".join(BENCHMARKS)}')
    for name in wish.names or BENCHMARKS:
        report = BENCHMARKS[name].quick() if wish.quick else BENCHMARKS[name].full()
        print(report.markdown(), flush=True)
        if not wish.quick:
            write(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
