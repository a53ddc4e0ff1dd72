"""Steps that are cut off, and what the next run makes of their bookmarks."""

from __future__ import annotations

import errno
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType

import pytest

from graph import bookmarks, resuming
from graph.errors import Stopped
from graph.events import NodeFinished, NodeProgress
from graph.failpoints import arm, disarm
from graph.index import FORMAT
from graph.memory import Memory
from graph.node import Context, Node
from graph.registry import Registry
from graph.upkeep import clear, gc
from graph.values import Value
from tests.graph.lab import NODES, Heard, Lab

STEPS = 6
done: list[int] = []
"""The steps that were done, by all runs."""


@dataclass(frozen=True)
class Height(Value):
    """How far somebody climbed, and what was seen on the way."""

    at: int
    seen: str = ""


class Climb(Node, kind="climb", version=1, endings=("end",)):
    """Climb step by step, and tell what is seen."""

    steps: int = STEPS
    end: int | None = None
    odd: bool = False

    def run(self, ctx: Context, text: str) -> str:
        last = self.steps if self.end is None else self.end
        height = Height(0)
        for found in ctx.bookmarks():
            if isinstance(found, Height) and height.at < found.at <= last:
                height = found
        ctx.resumed(height.at)
        for step in range(height.at, last):
            height = Height(step + 1, height.seen + f"{text}{step} ")
            done.append(step)
            ctx.progress(step + 1, last, partial(self._mark, height))
        return height.seen

    def _mark(self, height: Height) -> Value:
        if self.odd:
            raise ZeroDivisionError("a bug")
        return height


REGISTRY = Registry(MappingProxyType({node.kind: node for node in (*NODES, Climb)}))
WORKFLOW = """
    params: {end: {type: integer, default: 6, min: 0, max: 6}}
    nodes:
      word:  {use: say, text: rock}
      climb: {use: climb, text: $word}
    outputs: {seen: $climb}
"""
TO = "nodes: {climb: {use: climb, text: rock, end: %s}}\noutputs: {seen: $climb}"
SEEN = "".join(f"rock{step} " for step in range(STEPS))


@pytest.fixture(autouse=True)
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bookmarks after every step, whatever they cost."""
    monkeypatch.setattr(resuming, "EVERY", 0.0)
    monkeypatch.setattr(resuming, "SHARE", math.inf)
    done.clear()
    yield
    disarm()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, REGISTRY)


def left(lab: Lab) -> list[Path]:
    """The files of bookmarks."""
    return sorted((lab.cache_folder / f"v{FORMAT}" / "bookmarks").glob("*"))


def stopped_after(lab: Lab, steps: int, text: str = WORKFLOW) -> None:
    """Ask to stop at a step, as Ctrl-C does."""

    @dataclass
    class Watch(Heard):
        def emit(self, event: object) -> None:
            if isinstance(event, NodeProgress) and event.step == steps:
                self.stop.signal = 2

    with pytest.raises(Stopped):
        lab.run(text, Watch())


def resumed(lab: Lab, text: str = WORKFLOW, **more: object) -> tuple[int, object]:
    """After how many steps a run went on, and what it gave."""
    heard = Heard()
    done.clear()
    results = lab.run(text, heard, **more)  # type: ignore[arg-type]  # force
    told = after(heard)
    assert list(range(told, told + len(done))) == done
    return told, results.outputs["seen"]


def after(heard: Heard) -> int:
    """After how many steps the climb went on."""
    return next(event.resumed for event in heard.events if isinstance(event, NodeFinished) and event.kind == "climb")


@pytest.mark.parametrize("steps", range(1, STEPS + 1))
def test_a_step_that_is_stopped_goes_on_where_it_stood(steps: int, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "EVERY", math.inf)
    stopped_after(lab, steps)

    assert 1 == len(left(lab))
    assert (steps, SEEN) == resumed(lab)
    assert [] == left(lab)
    assert [] == lab.warnings


def killed_at(lab: Lab, point: int) -> bool:
    """Run in a process of its own, which is killed at its `point`th point; False if it has not so many."""
    if not (child := os.fork()):
        come = count(1)
        arm(lambda name: os.kill(os.getpid(), signal.SIGKILL) if next(come) == point else None)
        try:
            lab.run(WORKFLOW)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_kill_at_any_point_costs_no_more_than_the_step_in_work(tmp_path: Path) -> None:
    went_on = []
    for point in count(1):
        lab = Lab(tmp_path / str(point), REGISTRY)
        lab.folder.mkdir()
        if not killed_at(lab, point):
            break
        heard = Heard()
        assert SEEN == lab.run(WORKFLOW, heard).outputs["seen"]
        went_on += [
            event.resumed for event in heard.events if isinstance(event, NodeFinished) and event.kind == "climb"
        ]
        assert [] == lab.warnings
        assert [] == list((lab.cache_folder / f"v{FORMAT}" / "writing").iterdir())

    assert set(range(STEPS)) <= set(went_on)


def test_a_fault_of_the_disk_fails_no_step(tmp_path: Path) -> None:
    for number in count(1):
        lab = Lab(tmp_path / str(number), REGISTRY)
        lab.folder.mkdir()
        come = count(1)

        def fail(point: str, number: int = number, come: Iterator[int] = come) -> None:
            if point.startswith("bookmark") and next(come) >= number:
                raise OSError(errno.ENOSPC, "No space left on device")

        arm(fail)
        assert SEEN == lab.run(WORKFLOW).outputs["seen"]
        disarm()
        if not lab.warnings:
            break
        assert [
            "a step that is cut off will begin anew: its bookmark cannot be written "
            "([Errno 28] No space left on device)"
        ] == lab.warnings

    assert number > STEPS


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "swapped", "foreign"])
def test_a_damaged_bookmark_is_dropped_with_a_warning(harm: str, lab: Lab) -> None:
    stopped_after(lab, 3)
    (path,) = left(lab)
    data = path.read_bytes()
    if harm == "flipped":
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    elif harm == "swapped":
        stopped_after(lab, 4, TO % 5)
        other = next(one for one in left(lab) if one != path)
        path.write_bytes(other.read_bytes())
        other.unlink()
    else:
        path.write_bytes({"cut": data[:40], "empty": b"", "foreign": b"x" * 500}[harm])

    assert (0, SEEN) == resumed(lab)
    assert ["a bookmark is damaged and was dropped; its step begins anew"] == lab.warnings
    assert [] == left(lab)


def test_a_bookmark_of_another_release_is_not_used(lab: Lab) -> None:
    stopped_after(lab, 3)
    (path,) = left(lab)
    work, _, key = path.name.partition("-")
    bookmarks.Bookmarks(path.parents[1], "1-test", print).leave(work, key, b'{"darkroom":1,"value":{"type":"Gone"}}')

    assert (0, SEEN) == resumed(lab)
    assert [] == lab.warnings


# The same work that ended elsewhere


def test_a_longer_run_goes_on_from_the_longest_that_ended_early(lab: Lab) -> None:
    for end in (2, 4):
        lab.run(TO % end)
    done.clear()
    lab.run(TO % 2)

    assert [] == done
    assert (4, SEEN[: 5 * 6]) == resumed(lab, TO % 5)
    assert (2, SEEN[: 3 * 6]) == resumed(lab, TO % 3)
    assert (5, SEEN) == resumed(lab)
    assert 4 == len(left(lab))


def test_what_ended_early_is_found_after_a_run_that_was_cut_off(lab: Lab) -> None:
    lab.run(TO % 2)
    stopped_after(lab, 4)

    assert (4, SEEN[: 5 * 6]) == resumed(lab, TO % 5)


def test_other_work_is_not_gone_on_from(lab: Lab) -> None:
    stopped_after(lab, 3)

    assert 0 == resumed(lab, WORKFLOW.replace("rock", "ice"))[0]
    assert 3 == resumed(lab)[0]


def test_what_is_forced_begins_anew(lab: Lab) -> None:
    stopped_after(lab, 3)

    assert (0, SEEN) == resumed(lab, force=["climb"])


def test_a_step_that_is_not_remembered_leaves_nothing(lab: Lab) -> None:
    stopped_after(lab, 3, WORKFLOW.replace("climb, text", "climb, cache: false, text"))

    assert [] == left(lab)


def test_what_cannot_be_written_down_is_told_and_fails_nothing(lab: Lab) -> None:
    heard = Heard()
    results = lab.run(WORKFLOW.replace("climb, text", "climb, odd: true, text"), heard)

    assert SEEN == results.outputs["seen"]
    assert 1 == len(heard.warnings)
    assert "if it is cut off it will begin anew: a bug" in heard.warnings[0]


# How often, and for how long


def climbing() -> resuming.Resuming:
    return resuming.Resuming(
        Memory(), "work", "key", ends_early=False, is_fresh=False, is_kept=True, sink=Heard(), name="climb"
    )


def test_bookmarks_take_their_share_of_the_time_and_no_more(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second, each bookmark a tenth of one."""
    now = [0.0]
    leave, written = Memory.leave_bookmark, []

    def slow(memory: Memory, work: str, key: str, data: bytes) -> None:
        leave(memory, work, key, data)
        now[0] += 0.1
        written.append(now[0])

    monkeypatch.setattr(resuming, "EVERY", 5.0)
    monkeypatch.setattr(resuming, "SHARE", 0.005)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Memory, "leave_bookmark", slow)
    bookmark = climbing()
    for step in range(100):
        now[0] += 1
        bookmark.passed(step + 1, 101, lambda: Height(1), stops=False)

    assert 5.1 == pytest.approx(written[0])
    assert 5 == len(written)


def test_the_time_of_a_result_is_that_of_all_its_steps() -> None:
    bookmark = climbing()
    bookmark.steps = 30
    bookmark.passed(40, 40, lambda: Height(1), stops=False)

    assert 8.0 == bookmark.whole(2.0)


def test_gc_and_clear_take_bookmarks_that_are_old(lab: Lab) -> None:
    for end in (2, 3, 4):
        lab.run(TO % end)
    old, new, last = left(lab)
    for path, age in ((old, 40), (new, 20), (last, 0)):
        os.utime(path, (path.stat().st_mtime - age * 86400,) * 2)

    gc(lab.cache_folder, print)
    assert sorted([new, last]) == left(lab)
    gc(lab.cache_folder, print, most_bytes=0)
    assert [last] == left(lab)
    clear(lab.cache_folder, print)
    assert [] == left(lab)


def test_no_more_bookmarks_are_kept_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "writing").mkdir()
    monkeypatch.setattr(bookmarks.sweep, "__defaults__", (0.0, 1100, math.inf))
    kept = bookmarks.Bookmarks(tmp_path, "1-test", print)
    for number in range(9):
        kept.leave(f"work{number}", "key", bytes(200))
        os.utime(tmp_path / "bookmarks" / f"work{number}-key", (number, number))

    assert [f"work{number}-key" for number in (5, 6, 7, 8)] == [
        path.name for path in sorted((tmp_path / "bookmarks").iterdir())
    ]


def test_memory_keeps_bookmarks_too() -> None:
    memory = Memory()
    for at in range(20):
        memory.leave_bookmark(f"w{at}", "a", b"1")
    memory.leave_bookmark("w19", "b", b"2")
    memory.leave_bookmark("w19", "a", b"3")

    assert [b"3", b"2"] == memory.bookmarks("w19")
    assert [] == memory.bookmarks("w0")
    memory.drop_bookmark("w19", "a")
    assert [b"2"] == memory.bookmarks("w19")
