"""Workflows whose nodes (`trivial_nodes/`) cost nothing, so that all that is measured is the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping


def chain(nodes: int) -> str:
    """Every node takes what the one before it gives."""
    return _document(
        "node-0: {use: number, value: 0}",
        *(f"node-{index}: {{use: add, number: $node-{index - 1}, value: {index}}}" for index in range(1, nodes)),
        result=f"node-{nodes - 1}",
    )


def fan(nodes: int) -> str:
    """One node is taken by all others, and the last takes all of those."""
    names = [f"node-{index}" for index in range(1, nodes - 1)]
    return _document(
        "node-0: {use: number, value: 0}",
        *(f"{name}: {{use: add, number: $node-0, value: {index}}}" for index, name in enumerate(names, 1)),
        f"total: {{use: total, numbers: [{', '.join('$' + name for name in names)}]}}",
        result="total",
    )


def _document(*lines: str, result: str) -> str:
    return "\n".join(["darkroom: 1", "name: trivial", "nodes:", *(f"  {line}" for line in lines),
                      "outputs:", f"  result: ${result}"]) + "\n"  # fmt: skip


SHAPES: Mapping[str, Callable[[int], str]] = {"chain": chain, "fan": fan}


def calls(shape: str, nodes: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The same graphs for engines without a language: (what a call adds, the earlier calls whose results it sums)."""
    yield 0, ()
    if shape == "chain":
        yield from ((index, (index - 1,)) for index in range(1, nodes))
    else:
        yield from ((index, (0,)) for index in range(1, nodes - 1))
        yield 0, tuple(range(1, nodes - 1))


def result(shape: str, nodes: int) -> int:
    """What each of these graphs ends in."""
    last = nodes - 1 if shape == "chain" else nodes - 2
    return last * (last + 1) // 2
