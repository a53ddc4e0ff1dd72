"""What an input may be: a literal, a reference, a text with references in it, or several of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from sys import intern

from graph.document import Branch, Items, Scalar, Table
from graph.errors import Mistake, Place
from graph.records import record
from graph.syntax import named

NAME = r"[^\W\d][\w-]*"
"""What params, nodes and ports may be called: letters of any script, digits, "_" and "-"."""


@record
class Literal:
    """A value written in the file, or set from outside."""

    value: str | int | float | bool | None
    """What the scalar is by the rules of YAML 1.2."""
    text: str
    """The scalar's source text: what a text parameter takes."""
    quoted: bool
    place: Place


@record
class Link:
    """A reference to a param or to an output of a node: `$name`, `$name.port`, `$name.port.0`."""

    name: str
    path: tuple[str | int, ...]
    place: Place

    def __str__(self) -> str:
        return "$" + ".".join((self.name, *map(str, self.path))) if self.path else f"${self.name}"


@record
class Template:
    """A text with references in it: `a ${name} b`. Always gives a text."""

    parts: tuple[str | Link, ...]
    place: Place


@record
class First:
    """The first of several references whose node was not skipped: `{first: [$a, $b]}`."""

    links: tuple[Link, ...]
    place: Place


@record
class Many:
    """A YAML list as the value of one input."""

    items: tuple[Expression, ...]
    place: Place


Expression = Literal | Link | Template | First | Many


def expression(branch: Branch, mistakes: list[Mistake]) -> Expression | None:
    """Read the value of an input. None where it is none, and `mistakes` then says why."""
    if isinstance(branch, Scalar):
        return _scalar(branch, mistakes)
    if isinstance(branch, Table):
        return _first(branch, mistakes)
    items = [expression(item, mistakes) for item in branch.items]
    return Many(tuple(item for item in items if item), branch.place) if all(items) else None


def reference(branch: Branch, what: str, mistakes: list[Mistake]) -> Link | None:
    """Read a value that must be one whole reference. `what` names the key in messages."""
    before = len(mistakes)
    value = expression(branch, mistakes) if isinstance(branch, Scalar) else None
    if isinstance(value, Link):
        return value
    if len(mistakes) == before:
        message = f"{what} takes a reference, but got {described(branch)}"
        is_name = isinstance(branch, Scalar) and re.fullmatch(NAME, branch.text)
        hint = f"Write ${branch.text}." if isinstance(branch, Scalar) and is_name else "Write $name."
        mistakes.append(Mistake("bad-reference", message, branch.place, hint))
    return None


def link(text: str, place: Place) -> Link | None:
    """Read a text that is one whole reference, or None."""
    found = _WHOLE.fullmatch(text)
    return Link(intern(found[1]), _path(found[2]), place) if found else None


def malformed(text: str, place: Place) -> Mistake:
    """Tell what is wrong with the reference that `text` begins with: it has a dollar sign and is none."""
    start = _WHOLE.match(text)
    if text.startswith("${"):
        end = text.find("}")
        message = f"{named(text[: end + 1] if end > 0 else text)} is no reference"
        return Mistake("bad-reference", message, place, "Write ${name}, or $$ for a dollar sign.")
    if not start:
        hint = "Write $name for a reference, or $$ for a dollar sign."
        return Mistake("bad-reference", f"{named(text)} is no reference", place, hint)
    index = re.match(r"\[\s*(\w*)\s*\]?", text[start.end() :])
    if index:
        message = f"{named(start[0] + index[0])}: an index takes a dot, not brackets"
        return Mistake("bad-reference", message, place, f"Write {start[0]}.{index[1] or 0}.")
    if text[start.end() :] == ".":
        hint = f"Write {start[0]}, or {start[0]}.port."
        return Mistake("bad-reference", f"{named(text)} ends with a dot", place, hint)
    inside = f"${{{start[0][1:]}}}"
    message = f"{named(start[0])} stands in a longer text"
    return Mistake("bad-reference", message, place, f"Write {inside} to put its value in, or $$ for a dollar sign.")


def first_character(text: str, place: Place) -> Place | None:
    """The place of the first character of a scalar's text; None where its source is written otherwise."""
    line, at = place.text, place.column - 1  # never cut: a line may hold 100,000 references
    if line.startswith(text, at):
        return place
    if line.startswith(("'", '"'), at) and line.startswith(text, at + 1):
        return replace(place, column=place.column + 1)
    return None


def described(branch: Branch) -> str:
    """Say what a value is, for messages."""
    if isinstance(branch, Items):
        return "a list" if branch.items else "an empty list"
    if isinstance(branch, Table):
        return "a table"
    return named(branch.text) if branch.text or branch.quoted else "nothing"


_WHOLE = re.compile(rf"\$({NAME})((?:\.(?:{NAME}|[0-9]{{1,9}}))*)")
_DOLLAR = re.compile(rf"\$\$|\$\{{({NAME})((?:\.(?:{NAME}|[0-9]{{1,9}}))*)\}}|\$")


def _path(text: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part[0] in "0123456789" else part for part in text.split(".")[1:])


def _scalar(scalar: Scalar, mistakes: list[Mistake]) -> Literal | Link | Template | None:
    text = scalar.text
    if "$" not in text:
        return Literal(scalar.value, text, scalar.quoted, scalar.place)
    if whole := link(text, first_character(text, scalar.place) or scalar.place):
        return whole
    before = len(mistakes)
    parts = tuple(_parts(text, scalar.place, mistakes))
    if len(mistakes) > before:
        return None
    if any(isinstance(part, Link) for part in parts):
        return Template(_joined(parts), scalar.place)
    plain = "".join(map(str, parts))
    return Literal(plain, plain, scalar.quoted, scalar.place)


def _parts(text: str, place: Place, mistakes: list[Mistake]) -> Iterator[str | Link]:
    """Yield the texts and references of a text, `$$` as a text of its own."""
    first = first_character(text, place)  # once for all of them: it compares the whole text
    end = 0
    for found in _DOLLAR.finditer(text):
        if found.start() > end:
            yield text[end : found.start()]
        end = found.end()
        here = replace(first, column=first.column + found.start()) if first else place
        if found[0] == "$$":
            yield "$"
        elif found[1]:
            yield Link(found[1], _path(found[2]), here)
        else:
            mistakes.append(malformed(text[found.start() :], here))
    if end < len(text):
        yield text[end:]


def _joined(parts: tuple[str | Link, ...]) -> tuple[str | Link, ...]:
    """Put neighbouring texts together."""
    joined: list[str | Link] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)


def _first(table: Table, mistakes: list[Mistake]) -> First | None:
    keys = [key.text for key, _ in table.entries]
    if keys != ["first"]:
        mistakes.append(_no_value(table))
        return None
    choices = table.entries[0][1]
    if not isinstance(choices, Items) or not choices.items:
        message = f"first takes a list of references, but got {described(choices)}"
        mistakes.append(Mistake("bad-reference", message, choices.place, "Write {first: [$a, $b]}."))
        return None
    links = [reference(item, "first", mistakes) for item in choices.items]
    return First(tuple(one for one in links if one), table.place) if all(links) else None


def _no_value(table: Table) -> Mistake:
    hint = "A value is a text, a number, a list, a reference such as $name, or {first: [$a, $b]}."
    if len(table.entries) == 1:
        key, value = table.entries[0]
        if isinstance(value, Scalar) and value.value is None and re.fullmatch(NAME, key.text):
            hint = f"Write ${key.text} for a reference, or quote the text."
    return Mistake("syntax", "a table is no value of an input", table.place, hint)
