"""Reading YAML: whatever the bytes are, a tree with places or an error with one."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from graph import document
from graph.document import Items, Scalar, Table, read
from graph.errors import DarkroomError, Mistake, Place, WorkflowError


def tree(text: str) -> Table:
    found, mistakes, _ = read(text.encode(), "f.yaml")
    assert () == mistakes
    return found


def value(text: str) -> object:
    branch = tree(f"a: {text}").entries[0][1]
    assert isinstance(branch, Scalar)
    return branch.value


def refused(data: bytes | str) -> Mistake:
    """The one mistake of a document that cannot be read."""
    with pytest.raises(WorkflowError) as caught:
        read(data.encode() if isinstance(data, str) else data, "f.yaml")
    (mistake,) = caught.value.mistakes
    return mistake


def mistake_of(text: str) -> Mistake:
    """The one mistake of a document that can be read all the same."""
    _, (mistake,), _ = read(text.encode(), "f.yaml")
    return mistake


def where(mistake: Mistake) -> tuple[int, int]:
    assert mistake.place
    return mistake.place.line, mistake.place.column


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1e3", 1000.0),
        ("1e-4", 1e-4),
        ("017", 17),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        (".5", 0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("+", "+"),
        (".", "."),
        ("٣", "٣"),
        ('"42"', "42"),
        ("! 42", "42"),
        ("!!str 42", "42"),
        ("!!float 42", 42.0),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    assert (type(expected), expected) == (type(value(text)), value(text))


def test_not_a_number_is_read() -> None:
    assert str(value(".nan")) == "nan"


def test_a_scalar_keeps_its_source_text() -> None:
    found = tree("a: 017").entries[0][1]

    assert Scalar(17, "017", False, Place("f.yaml", 1, 4, "a: 017")) == found


def test_columns_count_characters() -> None:
    (_, branch), *_ = tree("é😀: [ü, b]").entries
    assert isinstance(branch, Items)

    assert [5, 8] == [item.place.column - 1 for item in branch.items]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_and_utf_8_are_read(encoding: str) -> None:
    found, mistakes, _ = read("a: é😀".encode(encoding), "f.yaml")

    assert (("é😀"), ()) == (found.entries[0][1].text, mistakes)  # type: ignore[union-attr]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_counts_once(end: str) -> None:
    found = tree(end.join(["a: 1", "b: 2", "c: 3"]))

    assert [Place("f.yaml", 3, 1, "c: 3")] == [key.place for key, _ in found.entries[2:]]


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"a: \xff", "encoding", (1, 4)),
        (b"a: 1\nb: caf\xe9 x", "encoding", (2, 7)),
        ("a: b".encode("utf-16-le"), "encoding", (1, 2)),
        (b"a: 1\nb\x00: 2", "encoding", (2, 2)),
        (b"a: \x1b[0m", "encoding", (1, 4)),
        (b'a: "\\ud800"', "encoding", (1, 7)),
        (b"\ta: 1", "syntax", (1, 1)),
        (b"a:\n\tb: 1", "syntax", (2, 1)),
        (b"a:\n  b: 1\n\tc: 2", "syntax", (3, 1)),
        (b"", "syntax", (1, 1)),
        (b"# nothing\n", "syntax", (1, 1)),
        (b"just a text", "syntax", (1, 1)),
        (b"- a\n- b", "syntax", (1, 1)),
        (b"a: 1\n---\nb: 2", "syntax", (2, 1)),
        (b"a: @b.c", "bad-reference", (1, 4)),
        (b"{a: $b[0]}", "bad-reference", (1, 7)),
        (b"{a: x ${b}}", "bad-reference", (1, 8)),
        (b"a: !x!y z", "tag", (1, 4)),
        (b"a: [1,\n 2", "syntax", (1, 4)),
        (b"a: 'x", "syntax", (1, 4)),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(data: bytes, code: str, place: tuple[int, int]) -> None:
    mistake = refused(data)

    assert (code, place) == (mistake.code, where(mistake))


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ('a: "x\\0"', "encoding", (1, 4)),
        ("a: !!python/object/apply:os.system [ls]", "tag", (1, 4)),
        ("a: !!int x", "tag", (1, 4)),
        ("a: !own {b: 1}", "tag", (1, 4)),
        ("a: *b", "syntax", (1, 4)),
        ("a: &b [*b]", "syntax", (1, 8)),
        ("a: {{ b }}", "bad-reference", (1, 4)),
        ("[a]: 1", "syntax", (1, 1)),
    ],
)
def test_what_can_be_read_past_is_told_with_the_rest(text: str, code: str, place: tuple[int, int]) -> None:
    mistake = mistake_of(text)

    assert (code, place) == (mistake.code, where(mistake))


def test_a_tag_is_named_and_nothing_is_constructed() -> None:
    assert "!!python/object/apply:os.system" in mistake_of("a: !!python/object/apply:os.system [ls]").message


def test_a_key_twice_is_told_with_both_lines() -> None:
    mistake = mistake_of("a: 1\nb: 2\na: 3")

    assert '"a" is there twice: on line 1 and on line 3' == mistake.message


def test_of_a_key_twice_the_first_is_kept() -> None:
    found, _, _ = read(b"a: 1\na: 2", "f.yaml")

    assert [("a", 1)] == [(key.text, branch.value) for key, branch in found.entries if isinstance(branch, Scalar)]


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b"{a: " * 50_000, b"- " * 50_000, b"? " * 50_000, b"[[]," * 50_000],
    ids=["lists", "tables", "dashes", "keys", "commas"],
)
def test_deep_nesting_is_refused_at_once(data: bytes) -> None:
    start = time.process_time()

    assert "too-deep" == refused(data).code
    assert time.process_time() - start < 1


def bomb(levels: int, wide: int) -> str:
    lines = [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * wide)}]" for n in range(levels)]
    return "\n".join(["a0: &a0 [x]", *lines])


def test_aliases_that_multiply_are_refused() -> None:
    assert "too-large" == refused(bomb(9, 10)).code


def test_aliases_that_nest_are_refused() -> None:
    assert "too-deep" == refused(bomb(64, 1)).code


def test_an_alias_stands_for_what_its_anchor_names() -> None:
    found = tree("a: &x [1]\nb: *x")

    assert found.entries[0][1] is found.entries[1][1]


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BRANCHES", 100)

    assert "too-large" == refused(b"[" + b"1, " * 200 + b"]").code


def test_a_large_file_is_refused_unread() -> None:
    assert "too-large" == refused(b"\xff" * (document.MAX_BYTES + 1)).code


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("a: a cat #1 in a row", '"#1 in a row"'),
        ("a: a cat # with a hat", '"# with a hat"'),
        ("a: cat #1", '"#1"'),
        ("- a b #c", '"#c"'),
    ],
)
def test_a_text_cut_short_by_a_comment_is_warned_of(text: str, dropped: str) -> None:
    _, _, (warning,) = read(f"top:\n  {text}".encode(), "f.yaml")

    assert dropped in warning.message


@pytest.mark.parametrize("text", ["a: plms # fast", "a: a cat  # a comment", "a: 1 #x", "a: 'x y' #z", "a: a#b c"])
def test_an_ordinary_comment_is_not_warned_of(text: str) -> None:
    assert () == read(text.encode(), "f.yaml")[2]


def test_a_bracket_lost_in_a_comment_is_explained() -> None:
    assert '"#1}" is dropped' in refused("a: {b: a cat #1}").hint


def test_without_libyaml_the_tree_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: {b: [1, two, 'three'], é: &x y}\nc: *x\nd: |\n  e\n"
    with_libyaml = tree(text)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)

    assert with_libyaml == tree(text)


@pytest.mark.parametrize("text", ["a: 'x", "a: [1", "\ta: 1", "a: @b", "a: b: c", 'a: "\\q"', "{a: $b[0]}"])
def test_without_libyaml_mistakes_read_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_libyaml = refused(text)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)

    assert (with_libyaml.code, with_libyaml.message) == (refused(text).code, refused(text).message)


@given(st.one_of(st.binary(max_size=200), st.text("ab:-[]{}&*!|>'\"#%@`?,. \n\t$~1", max_size=60).map(str.encode)))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_a_tree_or_a_users_error(data: bytes) -> None:
    try:
        _, mistakes, warnings = read(data, "f.yaml")
    except DarkroomError as error:
        told = [str(error)]
    else:
        told = [str(mistake.place or "") for mistake in mistakes + warnings]

    assert all(told)


def test_a_thousand_nodes_are_read_in_time() -> None:
    nodes = "".join(f"  n{n + 1}: {{use: x, image: $n{n}, a: 1}}\n" for n in range(1000))
    start = time.process_time()

    read(f"darkroom: 1\nnodes:\n{nodes}".encode(), "f.yaml")

    assert time.process_time() - start < 0.5  # measured: 0.04


def test_reading_imports_nothing_heavy() -> None:
    source = Path(document.__file__).read_text("utf-8")

    assert not {name for name in ("numpy", "torch", "pydantic") if f"import {name}" in source}
