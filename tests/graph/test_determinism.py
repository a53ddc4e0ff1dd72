"""A node that gives other values for the same inputs is named, however that comes to light."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from types import MappingProxyType

import pytest

from graph.execute import execute
from graph.node import Context, Node
from graph.plan import plan
from graph.registry import Registry
from tests.graph.lab import NODES, Heard, Lab

TOLD = "a recital gave other values for the same inputs than before: it is not deterministic"
RECITED: list[str] = []
"""What the next runs of the node give."""
ONE = "nodes: {a: {use: recital}}"
SECONDS = 0.002
"""What it takes: no time is lost by a look for what another process found."""
CHAIN = "nodes: {a: {use: recital%s}, b: {use: trim, text: $a}, c: {use: join, a: $b, b: $b}}"


class Recital(Node, kind="recital", version=1):
    """Give the next text, though nothing changed."""

    def run(self, ctx: Context) -> str:
        begun = time.perf_counter()
        while time.perf_counter() - begun < SECONDS:
            pass
        return RECITED.pop(0)


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.registry = Registry(MappingProxyType({node.kind: node for node in (*NODES, Recital)}))
    return lab


def warnings(lab: Lab, text: str, /, *, force: tuple[str, ...] = ()) -> list[str]:
    heard = Heard()
    lab.run(text, heard, force=force)
    return heard.warnings


def lose_values(lab: Lab) -> None:
    """Evict every value, as a collector would. The results stay."""
    with contextlib.closing(sqlite3.connect(next(lab.cache_folder.glob("v*/index")))) as index, index:
        index.execute("DELETE FROM blobs")


def test_a_node_that_is_forced(lab: Lab) -> None:
    RECITED[:] = ["one", "two", "two"]

    assert [[], [TOLD], []] == [warnings(lab, ONE, force=("a",)) for _ in range(3)]


def test_a_node_that_is_no_longer_cached(lab: Lab) -> None:
    RECITED[:] = ["one", "one", "two"]
    lab.run(ONE)

    assert [[], [TOLD]] == [warnings(lab, ONE.replace("recital", "recital, cache: false")) for _ in range(2)]


def test_a_node_whose_value_was_evicted(lab: Lab) -> None:
    RECITED[:] = ["one", "two"]
    lab.run(CHAIN % "")
    lose_values(lab)

    assert [TOLD] == warnings(lab, CHAIN % "", force=("b",))


def test_a_node_that_runs_twice_in_one_run_and_is_never_kept(lab: Lab) -> None:
    RECITED[:] = ["one", "one", "two"]
    lab.run(CHAIN % ", cache: false")
    lose_values(lab)

    assert [TOLD] == warnings(lab, CHAIN % ", cache: false", force=("c",))


def test_what_another_process_gave_meanwhile_is_taken(lab: Lab) -> None:
    RECITED[:] = ["one", "two"]
    mine, heard = lab.open(), Heard()
    decided = plan(lab.graph(ONE), mine, lab.world(mine))
    lab.run(ONE)
    results = execute(decided, mine, heard, lab.world(mine), keep_values=True)
    mine.close()

    assert ({"a": "hit"}, {"a": "one"}) == (results.actions, results.outputs)
    assert [] == heard.warnings


def test_the_last_value_is_the_one_that_is_kept(lab: Lab) -> None:
    RECITED[:] = ["one", "two"]
    lab.run(ONE)
    lab.run(ONE, force=["a"])

    assert {"a": "two"} == lab.run(ONE).outputs


def test_other_inputs_are_no_reason_to_warn(lab: Lab) -> None:
    assert [] == warnings(lab, "nodes: {a: {use: say, text: x}}")
    assert [] == warnings(lab, "nodes: {a: {use: say, text: y}}")


def test_a_file_that_gets_another_name_is_no_reason_to_warn(lab: Lab) -> None:
    text = 'nodes: {a: {use: paint}, b: {use: write, image: $a, path: "x-{n}.png"}}'
    lab.run(text)

    assert [] == warnings(lab, text, force=("b",))
