"""What the store is asked about results of the past, beside what a key gave."""

from __future__ import annotations

import json
from collections.abc import Iterable

from graph.rows import chunks, marks
from graph.store import Result, Store

LATEST = "latest"
"""The space of notes that hold the last keys of a workflow's nodes, as JSON under the workflow's name."""


def recent(store: Store, most: int) -> list[Result]:
    """The undamaged among the results that were written last, newest first."""
    keys = [str(row[0]) for row in store.rows("SELECT key FROM results ORDER BY rowid DESC LIMIT ?", most)]
    found = store.results(keys)
    return [found[key] for key in keys if key in found]


def node_of(store: Store, key: str) -> tuple[str, str] | None:
    """A workflow, and a node of it, whose last key this is. Looks at every such note: for a question of a person."""
    for workflow, keys in store.notes(LATEST).items():
        for node, other in json.loads(keys).items():
            if other == key:
                return workflow, node
    return None


def sizes(store: Store, digests: Iterable[str]) -> dict[str, int]:
    """The bytes of each of these blobs that has a row."""
    found: dict[str, int] = {}
    for some in chunks(digests):
        found.update(store.rows(f"SELECT digest, size FROM blobs WHERE digest IN ({marks(some)})", *some))
    return found
