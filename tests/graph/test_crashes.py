"""A kill, or a fault of the disk, at every point at which the cache or a picture is written."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from graph.cache import Cache, Disk
from graph.errors import DarkroomError
from graph.execute import Results
from graph.failpoints import arm, disarm
from graph.store import Store
from graph.upkeep import clear, gc, verify
from tests.graph.crowd import Process
from tests.graph.lab import Lab

WORKFLOW = """
    nodes:
      word:   {use: say, text: ground}
      words:  {use: join, a: $word, b: $word}
      ground: {use: paint, size: 64}
      sky:    {use: paint, size: 128, colour: blue}
      framed: {use: frame, image: $ground}
      file:   {use: write, image: $sky, path: sky.png}
    outputs: {framed: $framed, words: $words}
"""
LARGE = "v2/blobs/*/*"


@dataclass(frozen=True, slots=True)
class Job:
    """Something that changes a cache."""

    name: str
    prepare: Callable[[Path], object]
    do: Callable[[Path], object]
    """Is killed, or meets a fault of the disk."""
    then: Callable[[Path], object] = lambda folder: None
    """What a user would do before the next run, if it is more than that run."""
    harms: bool = False
    """What is prepared is a damage, of which the next run may have to tell."""


def run(folder: Path) -> None:
    Lab(folder).run(WORKFLOW)


def damage(folder: Path) -> None:
    """A large blob and a small one are wrong, one is gone."""
    run(folder)
    first, second, *_ = sorted((folder / "cache").glob(LARGE))
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    with closing(Store(folder / "cache", print)) as store, store.transaction() as index:
        index.execute("UPDATE blobs SET data = x'00' WHERE data IS NOT NULL")


def break_index(folder: Path) -> None:
    run(folder)
    index = folder / "cache" / "v2" / "index"
    index.write_bytes(b"no database " * 1000)


def mend(folder: Path) -> None:
    break_index(folder)
    run(folder)


class Breaking(Lab):
    """Its index breaks when it is open."""

    def open(self) -> Cache:
        cache = super().open()
        with suppress(Exception), closing(Store(self.cache_folder, print)) as store, store.transaction() as index:
            index.execute("DROP TABLE results")
        return cache


def run_and_break(folder: Path) -> None:
    Breaking(folder).run(WORKFLOW)


def leave_litter(folder: Path) -> None:
    """Of processes that are dead: half a file, leases."""
    run(folder)
    (folder / "cache" / "v2" / "writing" / "1-dead-1-ab").touch()
    (folder / "cache" / "v2" / "living" / "1-dead").touch()
    with closing(Store(folder / "cache", print)) as store, store.transaction() as index:
        index.execute("INSERT INTO leases VALUES ('key', '2-dead', 0)")


def check(folder: Path) -> None:
    verify(folder / "cache", lambda told: None)


def collect(folder: Path) -> None:
    gc(folder / "cache", lambda told: None, most_bytes=0)


def empty(folder: Path) -> None:
    clear(folder / "cache", lambda told: None)


JOBS = (
    Job("run", lambda folder: None, run),
    Job("run_after_crash", leave_litter, run),
    Job("gc", run, collect),
    Job("gc_after_mending", mend, collect),
    Job("clear", run, empty, then=check),
    Job("verify", damage, check, then=check),
    Job("begin_anew", break_index, run, harms=True),
    Job("mend", run, run_and_break, harms=True),
)
AT_LEAST = {"run": 30, "run_after_crash": 8, "gc": 8, "gc_after_mending": 10, "clear": 10, "verify": 10}
"""Points: a job that comes to fewer is not the one that was meant."""


def _told(value: Job | Callable[[str], None]) -> str:
    return value.name if isinstance(value, Job) else value.__name__


each_job = pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    disarm()


def at(number: int, act: Callable[[str], None]) -> Callable[[str], None]:
    """Call `act` at the point that comes as the `number`th, and at none before or after."""
    come = count(1)
    return lambda point: act(point) if next(come) == number else None


def kill(point: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(point: str) -> None:
    raise OSError(errno.EIO, f"the disk failed at {point}")


def fill(point: str) -> None:
    raise OSError(errno.ENOSPC, f"no space left on device at {point}")


def pixels(folder: Path) -> list[bytes]:
    """The pictures in the output folder, in the order of their names; anything else that lies there raises."""
    found = []
    for path in sorted((folder / "out").rglob("*")):
        with Image.open(path) as image:
            found.append(image.tobytes())
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What the workflow gives where nothing goes wrong."""
    return Lab(tmp_path_factory.mktemp("undisturbed")).run(WORKFLOW)


def goes_on(folder: Path, undisturbed: Results, *, may_warn: bool = False) -> None:
    """The next run gives what an undisturbed one gives, with no word of damage and nothing left in the cache."""
    lab, again = Lab(folder), Lab(folder)
    result = lab.run(WORKFLOW)

    assert may_warn or [] == lab.warnings
    assert result.ok
    assert undisturbed.outputs == result.outputs
    assert [] == list((folder / "cache" / "v2" / "writing").iterdir())
    assert [] == list((folder / "cache" / "v2" / "living").iterdir())
    assert 0 == verify(folder / "cache", print).damaged
    assert {"hit"} == set(again.run(WORKFLOW).actions.values())
    assert [] == again.warnings


def is_sound(folder: Path, undisturbed: Results, *, may_warn: bool = False) -> None:
    """The next run goes on, and the output folder has every picture once."""
    goes_on(folder, undisturbed, may_warn=may_warn)

    assert [undisturbed.outputs["framed"].data, bytes((0, 0, 255)) * 128 * 128] == pixels(folder)


def died(job: Job, folder: Path, number: int) -> bool:
    """Whether a process came to its point `number`, and was killed there."""
    if not (child := os.fork()):
        try:
            arm(at(number, kill))
            job.do(folder)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@each_job
def test_a_kill_at_any_point_harms_nothing(tmp_path: Path, undisturbed: Results, job: Job) -> None:
    for number in count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        job.prepare(folder)
        if not died(job, folder, number):
            break
        job.then(folder)
        is_sound(folder, undisturbed, may_warn=job.harms)

    assert number > AT_LEAST.get(job.name, 20)


@pytest.mark.parametrize(("job", "fault"), [(JOBS[0], fill), *((job, fail) for job in JOBS)], ids=_told)
def test_a_fault_of_the_disk_at_any_point_costs_a_word_at_most(
    tmp_path: Path, undisturbed: Results, job: Job, fault: Callable[[str], None]
) -> None:
    for number in count(1):
        folder = tmp_path / str(number)
        come: list[str] = []
        folder.mkdir()
        job.prepare(folder)
        arm(at(number, fault))
        arm(come.append)
        with suppress(DarkroomError):
            job.do(folder)
        disarm()
        if len(come) < number - 1:
            break
        job.then(folder)
        is_sound(folder, undisturbed, may_warn=job.harms)

    assert number > AT_LEAST.get(job.name, 20)


@pytest.mark.parametrize("act", [kill, fail])
def test_what_becomes_of_a_process_at_any_point_is_nothing_to_another(
    tmp_path: Path, undisturbed: Results, act: Callable[[str], None]
) -> None:
    """One process is in the middle of a step, while one after the other comes to a bad end beside it."""
    work = WORKFLOW.replace("outputs: {", "outputs: {held: $held, ")
    held = Process(tmp_path, "held", work.replace("nodes:", "nodes:\n      held: {use: gated, text: x, a: $words}"))
    acted = tmp_path / "acted"

    def meet(point: str) -> None:
        acted.touch()
        act(point)

    try:
        held.tells("node_started held")
        for number in count(1):
            acted.unlink(missing_ok=True)
            other = WORKFLOW.replace("text: ground", f"text: ground {number}").replace(
                "size: 64", f"size: {4 * number}"
            )
            Process(tmp_path, f"other{number}", other, partial(arm, at(number, meet))).ended()
            if not acted.exists():
                break
        (tmp_path / "open").touch()

        assert number > 20
        assert {"held": "ground-groundx"}.items() <= held.gave().items()
    finally:
        held.end()
    goes_on(tmp_path, undisturbed)
    assert bytes((0, 0, 255)) * 128 * 128 in pixels(tmp_path)


def test_a_fault_while_another_cache_is_open_leaves_that_one_whole(tmp_path: Path) -> None:
    with closing(Disk(tmp_path / "cache", print)) as first:
        keys = Lab(tmp_path).plan(WORKFLOW).steps[0].key
        arm(fail)
        Lab(tmp_path).run(WORKFLOW)
        disarm()
        assert first.result(keys) is None
        Lab(tmp_path).run(WORKFLOW)
        assert first.result(keys)


CHANGES = ("os.rename", "os.remove", "os.link", "os.truncate", "os.rmdir")


def changes(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether an event that Python tells of is a change of the disk. Making a folder is not: that can be done twice."""
    flags = arguments[2] if event == "open" else 0
    return event in CHANGES or (isinstance(flags, int) and bool(flags & os.O_CREAT))


@each_job
def test_no_file_of_the_cache_comes_or_goes_between_two_points(tmp_path: Path, job: Job) -> None:
    """What is no point is not tested above."""
    job.prepare(tmp_path)
    if not (child := os.fork()):
        unsaid: list[str] = []
        come: list[str] = []

        def hear(event: str, arguments: tuple[object, ...]) -> None:
            if arguments and str(tmp_path / "cache") in str(arguments[0]) and changes(event, arguments):
                if not come:
                    unsaid.append(f"{event} {arguments}")
                come.clear()

        try:
            arm(come.append)
            sys.addaudithook(hear)
            job.do(tmp_path)
        finally:
            (tmp_path / "unsaid").write_text("\n".join(unsaid))
            os._exit(0)
    os.waitpid(child, 0)

    assert "" == (tmp_path / "unsaid").read_text()
