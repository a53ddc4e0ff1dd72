"""The params of a workflow: their types, defaults and ranges, and what may be set from outside."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from pathlib import Path

from graph.errors import Place
from graph.references import Literal

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
