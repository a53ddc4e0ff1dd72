"""Where the value of a port or parameter comes from, once references are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graph.records import record


@dataclass(frozen=True, slots=True)
class Constant:
    """A plain value, known from the file."""

    value: str | int | float | bool | None


@record
class From:
    """An output of another step."""

    step: str
    output: int
    """Which of the step's outputs; 0 is the main one."""
    item: int | None = None
    """Which item, where the output is a list and one is wanted."""
    name: str = ""
    """As the user wrote it: "$model.vae"."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The first of several outputs whose step was not skipped."""

    options: tuple[From, ...]


@dataclass(frozen=True, slots=True)
class Blend:
    """A text with the scalar outputs of steps put in."""

    parts: tuple[str | From, ...]


@dataclass(frozen=True, slots=True)
class Gather:
    """A list made of several sources."""

    items: tuple[Constant | From | Choice | Blend, ...]


Source = Constant | From | Choice | Gather | Blend


def origins(source: Source) -> Sequence[From]:
    """Every output of another step that a source may take."""
    if isinstance(source, From):
        return (source,)
    if isinstance(source, Choice):
        return source.options
    if isinstance(source, Gather):
        return [origin for item in source.items for origin in origins(item)]
    return [part for part in source.parts if isinstance(part, From)] if isinstance(source, Blend) else ()
