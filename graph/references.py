"""What an input may be: a literal, a reference, a text with references in it, or several of them."""

from __future__ import annotations

from dataclasses import dataclass

from graph.errors import Place


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in the file, or set from outside."""

    value: str | int | float | bool | None
    """What the scalar is by the rules of YAML 1.2."""
    text: str
    """The scalar's source text: what a text parameter takes."""
    quoted: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to a param or to an output of a node: `$name`, `$name.port`, `$name.port.0`."""

    name: str
    path: tuple[str | int, ...]
    place: Place

    def __str__(self) -> str:
        return "$" + ".".join((self.name, *map(str, self.path)))


@dataclass(frozen=True, slots=True)
class Template:
    """A text with references in it: `a ${name} b`. Always gives a text."""

    parts: tuple[str | Link, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class First:
    """The first of several references whose node was not skipped: `{first: [$a, $b]}`."""

    links: tuple[Link, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Many:
    """A YAML list as the value of one input."""

    items: tuple[Expression, ...]
    place: Place


Expression = Literal | Link | Template | First | Many
