"""Several processes that want one result: one computes it, whatever happens to it, and the others take it."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from graph import leases
from graph.cache import Disk
from graph.codec import Blob
from graph.context import Stop
from graph.failpoints import arm
from graph.store import Store
from graph.turns import Turns
from graph.upkeep import clear, gc, verify
from tests.graph.crowd import Process, impatient, until
from tests.graph.lab import Heard, Lab

ONE = """
    nodes:
      slow: {use: gated, text: made}
      said: {use: join, a: $slow, b: $slow}
    outputs: {said: $said}
"""
OTHER = """
    nodes:
      mine:  {use: gated, text: made}
      loud:  {use: gated, text: "!", a: $mine}
      quiet: {use: trim, text: $mine}
    outputs: {loud: $loud, quiet: $quiet}
"""
EVENT = "node_started slow"


@pytest.fixture
def begun() -> Iterator[list[Process]]:
    """Processes that do not outlive a test, whatever becomes of it."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.end()


@pytest.fixture
def run(tmp_path: Path, begun: list[Process]) -> Callable[..., Process]:
    """Begin a process with a workflow."""

    def start(workflow: str = ONE, first: Callable[[], object] = lambda: None) -> Process:
        begun.append(Process(tmp_path, str(len(begun)), workflow, first))
        return begun[-1]

    return start


Run = Callable[..., Process]


def open_gate(folder: Path) -> None:
    (folder / "open").touch()


def is_sound(folder: Path) -> None:
    """Nothing is damaged, and nothing lies about once the cache is opened."""
    with closing(Disk(folder / "cache", print)) as disk:
        assert [] == disk._store.rows("SELECT * FROM leases")
    assert 0 == verify(folder / "cache", print).damaged
    assert [] == list((folder / "cache" / "v2" / "writing").iterdir())
    assert [] == list((folder / "cache" / "v2" / "living").iterdir())


def wait_for(processes: list[Process], step: str) -> Process:
    """Return when one of them computes a step and all others wait for it; gives the one."""
    until(lambda: all({f"node_waiting {step}", f"node_started {step}"}.intersection(one.told()) for one in processes))
    until(lambda: any(f"node_started {step}" in one.told() for one in processes))
    (holder,) = [one for one in processes if f"node_started {step}" in one.told()]
    return holder


def test_of_eight_processes_one_computes_and_all_have_the_result(tmp_path: Path, run: Run) -> None:
    processes = [run() for _ in range(8)]
    wait_for(processes, "slow")
    open_gate(tmp_path)

    assert [{"said": "made-made"}] * 8 == [one.gave() for one in processes]
    told = Counter(line for one in processes for line in one.told())
    assert (1, 7) == (told["run slow"], told["hit slow"])
    is_sound(tmp_path)


def test_overlapping_workflows_compute_each_costly_key_once(tmp_path: Path, run: Run) -> None:
    processes = [run(OTHER if number % 2 else ONE) for number in range(8)]
    until(lambda: all(one.told() for one in processes))
    open_gate(tmp_path)

    for number, one in enumerate(processes):
        assert ({"loud": "made!", "quiet": "made"} if number % 2 else {"said": "made-made"}) == one.gave()
    told = Counter(line for one in processes for line in one.told())
    assert 1 == told["run slow"] + told["run mine"]
    assert 1 == told["run loud"]
    is_sound(tmp_path)


def test_the_lease_of_a_dead_process_is_taken_over_at_once(tmp_path: Path, run: Run) -> None:
    processes = [run() for _ in range(8)]
    dead = wait_for(processes, "slow")
    dead.signal(signal.SIGKILL)
    began = time.monotonic()
    others = [one for one in processes if one is not dead]
    wait_for(others, "slow")

    assert time.monotonic() - began < leases.PATIENCE / 2
    open_gate(tmp_path)
    assert [{"said": "made-made"}] * 7 == [one.gave() for one in others]
    assert -signal.SIGKILL == dead.ended()
    is_sound(tmp_path)


def test_the_lease_of_a_process_that_hangs_is_taken_over_after_a_while(tmp_path: Path, run: Run) -> None:
    hangs = run()
    hangs.tells(EVENT)
    hangs.signal(signal.SIGSTOP)
    other = run(first=impatient)
    other.tells("node_waiting slow")
    other.tells(EVENT)
    open_gate(tmp_path)

    assert {"said": "made-made"} == other.gave()
    hangs.signal(signal.SIGCONT)
    assert {"said": "made-made"} == hangs.gave()
    is_sound(tmp_path)


def test_who_gives_signs_of_life_keeps_its_lease(tmp_path: Path, run: Run) -> None:
    def beat_fast() -> None:
        leases.BEAT = 0.02

    holder = run(first=beat_fast)
    holder.tells(EVENT)
    with closing(Store(tmp_path / "cache", print)) as store:
        watched = leases.Leases(store)
        key, before = store.rows("SELECT key, beat FROM leases")[0]
        until(lambda: store.rows("SELECT beat FROM leases")[0][0] > before + 3)
        assert str(holder.number) == watched.claim(key)
    open_gate(tmp_path)

    assert {"said": "made-made"} == holder.gave()


def test_where_the_holder_fails_a_waiting_process_computes(tmp_path: Path, run: Run) -> None:
    fails = run()
    fails.tells(EVENT)
    other = run()
    other.tells("node_waiting slow")
    (tmp_path / "fail").touch()

    assert 1 == fails.ended()
    other.tells(EVENT)
    open_gate(tmp_path)
    assert {"said": "made-made"} == other.gave()
    is_sound(tmp_path)


def test_where_the_holder_is_stopped_a_waiting_process_computes(tmp_path: Path, run: Run) -> None:
    stopped = run()
    stopped.tells(EVENT)
    other = run()
    other.tells("node_waiting slow")
    stopped.signal(signal.SIGTERM)

    assert 143 == stopped.ended()
    other.tells(EVENT)
    open_gate(tmp_path)
    assert {"said": "made-made"} == other.gave()
    is_sound(tmp_path)


def test_who_waits_can_be_stopped(tmp_path: Path, run: Run) -> None:
    holder = run()
    holder.tells(EVENT)
    other = run()
    other.tells("node_waiting slow")
    began = time.monotonic()
    other.signal(signal.SIGTERM)

    assert 143 == other.ended()
    assert time.monotonic() - began < 1.0
    open_gate(tmp_path)
    assert {"said": "made-made"} == holder.gave()
    is_sound(tmp_path)


def killed_at(point: str) -> Callable[[], None]:
    """For a process: die where it first comes to a point."""

    def kill(come: str) -> None:
        if come == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: arm(kill)


@pytest.mark.parametrize("point", ["lease.claim", "index.released", "index.commit", "index.committed", "lease.beat"])
def test_of_eight_processes_one_may_die_with_a_lease_or_with_the_right_to_write(
    tmp_path: Path, run: Run, point: str
) -> None:
    def die() -> None:
        leases.BEAT = 0.01
        killed_at(point)()

    dead = run(first=die)
    if point == "lease.beat":
        assert -signal.SIGKILL == dead.ended()
    processes = [run() for _ in range(7)]
    until(lambda: all(one.told() for one in processes))
    open_gate(tmp_path)

    assert [{"said": "made-made"}] * 7 == [one.gave() for one in processes]
    assert -signal.SIGKILL == dead.ended()
    is_sound(tmp_path)


def test_a_value_that_was_evicted_is_made_again_by_one_process(tmp_path: Path, run: Run) -> None:
    open_gate(tmp_path)
    text = "made" * 5000
    before = f"nodes: {{slow: {{use: gated, text: {text}}}}}\noutputs: {{slow: $slow}}"
    run(before).gave()
    for path in (tmp_path / "cache").glob("v2/blobs/*/*"):
        path.unlink()
    (tmp_path / "open").unlink()
    after = before.replace("}}", "}, new: {use: split, text: $slow}}").replace("slow: $slow}", "new: $new.number}")
    processes = [run(after) for _ in range(3)]
    wait_for(processes, "slow")
    open_gate(tmp_path)

    assert [{"new": "1"}] * 3 == [one.gave() for one in processes]
    assert 1 == sum(one.told().count("run slow") for one in processes)
    is_sound(tmp_path)


def test_two_caches_of_one_process_wait_for_each_other_too(tmp_path: Path) -> None:
    with closing(Disk(tmp_path, print)) as one, closing(Disk(tmp_path, print)) as other:
        assert "" == one.claim("key")
        assert str(os.getpid()) == one.claim("key")
        assert str(os.getpid()) == other.claim("key")
        one.release("key")
        one.flush()
        assert "" == other.claim("key")


def test_who_has_no_use_for_what_others_give_waits_for_nobody(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with closing(Disk(lab.cache_folder, print)) as other:
        other.claim(lab.plan("nodes: {word: {use: say}}").steps[0].key)

        assert {"word": "run"} == lab.run("nodes: {word: {use: say}}", force=["word"]).actions
        assert {"word": "run"} == lab.run("nodes: {word: {use: say, cache: false}}").actions
        assert {"word": "run"} == lab.run("nodes: {word: {use: say, fresh: always}}").actions


def test_a_lease_that_is_taken_again_at_once_is_kept(tmp_path: Path) -> None:
    """A step that ran out of memory is tried again under the same key, before the commit that gives the lease up."""
    with closing(Disk(tmp_path, print)) as cache, closing(Disk(tmp_path, print)) as other:
        cache.claim("key")
        cache.release("key")
        cache.claim("key")
        cache.flush()

        assert str(os.getpid()) == other.claim("key")
        cache.release("key")
        cache.flush()
        assert "" == other.claim("key")


class Counting(Disk):
    """A cache that counts what is claimed."""

    claims = 0

    def claim(self, key: str) -> str:
        self.claims += 1
        return super().claim(key)


def test_trivial_nodes_are_claimed_once_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path)
    cache = Counting(lab.cache_folder, print)
    monkeypatch.setattr(lab, "open", lambda: cache)
    lab.run("nodes:\n" + "\n".join(f"      w{number}: {{use: say, text: {number}}}" for number in range(100)))

    assert 1 == cache.claims


def test_gc_and_clear_forget_the_leases_of_the_dead(tmp_path: Path) -> None:
    for forget in (lambda: gc(tmp_path, print), lambda: clear(tmp_path, print)):
        with closing(Store(tmp_path, print)) as store, store.transaction() as index:
            index.execute("INSERT INTO leases VALUES ('key', '1-dead', 3)")
        forget()
        with closing(Store(tmp_path, print)) as store:
            assert [] == store.rows("SELECT * FROM leases")


@pytest.mark.parametrize("holder", [b"\xff\x00", "x" * 300, 7, None, "../../x", "1-dead"])
def test_a_damaged_lease_keeps_nobody_for_long(tmp_path: Path, holder: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Disk(tmp_path, print)) as disk:
        with disk._store.transaction() as index:
            index.execute("INSERT INTO leases VALUES ('key', ?, 'beat')", (holder,))
        monkeypatch.setattr(leases, "PATIENCE", 0.0)
        until(lambda: disk.claim("key") == "")


def test_who_holds_a_lease_asks_for_no_other(lab: Lab) -> None:
    with closing(lab.open()) as cache:
        planned = lab.plan("nodes: {word: {use: say}}")
        (step,) = planned.steps
        assert step.ready
        turns = Turns(planned, cache, Heard(), Stop())

        assert turns.is_costly(step.step)
        with turns.claimed(step.step, step.ready):
            assert not turns.is_costly(step.step)
        assert turns.is_costly(step.step)


def test_a_costly_value_of_a_type_that_is_gone_is_made_again(lab: Lab) -> None:
    text = "nodes: {word: {use: say, text: a}, both: {use: join, a: $word, b: '%s'}}\noutputs: {both: $both}"
    lab.run(text % 1)
    gone = b"no value of today"
    with closing(Store(lab.cache_folder, print)) as store:
        key = lab.plan(text % 1).steps[0].key
        known, blob = store.result(key), Blob(hashlib.sha256(gone).hexdigest(), gone)
        assert known
        store.write([known._replace(outputs=(blob.digest,), seconds=1.0)], [blob], [])

    assert {"both": "a-2"} == lab.run(text % 2).outputs
