"""The conditions of `when:`, read by a small grammar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graph.errors import Place
from graph.references import Link, Literal

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


def parse_condition(text: str, place: Place) -> Condition:
    """Read a condition. `place` is that of its first character.

    Raises WorkflowError ("bad-condition", "bad-reference") with the place of the word that does not fit.
    """
    raise NotImplementedError


def links(condition: Condition) -> tuple[Link, ...]:
    """List the references of a condition, in the order of its text."""
    raise NotImplementedError


def holds(condition: Condition, value_of: Callable[[Link], object]) -> bool:
    """Tell whether a condition is true. Parts that no longer matter are not asked for.

    Raises WorkflowError ("bad-condition") where unlike types are compared.
    """
    raise NotImplementedError
