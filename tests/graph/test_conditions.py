"""`when:` says what it seems to say, or why it cannot be said."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.conditions import And, Comparison, Condition, Not, Or, Truth, holds, links, parse_condition
from graph.errors import DarkroomError, Mistake, Place, WorkflowError

VALUES: Mapping[str, object] = {
    "on": True,
    "off": False,
    "three": 3,
    "half": 0.5,
    "name": "plms",
    "none": None,
    "thing": object(),
}


def parsed(text: str) -> Condition:
    return parse_condition(text, Place("f.yaml", 1, 7, f"when: {text}"))


def decided(text: str) -> bool:
    return holds(parsed(text), lambda link: VALUES[link.name])


def mistake_of(text: str) -> Mistake:
    with pytest.raises(WorkflowError) as caught:
        decided(text)
    (mistake,) = caught.value.mistakes
    return mistake


@pytest.mark.parametrize(
    "text",
    [
        "$on",
        "not $off",
        "not not $on",
        "$name == plms",
        '$name == "plms"',
        "$name == 'plms'",
        "$name != ddim",
        "$three == 3",
        "$three == 3.0",
        "$three>2",
        "$three >= 3",
        "$half < 1",
        "1e-4 < $half",
        "$half <= $three",
        "$on == true",
        "$none == null",
        "$name != null",
        "$on or $off and $off",
        "not ($on and $off)",
        "not $off and $on",
        "($off or ($on))",
        "$off or not $name == ddim",
        "true",
    ],
)
def test_a_condition_that_is_true_holds(text: str) -> None:
    assert decided(text)
    assert not decided(f"not ({text})")


def test_and_binds_closer_than_or() -> None:
    condition = parsed("$on or $off and not $three > 1")
    assert isinstance(condition, Or)
    last = condition.parts[1]
    assert isinstance(last, And)
    negated = last.parts[1]

    assert isinstance(negated, Not)
    assert isinstance(negated.part, Comparison)


def test_links_come_in_the_order_of_the_text() -> None:
    found = links(parsed("not ($b.size.0 > 1 or $a) and 2 < $c"))

    assert ["$b.size.0", "$a", "$c"] == [str(link) for link in found]


def test_links_have_the_columns_of_the_file() -> None:
    assert [7, 15] == [link.place.column for link in links(parsed("$on and $off"))]


def test_what_no_longer_matters_is_not_asked_for() -> None:
    assert holds(parsed("$on or $unknown"), lambda link: VALUES[link.name])


def test_a_quoted_word_is_a_text() -> None:
    condition = parsed("""$a == "x \\"y\\" z" """.strip())
    assert isinstance(condition, Comparison)

    assert 'x "y" z' == condition.right.value  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("$on &&  $off", 11),
        ("$on and", 14),
        ("($on", 11),
        ("$on)", 10),
        ("$three = 3", 14),
        ("on", 7),
        ("3 == 3", 7),
        ("$on $off", 11),
        ("$name == two words", 20),
        ("1 < $three < 5", 18),
        ("and $on", 7),
        ("$on == not", 14),
        ("", 7),
    ],
)
def test_a_malformed_condition_is_told_with_its_column(text: str, column: int) -> None:
    mistake = mistake_of(text)

    assert ("bad-condition", column) == (mistake.code, mistake.place and mistake.place.column)


@pytest.mark.parametrize("text", ["$", "$a.", "$a[0]", "${a}", "$1"])
def test_a_malformed_reference_is_told_as_one(text: str) -> None:
    assert "bad-reference" == mistake_of(f"$on and {text}").code


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("$name == 3", ['$name is the text "plms"', '"3" is the number 3']),
        ("$three == plms", ["$three is the number 3", '"plms" is the text']),
        ("$on == 1", ["$on is the boolean true", "the number 1"]),
        ("$name < x", ["compare by <", 'the text "plms"']),
        ("$on > $off", ["the boolean true", "the boolean false"]),
        ("$thing == 1", ["$thing is a object"]),
        ("$three", ["$three is the number 3, neither true nor false"]),
        ("$none > 1", ["$none is nothing"]),
    ],
)
def test_unlike_types_are_told_with_both_values(text: str, parts: list[str]) -> None:
    message = mistake_of(text).message

    assert [] == [part for part in parts if part not in message]


@pytest.mark.parametrize("text", ["(" * 33 + "$on" + ")" * 33, "(" * 1900, "not " * 600 + "$on"])
def test_deep_and_long_conditions_are_refused(text: str) -> None:
    assert "bad-condition" == mistake_of(text).code


def test_many_nots_need_no_stack() -> None:
    assert Truth(links(parsed("$on"))[0]).operand.place.column == 7
    assert decided("not " * 400 + "$on")


words = st.sampled_from(
    ["$on", "$name", "$three", "3", "plms", "'x y'", "==", "<", "and", "or", "not", "(", ")", "$", "="]
)


@given(st.one_of(st.lists(words, max_size=12).map(" ".join), st.text(max_size=30)))
@settings(max_examples=150, deadline=None)
def test_any_text_is_decided_or_a_users_error(text: str) -> None:
    with contextlib.suppress(DarkroomError, KeyError):  # KeyError: a reference that VALUES does not have
        decided(text)


@given(st.lists(words, max_size=9).map(" ".join))
@settings(max_examples=100, deadline=None)
def test_a_negation_is_the_opposite(text: str) -> None:
    try:
        decision = decided(text)
    except DarkroomError:
        return

    assert decision is not decided(f"not ({text})")
