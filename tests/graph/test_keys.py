"""Different things never share a key, equal things always do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.keys import Content, differences, key_of, recipe, revised, tagged

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.binary(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def typed(value: object) -> object:
    """A value in which everything carries its type, so that == means "the same in every respect"."""
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(map(typed, value)))
    if isinstance(value, dict):
        return ("dict", frozenset((typed(key), typed(item)) for key, item in value.items()))
    return (type(value).__name__, repr(value))


def key(value: object, port: str = "a") -> str:
    return key_of(recipe("kind", 1, {"value": value}, {port: "d"}))


@given(VALUES, VALUES)
def test_two_values_share_a_key_only_if_they_are_the_same(one: object, other: object) -> None:
    assert (typed(one) == typed(other)) == (key(one) == key(other))


@given(VALUES)
def test_a_revised_recipe_is_the_one_that_would_be_written(value: object) -> None:
    there, here = (recipe("kind", 1, {"value": value}, {"a": "d"}, precision) for precision in ("fp16", "fp32"))

    assert here == revised(there, precision="fp32", saving="")
    assert here != revised(there, precision="fp32", saving="tiles")


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, True), (0, False), ("1", 1), ("None", None), ([1, 2], (1, 2)), (0.0, -0.0), (b"a", "a"), ({}, [])],
)
def test_values_that_python_calls_equal_or_prints_alike_have_keys_of_their_own(one: object, other: object) -> None:
    assert key(one) != key(other)


def test_the_order_of_names_is_no_part_of_a_key() -> None:
    parameters = {"a": 1, "b": 2}
    turned = dict(reversed(parameters.items()))

    assert recipe("k", 1, parameters, {"x": "d"}) == recipe("k", 1, turned, {"x": "d"})


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "other"},
        {"version": 2},
        {"parameters": {"a": 2}},
        {"inputs": {"x": "e"}},
        {"inputs": {"y": "d"}},
        {"inputs": {"x": ["d"]}},
        {"precision": "fp16"},
        {"world": {"folder": "out"}},
    ],
    ids=str,
)
def test_everything_that_makes_a_result_enters_its_key(changed: dict[str, Any]) -> None:
    base: dict[str, Any] = {"kind": "k", "version": 1, "parameters": {"a": 1}, "inputs": {"x": "d"}}

    assert key_of(recipe(**base)) != key_of(recipe(**{**base, **changed}))


def test_what_no_key_can_hold_is_refused_rather_than_left_out() -> None:
    with pytest.raises(TypeError, match="a key cannot hold object"):
        tagged(object())


def test_a_file_stands_for_its_content() -> None:
    assert {"content": "abc"} == tagged(Content("abc"))


def test_what_differs_is_told_by_field() -> None:
    old = recipe("k", 1, {"a": 1, "b": "x"}, {"p": "d"})
    new = recipe("k", 2, {"a": 1, "b": "y"}, {"q": "d"})

    assert {
        ("", "version", 1, 2),
        ("parameters", "b", "x", "y"),
        ("inputs", "p", "d", None),
        ("inputs", "q", None, "d"),
    } == set(differences(old, new))
    assert [] == differences(old, old)


def test_a_parameter_that_is_called_like_a_part_of_all_recipes_hides_nothing() -> None:
    old = recipe("k", 1, {"version": 7, "code": "x"}, {}, world={"code": "a"})
    new = recipe("k", 2, {"version": 7, "code": "y"}, {}, world={"code": "b"})

    found = {("", "version", 1, 2), ("parameters", "code", "x", "y"), ("world", "code", "a", "b")}
    assert found == set(differences(old, new))


def test_a_recipe_is_json() -> None:
    assert "k" == json.loads(recipe("k", 1, {}, {}))["kind"]
