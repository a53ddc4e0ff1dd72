"""What a node warned of is told again wherever its result is used."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from graph.codec import Blob, encode
from graph.gathered import gather_shared
from graph.node import Context, Node
from graph.parcel import export, import_
from graph.plan import find
from graph.ready import Ready, prepare
from graph.registry import Registry
from graph.rows import seal_of
from graph.values import Picture, SavedFile
from tests.graph.lab import NODES, Heard, Lab

ROLLS: list[int] = []


class Mutter(Node, kind="mutter", version=1):
    """Give a text, and have something to say of it."""

    text: str = ""
    about: str = "it is short"
    times: int = 1

    def run(self, ctx: Context) -> str:
        for _ in range(self.times):
            ctx.warn(self.about)
        return self.text


class Two(NamedTuple):
    """Two outputs."""

    first: str
    second: str


class Both(Node, kind="both", version=1):
    """Give two texts."""

    def run(self, ctx: Context, text: str) -> Two:
        ctx.warn("one is upside down")
        return Two(text, text[::-1])


class Moody(Node, kind="moody", version=1):
    """Warn of something else each time, and give the same."""

    def run(self, ctx: Context) -> str:
        ROLLS.append(1)
        ctx.warn(f"that was the time {len(ROLLS)}")
        return "same"


class Scribble(Node, kind="scribble", version=1):
    """Save a picture, and have something to say of it."""

    def run(self, ctx: Context, image: Picture) -> SavedFile:
        ctx.warn("that was short work")
        return ctx.save(image, "scribble.png")


class Hand(Node, kind="hand", version=1):
    """Hand what is no text."""

    def run(self, ctx: Context) -> int:
        ctx.warn(ValueError("odd"))  # type: ignore[arg-type]  # as people do
        ctx.warn(None)  # type: ignore[arg-type]
        return 1


REGISTRY = Registry(MappingProxyType({node.kind: node for node in (*NODES, Mutter, Both, Moody, Scribble, Hand)}))
TEXT = """
nodes:
  a: {use: mutter, text: ab}
  b: {use: both, text: $a}
  c: {use: join, a: $b.first, b: $b.second}
outputs: {c: $c}
"""
SAID = ["it is short", "one is upside down"]


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.registry = REGISTRY
    return lab


def said(lab: Lab, text: str = TEXT, **options: str) -> list[str]:
    heard = Heard()
    lab.run(text, heard, **options)
    return heard.warnings


def test_a_hit_says_what_the_run_said(lab: Lab) -> None:
    assert [SAID, SAID, SAID] == [said(lab) for _ in range(3)]
    assert {"a": "hit", "b": "hit", "c": "hit"} == lab.actions(TEXT)


def test_it_is_said_of_the_node_that_uses_the_result(lab: Lab) -> None:
    said(lab)
    heard = Heard()
    lab.run("nodes: {other: {use: mutter, text: ab}, twin: {use: mutter, text: ab}}", heard)

    told = [(event.node, event.message) for event in heard.events if event.name == "warning"]  # type: ignore[attr-defined]
    assert [("other", "it is short"), ("twin", "it is short")] == told


def test_a_step_after_a_change_says_it_too(lab: Lab) -> None:
    said(lab)

    assert ["it is short", "one is upside down"] == said(lab, TEXT.replace("text: ab", "text: ba"))
    assert SAID == said(lab, TEXT.replace("join, a", "join, between: '+', a"))


def test_all_of_it_is_said_again(lab: Lab) -> None:
    text = """nodes: {a: {use: mutter, times: 3, about: "é, a\\nb"}}"""

    assert [["é, a\nb"] * 3] * 2 == [said(lab, text), said(lab, text)]


def test_a_result_without_remarks_holds_its_values_alone(lab: Lab) -> None:
    lab.run(TEXT)
    with contextlib.closing(sqlite3.connect(lab.cache_folder / "v2" / "index")) as index:
        counts = sorted(len(row[0].split()) for row in index.execute("SELECT outputs FROM results"))

    assert [1, 2, 3] == counts  # c alone; a and what it said; b, its other output and what it said


def test_other_remarks_on_the_same_values_are_no_surprise(lab: Lab) -> None:
    text = "nodes: {a: {use: moody}, b: {use: trim, text: $a}}"
    ROLLS.clear()
    first = said(lab, text)
    heard = Heard()
    lab.run(text, heard, force=["a"])

    assert ["that was the time 1"] == first
    assert ["that was the time 2"] == heard.warnings
    assert ["that was the time 2"] == said(lab, text)


@contextlib.contextmanager
def blobs(lab: Lab) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(lab.cache_folder / "v2" / "index")) as index:
        yield index
        index.commit()


def test_where_the_remarks_were_evicted_the_result_is_used_without(lab: Lab) -> None:
    said(lab)
    with blobs(lab) as index:
        index.execute("DELETE FROM blobs WHERE instr(data, CAST('short' AS BLOB))")

    assert ["one is upside down"] == said(lab)
    assert {"a": "hit", "b": "hit", "c": "hit"} == lab.actions(TEXT)


def test_a_step_that_is_made_again_says_it_anew(lab: Lab) -> None:
    said(lab)
    with blobs(lab) as index:
        index.execute("DELETE FROM blobs")

    assert SAID == said(lab, TEXT.replace("join, a", "join, between: '+', a"))


def test_what_is_said_when_its_result_is_used_is_not_said_when_it_is_made_again(lab: Lab) -> None:
    said(lab)
    with blobs(lab) as index:
        index.execute("DELETE FROM blobs WHERE data = ?", (encode("ab").data,))

    heard = Heard()
    lab.run(TEXT, heard, force=["b"])

    assert SAID == heard.warnings
    assert ["a", "b"] == heard.started


def test_what_is_no_text_is_told_as_one(lab: Lab) -> None:
    text = "nodes: {a: {use: hand}}"

    assert [["odd", "None"]] * 2 == [said(lab, text), said(lab, text)]
    assert {"a": "hit"} == lab.actions(text)


def test_a_file_is_not_written_again_for_what_was_said_of_it(lab: Lab) -> None:
    text = "nodes: {a: {use: paint}, b: {use: scribble, image: $a}}"
    assert ["that was short work"] == said(lab, text) == said(lab, text)
    with blobs(lab) as index:
        index.execute("DELETE FROM blobs WHERE instr(data, CAST('short' AS BLOB))")

    assert {"a": "hit", "b": "hit"} == lab.actions(text)


@pytest.mark.parametrize("value", [b"5", b'"a text"', b"[1,2]", b'{"type":"Gone"}'])
def test_what_is_no_list_of_texts_is_left_unsaid(lab: Lab, value: bytes) -> None:
    """A result from elsewhere may hold more than its node declares; what that is, is not believed."""
    data = b'{"darkroom":1,"value":' + value + b"}"
    blob = Blob(hashlib.sha256(data).hexdigest(), data)
    text = "nodes: {a: {use: say, text: x}}"
    lab.run(text)
    cache, graph = lab.open(), lab.graph(text)
    ready = prepare(graph.steps["a"], {}, lambda origin: None, lab.world(cache))
    assert isinstance(ready, Ready)
    known = find(graph.steps["a"], ready, cache)
    assert known
    cache.remember(known._replace(outputs=(*known.outputs, blob.digest)), [blob])
    cache.close()

    assert [] == said(lab, text)
    assert {"a": "hit"} == lab.actions(text)


def test_a_result_that_lacks_what_was_said_elsewhere_agrees_with_it(lab: Lab, tmp_path: Path) -> None:
    """As one that was made before remarks were kept."""
    said(lab)
    packed = export(lab.cache_folder, pytest.fail, gather_shared(lab.plan(TEXT)), lab.folder / "lab.tar").path
    with blobs(lab) as index:
        rows = index.execute("SELECT key, outputs, recipe, seconds, made, memory FROM results").fetchall()
        for key, outputs, *rest in rows:
            fewer = b" ".join(outputs.split()[:-1]) or outputs
            seal = seal_of(key, fewer, *rest)
            index.execute("UPDATE results SET outputs = ?, seal = ? WHERE key = ?", (fewer, seal, key))
        index.execute("DELETE FROM blobs")

    found = import_(lab.cache_folder, pytest.fail, packed)

    assert (0, 3) == (found.kept, found.results)
    assert {"a": "hit", "b": "hit", "c": "hit"} == lab.actions(TEXT)
    assert "abba" == str(lab.run(TEXT).outputs["c"]).replace("-", "")


def test_remarks_travel_with_their_results(lab: Lab, tmp_path: Path) -> None:
    said(lab)
    packed = export(lab.cache_folder, pytest.fail, gather_shared(lab.plan(TEXT)), lab.folder / "lab.tar").path
    (tmp_path / "elsewhere").mkdir()
    other = Lab(tmp_path / "elsewhere", registry=REGISTRY)
    import_(other.cache_folder, pytest.fail, packed)

    assert SAID == said(other)
    assert {"a": "hit", "b": "hit", "c": "hit"} == other.actions(TEXT)
