"""The kinds of nodes, told to people: in the terminal and as docs/nodes.md. Everything is read off the node classes."""

from __future__ import annotations

from graph.registry import Registry


def overview(registry: Registry, width: int | None, colour: bool) -> str:
    """List every kind: what it takes, what it gives, and the first sentence of its docstring."""
    raise NotImplementedError


def page(registry: Registry, kind: str, width: int | None, colour: bool) -> str:
    """Explain one kind. Raises UsageError for a kind that is not there."""
    raise NotImplementedError


def markdown(registry: Registry) -> str:
    """Write the text of docs/nodes.md, the same for the same nodes."""
    raise NotImplementedError
