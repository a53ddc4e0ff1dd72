"""What a node cannot do with what arrives is told before anything runs, where the file alone says what that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from graph.errors import Mistake
from graph.node import Context, Field, Misfit, Node
from graph.registry import Registry
from tests.graph.lab import Lab, Say


class Poured(NamedTuple):
    drink: str
    glass: str


class Boil(Node, kind="boil", version=1, gives={"drink": "hot"}):
    """Give something hot, in a glass."""

    def run(self, ctx: Context) -> Poured:
        return Poured("tea", "glass")


class Chill(Node, kind="chill", version=1):
    """Cool a drink with ice, which nothing hot may have."""

    ice: int = Field(default=0, ge=0)

    def misfits(self, arriving: Mapping[str, str]) -> Iterable[Misfit]:
        if self.ice and arriving.get("drink") == "hot":
            yield Misfit("ice", f"ice {self.ice} would melt, the drink is hot", "Leave out ice.")

    def run(self, ctx: Context, drink: str) -> str:
        return drink


class Spill(Node, kind="spill", version=1):
    """Fail to say what fits."""

    def misfits(self, arriving: Mapping[str, str]) -> Iterable[Misfit]:
        raise ZeroDivisionError("on the floor")

    def run(self, ctx: Context, drink: str) -> str:
        return drink


@pytest.fixture
def bar(tmp_path: Path) -> Lab:
    return Lab(tmp_path, Registry(MappingProxyType({node.kind: node for node in (Boil, Chill, Say, Spill)})))


BASE = """\
nodes:
  tea: {use: boil}
  other: {use: boil}
  water: {use: say, text: water}
"""


def told(bar: Lab, *lines: str, before: str = "") -> list[Mistake]:
    return bar.mistakes(before + BASE + "".join(f"  {line}\n" for line in lines))


def test_what_does_not_go_together_is_told_where_the_parameter_stands(bar: Lab) -> None:
    (mistake,) = told(bar, "mug: {use: chill, drink: $tea, ice: 3}")

    assert """\
lab.yaml:7:39: mug: ice 3 would melt, the drink is hot
    mug: {use: chill, drink: $tea, ice: 3}
                                        ^
  Leave out ice.""" == str(mistake)
    assert "bad-value" == mistake.code


@pytest.mark.parametrize(
    "line",
    [
        "mug: {use: chill, drink: $tea}",
        "mug: {use: chill, drink: $tea.glass, ice: 3}",
        "mug: {use: chill, drink: $water, ice: 3}",
        "mug: {use: chill, drink: juice, ice: 3}",
        "mug: {use: chill, drink: {first: [$tea, $water]}, ice: 3}",
        "mug: {use: chill, when: $hot, drink: $tea, ice: 3}",
    ],
)
def test_what_may_yet_go_together_is_no_mistake(line: str, bar: Lab) -> None:
    assert [] == told(bar, line, before="params: {hot: false}\n")


def test_a_choice_among_what_is_alike_is_known(bar: Lab) -> None:
    assert 1 == len(told(bar, "mug: {use: chill, drink: {first: [$tea, $other]}, ice: 3}"))


def test_defaults_of_a_kind_count_and_are_told_once(bar: Lab) -> None:
    mugs = ("mug: {use: chill, drink: $tea}", "cup: {use: chill, drink: $tea}")

    assert 1 == len(told(bar, *mugs, before="defaults: {chill: {ice: 2}}\n"))


def test_a_node_that_fails_to_say_it_is_named_with_its_file(bar: Lab) -> None:
    (mistake,) = told(bar, "a: {use: spill, drink: $water}")

    assert "a: a spill cannot say what fits it: ZeroDivisionError: on the floor" == mistake.message
    assert f"This is a bug in {__file__}." == mistake.hint
    assert mistake.place
    assert mistake.place.text.endswith("a: {use: spill, drink: $water}")
