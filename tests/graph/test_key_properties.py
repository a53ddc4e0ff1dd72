"""Different things never share a key or a digest, equal ones always do: shown by reading them back."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph.codec import decode, encode
from graph.keys import Content, key_of, recipe, tagged
from graph.values import Latents, Picture, Tensor, Value

ROOT = Path(__file__).parents[2]
QUICK, DEEP = settings(max_examples=300, deadline=None), settings(max_examples=5_000, deadline=None)

TEXT = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["", "1", "true", "null", "nan", "é", "e\u0301", "\ud83d\ude00", "😀", "\ud83d", "\0", '"', '{"map":[]}', "\u2028"]
)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, -0.0, 0.0, 1, 1.0, 2**53, 2.0**53, 2**53 + 1, 10**22, 1e22, 10**1500, math.nan, math.inf])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT | st.binary(max_size=4) | TEXT.map(Content)
NAMES = TEXT | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.binary(max_size=2)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(NAMES, inner, max_size=3)
        # What a table is written as, so that the two meet if they can.
        | st.lists(st.tuples(TEXT, inner).map(list), max_size=2)
        | st.dictionaries(st.sampled_from(["map", "tuple", "bytes", "float", "int", "content"]), inner, max_size=2)
    ),
    max_leaves=10,
)
ODD: tuple[object, ...] = (
    None, False, True, 0, 1, 0.0, -0.0, 1.0, "", "0", "1", "1.0", "True", "true", "None", "null", b"", b"1", "b'1'",
    math.nan, "nan", math.inf, -math.inf, "inf", [], (), {}, [[]], [()], ((),), [1, 2], (1, 2), [1, [2]], [[1], 2],
    {"a": 1}, [["a", 1]], [("a", 1)], (("a", 1),), {"a": 1.0}, {"a": True}, {1: "a"}, {"1": "a"}, {True: "a"},
    {None: "a"}, {"None": "a"}, {1.0: "a"}, {b"1": "a"}, {"map": [["a", 1]]}, {"tuple": [1, 2]}, {"bytes": "31"},
    {"float": "nan"}, {"content": "x"}, Content("x"), "x", "é", "e\u0301",
    "\ud83d\ude00", "😀", "ﬁ", "fi", "\u00c5", "\u212b",
    10**22, 1e22, 10**5000, 10**5000 + 1, hex(10**5000), 2**53, 2.0**53, 2**53 + 1, 5e-324, 0.1, 0.1 + 2**-56,
)  # fmt: skip
"""No two of these are the same."""


def exact(value: object) -> object:
    """A value in which everything says its type, so that == means: the same in every respect."""
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(map(exact, value))
    if isinstance(value, Mapping):
        return "map", frozenset((exact(name), exact(item)) for name, item in value.items())
    if isinstance(value, Content):
        return "content", value.digest
    return type(value).__name__, hex(value) if isinstance(value, int) else repr(value)


def read_back(tree: Any) -> object:
    """The value that `tagged` wrote down."""
    if isinstance(tree, list):
        return [read_back(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, held),) = tree.items()
    match tag:
        case "map":
            return {read_back(name): read_back(item) for name, item in held}
        case "tuple":
            return tuple(map(read_back, held))
        case "bytes":
            return bytes.fromhex(held)
        case "int":
            return int(held, 16)
        case "content":
            return Content(held)
    return float(held)


def key(value: object) -> str:
    return key_of(recipe("kind", 1, {"value": value}, {}))


# Parameters


def check_that_a_parameter_can_be_read_back(value: object) -> None:
    text = recipe("kind", 1, {"value": value}, {})
    told = json.loads(text.encode("utf-8", "surrogatepass"))

    assert exact(value) == exact(read_back(told["parameters"]["value"]))


@QUICK
@given(VALUES)
@example([["a", 1]])
@example({"map": [["a", 1]]})
@example({math.inf: -0.0})
@example("\ud83d\ude00")
def test_a_parameter_can_be_read_back_from_its_recipe(value: object) -> None:
    check_that_a_parameter_can_be_read_back(value)


@pytest.mark.slow
@DEEP
@given(VALUES)
def test_any_parameter_can_be_read_back_from_its_recipe(value: object) -> None:
    check_that_a_parameter_can_be_read_back(value)


@QUICK
@given(VALUES)
def test_the_same_parameter_made_again_has_the_same_key(value: object) -> None:
    def turned(part: object) -> object:
        """The same, with every table filled in the other order."""
        if isinstance(part, (list, tuple)):
            return type(part)(map(turned, part))
        if isinstance(part, Mapping):
            return {name: turned(item) for name, item in reversed([*part.items()])}
        return copy.deepcopy(part)

    assert key(value) == key(turned(value))


def test_of_all_that_could_be_mistaken_for_each_other_no_two_share_a_key() -> None:
    assert len(ODD) == len({key(value) for value in ODD})


def test_unicode_is_taken_as_it_is_written() -> None:
    forms = {unicodedata.normalize(form, "Å ﬁ é") for form in ("NFC", "NFD", "NFKC", "NFKD")}

    assert len(forms) == len({key(form) for form in forms})


class Strange:
    pass


@pytest.mark.parametrize("value", [{1}, frozenset(), 1j, object(), Strange(), range(3), bytearray(b"1"), [Strange()]])
def test_what_has_no_canonical_form_is_refused_wherever_it_stands(value: object) -> None:
    for held in (value, [value], {"a": value}, (value,)):
        with pytest.raises(TypeError, match="a key cannot hold"):
            tagged(held)


def test_a_key_is_the_same_in_every_process() -> None:
    code = (
        "from graph.keys import *; print(key_of(recipe('k', 1, {'a': {'x': (1, 2.5), 'y': b'z'}}, {'p': ['d', 'e']})))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert 1 == len(told)


# Recipes

DIGESTS = st.sampled_from(["", "a", "b", "ab"])
RECIPES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["a", "b", "ab"]),
        "version": st.integers(0, 3),
        "parameters": st.dictionaries(st.sampled_from(["a", "b", "kind", "version"]), SCALARS, max_size=2),
        "inputs": st.dictionaries(
            st.sampled_from(["a", "b", "world"]), DIGESTS | st.lists(DIGESTS, max_size=2), max_size=2
        ),
        "precision": st.sampled_from(["", "fp16", "fp32"]),
        "world": st.dictionaries(st.sampled_from(["folder", "code", "a"]), DIGESTS, max_size=2),
    }
)


@QUICK
@given(RECIPES)
def test_a_recipe_can_be_read_back_whole(parts: dict[str, Any]) -> None:
    told = json.loads(recipe(**parts).encode("utf-8", "surrogatepass"))
    told["parameters"] = {name: read_back(value) for name, value in told["parameters"].items()}
    del told["format"]

    assert exact(parts) == exact({"precision": "", "world": {}} | told)


@QUICK
@given(RECIPES, TEXT, VALUES)
def test_a_recipe_is_written_as_python_writes_sorted_json(parts: dict[str, Any], name: str, value: object) -> None:
    parts["parameters"] |= {name: value}

    text = recipe(**parts)

    same = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    assert same == text


# Values on links


@dataclass(frozen=True)
class Nested(Value):
    """A value of everything that one may hold."""

    parts: tuple[Any, ...]
    flag: Any = 0
    inner: Any = None


FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | st.integers() | FINITE | TEXT | st.sampled_from([-0.0, 0.0, 0, False, 2**70])
ARRAYS = st.builds(
    lambda dtype, data: Tensor(dtype, (len(data),), data), st.sampled_from(["U8", "BOOL"]), st.binary(max_size=4)
)
LATENTS = st.builds(
    Latents,
    ARRAYS,
    st.lists(st.binary(max_size=3), max_size=2).map(tuple),
    st.booleans(),
    level=FINITE,
    adds=st.booleans(),
)
PICTURES = st.builds(
    lambda height, data: Picture.of_bytes("L", 2, height, data * height),
    st.integers(1, 3),
    st.binary(min_size=2, max_size=2),
)
LINKED = st.recursive(
    PLAIN | ARRAYS | st.binary(max_size=4) | LATENTS | PICTURES,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.builds(Nested, st.lists(inner, max_size=3).map(tuple), inner, st.none() | inner)
    ),
    max_leaves=8,
)


def whole(value: object) -> object:
    """A value on a link in which everything says its type; lists and tuples are one."""
    if isinstance(value, (list, tuple)):
        return "sequence", tuple(map(whole, value))
    if isinstance(value, Value):
        return type(value).__name__, tuple((name, whole(part)) for name, part in sorted(vars(value).items()))
    return type(value).__name__, repr(value)


def check_that_a_value_can_be_read_back(value: object) -> None:
    assert whole(value) == whole(decode(encode(value).data))


@QUICK
@given(LINKED)
@example(Nested(("\ud83d\ude00", b"")))
@example(Nested(("\0",), False, Nested((), -0.0)))
@example(Nested((Tensor("U8", (2, 0), b""), b"{"), "tensor"))
def test_a_value_can_be_read_back_from_its_bytes(value: object) -> None:
    check_that_a_value_can_be_read_back(value)


@pytest.mark.slow
@DEEP
@given(LINKED)
def test_any_value_can_be_read_back_from_its_bytes(value: object) -> None:
    check_that_a_value_can_be_read_back(value)


@QUICK
@given(LINKED)
def test_an_equal_value_has_equal_bytes(value: object) -> None:
    assert encode(value) == encode(copy.deepcopy(value))
    assert encode(value) == encode(decode(encode(value).data))


def test_of_all_values_that_could_be_mistaken_for_each_other_no_two_share_a_digest() -> None:
    plain: list[object] = [
        None,
        False,
        True,
        0,
        1,
        0.0,
        -0.0,
        1.0,
        "",
        "0",
        "1",
        "é",
        "e\u0301",
        "\ud83d\ude00",
        "😀",
        b"",
        b"1",
    ]
    plain += [Tensor("U8", (1,), b"1"), Tensor("BOOL", (1,), b"1"), Tensor("U8", (1, 1), b"1"), Tensor("U8", (), b"1")]
    held = [shape for value in plain for shape in (value, (value,), ((value,),), Nested((value,)), Nested((), value))]
    again = Nested((), 0)  # is Nested(()), as 0 is what is left out

    assert len(held) == len({encode(value).digest for value in held})
    assert encode(Nested(())) == encode(again)


@pytest.mark.parametrize("name", ["tensor", "bytes"])
def test_no_type_is_called_what_arrays_are_called_in_bytes(name: str) -> None:
    with pytest.raises(TypeError, match=f'two value types are called "{name}"'):
        type(name, (Value,), {"__annotations__": {"at": int}})
