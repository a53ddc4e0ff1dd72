"""The cache on disk: what keeping and reading a picture costs, and whether a full cache is slower than an empty one."""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.phases import NODES as TRIVIAL
from benchmarks.processes import interleaved
from benchmarks.report import Bound, Report, Table
from benchmarks.trivial import chain
from graph.cache import Disk, Result
from graph.codec import Blob, encode
from graph.events import Silent
from graph.execute import execute
from graph.placement import survey
from graph.plan import plan
from graph.ready import World
from graph.registry import find_nodes
from graph.store import Store
from graph.values import Picture
from graph.wiring import wire
from graph.workflow import parse

SIDE = 512
"""Pixels: 768 KiB."""
BUDGET = 1.0
"""Milliseconds of a put, and of a get."""
GROWTH = 1.2
"""What a plan may cost with a large cache, in plans with a small one."""
NODES = 50
_PAGE = 5000

Times = Mapping[str, Sequence[float]]
"""Seconds, by what was done: wall of pictures, CPU of plans."""


def full() -> Report:
    """Measure what the promises are about."""
    return measure(pictures=200, small=100, large=100_000, rounds=15)


def quick() -> Report:
    """See that it works."""
    return measure(pictures=5, small=10, large=200, rounds=2)


def measure(pictures: int, small: int, large: int, rounds: int) -> Report:
    """Keep and read pictures beside plain files; plan with caches of two sizes."""
    with TemporaryDirectory() as below:
        costs = _pictures(Path(below), pictures)
        plans = _plans(Path(below), (small, large), rounds)
    return _report(costs, plans, small, large, rounds)


def _pictures(folder: Path, count: int) -> Times:
    """A put begins with a picture and ends when the run goes on; durable is when a power cut takes it no more."""
    spent: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent[name].append(time.perf_counter() - start)

    pictures = [Picture(Image.frombytes("RGB", (SIDE, SIDE), os.urandom(3 * SIDE * SIDE))) for _ in range(count)]
    with closing(Disk(folder / "cache", _refuse)) as disk:
        for number, picture in enumerate(pictures):
            with timed("put until durable"):
                with timed("put"):
                    blob = encode(picture)
                    disk.remember(_result(number, blob), [blob])
                disk.flush()
            _beside(folder / f"picture-{number}", blob.data, timed)
    with closing(Disk(folder / "cache", _refuse)) as disk:
        for picture in pictures:
            digest = encode(picture).digest
            with timed("get, verified"):
                found = disk.blob(digest)
            if found is None or hashlib.sha256(found).hexdigest() != digest:
                raise RuntimeError("a picture did not come back")
    return spent


def _beside(path: Path, data: bytes, timed: Callable[[str], AbstractContextManager[None]]) -> None:
    """The same bytes in a plain file."""
    with timed("reference: sha256"):
        hashlib.sha256(data).hexdigest()
    with timed("reference: write, fsync"):
        with timed("reference: write"), path.open("wb", buffering=0) as file:
            file.write(data)
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    with timed("reference: read, sha256"):
        hashlib.sha256(path.read_bytes()).hexdigest()


def _plans(folder: Path, sizes: Sequence[int], rounds: int) -> Times:
    """Plan one cached workflow with caches of these sizes, opened anew each time."""
    for size in sizes:
        _planned(folder / str(size), run=True)
        _fill(folder / str(size), size)
    works = [(str(size), partial(_planned, folder / str(size), run=False)) for size in sizes]
    return interleaved(rounds, works)


def _fill(folder: Path, count: int) -> None:
    """Add results and small values of another workflow."""
    with closing(Store(folder, _refuse)) as store:
        for start in range(0, count, _PAGE):
            blobs = [encode(f"value {number}") for number in range(start, min(start + _PAGE, count))]
            store.write([_result(start + at, blob) for at, blob in enumerate(blobs)], blobs, [])


def _planned(folder: Path, *, run: bool) -> float:
    """CPU seconds of opening the cache and planning, before a run if there is one."""
    graph = wire(parse(chain(NODES).encode(), "trivial.yaml", folder), find_nodes("nodes", [TRIVIAL]))
    start = time.process_time()
    with closing(Disk(folder, _refuse)) as disk:
        world = World(disk, folder / "out", survey(), "auto", "trivial")
        planned = plan(graph, disk, world)
        spent = time.process_time() - start
        if run:
            execute(planned, disk, Silent(), world)
        elif {"hit"} != {step.action for step in planned.steps}:
            raise RuntimeError("what was run is not known")
        return spent


def _result(number: int, blob: Blob) -> Result:
    recipe = f'{{"kind":"paint","parameters":{{"number":{number}}}}}'
    return Result(hashlib.sha256(recipe.encode()).hexdigest(), (blob.digest,), recipe, 0.01, 1.0)


def _refuse(warning: str) -> None:
    raise RuntimeError(warning)


def _report(costs: Times, plans: Times, small: int, large: int, rounds: int) -> Report:
    rows = [(name, *(f"{1e3 * at:.2f}" for at in _spread(seconds))) for name, seconds in sorted(costs.items())]
    planned = [(f"{int(size):,}", *(f"{1e3 * at:.2f}" for at in _spread(seconds))) for size, seconds in plans.items()]
    growth = median(plans[str(large)]) / median(plans[str(small)])
    bounds = [_within(name, median(costs[name]) * 1e3) for name in ("put", "get, verified")]
    most = f"at most {GROWTH} times that with {small:,}"
    return Report(
        "store",
        f"What does the cache on disk cost? {len(costs['put'])} pictures of {SIDE} x {SIDE}, {rounds} rounds of plans.",
        (
            Table(
                "One picture: wall milliseconds",
                ("", "median", "nine in ten at most"),
                tuple(rows),
                "put: from the picture to where the run goes on, its sha256 included. After short work the file is "
                "written and fsynced, and its row committed, by a thread of its own; after work of more than 0.05 s "
                "the run waits, which is the line below it.",
            ),
            Table(
                f"Opening the cache and planning {NODES} cached nodes: CPU milliseconds",
                ("results in the cache", "median", "nine in ten at most"),
                tuple(planned),
            ),
        ),
        (*bounds, Bound(f"a plan with {large:,} results", most, f"{growth:.2f}", growth <= GROWTH)),
    )


def _within(name: str, milliseconds: float) -> Bound:
    return Bound(f"a {name}", f"at most {BUDGET:.0f} ms", f"{milliseconds:.2f} ms", milliseconds <= BUDGET)


def _spread(seconds: Sequence[float]) -> tuple[float, float]:
    return median(seconds), sorted(seconds)[len(seconds) * 9 // 10]
