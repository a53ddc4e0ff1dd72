"""Faults that were found by trying, each with the test that shows it."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Self

import pytest
from PIL import Image
from pydantic import model_validator

from graph.errors import Stopped
from graph.events import Event, NodeFinished, NodeProgress
from graph.execute import execute
from graph.node import Context, Node
from graph.plan import plan
from graph.registry import Registry
from graph.values import Picture
from tests.graph.lab import NODES, Heard, Lab

_THROWN = itertools.count()
BROKEN: list[str] = []


class Fragile(Node, kind="fragile", version=1):
    """A large picture, unless it is broken."""

    def run(self, ctx: Context, text: str) -> Picture:
        if BROKEN:
            raise ZeroDivisionError(BROKEN[0])
        return Picture(Image.new("RGB", (128, 128), "red"))


class Widths(Node, kind="widths", version=1):
    """How wide a picture is, with a text behind."""

    def run(self, ctx: Context, image: Picture, text: str = "") -> str:
        return f"{image.width}{text}"


class LongDice(Node, kind="long_dice", version=1):
    """Another long text each time."""

    def run(self, ctx: Context) -> str:
        return str(next(_THROWN)) * 9000


class Half(Node, kind="half", version=1):
    """Half of a number."""

    def run(self, ctx: Context, number: float) -> float:
        return number / 2


class Even(Node, kind="even", version=1):
    """Two numbers that must be equal."""

    a: int = 0
    b: int = 0

    @model_validator(mode="after")
    def agree(self) -> Self:
        if self.a != self.b:
            raise ValueError("a and b must be equal")
        return self

    def run(self, ctx: Context) -> int:
        return self.a


class Folder(Node, kind="folder", version=1):
    """A parameter that no key can hold."""

    where: Path = Path("x")

    def run(self, ctx: Context) -> str:
        return str(self.where)


class Flag(Node, kind="flag", version=1):
    """Yes."""

    def run(self, ctx: Context) -> bool:
        return True


class Pair(Node, kind="pair", version=1):
    """Two pictures."""

    def run(self, ctx: Context) -> list[Picture]:
        return [Picture(Image.new("RGB", (8, 8), colour)) for colour in ("red", "blue")]


MORE = (Fragile, Widths, LongDice, Half, Even, Folder, Flag, Pair)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, Registry(MappingProxyType({node.kind: node for node in (*NODES, *MORE)})))


@pytest.fixture
def broken() -> Callable[[], None]:
    BROKEN.clear()
    return lambda: BROKEN.append("broken")


class Meanwhile(Heard):
    """Does something when a node is finished."""

    def __init__(self, node: str, do: Callable[[], object]) -> None:
        super().__init__()
        self._node, self._do = node, do

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, NodeFinished) and event.node == self._node:
            self._do()


def lose_all_blobs(lab: Lab) -> None:
    for path in lab.cache_folder.rglob("blobs/*/*"):
        path.unlink()
    with contextlib.closing(sqlite3.connect(lab.cache_folder / "v1" / "index")) as index:
        index.execute("DELETE FROM blobs")
        index.commit()


def test_a_condition_on_a_value_that_was_evicted_makes_it_again(lab: Lab) -> None:
    text = """
    nodes: {words: {use: split, text: a b c}, long: {use: say, when: $words.number > 2, text: long}}
    outputs: {long: $long}
    """
    lab.run(text)
    lose_all_blobs(lab)

    assert {"long": "long"} == lab.run(text).outputs


@pytest.mark.parametrize("long", ["times: $words.number", "when: $words.number == x", "text: $words.words.20"])
def test_what_another_node_gives_fails_a_node_and_not_the_plan(lab: Lab, long: str) -> None:
    text = f"""
    nodes:
      words: {{use: split, text: a b c d e f g h i j k}}
      long:  {{use: {"trim" if "words.20" in long else "say"}, {long}}}
      good:  {{use: say, text: fine}}
    """
    first = lab.run(text)
    second = lab.run(text)

    assert {"words": "run", "long": "failed", "good": "run"} == first.actions
    assert {"words": "hit", "long": "failed", "good": "hit"} == second.actions


def test_equal_steps_are_computed_once(lab: Lab) -> None:
    heard = Heard()
    text = "nodes: {a: {use: say, text: x}, b: {use: say, text: x}}"

    assert {"a": "run", "b": "hit"} == lab.run(text, heard).actions
    assert ["a"] == heard.started
    assert {"a": "run", "b": "run"} == lab.run(text, force=["a", "b"]).actions


def test_two_nodes_that_write_under_their_own_names_both_write(lab: Lab) -> None:
    text = "nodes: {p: {use: paint}, one: {use: write, image: $p}, two: {use: write, image: $p}}"
    lab.run(text)

    assert ["one.png", "two.png"] == sorted(path.name for path in (lab.folder / "out").iterdir())


def test_booleans_inside_texts_are_written_as_yaml_has_them(lab: Lab) -> None:
    assert "true" == lab.run("nodes: {f: {use: flag}, a: {use: trim, text: ' ${f}'}}").outputs["a"]


def test_a_parameter_that_no_key_can_hold_fails_its_node_alone(lab: Lab) -> None:
    result = lab.run("nodes: {a: {use: folder}, b: {use: say, text: fine}}")

    assert {"a": "failed", "b": "run"} == result.actions
    assert "a key cannot hold" in str(result.failures[0].error)
