"""The history: a row for each run, a mere count for what was asked for again, and the command that asks once more."""

from __future__ import annotations

import hashlib
import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph import runs, upkeep
from graph.cache import Cache, Disk, Memory
from graph.errors import Stopped
from graph.events import NodeFinished, NodeStarted, RunFinished, SavedOutput
from graph.failpoints import arm, disarm
from graph.history import MOST_NODES, Asked, Past, note, read
from graph.lookback import command
from graph.runs import Noted
from tests.graph.lab import Heard, Lab

TEXT = """
params: {colour: red, size: 8, loud: false}
nodes:
  a: {use: paint, colour: $colour, size: $size}
  b: {use: say, text: hello, upper: $loud}
outputs: {it: $a, said: $b}
"""
ASKED = Asked("w", "/there/w.yaml", "00", {"seed": 1}, ("seed",), "/there/outputs", "auto", "", (), {"say": 1}, {})


def history(lab: Lab) -> list[Past]:
    """What is remembered, newest first."""
    with closing(lab.open()) as cache:
        return [past for noted in cache.runs("", 100) if (past := read(noted))]


def index(lab: Lab) -> bytes:
    """The rows of the index: what a commit would change."""
    with closing(sqlite3.connect(lab.cache_folder / "v2" / "index")) as opened:
        return repr(
            [opened.execute(f"SELECT * FROM {name}").fetchall() for name in ("runs", "notes", "results")]
        ).encode()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Cache]:
    with closing(Disk(tmp_path / "cache", lambda message: None)) as cache:
        yield cache


# What is remembered


def test_a_run_is_remembered_with_what_was_asked_and_what_came_out(lab: Lab) -> None:
    lab.run(TEXT, colour="blue")
    (past,) = history(lab)

    assert (1, "lab", "done", 2, 0) == (past.number, past.asked.workflow, past.ending, past.ran, past.hits)
    assert ({"colour": "blue", "size": 8, "loud": False}, ("colour",)) == (past.asked.params, past.asked.given)
    assert {"a": "run", "b": "run"} == {node.node: node.action for node in past.nodes}
    assert {"paint": 1, "say": 1} == past.asked.kinds
    picture, said = past.outputs
    assert (str(lab.folder / "out" / "lab-00001.png"), "hello") == (picture.path, said.value)
    assert picture.digest.startswith("sha256:")
    assert "pillow" in past.versions


def test_the_digest_of_an_output_is_that_of_its_file(lab: Lab) -> None:
    lab.run(TEXT)
    picture = next(one for one in history(lab)[0].outputs if one.path)

    assert f"sha256:{hashlib.sha256(Path(picture.path).read_bytes()).hexdigest()}" == picture.file


def test_files_are_remembered_by_content(lab: Lab) -> None:
    (lab.folder / "note.txt").write_text("hello")
    lab.run("nodes: {a: {use: open, path: note.txt}}")

    assert {"note.txt": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"} == history(lab)[
        0
    ].asked.files


def test_what_the_cache_saved_is_told_apart_from_what_was_computed(lab: Lab) -> None:
    lab.run(TEXT)
    lab.run(TEXT, colour="blue")
    new, old = history(lab)

    assert (1, 1) == (new.ran, new.hits)
    assert sum(node.seconds for node in old.nodes if node.node == "b") == pytest.approx(new.saved, abs=1e-3)


def test_a_failed_run_is_remembered_with_its_reason(lab: Lab) -> None:
    lab.run("nodes: {a: {use: say, text: x}, b: {use: fail, text: $a}}")
    (past,) = history(lab)

    assert ("failed", 1) == (past.ending, past.failed)
    assert "cannot do that" in next(node.why for node in past.nodes if node.node == "b")


def test_a_stopped_run_is_remembered(lab: Lab) -> None:
    with pytest.raises(Stopped):
        lab.run("nodes: {a: {use: say, text: x}, b: {use: trim, text: $a}}", Heard(stop_at=NodeStarted))

    assert ["stopped"] == [past.ending for past in history(lab)]


def test_without_a_disk_the_history_ends_with_the_process() -> None:
    cache = Memory()
    finished = RunFinished(True, 1, 0, 1.0)
    for at in range(3):
        note(cache, ASKED, [NodeFinished("a", "say", "run", 1.0, "", str(at))], finished, float(at), dict)

    assert [3, 2] == [noted.number for noted in cache.runs("w", 2)]
    assert () == cache.runs("other")


# Repetitions


def test_a_repetition_adds_no_row_and_writes_nothing_into_the_index(lab: Lab) -> None:
    lab.run(TEXT)
    lab.run(TEXT)  # here `used` may be written
    before = index(lab)
    lab.run(TEXT)
    lab.run(TEXT)

    assert before == index(lab)
    assert [(1, 3)] == [(past.number, past.times) for past in history(lab)]


def test_a_repetition_tells_when_it_was(lab: Lab) -> None:
    lab.run(TEXT)
    lab.run(TEXT)
    (past,) = history(lab)

    assert past.made <= past.last <= time.time()


def test_an_output_that_is_made_again_is_a_run_of_its_own(lab: Lab) -> None:
    lab.run(TEXT)
    (lab.folder / "out" / "lab-00001.png").write_bytes(b"altered")
    lab.run(TEXT)

    assert [(2, 0), (1, 0)] == [(past.number, past.times) for past in history(lab)]


def test_a_b_a_is_three_runs(lab: Lab) -> None:
    for colour in ("red", "blue", "red"):
        lab.run(TEXT, colour=colour)

    assert [("red", 0), ("blue", 1), ("red", 2)] == [(past.asked.params["colour"], past.ran) for past in history(lab)]


def test_a_failed_run_is_never_repeated_by_a_good_one(lab: Lab) -> None:
    for _ in range(2):
        lab.run("nodes: {a: {use: say, text: x}, b: {use: fail, text: $a}}")

    assert [0, 0] == [past.times for past in history(lab)]


def test_a_count_does_not_outlive_its_index(lab: Lab) -> None:
    lab.run(TEXT)
    lab.run(TEXT)
    for file in (lab.cache_folder / "v2").glob("index*"):
        file.unlink()
    lab.run(TEXT, colour="blue")

    assert [(1, 0)] == [(past.number, past.times) for past in history(lab)]


# The rows


def test_the_last_run_of_a_workflow_is_found(shared: Cache) -> None:
    for name in ("a", "b", "a", "c"):
        shared.note_run(Noted(name, 1.0, name.encode()))
    shared.flush()

    assert [3, 1] == [noted.number for noted in shared.runs("a", 5)]
    assert [1] == [noted.number for noted in shared.runs("a", 5, below=3)]
    assert [4, 3] == [noted.number for noted in shared.runs("", 2)]
    assert ("b", b"b") == ((found := shared.run(2)) and (found.workflow, found.told))
    assert shared.run(5) is None


def test_no_more_are_kept_than_that(shared: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST", 3)
    for at in range(7):
        shared.note_run(Noted("w", float(at), b"told"))
        shared.flush()

    assert [7, 6, 5] == [noted.number for noted in shared.runs("", 100)]


def test_gc_forgets_what_is_old_and_never_gives_a_number_twice(lab: Lab) -> None:
    with closing(lab.open()) as cache:
        for _ in range(3):
            cache.note_run(Noted("w", 1.0, b"told"))
        cache.flush()
        cache.note_again(cache.runs()[0])
        cache.note_again(cache.runs("", 3)[2])
    upkeep.gc(lab.cache_folder, print)
    with closing(lab.open()) as cache:
        cache.note_run(Noted("w", time.time(), b"told"))
        cache.flush()

        assert [4, 3] == [noted.number for noted in cache.runs("", 100)]
    assert ["3"] == [path.name.partition("-")[0] for path in (lab.cache_folder / "v2" / "again").iterdir()]


def test_clear_forgets_all(lab: Lab) -> None:
    lab.run(TEXT)
    lab.run(TEXT)
    upkeep.clear(lab.cache_folder, print)

    assert [] == history(lab)
    assert [] == list((lab.cache_folder / "v2" / "again").iterdir())


def damage(lab: Lab, column: str, value: object) -> None:
    with closing(sqlite3.connect(lab.cache_folder / "v2" / "index")) as opened, opened:
        opened.execute(f"UPDATE runs SET {column} = ? WHERE number = 1", (value,))


@pytest.mark.parametrize(
    ("column", "value"),
    [("told", b"{}"), ("told", None), ("told", "text"), ("workflow", b"x"), ("workflow", 3), ("made", 7.0),
     ("made", None), ("seal", b""), ("number", 9)],
)  # fmt: skip
def test_a_damaged_row_is_passed_over_and_verify_drops_it(lab: Lab, column: str, value: object) -> None:
    lab.run(TEXT)
    lab.run(TEXT, colour="blue")
    damage(lab, column, value)
    warnings: list[str] = []

    assert [2] == [past.number for past in history(lab)]
    upkeep.verify(lab.cache_folder, warnings.append)
    assert ["entries of the history are damaged; 1 are dropped"] == warnings


def test_a_disk_that_fails_keeps_no_run_from_its_end(lab: Lab) -> None:
    lab.run(TEXT)

    def fail(point: str) -> None:
        if point == "again.write":
            raise OSError("no")

    arm(fail)
    try:
        assert lab.run(TEXT).ok
    finally:
        disarm()
    assert [0] == [past.times for past in history(lab)]


# Reading back


@given(
    params=st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans()),
    why=st.text(),
    value=st.none() | st.text() | st.integers() | st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_what_is_noted_is_read_back(params: dict[str, object], why: str, value: str | int | bool | None) -> None:
    cache = Memory()
    asked = replace(ASKED, params=params, given=tuple(params))
    nodes = (NodeFinished("a", "say", "run", 0.25, "cpu", "00", why),)
    output = SavedOutput("it", "/there/a.png", "sha256:00", value, "saved", {}, "sha256:11")
    note(cache, asked, nodes, RunFinished(True, 1, 0, 0.5, (output,)), 3.0, dict)
    past = read(cache.runs()[0])

    assert past
    assert (asked, nodes, (output,), 3.0) == (past.asked, past.nodes, past.outputs, past.made)


@pytest.mark.parametrize("told", [b"", b"{}", b"[]", b"\xff", b'{"format":2}', b'{"format":1}'])
def test_what_another_version_noted_is_not_read(told: bytes) -> None:
    assert read(Noted("w", 1.0, b"-" * 64 + told)) is None


def test_of_a_large_graph_only_what_was_not_cached_is_told() -> None:
    cache = Memory()
    nodes = [NodeFinished(f"n{at}", "say", "run" if at == 5 else "hit", 1.0) for at in range(MOST_NODES + 1)]
    note(cache, ASKED, nodes, RunFinished(True, 1, MOST_NODES, 1.0), 1.0, dict)
    past = read(cache.runs()[0])

    assert past
    assert (["n5"], MOST_NODES, float(MOST_NODES)) == ([node.node for node in past.nodes], past.hits, past.saved)


# Asking again


def past(**asked: object) -> Past:
    return Past(replace(ASKED, **asked), "done", 1.0, 1, 0, 0, 0, 1.0, 0.0, (), ())  # type: ignore[arg-type]


def test_the_command_is_quoted_for_a_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = past(
        source=str(tmp_path / "my file.yaml"),
        params={"prompt": "it's $HOME\n; rm", "flag": True, "size": 3},
        given=("prompt", "flag"),
        out=str(tmp_path / "outputs"),
    )

    assert "darkroom run 'my file.yaml' --set 'prompt=it'\"'\"'s $HOME\n; rm' --set flag=true" == shlex.join(
        command(made)
    )
    assert list(command(made)) == shlex.split(shlex.join(command(made)))


def test_the_command_says_what_is_not_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = past(source="", given=(), out="/else/where", device="cpu", only="b", nodes=(str(tmp_path / "mine"),))

    assert "darkroom run - --nodes mine --out /else/where --device cpu --only b" == shlex.join(command(made))
