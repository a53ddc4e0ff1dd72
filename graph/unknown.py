"""What is said to a word that is no kind of node, and to one that a kind has no port or parameter for."""

from __future__ import annotations

from collections.abc import KeysView, Mapping
from functools import cache

from graph.errors import Place, suggest
from graph.lookup import Scope
from graph.node import Node, parameters, ports
from graph.references import Literal
from graph.workflow import Entry, Input

TORN = "Inside of {...} a text with a comma needs quotes."


def tell_unknown_kind(scope: Scope, kind: str, place: Place) -> None:
    """Tell of a kind that is not there, with the one that is meant."""
    hint = scope.registry.suggest(kind)
    own = "" if hint.startswith("Did") else " A node of your own? Give its folder with --nodes."
    scope.tell("unknown-kind", f'there is no kind of node "{kind}"', place, hint + own)


def tell_unknown(scope: Scope, owner: str, node: type[Node], given: Mapping[str, Input]) -> None:
    """Tell of every name that a kind has no port or parameter for. Of a text that its commas tore, once."""
    if given.keys() <= _inputs(node):
        return
    told = False
    for part in [part for name, part in given.items() if name not in _inputs(node)]:
        is_torn = _is_torn_off(part)
        if not (is_torn and told):
            what = f'{owner}: a {node.kind} has no port or parameter "{part.name}"'
            scope.tell("unknown-parameter", what, part.place, TORN if is_torn else _hint(scope, part.name, node))
        told = told or is_torn


def is_meant(name: str, entry: Entry, node: type[Node]) -> bool:
    """Whether a name that is missing is given, but with a mistake that is told already."""
    known = _inputs(node)
    hints = [suggest(given, known, node.elsewhere) for given in entry.inputs if given not in known]
    return name in entry.unreadable or f'Did you mean "{name}"?' in hints


def _hint(scope: Scope, name: str, node: type[Node]) -> str:
    """What the kind calls it; else which nodes of the workflow have it; else what the kind has."""
    hint = suggest(name, _inputs(node), node.elsewhere)
    if hint.startswith("Did") or not scope.has_patience(len(scope.workflow.nodes)):
        return hint
    kinds = {kind for kind in scope.registry.kinds if name in _inputs(scope.registry[kind])}
    owners = [f"{entry.name} ({entry.kind})" for entry in scope.workflow.nodes.values() if entry.kind in kinds]
    return f'{" and ".join(owners[:4])} can take "{name}".' if owners else hint


@cache
def _inputs(node: type[Node]) -> KeysView[str]:
    return {**ports(node), **parameters(node)}.keys()


def _is_torn_off(part: Input) -> bool:
    """Whether a name is the rest of a text that ended at its comma: inside of {...}, with no colon behind it."""
    behind = part.place.text[part.place.column - 1 + len(part.name) :].lstrip()
    return isinstance(part.value, Literal) and part.value.value is None and behind.startswith((",", "}"))
