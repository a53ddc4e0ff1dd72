"""Orders of a directed graph, without recursion: a chain may be of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence


class Cycle(Exception):
    """There is no order, since things need each other. `path` starts and ends with the same name."""

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__(" -> ".join(path))
        self.path = tuple(path)


def dependency_order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Put everything after what it needs. Depth first, so that a value is used soon after it is made.

    Raises Cycle, naming the path.
    """
    order: dict[str, None] = {}
    for start, wanted in needs.items():
        if start not in order:
            if all(map(order.__contains__, wanted)):  # as in most files, where nodes stand in their order
                order[start] = None
            else:
                _visit(start, needs, order)
    return list(order)


def ancestors(needs: Mapping[str, Sequence[str]], of: Iterable[str]) -> set[str]:
    """The things named, and all that they need."""
    found: set[str] = set()
    open_ = [name for name in of if name in needs]
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_.extend(needs[name])
    return found


def _visit(start: str, needs: Mapping[str, Sequence[str]], order: dict[str, None]) -> None:
    path: dict[str, Iterator[str]] = {start: iter(needs[start])}
    while path:
        name = next(reversed(path))
        need = next((other for other in path[name] if other not in order), None)
        if need is None:
            order[name] = None
            del path[name]
        elif need in path:
            names = list(path)
            raise Cycle([*names[names.index(need) :], need])
        else:
            path[need] = iter(needs[need])
