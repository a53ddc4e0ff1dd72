"""Tables, whatever letters are in them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.tables import clean, cut, pad, render, seen_width

ROWS = [("painted", "sampler", "done", "1.93"), ("words", "text_encode", "cached", ""), ("x", "grid", "failed", "12.5")]
HEADER = ("node", "kind", "state", "seconds")


def test_a_table_is_aligned_numbers_to_the_right() -> None:
    expected = """\
node     kind         state   seconds
painted  sampler      done       1.93
words    text_encode  cached
x        grid         failed     12.5"""

    assert expected == render(ROWS, HEADER)


def test_a_narrow_table_loses_its_right_columns_first() -> None:
    expected = """\
node     kind         state   sec…"""

    assert expected == render(ROWS, HEADER, width=34).split("\n")[0]


def test_colour_changes_no_text() -> None:
    plain, colourful = render(ROWS, HEADER), render(ROWS, HEADER, colour=True)

    assert "\x1b[31mfailed\x1b[0m" in colourful
    assert plain == "\n".join(line.rstrip() for line in re.sub(r"\x1b\[\d+m", "", colourful).split("\n"))


def test_an_empty_table_is_its_header() -> None:
    assert render([], HEADER) == "node  kind  state  seconds"
    assert render([]) == ""


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abc", 3),
        ("日本", 4),
        ("e\u0301", 1),
        ("👩\u200d🚀", 2),
        ("❤\ufe0f", 2),
        ("👍🏽", 2),
        ("가", 2),
        ("ＡＢ", 4),
        ("🇩🇪", 2),
    ],
)
def test_width_is_what_a_terminal_shows(text: str, columns: int) -> None:
    assert columns == seen_width(text)


def test_cutting_never_halves_a_wide_letter() -> None:
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
    assert cut("👩\u200d🚀👩\u200d🚀", 3) == "👩\u200d🚀…"


def test_nothing_reaches_the_terminal_that_steers_it() -> None:
    assert clean("a\x1b[31mb\nc\u202ed\0") == "a·[31mb·c·d·"


@given(st.text(), st.integers(min_value=0, max_value=12))
def test_a_cut_text_fits(text: str, width: int) -> None:
    assert seen_width(cut(clean(text), width)) <= width
    assert seen_width(pad(cut(clean(text), width), width)) == width


@given(st.lists(st.lists(st.text(max_size=12), max_size=4), max_size=5), st.integers(min_value=8, max_value=60))
def test_every_line_of_a_table_fits(rows: list[list[str]], width: int) -> None:
    lines = render(rows, ("node", "kind", "state"), width).split("\n")

    assert len(lines) == len(rows) + 1
    assert all(seen_width(line) <= width for line in lines)
