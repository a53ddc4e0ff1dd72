"""Where the value of a port or parameter comes from, once references are looked up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Constant:
    """A plain value, known from the file."""

    value: str | int | float | bool | None


class From(NamedTuple):
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


def origins(source: Source) -> Iterator[From]:
    """Every output of another step that a source may take."""
    if isinstance(source, From):
        yield source
    elif isinstance(source, Choice):
        yield from source.options
    elif isinstance(source, Gather):
        for item in source.items:
            yield from origins(item)
    elif isinstance(source, Blend):
        yield from (part for part in source.parts if isinstance(part, From))
