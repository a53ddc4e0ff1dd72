"""What a reference in a workflow stands for: a param, or an output of a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graph.errors import Mistake, Place, suggest
from graph.fields import Given
from graph.node import SCALARS, Node, Output, outputs
from graph.records import record
from graph.registry import Registry
from graph.sources import Constant, From, Source
from graph.workflow import Link, Workflow

_PATIENCE = 500_000
"""Names that are looked through for hints, about; a second or so."""
_PARAM_TYPES: dict[str, Any] = {"text": str, "path": str, "integer": int, "number": float, "boolean": bool}


@record
class Found:
    """What a reference stands for."""

    type: Any
    many: bool
    source: Source
    literal: Given | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What wiring looks things up in, and the mistakes that it collects."""

    workflow: Workflow
    registry: Registry
    mistakes: list[Mistake]
    params: set[str] = field(default_factory=set)
    """Those that something refers to."""

    def tell(self, code: str, message: str, place: Place, hint: str = "", *, missing: bool = False) -> None:
        self.mistakes.append(Mistake(code, message, place, hint, missing))

    def has_patience(self, names: int) -> bool:
        """Whether to look through so many names for a hint: among very many mistakes that would take minutes."""
        return names * len(self.mistakes) < _PATIENCE


def resolve(scope: Scope, link: Link) -> Found | None:
    """Look a reference up; None if that is a mistake, told here or before."""
    workflow = scope.workflow
    if link.name in workflow.params:
        return _param(scope, link)
    if link.name not in workflow.nodes:
        if link.name not in workflow.unreadable:
            names = [*workflow.params, *workflow.nodes]
            hint = suggest(link.name, names) if scope.has_patience(len(names)) else ""
            scope.tell("unknown-reference", f'nothing is called "{link.name}"', link.place, hint)
        return None
    node = scope.registry.kinds.get(workflow.nodes[link.name].kind)
    return _output(scope, link, node) if node else None


def _param(scope: Scope, link: Link) -> Found | None:
    scope.params.add(link.name)
    param = scope.workflow.params[link.name]
    if link.path:
        scope.tell(
            "bad-reference", f"{link}: ${link.name} is a param and has no parts", link.place, f"Write ${link.name}."
        )
        return None
    literal = param.value
    given = Given(literal.value, literal.text, literal.quoted, param.base)
    return Found(_PARAM_TYPES[param.type], False, Constant(literal.value), given)


def _output(scope: Scope, link: Link, node: type[Node]) -> Found | None:
    known = outputs(node)
    if not link.path:
        main = next(iter(known.values()))
        return Found(main.type, main.many, From(link.name, 0, None, str(link)))
    path = link.path if isinstance(link.path[0], str) else (next(iter(known)), *link.path)
    output = known.get(str(path[0]))
    if output is None:
        what = f'{link}: a {node.kind} has no output "{path[0]}"'
        scope.tell("unknown-output", what, link.place, suggest(str(path[0]), known, node.elsewhere))
        return None
    at = list(known).index(output.name)
    if len(path) == 1:
        return Found(output.type, output.many, From(link.name, at, None, str(link)))
    return _item(scope, link, output, at, path[1:])


def _item(scope: Scope, link: Link, output: Output, at: int, path: tuple[str | int, ...]) -> Found | None:
    if output.many and len(path) == 1 and isinstance(path[0], int):
        return Found(output.type, False, From(link.name, at, path[0], str(link)))
    what = "is a list: only a number may follow" if output.many else "is no list: nothing may follow"
    hint = f"Write ${link.name}.{output.name}" + (".0." if output.many else ".")
    scope.tell("bad-reference", f"{link}: {output.name} {what}", link.place, hint)
    return None


def fits(want: Any, got: Any) -> bool:
    """Whether a value of one type may go where another is wanted; a whole number serves as a number."""
    return got is want or (want is float and got is int) or (want not in SCALARS and issubclass(got, want))
