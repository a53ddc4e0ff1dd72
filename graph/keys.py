"""Recipes and keys: what exactly a result was made from, as canonical text, and its sha256.

A recipe holds the kind, the node's version, the digest of its code, every parameter after defaults, the digest of the
value that arrives at each port, the precision, and nothing else: no name of a node, no path, no order of the file. Two
steps with equal recipes have equal results, so one is enough.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from json.encoder import encode_basestring as _quoted
from typing import Any

FORMAT = 2
"""Raise it when the text of a recipe changes for the same step: everything is computed anew then."""
_MOST_BITS = 4096
"""Of a whole number that is written in decimal digits: Python refuses to write very many."""
CODE = "code"
"""The name under which the digest of a node's code stands among what else its result depends on."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode


def recipe(
    kind: str,
    version: int,
    parameters: Mapping[str, object],
    inputs: Mapping[str, object],
    precision: str = "",
    world: Mapping[str, str] | None = None,
) -> str:
    """Write down what a result is made from.

    inputs: per port the digest that arrives, or a list of digests.
    world: what else the result depends on (the node's code, the output folder of a node that writes files).
    Raises TypeError for a parameter that a key cannot hold.
    """
    at = f',"precision":{_quoted(precision)}' if precision else ""
    beside = f',"world":{_object(world)}' if world else ""
    said = {}
    for name, value in parameters.items():
        said[name] = tagged(value)
    made = f'"format":{FORMAT},"inputs":{_object(inputs)},"kind":{_quoted(kind)},"parameters":{_object(said)}'
    return f'{{{made}{at},"version":{version}{beside}}}'


def _object(parts: Mapping[str, object]) -> str:
    """The same as `_encode`, which makes an encoder each time; most parameters and inputs do without."""
    told = []
    for name in sorted(parts) if len(parts) > 1 else parts:
        value: Any = parts[name]
        kind = type(value)
        text = _quoted(value) if kind is str else repr(value) if kind is int else _encode(value)
        told.append(f"{_quoted(name)}:{text}")
    return f"{{{','.join(told)}}}"


def without(text: str, parameters: Collection[str]) -> str:
    """A recipe without some of its parameters: of all that differ in these alone."""
    parts = json.loads(text)
    parts["parameters"] = {name: value for name, value in parts["parameters"].items() if name not in parameters}
    return _encode(parts)


def revised(text: str, **parts: str) -> str:
    """The same recipe with other texts as its own parts (precision ...); an empty one is left out."""
    rest = {name: part for name, part in json.loads(text).items() if name not in parts}
    return _encode(rest | {name: part for name, part in parts.items() if part})


def key_of(text: str) -> str:
    """The key of a recipe: 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def tagged(value: object) -> Any:
    """A parameter's value as JSON in which different values, and values of different types, differ.

    JSON itself tells 1, 1.0, true and "1" apart; what it cannot tell is put in an object that names its type.
    Raises TypeError for what has no canonical form, rather than let a constant stand for it.
    """
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return {"int": hex(value)}
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (list, tuple)):
        items = [tagged(item) for item in value]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        return {"map": sorted(([tagged(key), tagged(item)] for key, item in value.items()), key=_encode)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Content):
        return {"content": value.digest}
    raise TypeError(f"a key cannot hold {type(value).__name__}: {value!r:.80}")


class Content:
    """Stands for a file in a recipe: its content alone."""

    __slots__ = ("digest",)

    def __init__(self, digest: str) -> None:
        self.digest = digest


def differences(old: str, new: str) -> list[tuple[str, str, Any, Any]]:
    """What differs between two recipes: (section, field, old value, new value), None where it was or is absent.

    The section is "parameters", "inputs", "world" ..., or "" for what stands in none.
    """
    before, after = _flat(json.loads(old)), _flat(json.loads(new))
    names = [*after, *(name for name in before if name not in after)]
    return [(*name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def _flat(parts: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    flat = {("", name): value for name, value in parts.items() if not isinstance(value, dict)}
    for section, fields in parts.items():
        if isinstance(fields, dict):
            flat |= {(section, name): value for name, value in fields.items()}
    return flat
