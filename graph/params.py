"""The params of a workflow: their types, defaults and ranges, and what may be set from outside."""

from __future__ import annotations

import operator
import os
import random
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph.document import NOT_TEXT, Branch, Items, Scalar, Table, not_text, scalar_value
from graph.errors import Mistake, Place, suggest
from graph.references import Literal, described, expression
from graph.syntax import named

Type = typing.Literal["text", "integer", "number", "boolean", "path"]
Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Param:
    """A setting of a workflow."""

    name: str
    type: Type
    value: Literal
    """The default, or what was set. Its `value` is typed as the param is; a path stays a text."""
    base: Path
    """The folder that a path value is relative to."""
    minimum: int | float | None
    maximum: int | float | None
    choices: tuple[Value, ...]
    """Empty where every value goes."""
    doc: str
    place: Place
    """The place of the name."""


def read_param(name: Scalar, branch: Branch, base: Path, mistakes: list[Mistake]) -> Param | None:
    """Read one entry of `params:`. None where type or default cannot be told; `mistakes` then says why."""
    if isinstance(branch, Items):
        hint = f"Write {name.text}: {{default: ..., choices: [...]}}."
        mistakes.append(_bad(f"{name.text} takes a plain value or a table, but got a list", branch.place, hint))
        return None
    fields = _fields(name, branch, mistakes)
    default = fields.get("default")
    if default is None:
        hint = "Write default: and a value. It is used where nothing else is set."
        mistakes.append(_bad(f"{name.text} has no default", name.place, hint))
        return None
    type_ = _type(name.text, fields.get("type"), default, mistakes)
    value = _plain(name.text, default, type_, mistakes) if type_ else None
    if type_ is None or value is None:
        return None
    lowest, highest = (_bound(name.text, side, type_, fields, mistakes) for side in ("min", "max"))
    choices = _choices(name.text, type_, fields, mistakes)
    doc = fields["doc"].text if isinstance(fields.get("doc"), Scalar) else ""  # type: ignore[union-attr]
    param = Param(name.text, type_, value, base, lowest, highest, choices, doc, name.place)
    mistakes += _contradictions(param, fields)
    return param


def set_text(param: Param, text: str, place: Place) -> Literal | Mistake:
    """Type a text as the param is. `random` draws an integer, and the number drawn is the value."""
    if param.type == "integer" and text == "random":
        drawn = _drawn(param)
        return Literal(drawn, str(drawn), False, place)
    if wrong := NOT_TEXT.search(text):
        found = not_text(wrong[0], place)
        return Mistake("bad-setting", found.message, place, found.hint)
    is_text = param.type in ("text", "path")
    value = _typed(param.type, text if is_text else scalar_value(text), text)
    if value is None:
        return _unfit("bad-setting", param.name, param.type, named(text), place)
    return _outside("bad-setting", param, value, place) or Literal(value, text, is_text, place)


def set_value(param: Param, value: object, place: Place) -> Literal | Mistake:
    """Type a value from Python as the param is; a text as `set_text` does."""
    if isinstance(value, os.PathLike) and param.type == "path":
        value = os.fspath(value)
    if isinstance(value, str):
        return set_text(param, value, place)
    plain = _number(value)
    typed = _typed(param.type, plain, "") if param.type not in ("text", "path") else None
    if typed is None:
        return _unfit("bad-setting", param.name, param.type, shown(value), place)
    return _outside("bad-setting", param, typed, place) or Literal(typed, str(typed), False, place)


def shown(value: object) -> str:
    """Write a value from Python for messages, however large it is."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str | bool | int | float):
        return repr(value)
    return f"a value of type {type(value).__name__}"


_TYPES: tuple[Type, ...] = ("text", "integer", "number", "boolean", "path")
_FIELDS = ("type", "default", "min", "max", "choices", "doc")
_OTHER_NAMES = {
    "str": "text",
    "string": "text",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "file": "path",
}
_ARTICLES = {
    "text": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "path": "a path",
}
_SEEDS = 2**32
"""How many seeds `random` draws from where a param has no max."""


def _bad(message: str, place: Place, hint: str = "") -> Mistake:
    return Mistake("bad-param", message, place, hint)


def _fields(name: Scalar, branch: Scalar | Table, mistakes: list[Mistake]) -> dict[str, Branch]:
    if isinstance(branch, Scalar):
        return {"default": branch}
    fields: dict[str, Branch] = {}
    for key, value in branch.entries:
        if key.text in _FIELDS:
            fields[key.text] = value
        else:
            message = f"{name.text} has an unknown key {named(key.text)}"
            mistakes.append(Mistake("unknown-key", message, key.place, suggest(key.text, _FIELDS)))
    return fields


def _type(name: str, given: Branch | None, default: Branch, mistakes: list[Mistake]) -> Type | None:
    """The type that is written, otherwise that of the default."""
    if given is None:
        value = default.value if isinstance(default, Scalar) else None
        if value is not None:
            return _type_of(value)
        hint = 'Write "" for an empty text, or type: and one of text, integer, number, boolean, path.'
        mistakes.append(_bad(f"{name} has no type: its default is {described(default)}", default.place, hint))
        return None
    for type_ in _TYPES:
        if isinstance(given, Scalar) and given.text == type_:
            return type_
    word = given.text if isinstance(given, Scalar) else ""
    hint = f'Did you mean "{_OTHER_NAMES[word]}"?' if word in _OTHER_NAMES else suggest(word, _TYPES)
    mistakes.append(_bad(f"{name} has an unknown type: {described(given)}", given.place, hint))
    return None


def _type_of(value: str | int | float | bool) -> Type:
    types: Mapping[type, Type] = {str: "text", bool: "boolean", int: "integer", float: "number"}
    return types[type(value)]


def _plain(name: str, branch: Branch, type_: Type, mistakes: list[Mistake]) -> Literal | None:
    """Read a default, a bound or a choice: a plain value of the param's type."""
    before = len(mistakes)
    literal = expression(branch, mistakes) if isinstance(branch, Scalar) else None
    if isinstance(literal, Literal):
        value = _typed(type_, literal.value, literal.text)
        if value is not None:
            return Literal(value, literal.text, literal.quoted, literal.place)
        mistakes.append(_unfit("bad-param", name, type_, described(branch), branch.place))
    elif len(mistakes) == before:
        hint = "References stand in nodes. Write $$ for a dollar sign."
        message = f"{name} takes a plain value, but got {described(branch)}"
        mistakes.append(_bad(message, branch.place, hint if isinstance(branch, Scalar) else ""))
    return None


def _typed(type_: Type, value: object, text: str) -> Value | None:
    """The value as the type has it, None where it has none."""
    if type_ in ("text", "path"):
        return text
    if type_ == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if type_ == "integer":
        return value if isinstance(value, int) else None
    try:
        return float(value)
    except OverflowError:
        return None


def _number(value: Any) -> object:
    """Turn the numbers of other libraries into Python's own."""
    if isinstance(value, bool | float):
        return value
    turns: tuple[Callable[[Any], int | float], ...] = (operator.index, float)
    for turn in turns:
        try:
            number = turn(value)
        except (TypeError, ValueError, OverflowError):
            continue
        return number if isinstance(number, float) or number.bit_length() <= 1000 else None
    return None


def _bound(
    name: str, side: str, type_: Type, fields: Mapping[str, Branch], mistakes: list[Mistake]
) -> int | float | None:
    branch = fields.get(side)
    if branch is None:
        return None
    if type_ not in ("integer", "number"):
        mistakes.append(_bad(f"{name} takes {_ARTICLES[type_]}, which has no {side}", branch.place, "Remove it."))
        return None
    literal = _plain(f"{side} of {name}", branch, type_, mistakes)
    value = literal.value if literal else None
    if isinstance(value, float) and value != value:
        mistakes.append(_bad(f"{side} of {name} is not a number", branch.place, "Remove it."))
        return None
    return value if isinstance(value, int | float) else None


def _choices(name: str, type_: Type, fields: Mapping[str, Branch], mistakes: list[Mistake]) -> tuple[Value, ...]:
    branch = fields.get("choices")
    if branch is None:
        return ()
    if not isinstance(branch, Items) or not branch.items:
        message = f"choices of {name} takes a list, but got {described(branch)}"
        mistakes.append(_bad(message, branch.place, "Write choices: [a, b]."))
        return ()
    literals = [_plain(f"choices of {name}", item, type_, mistakes) for item in branch.items]
    return tuple(literal.value for literal in literals if literal and literal.value is not None)


def _contradictions(param: Param, fields: Mapping[str, Branch]) -> list[Mistake]:
    """Tell where default, range and choices do not agree."""
    lowest, highest = param.minimum, param.maximum
    if lowest is not None and highest is not None and lowest > highest:
        message = f"{param.name} has min {lowest}, above its max {highest}"
        return [_bad(message, fields["min"].place, "Swap them.")]
    found = [_outside("bad-param", param, typing.cast(Value, param.value.value), param.value.place)]
    if "doc" in fields and not isinstance(fields["doc"], Scalar):
        message = f"doc of {param.name} takes a text, but got {described(fields['doc'])}"
        found.append(_bad(message, fields["doc"].place))
    return [mistake for mistake in found if mistake]


def _unfit(code: str, name: str, type_: Type, got: str, place: Place) -> Mistake:
    hints = {
        "boolean": "Write true or false.",
        "integer": "Write a whole number.",
        "number": "Write one such as 0.5.",
    }
    return Mistake(code, f"{name} takes {_ARTICLES[type_]}, but got {got}", place, hints.get(type_, ""))


def _outside(code: str, param: Param, value: Value, place: Place) -> Mistake | None:
    """Tell if a value is out of the range or the choices of its param."""
    if param.choices and value not in param.choices:
        hint = suggest(str(value), map(str, param.choices))
        return Mistake(code, f"{param.name} has no choice {named(str(value))}", place, hint)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    lowest, highest = param.minimum, param.maximum
    if (lowest is None or value >= lowest) and (highest is None or value <= highest):
        return None
    sides = [
        f"at least {lowest}" if lowest is not None else "",
        f"at most {highest}" if highest is not None else "",
    ]
    message = f"{param.name} must be {' and '.join(filter(None, sides))}, but got {value}"
    nearest = highest if highest is not None and value > highest else lowest
    return Mistake(code, message, place, f"The nearest is {nearest}." if value == value else "Write a number.")


def _drawn(param: Param) -> int:
    """Draw an integer that the param takes."""
    source = random.SystemRandom()
    if param.choices:
        return int(source.choice(param.choices))
    highest = int(param.maximum) if param.maximum is not None else None
    lowest = int(param.minimum) if param.minimum is not None else min(0, highest or 0)
    if highest is None:
        highest = max(lowest, _SEEDS - 1)
    return source.randint(min(lowest, highest), highest)
