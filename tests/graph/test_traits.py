"""What is made for one family of models, and meets another, is told before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from types import MappingProxyType
from typing import NamedTuple, Self

import pytest

from graph.errors import Mistake
from graph.filerefs import FileRef
from graph.node import Context, Node
from graph.registry import Registry
from graph.values import Value
from tests.graph.lab import Fail, Lab, Say


@dataclass(frozen=True)
class Dough(Value, noun="dough"):
    carries = ("flour", "shape")


@dataclass(frozen=True)
class Sauce(Value, noun="sauce"):
    carries = ("shape",)


class Recipe(FileRef):
    """A file called "rye-square" is of rye flour, and for what is square; "rye" for what is round."""

    what = "recipe"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        return cls(written, folder)

    def members(self) -> tuple[tuple[str, Path], ...]:
        return ()

    def traits(self) -> Mapping[str, str]:
        flour, _, shape = self.written.partition("-")
        return {"flour": flour, "shape": shape or "round"}


class Made(NamedTuple):
    dough: Dough
    sauce: Sauce


class Make(Node, kind="make", version=1):
    """Begin from a recipe."""

    path: Recipe

    def run(self, ctx: Context) -> Made:
        return Made(Dough(), Sauce())


class Knead(Node, kind="knead", version=1):
    """Hand dough on."""

    def run(self, ctx: Context, dough: Dough) -> Dough:
        return dough


class Flavour(Node, kind="flavour", version=1):
    """Change dough by a recipe."""

    path: Recipe

    def run(self, ctx: Context, dough: Dough) -> Dough:
        return dough


class Cook(Node, kind="cook", version=1):
    """Give sauce a shape."""

    def run(self, ctx: Context, sauce: Sauce) -> Sauce:
        return sauce


class Bake(Node, kind="bake", version=1):
    """Bring all together."""

    def run(self, ctx: Context, dough: Dough, sauce: Sauce, more: list[Sauce] | None = None) -> str:
        return "pizza"


class Reshape(Node, kind="reshape", version=1, converts=("shape",)):
    """Give dough the shape of a sauce."""

    def run(self, ctx: Context, dough: Dough, sauce: Sauce) -> Dough:
        return dough


KINDS = (Make, Knead, Flavour, Cook, Bake, Reshape, Say, Fail)


@pytest.fixture
def kitchen(tmp_path: Path) -> Lab:
    return Lab(tmp_path, Registry(MappingProxyType({node.kind: node for node in KINDS})))


BASE = """\
params: {other: wheat-square}
nodes:
  a: {use: make, path: rye}
  b: {use: make, path: $other}
"""


def told(kitchen: Lab, *lines: str) -> list[Mistake]:
    return kitchen.mistakes(BASE + "".join(f"  {line}\n" for line in lines))


def test_what_is_made_for_one_thing_goes_together(kitchen: Lab) -> None:
    assert [] == told(kitchen, "c: {use: knead, dough: $a}", "d: {use: bake, dough: $c, sauce: $a.sauce}")


def test_what_is_made_for_two_things_is_told_with_both_and_the_way_out(kitchen: Lab) -> None:
    (mistake,) = told(
        kitchen,
        "c: {use: knead, dough: $a}",
        "s: {use: cook, sauce: $b.sauce}",
        "d: {use: bake, dough: $c, sauce: $s}",
    )

    assert """\
lab.yaml:9:36: d.sauce: the shape of $s is for square ("wheat-square" in b), but that of $c is for round ("rye" in a)
    d: {use: bake, dough: $c, sauce: $s}
                                     ^
  For s.sauce, take $a.sauce.""" == str(mistake)
    assert "wrong-family" == mistake.code


def test_a_value_carries_only_what_its_type_does(kitchen: Lab) -> None:
    """Sauce is not of flour: rye sauce goes with wheat."""
    lines = ("e: {use: make, path: wheat}", "d: {use: bake, dough: $a, sauce: $e.sauce}")

    assert [] == told(kitchen, *lines)


def test_a_file_for_something_else_is_told_at_its_own_place(kitchen: Lab) -> None:
    (mistake,) = told(kitchen, "c: {use: flavour, dough: $a, path: wheat}")

    want = 'c.path: the flour of the recipe is for wheat ("wheat" in c), but that of $a is for rye ("rye" in a)'
    assert want == mistake.message
    assert ("Name another recipe in c, one for rye.", 38) == (mistake.hint, mistake.place and mistake.place.column)


def test_every_item_of_a_list_is_looked_at(kitchen: Lab) -> None:
    (mistake,) = told(kitchen, "d: {use: bake, dough: $a, sauce: $a.sauce, more: [$a.sauce, $b.sauce]}")

    assert mistake.message.startswith("d.more: the shape of $b.sauce is for square")
    assert "For d.more, take $a.sauce." == mistake.hint


def test_a_choice_is_told_only_where_whatever_is_chosen_is_wrong(kitchen: Lab) -> None:
    kneaded = ("c: {use: knead, dough: $a}", "e: {use: knead, dough: $b}")

    assert [] == told(kitchen, *kneaded, "d: {use: bake, dough: {first: [$c, $e]}, sauce: $b.sauce}")
    assert [9] == [
        mistake.place.line
        for mistake in told(kitchen, *kneaded, "d: {use: bake, dough: {first: [$e, $b]}, sauce: $a.sauce}")
        if mistake.place
    ]


def test_a_node_may_convert(kitchen: Lab) -> None:
    lines = ("c: {use: reshape, dough: $a, sauce: $b.sauce}", "d: {use: bake, dough: $c, sauce: $b.sauce}")

    assert [] == told(kitchen, *lines)


def test_what_a_conversion_leaves_alone_is_still_known(kitchen: Lab) -> None:
    (mistake,) = told(
        kitchen, "c: {use: reshape, dough: $a, sauce: $b.sauce}", "d: {use: flavour, dough: $c, path: wheat}"
    )

    assert mistake.message.startswith("d.path: the flour of the recipe is for wheat")


def test_what_is_not_known_yet_is_no_mistake(kitchen: Lab) -> None:
    text = """
    nodes:
      name: {use: say, text: rye}
      a: {use: make, path: $name}
      b: {use: make, path: wheat-square}
      d: {use: bake, dough: $a, sauce: $b.sauce}
    """

    assert [] == kitchen.mistakes(text)


def test_each_wrong_end_is_told_once_and_in_one_go_with_other_mistakes(kitchen: Lab) -> None:
    found = told(
        kitchen,
        "c: {use: flavour, dough: $b, path: rye}",
        "d: {use: bake, dough: $a, sauce: $b.sauce}",
        "e: {use: knead}",
    )

    assert ["wrong-family", "wrong-family", "missing-port"] == [mistake.code for mistake in found]


def test_very_many_mistakes_at_the_end_of_a_long_chain_are_told_in_linear_time(kitchen: Lab) -> None:
    def spent(count: int) -> float:
        chain = ["s0: {use: cook, sauce: $b.sauce}"]
        chain += [f"s{at}: {{use: cook, sauce: $s{at - 1}}}" for at in range(1, count)]
        chain += [f"d{at}: {{use: bake, dough: $a, sauce: $s{at}}}" for at in range(count)]
        begun = process_time()
        assert count == len(told(kitchen, *chain))
        return process_time() - begun

    spent(100)

    assert spent(2000) < 40 * spent(200)
