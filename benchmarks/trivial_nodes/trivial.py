"""Nodes that cost nothing, so that all that is measured is the engine."""

from __future__ import annotations

from graph.node import Context, Node


class Number(Node, kind="number", version=1):
    """Give a number."""

    value: int = 0

    def run(self, ctx: Context) -> int:
        return self.value


class Add(Node, kind="add", version=1):
    """Add to a number."""

    value: int = 1

    def run(self, ctx: Context, number: int) -> int:
        return number + self.value


class Total(Node, kind="total", version=1):
    """Add numbers up."""

    def run(self, ctx: Context, numbers: list[int]) -> int:
        return sum(numbers)
