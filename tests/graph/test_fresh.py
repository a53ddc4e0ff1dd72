"""`fresh`: how old a result may be, for nodes that read the world."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import MappingProxyType

import pytest

from graph.ages import lasts, seconds
from graph.node import Context, Node
from graph.registry import Registry
from tests.graph.lab import NODES, Heard, Lab

HOUR = 3600.0
READING = ["sunny"]
"""What the world is like."""


class Look(Node, kind="look", version=1):
    """Read the world."""

    def run(self, ctx: Context) -> str:
        return READING[0]


class Watch(Node, kind="watch", version=1, fresh="always"):
    """Read the world each time."""

    def run(self, ctx: Context) -> str:
        return READING[0]


class Clock:
    """The time, moved by hand."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("graph.plan.time.time", clock)
    return clock


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    READING[0] = "sunny"
    yield
    READING[0] = "sunny"


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.registry = Registry(MappingProxyType({node.kind: node for node in (*NODES, Look, Watch)}))
    return lab


def text(fresh: str, kind: str = "look") -> str:
    said = f", fresh: {fresh}" if fresh else ""
    return f"nodes: {{sky: {{use: {kind}{said}}}, told: {{use: trim, text: $sky}}}}"


@pytest.mark.parametrize("said", ["", "never"])
def test_what_is_computed_stays(lab: Lab, clock: Clock, said: str) -> None:
    lab.run(text(said))
    READING[0] = "rainy"
    clock.now += 1000 * 24 * HOUR

    assert {"sky": "hit", "told": "hit"} == lab.actions(text(said))


def test_always_looks_each_time_and_stops_where_nothing_changed(lab: Lab) -> None:
    lab.run(text("always"))
    assert {"sky": "run", "told": "hit"} == lab.actions(text("always"))
    READING[0] = "rainy"

    assert {"sky": "run", "told": "run"} == lab.actions(text("always"))


def test_an_age_looks_again_when_the_result_is_older(lab: Lab, clock: Clock) -> None:
    lab.run(text("1h"))
    READING[0] = "rainy"
    clock.now += HOUR - 1
    assert {"sky": "hit", "told": "hit"} == lab.actions(text("1h"))
    clock.now += 1

    assert {"sky": "run", "told": "run"} == lab.actions(text("1h"))
    assert {"sky": "hit", "told": "hit"} == lab.actions(text("1h"))


def test_looking_again_makes_a_result_young_though_nothing_changed(lab: Lab, clock: Clock) -> None:
    lab.run(text("1h"))
    clock.now += 2 * HOUR
    lab.run(text("1h"))
    clock.now += HOUR / 2

    assert {"sky": "hit", "told": "hit"} == lab.actions(text("1h"))


def test_a_result_from_the_future_is_not_believed(lab: Lab, clock: Clock) -> None:
    lab.run(text("1h"))
    clock.now -= 24 * HOUR

    assert {"sky": "run", "told": "hit"} == lab.actions(text("1h"))


def test_a_kind_may_say_how_fresh_it_is_and_the_workflow_otherwise(lab: Lab) -> None:
    lab.run(text("", "watch"))

    assert {"sky": "run", "told": "hit"} == lab.actions(text("", "watch"))
    assert {"sky": "hit", "told": "hit"} == lab.actions(text("never", "watch"))


def test_how_fresh_a_result_is_to_be_is_no_part_of_its_key(lab: Lab) -> None:
    lab.run(text(""))

    assert {"sky": "hit", "told": "hit"} == lab.actions(text("1d"))


def test_two_nodes_that_always_look_both_look(lab: Lab) -> None:
    twins = "nodes: {one: {use: watch}, two: {use: watch}}"
    lab.run(twins)

    assert {"one": "run", "two": "run"} == lab.actions(twins)


def test_another_reading_is_not_called_not_deterministic(lab: Lab) -> None:
    lab.run(text("always"))
    READING[0] = "rainy"
    heard = Heard()
    lab.run(text("always"), heard)

    assert [] == heard.warnings


def test_a_plan_says_that_a_result_is_too_old(lab: Lab, clock: Clock) -> None:
    def why(said: str) -> str:
        return lab.plan(text(said)).steps[0].why

    assert "never run before" == why("1h")
    lab.run(text("1h"))
    clock.now += 2 * HOUR

    assert ["computed 2 hours ago", "older than 1h", "fresh: always"] == [why(said) for said in ("3h", "1h", "always")]


@pytest.mark.parametrize("fresh", ["soon", "1", "5 m", "-1h", ""])
def test_a_kind_cannot_be_declared_with_what_is_no_age(fresh: str) -> None:
    with pytest.raises(
        ValueError, match=f'odd: fresh takes always, never or an age such as 30min, 1h, 2d, not "{fresh}"'
    ):

        class Odd(Node, kind="odd", version=1, fresh=fresh):
            pass


def test_ages_are_read_as_people_write_them() -> None:
    assert [1800, 3600, 5400, 2 * 86400, 7 * 86400] == [*map(seconds, ("30min", "1h", "1.5 h", "2d", "1w"))]
    assert [0, float("inf"), 60] == [*map(lasts, ("always", "never", "1min"))]
