"""From what a file says to what a parameter takes, and how to tell a user what it takes instead."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from graph.errors import DarkroomError, nearest
from graph.filerefs import FileRef
from graph.node import SCALARS, Node, without_none
from graph.records import record

SEEDS = 2**64
"""Below it are the seeds that torch takes."""
_NUMBERS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@record
class Given:
    """A plain value for a parameter, with the words of the user."""

    value: str | int | float | bool | None
    text: str
    quoted: bool
    folder: Path
    """What a relative path starts from."""


class BadValue(DarkroomError):
    """A value that a parameter does not take."""

    code = "bad-value"


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with the value of one parameter."""

    name: str
    """Empty where a check of the node's own found that they do not go together."""
    message: str
    hint: str


def fitted(given: Given, annotation: Any) -> object:
    """Read a plain value as the type of a parameter wants it: texts take the source text, files are found.

    Ranges are not looked at here. Raises MissingError for a file that is not there.
    """
    if given.value is None and not given.quoted and _optional(annotation):
        return None
    kind = without_none(annotation)
    if isinstance(kind, type) and issubclass(kind, FileRef):
        return kind.find(given.text, given.folder)
    if kind is str or (_choices(kind) and all(isinstance(choice, str) for choice in _choices(kind))):
        return given.text
    if kind is float and type(given.value) is int:
        return _as_float(given.value)
    return given.value


def checked(node: type[Node], values: Mapping[str, object]) -> tuple[Node | None, list[Complaint]]:
    """Check values against the types and ranges of a node's parameters.

    Gives the node with these parameters, or what is wrong with them; neither where nothing is wrong but a required
    parameter is left out.
    """
    try:
        return node.model_validate(dict(values)), []
    except ValidationError as error:
        told = [_complaint(node, entry, values) for entry in error.errors(include_url=False)]
        return None, list({complaint.name: complaint for complaint in reversed(told) if complaint}.values())[::-1]


def takes(field: FieldInfo) -> str:
    """Say what a parameter takes: "a whole number from 1 to 1000"."""
    kind = without_none(field.annotation)
    if _choices(kind):
        return "one of " + ", ".join(map(str, _choices(kind)))
    if isinstance(kind, type) and issubclass(kind, FileRef):
        return f"{'an' if kind.what[0] in 'aeiou' else 'a'} {kind.what}"
    words = _NUMBERS.get(kind, f"a {getattr(kind, '__name__', kind)}")
    return words + _range(limits(field))


def limits(field: FieldInfo) -> dict[str, Any]:
    """The bounds of a parameter by pydantic's names: ge, gt, le, lt, multiple_of, min_length, max_length."""
    names = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length")
    return {name: getattr(part, name) for part in field.metadata for name in names if hasattr(part, name)}


def _complaint(node: type[Node], entry: Any, values: Mapping[str, object]) -> Complaint | None:
    """Say what pydantic found, in the words of a workflow. A parameter that is left out is no complaint."""
    name = str(entry["loc"][0]) if entry["loc"] else ""
    if entry["type"] == "value_error":  # a validator of the node's own
        message, _, hint = str(entry["ctx"]["error"]).partition("\n")
        return Complaint(name, message, hint.strip())
    if name not in values:
        return None
    field, value = node.model_fields[name], values[name]
    return Complaint(name, f"takes {takes(field)}, not {shown(value)}", _way_out(field, value))


def _way_out(field: FieldInfo, value: object) -> str:
    kind = without_none(field.annotation)
    if _choices(kind):
        near = nearest(str(value), map(str, _choices(kind)))
        return f'Did you mean "{near}"?' if near else ""
    if (value == "random" and kind is int) or (value == -1 and limits(field).get("lt") == SEEDS):
        return "For another seed at every run make it a param (seed: 1), and run with --set seed=random."
    if isinstance(value, str) and kind in (int, float, bool):
        return "Write it without quotes." if _looks_like(value, kind) else ""
    if kind is int and isinstance(value, float) and math.isfinite(value):
        return _nearest(round(value), limits(field))
    if kind in (int, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _nearest(value, limits(field)) if math.isfinite(value) else "Give a finite number."
    return ""


def _nearest(value: int | float, bounds: Mapping[str, Any]) -> str:
    step = bounds.get("multiple_of")
    low = bounds.get("ge", bounds["gt"] + (step or 1) if "gt" in bounds else None)
    high = bounds.get("le", bounds["lt"] - (step or 1) if "lt" in bounds else None)
    inside = max(value, low) if low is not None else value
    inside = min(inside, high) if high is not None else inside
    near = [inside] if not step else sorted({inside // step * step, -(-inside // step) * step})
    near = [number for number in near if (low is None or number >= low) and (high is None or number <= high)]
    what = "value is" if len(near) == 1 else "values are"
    return f"The nearest valid {what} {' and '.join(map(str, near))}." if near and near != [value] else ""


def _looks_like(text: str, kind: Any) -> bool:
    patterns = {bool: "true|false", int: "[+-]?[0-9]+", float: r"[+-]?([0-9]*\.)?[0-9]+([eE][+-]?[0-9]+)?"}
    return re.fullmatch(patterns[kind], text) is not None


def _range(bounds: Mapping[str, Any]) -> str:
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    above = " above" if "gt" in bounds else " from"
    below = "below" if "lt" in bounds else "to"
    words = f"{above} {_number(low)}" if low is not None else ""
    words += f" {below} {_number(high)}" if high is not None else ""
    words += f", a multiple of {bounds['multiple_of']}" if "multiple_of" in bounds else ""
    shortest, longest = bounds.get("min_length"), bounds.get("max_length")
    if shortest is not None and longest is not None:
        return f"{words} of {shortest} to {_letters(longest)}"
    words += f" of at least {_letters(shortest)}" if shortest is not None else ""
    return words + (f" of at most {_letters(longest)}" if longest is not None else "")


def _letters(count: int) -> str:
    return "one letter" if count == 1 else f"{count} letters"


def _number(value: int | float) -> str:
    return "2**64" if value == SEEDS else str(value)


def shown(value: object) -> str:
    """A value as messages show it: texts in quotes, booleans and nothing in YAML's words."""
    if isinstance(value, str):
        return f'the text "{value if len(value) <= 60 else value[:57] + "..."}"'
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


@cache
def _optional(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


@cache
def _choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


@cache
def file_parameters(node: type[Node]) -> tuple[str, ...]:
    """The parameters of a node that name files."""
    kinds = {name: without_none(field.annotation) for name, field in node.model_fields.items()}
    return tuple(name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, FileRef))


def file_type(node: type[Node], name: str) -> type[FileRef]:
    """The type of a parameter that names a file."""
    kind: type[FileRef] = without_none(node.model_fields[name].annotation)
    return kind


@cache
def scalar_of(annotation: Any) -> Any:
    """Which of text, integer, number and boolean a parameter can be given by a link; None for none of them."""
    kind = without_none(annotation)
    if _choices(kind) or (isinstance(kind, type) and issubclass(kind, FileRef)):
        return str
    return kind if kind in SCALARS else None
