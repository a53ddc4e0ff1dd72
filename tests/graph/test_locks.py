"""A lock: what drifted from it is refused, every drift at once with its place; the file is whole or as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from graph import locks
from graph.cache import Memory
from graph.errors import Mistake, UsageError, WorkflowError
from graph.failpoints import arm, disarm
from graph.files import Memo
from graph.locks import held, ignored, pin, required
from graph.node import Context, Node
from graph.registry import Registry
from graph.steps import Graph
from graph.wiring import wire
from graph.workflow import load, set_params
from tests.graph.lab import REGISTRY

TEXT = """\
darkroom: 1
params: {note: {type: path, default: note.txt}}
nodes:
  a: {use: open, path: $note}
  b: {use: trim, text: $a}
"""


class NewTrim(Node, kind="trim", version=2):
    """Trim otherwise."""

    def run(self, ctx: Context, text: str) -> str:
        return text.strip(" ")


NEWER = Registry(MappingProxyType({**REGISTRY.kinds, "trim": NewTrim}))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    Path("w.yaml").write_text(TEXT)
    Path("note.txt").write_text("hello")
    yield tmp_path
    disarm()


def graph(registry: Registry = REGISTRY, file: str = "w.yaml", /, **settings: str) -> Graph:
    return wire(set_params(load(file), settings, Path.cwd()), registry)


def memo() -> AbstractContextManager[Memo]:
    return nullcontext(Memory())


def unwanted() -> AbstractContextManager[Memo]:
    raise AssertionError("the cache was opened")


def drifts(graph: Graph) -> list[Mistake]:
    with pytest.raises(WorkflowError) as raised:
        held(graph, memo)
    assert 2 == raised.value.exit_code
    return list(raised.value.mistakes)


# Holding


def test_what_was_just_locked_is_held() -> None:
    pin(graph(), Memory())

    assert () == held(graph(), memo).warnings
    assert () == required(graph(), memo).warnings


def test_without_a_lock_nothing_is_looked_at_and_no_cache_is_opened() -> None:
    assert () == held(graph(), unwanted).warnings


def test_a_lock_of_others_is_none_of_this() -> None:
    Path("other.yaml").write_text(TEXT)
    pin(graph(REGISTRY, "other.yaml"), Memory())

    assert () == held(graph(), unwanted).warnings


def test_every_drift_is_told_at_once_with_its_place_and_both_values() -> None:
    pin(graph(), Memory())
    Path("note.txt").write_text("hello!")

    assert [
        'w.yaml:4:24: a.path: the file "note.txt" is sha256 ce06092fb948…, 6 bytes; '
        "darkroom.lock has sha256 2cf24dba5fb0…, 5 bytes",
        "    a: {use: open, path: $note}",
        "                         ^",
        "  Put the locked one back, or accept what is here: darkroom lock w.yaml",
        "w.yaml:5:3: b: trim has version 2; darkroom.lock has version 1",
        "    b: {use: trim, text: $a}",
        "    ^",
        "  Use the nodes that were locked, or accept what is here: darkroom lock w.yaml",
    ] == "\n".join(map(str, drifts(graph(NEWER)))).split("\n")


def test_a_lock_is_looked_past_when_it_is_to_be_ignored() -> None:
    pin(graph(), Memory())

    assert () == ignored(graph(NEWER), unwanted).warnings


def test_a_node_of_another_kind_is_a_drift() -> None:
    pin(graph(), Memory())
    Path("w.yaml").write_text(TEXT + "  c: {use: join, a: $b}\n")

    assert ["c: the kind join is not in darkroom.lock"] == [mistake.message for mistake in drifts(graph())]


def test_another_file_in_the_workflow_is_a_drift() -> None:
    pin(graph(), Memory())
    Path("other.txt").write_text("other")
    Path("w.yaml").write_text(TEXT.replace("note.txt", "other.txt"))

    assert ['a.path: the file "other.txt" is not in darkroom.lock'] == [mistake.message for mistake in drifts(graph())]


def test_a_file_that_is_set_from_outside_is_told_and_where_a_lock_is_required_refused() -> None:
    pin(graph(), Memory())
    Path("other.txt").write_text("other")
    (warning,) = held(graph(note="other.txt"), memo).warnings

    assert ("lock-gap", True) == (warning.code, "--set note=..." in warning.hint)
    with pytest.raises(WorkflowError, match=r'"other\.txt" is not in darkroom\.lock'):
        required(graph(note="other.txt"), memo)


def test_a_file_that_is_set_and_locked_is_held() -> None:
    Path("other.txt").write_text("other")
    pin(graph(note="other.txt"), Memory())
    Path("other.txt").write_text("drifted")

    assert 1 == len(drifts(graph(note="other.txt")))


def test_a_file_counts_by_content() -> None:
    pin(graph(), Memory())
    os.utime("note.txt", (1, 1))

    assert () == held(graph(), memo).warnings


def test_another_version_of_a_package_is_told_and_no_more() -> None:
    pin(graph(), Memory())
    lock = json.loads(Path("darkroom.lock").read_text())
    lock["workflows"]["w.yaml"]["packages"]["pillow"] = "1.0"
    Path("darkroom.lock").write_text(json.dumps(lock))
    (warning,) = held(graph(), memo).warnings

    assert "darkroom.lock was made with pillow 1.0 (here " in warning.message


def test_a_required_lock_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(WorkflowError, match=r"w\.yaml is in no darkroom\.lock beside it\n  Make one: darkroom lock"):
        required(graph(), unwanted)


# Writing


def test_a_lock_can_be_read_in_a_diff() -> None:
    pinned = pin(graph(), Memory())
    lock = json.loads(Path("darkroom.lock").read_text())
    lock["workflows"]["w.yaml"]["packages"] = {}

    assert Path("darkroom.lock") == pinned.path
    assert {
        "format": 1,
        "workflows": {
            "w.yaml": {
                "files": {
                    "note.txt": {
                        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
                        "size": 5,
                    }
                },
                "kinds": {"open": {"version": 1}, "trim": {"version": 1}},
                "packages": {},
            }
        },
    } == lock
    text = Path("darkroom.lock").read_text()
    assert json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n" == text


def test_the_parts_of_other_workflows_stay() -> None:
    Path("other.yaml").write_text(TEXT)
    pin(graph(), Memory())
    pin(graph(NEWER, "other.yaml"), Memory())

    assert {"other.yaml", "w.yaml"} == json.loads(Path("darkroom.lock").read_text())["workflows"].keys()
    assert () == held(graph(), memo).warnings


def test_locking_anew_tells_what_it_changes() -> None:
    pin(graph(), Memory())

    assert [("kinds", "trim", {"version": 1}, {"version": 2})] == pin(graph(NEWER), Memory()).changes()


def test_a_workflow_that_is_no_file_cannot_be_locked() -> None:
    alone = graph()
    with pytest.raises(UsageError, match="a file of its own"):
        pin(replace(alone, workflow=replace(alone.workflow, source=None)), Memory())


@pytest.mark.parametrize("point", ["lock.write", "lock.rename"])
def test_a_lock_is_whole_or_as_it_was(point: str) -> None:
    pin(graph(), Memory())
    before = Path("darkroom.lock").read_bytes()

    def fail(at: str) -> None:
        if at == point:
            raise KeyboardInterrupt

    arm(fail)
    with pytest.raises(KeyboardInterrupt):
        pin(graph(NEWER), Memory())

    assert before == Path("darkroom.lock").read_bytes()
    assert {"darkroom.lock", "note.txt", "w.yaml"} == {path.name for path in Path().iterdir()}


# What is no lock

PART = '{"files": {}, "kinds": {}, "packages": {}}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "darkroom.lock:1:1: it is not JSON"),
        ('{"format": 1,\n<<<<<<< mine\n', "darkroom.lock:2:1: it is not JSON"),
        ("[" * 100_000, "it cannot be read"),
        ("[]", "reads format 1, not null"),
        ('{"format": 2, "workflows": {}}', "reads format 1, not 2"),
        ('{"format": 1}', "no table of workflows"),
        ('{"format": 1, "workflows": []}', "no table of workflows"),
        (f'{{"format": 1, "workflows": {{"w.yaml": {PART}, "w.yaml": {PART}}}}}', '"w.yaml" is in it twice'),
        (
            '{"format": 1, "workflows": {\n  "w.yaml": {"files": {}, "kinds": {}}}}',
            "darkroom.lock:2:1: what it says of",
        ),
        (
            '{"format": 1, "workflows": {"w.yaml": {"files": {"a": {"sha256": 3}}, "kinds": {}, "packages": {}}}}',
            "not what a lock says",
        ),
        ('{"format": 1, "workflows": {"w.yaml": {"files": {}, "kinds": {"a": 1}, "packages": {}}}}', "not what a lock"),
    ],
)
def test_a_malformed_lock_is_told_with_its_place_and_never_written_over(text: str, said: str) -> None:
    Path("darkroom.lock").write_text(text)
    with pytest.raises(WorkflowError) as raised:
        held(graph(), memo)

    assert (True, 2) == (said in str(raised.value), raised.value.exit_code)
    with pytest.raises(WorkflowError):
        pin(graph(), Memory())
    assert text == Path("darkroom.lock").read_text()


def test_bytes_a_folder_a_pipe_and_too_much_are_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_MOST_BYTES", 1000)
    lock = Path("darkroom.lock")
    makers: list[Callable[[], object]] = [
        lambda: lock.write_bytes(b"\xff\xfe\x00"),
        lambda: lock.write_bytes(b" " * 1001),
        lambda: os.mkfifo(lock),
        lambda: lock.symlink_to("nowhere"),
        lambda: lock.mkdir(),
    ]
    for make in makers:
        lock.unlink(missing_ok=True)
        make()
        if lock.is_symlink():
            assert () == held(graph(), memo).warnings
        else:
            with pytest.raises(WorkflowError, match="it cannot be read"):
                held(graph(), memo)
