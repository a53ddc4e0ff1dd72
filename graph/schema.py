"""The workflow language as a JSON Schema (2020-12), for editors that complete and check YAML while it is typed."""

from __future__ import annotations

from typing import Any

from graph.registry import Registry


def json_schema(registry: Registry) -> dict[str, Any]:
    """Describe a workflow document with these kinds of nodes."""
    raise NotImplementedError
