"""Where references stand in the line they were written in."""

from __future__ import annotations

from typing import SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.document import Items, Scalar, read
from graph.errors import Mistake, Place
from graph.references import Link, Many, Template, expression


class Uncut(str):
    """A line that is never copied, nor any of it: with 100,000 references that takes the square of its length."""

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        raise AssertionError(f"the line was cut at {key}")


@pytest.mark.parametrize("written", ["$a", "'$a'", '"$a"', '"${a} ${b}"', r'"\x41${a}"'])
def test_no_reference_copies_its_line(written: str) -> None:
    line = f"  n: {{use: x, a: [{written}]}}"
    column = line.index(written) + 1
    text = written.strip("'\"").replace(r"\x41", "A")
    scalar = Scalar(text, text, True, Place("f.yaml", 1, column, Uncut(line)))

    assert expression(Items((scalar,), scalar.place), [])


ITEMS = st.sampled_from(["$犬", "'$a'", '"$a.b.0"', '"x ${a} $$ y${b.c}"', "'${a}${a}'", "plain"])


@given(st.lists(ITEMS))
def test_every_reference_has_the_place_of_its_dollar_sign(items: list[str]) -> None:
    line = f"list: [{', '.join(items)}]"
    tree, _, _ = read(line.encode(), "f.yaml")
    mistakes: list[Mistake] = []
    found = expression(tree.entries[0][1], mistakes)
    assert isinstance(found, Many)
    links = [
        part
        for item in found.items
        for part in (item.parts if isinstance(item, Template) else [item])
        if isinstance(part, Link)
    ]
    signs = [at for at, letter in enumerate(line.replace("$$", "--")) if letter == "$"]

    assert [] == mistakes
    assert signs == [link.place.column - 1 for link in links]
