"""Records: what the engine makes once a node, or more often, in as little time as Python can."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(kind: type[T]) -> type[T]:
    """Make a class a dataclass that nobody changes. The type checker sees to that, Python itself does not.

    Where Python is to see to it (`frozen=True`) a record takes three times as long to make, and a named tuple, whose
    fields it does not let anybody set either, twice as long to read (docs/decisions/0083).
    """
    return dataclass(slots=True, unsafe_hash=True)(kind)
