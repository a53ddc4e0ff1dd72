"""The conditions of `when:`, read by a small grammar.

    condition  = all {"or" all}
    all        = part {"and" part}
    part       = {"not"} ("(" condition ")" | operand [sign operand])
    sign       = "==" | "!=" | "<" | "<=" | ">" | ">="
    operand    = reference | quoted text | any other word, read as a YAML scalar

Brackets may be nested 32 deep, so neither reading nor deciding can exhaust the stack.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from graph.document import scalar_value
from graph.errors import Mistake, Place, WorkflowError
from graph.references import NAME, Link, Literal, link, malformed
from graph.syntax import named

Operand = Link | Literal


@dataclass(frozen=True, slots=True)
class Truth:
    """`$flag`, or a plain `true` or `false`."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Comparison:
    """`$a == x`."""

    left: Operand
    sign: str
    right: Operand
    place: Place
    """Where its left operand begins."""


@dataclass(frozen=True, slots=True)
class Not:
    """`not $flag`."""

    part: Condition


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Some part holds."""

    parts: tuple[Condition, ...]


Condition = Truth | Comparison | Not | And | Or


MAX_LENGTH = 2000
MAX_DEPTH = 32


def parse_condition(text: str, place: Place) -> Condition:
    """Read a condition. `place` is that of its first character.

    Raises WorkflowError ("bad-condition", "bad-reference") with the place of the word that does not fit.
    """
    if len(text) > MAX_LENGTH:
        message = f"the condition has {len(text)} characters, and {MAX_LENGTH} at most are read"
        raise WorkflowError([Mistake("bad-condition", message, place, "Let a node decide, and ask for its output.")])
    return _Parser(text, place).whole()


def links(condition: Condition) -> tuple[Link, ...]:
    """List the references of a condition, in the order of its text."""
    if isinstance(condition, Truth):
        return _links_of(condition.operand)
    if isinstance(condition, Comparison):
        return _links_of(condition.left) + _links_of(condition.right)
    if isinstance(condition, Not):
        return links(condition.part)
    return tuple(link for part in condition.parts for link in links(part))


def holds(condition: Condition, value_of: Callable[[Link], object]) -> bool:
    """Tell whether a condition is true. Parts that no longer matter are not asked for.

    Raises WorkflowError ("bad-condition") where unlike types are compared, or no boolean stands alone.
    """
    if isinstance(condition, Truth):
        return _truth(condition.operand, value_of)
    if isinstance(condition, Comparison):
        return _compare(condition, value_of)
    if isinstance(condition, Not):
        return not holds(condition.part, value_of)
    decide = all if isinstance(condition, And) else any
    return decide(holds(part, value_of) for part in condition.parts)


_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OTHER_SPELLINGS = {"=": "==", "!": "not", "&": "and", "&&": "and", "|": "or", "||": "or"}
_TOKEN = re.compile(
    r"""(?P<link>\$[\w.\-{}\[\]]*)
    | (?P<quoted>"(?:[^"\\]|\\.)*" | '(?:[^']|'')*')
    | (?P<sign>==|!=|<=|>=|<|>)
    | (?P<bracket>[()])
    | (?P<word>[^\s()=!<>"'$&|]+)
    | (?P<strange>&&|\|\||\S)""",
    re.VERBOSE,
)


def _links_of(operand: Operand) -> tuple[Link, ...]:
    return (operand,) if isinstance(operand, Link) else ()


def _value(operand: Operand, value_of: Callable[[Link], object]) -> object:
    return value_of(operand) if isinstance(operand, Link) else operand.value


def _truth(operand: Operand, value_of: Callable[[Link], object]) -> bool:
    value = _value(operand, value_of)
    if isinstance(value, bool):
        return value
    message = f"{_shown(operand)} is {_typed(value)}, neither true nor false"
    hint = f"Compare it with something: {_shown(operand)} == ..."
    raise WorkflowError([Mistake("bad-condition", message, operand.place, hint)])


def _compare(comparison: Comparison, value_of: Callable[[Link], object]) -> bool:
    left, right = _value(comparison.left, value_of), _value(comparison.right, value_of)
    types = {_type(left), _type(right)}
    by_equality = comparison.sign in ("==", "!=")
    alike = types == {"number"} or (by_equality and (len(types) == 1 or "nothing" in types))
    if alike and types <= {"number", "text", "boolean", "nothing"}:
        return _SIGNS[comparison.sign](left, right)
    sides = [f"{_shown(comparison.left)} is {_typed(left)}", f"{_shown(comparison.right)} is {_typed(right)}"]
    message = f"cannot compare by {comparison.sign}: {', '.join(sides)}"
    hint = "Quote what is meant as a text." if types == {"number", "text"} else _COMPARABLE
    raise WorkflowError([Mistake("bad-condition", message, comparison.place, hint)])


_COMPARABLE = "Numbers compare with numbers; texts and booleans only by == and !=, with their like."


def _type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "nothing" if value is None else type(value).__name__


def _typed(value: object) -> str:
    shown = named(value) if isinstance(value, str) else str(value).lower()
    return {
        "boolean": f"the boolean {shown}",
        "number": f"the number {shown}",
        "text": f"the text {shown}",
        "nothing": "nothing",
    }.get(_type(value), f"a {_type(value)}")


def _shown(operand: Operand) -> str:
    return str(operand) if isinstance(operand, Link) else named(operand.text)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: Place


def _tokens(text: str, place: Place) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        yield _Token(found.lastgroup or "", found[0], _at(place, text, found.start()))
    yield _Token("end", "", _at(place, text, len(text)))


def _at(place: Place, text: str, offset: int) -> Place:
    """A place inside the condition; its beginning where the source is written otherwise than the text."""
    written_so = place.text.startswith(text, place.column - 1)
    return replace(place, column=place.column + offset) if written_so else place


class _Parser:
    def __init__(self, text: str, place: Place) -> None:
        self._tokens = list(_tokens(text, place))
        self._next = 0
        self._depth = 0

    def whole(self) -> Condition:
        condition = self._any()
        if self._peek.kind != "end":
            raise self._unexpected("and, or, or the end")
        return condition

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> bool:
        """Go past the next token if it is one of these words or signs."""
        taken = self._peek.text in texts and self._peek.kind not in ("quoted", "end")
        self._next += taken
        return taken

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Condition:
        parts = [self._part()]
        while self._take("and"):
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _part(self) -> Condition:
        negated = False
        while self._take("not"):
            negated = not negated
        part = self._bracketed() if self._take("(") else self._comparison()
        return Not(part) if negated else part

    def _bracketed(self) -> Condition:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"brackets are nested more than {MAX_DEPTH} deep", "Remove some.")
        condition = self._any()
        if not self._take(")"):
            raise self._unexpected('")"')
        self._depth -= 1
        return condition

    def _comparison(self) -> Condition:
        left = self._operand()
        sign = self._peek
        if not self._take(*_SIGNS):
            if isinstance(left, Literal) and not isinstance(left.value, bool):
                raise WorkflowError([_alone(left)])
            return Truth(left)
        right = self._operand()
        if self._peek.kind == "sign":
            raise self._wrong("a comparison has two sides", "Write $a > 1 and $a < 3.")
        if isinstance(left, Literal) and isinstance(right, Literal):
            raise WorkflowError([_alone(left)])
        return Comparison(left, sign.text, right, left.place)

    def _operand(self) -> Operand:
        token = self._peek
        if token.kind not in ("link", "quoted", "word") or token.text in ("and", "or", "not"):
            raise self._unexpected("a reference or a value")
        self._next += 1
        if token.kind == "quoted":
            content = _unquoted(token.text)
            return Literal(content, content, True, token.place)
        if token.kind == "word":
            return Literal(scalar_value(token.text), token.text, False, token.place)
        if reference := link(token.text, token.place):
            return reference
        raise WorkflowError([malformed(token.text, token.place)])

    def _unexpected(self, wanted: str) -> WorkflowError:
        token = self._peek
        got = named(token.text) if token.kind != "end" else "the end"
        hint = 'Quote a text of several words: $a == "two words".'
        if token.text in _OTHER_SPELLINGS:
            hint = f'Write "{_OTHER_SPELLINGS[token.text]}" instead of "{token.text}".'
        elif token.kind == "end":
            hint = "Write for example: $flag, or $a == x and not $b."
        return self._wrong(f"{wanted} should stand here, but got {got}", hint)

    def _wrong(self, message: str, hint: str) -> WorkflowError:
        return WorkflowError([Mistake("bad-condition", message, self._peek.place, hint)])


def _alone(literal: Literal) -> Mistake:
    """The mistake of a condition without a reference: most often its dollar sign was forgotten."""
    is_name = not literal.quoted and re.fullmatch(NAME, literal.text)
    hint = f"Write ${literal.text}." if is_name else "Write a reference: $name."
    return Mistake("bad-condition", f"{named(literal.text)} asks nothing: it is no reference", literal.place, hint)


def _unquoted(text: str) -> str:
    if text[0] == "'":
        return text[1:-1].replace("''", "'")
    return re.sub(r"\\(.)", r"\1", text[1:-1])
