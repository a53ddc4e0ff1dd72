"""A graph as a drawing: Mermaid, Graphviz' dot, or SVG with a layout of our own."""

from __future__ import annotations

from typing import Literal

from graph.steps import Graph

Format = Literal["mermaid", "dot", "svg"]


def draw(graph: Graph, format: Format) -> str:
    """Draw a graph: its nodes with their kinds, an edge for every link, its outputs; skipped nodes are dashed."""
    raise NotImplementedError
