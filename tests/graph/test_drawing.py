"""Drawings of a graph: what is in them, and that boxes do not lie over one another."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from graph.drawing import Format, draw
from graph.node import Context, Field, Node
from graph.registry import Registry
from graph.steps import Graph
from graph.values import Picture
from graph.wiring import wire
from graph.workflow import parse

SVG = "{http://www.w3.org/2000/svg}"


class Pair(NamedTuple):
    left: Picture
    right: Picture


class Split(Node, kind="split", version=1):
    """Split nothing in two."""

    def run(self, ctx: Context) -> Pair:
        raise NotImplementedError


class Mix(Node, kind="mix", version=1):
    """Mix pictures."""

    share: float = Field(default=0.5)

    def run(self, ctx: Context, image: Picture, other: Picture | None = None) -> Picture:
        raise NotImplementedError


KINDS = Registry({node.kind: node for node in (Split, Mix)})
SKETCH = """\
darkroom: 1
params: {large: false}
nodes:
  cut: {use: split}
  one: {use: mix, image: $cut, other: $cut.right}
  big: {use: mix, image: $one, when: $large}
  huge: {use: mix, image: $big}
  both: {use: mix, image: {first: [$huge, $one]}, after: $cut}
outputs: {print: $both, more: $huge}
"""


def graph_of(text: str) -> Graph:
    return wire(parse(text.encode(), "a <b> & c.yaml", Path.cwd()), KINDS)


def chain(length: int) -> Graph:
    nodes = "".join(f"  mixed{at}: {{use: mix, image: $mixed{at - 1}, other: $cut}}\n" for at in range(1, length))
    return graph_of(f"darkroom: 1\nnodes:\n  cut: {{use: split}}\n  mixed0: {{use: mix, image: $cut}}\n{nodes}")


@pytest.mark.parametrize("format", ["mermaid", "dot", "svg"])
def test_every_node_its_kind_and_every_output_is_in_the_drawing(format: Format) -> None:
    drawn = draw(graph_of(SKETCH), format)

    assert [] == [name for name in ("cut", "one", "big", "huge", "both", "split", "mix", "print") if name not in drawn]


def test_a_mermaid_edge_is_labelled_by_its_port() -> None:
    assert '  n0 -->|"other"| n1\n' in draw(graph_of(SKETCH), "mermaid")


def test_a_dot_edge_is_labelled_by_its_port() -> None:
    assert '  "node cut" -> "node one" [label="other"]\n' in draw(graph_of(SKETCH), "dot")


def test_what_only_comes_after_is_drawn_dotted() -> None:
    drawn = draw(graph_of(SKETCH), "mermaid")

    assert '  n0 -.->|"after"| n4\n' in drawn


@pytest.mark.parametrize(
    ("format", "pattern"), [("mermaid", r"class n2,n3 skipped"), ("dot", r'"node (big|huge)" .*dashed')]
)
def test_a_skipped_node_and_what_hangs_on_it_are_dashed(format: Format, pattern: str) -> None:
    assert re.search(pattern, draw(graph_of(SKETCH), format))


def test_a_node_with_another_choice_is_not_skipped() -> None:
    skipped = re.findall(r'class="skipped".*?class="name"[^>]*>(\w+)<', draw(graph_of(SKETCH), "svg"))

    assert ["big", "huge"] == skipped


def test_the_title_of_an_svg_is_escaped() -> None:
    assert "a <b> & c" == ElementTree.fromstring(draw(graph_of(SKETCH), "svg")).findtext(f"{SVG}title")


def test_every_edge_of_an_svg_has_its_port_written_beside_it() -> None:
    texts = [part.text for part in ElementTree.fromstring(draw(graph_of(SKETCH), "svg")).iter(f"{SVG}text")]

    assert {"image", "other", "left", "right", "after"} <= set(texts)


@pytest.mark.parametrize("graph", [graph_of(SKETCH), chain(12)], ids=["sketch", "chain"])
def test_no_box_lies_over_another_nor_outside(graph: Graph) -> None:
    image = ElementTree.fromstring(draw(graph, "svg"))
    boxes = [box for box in image.iter(f"{SVG}rect") if "class" in box.attrib]
    areas = [tuple(float(box.attrib[name]) for name in ("x", "y", "width", "height")) for box in boxes]
    right, bottom = float(image.attrib["width"]), float(image.attrib["height"])

    assert [] == [(a, b) for a, b in combinations(areas, 2) if _overlap(a, b)]
    heights = [float(y) for y in re.findall(r"[ C](?:[\d.]+ )([\d.]+)", " ".join(_paths(image)))]
    assert max(heights) < bottom
    assert all(x >= 0 and y >= 0 and x + width <= right and y + height <= bottom for x, y, width, height in areas)


def test_a_drawing_is_the_same_every_time() -> None:
    assert draw(graph_of(SKETCH), "svg") == draw(graph_of(SKETCH), "svg")


def test_a_chain_of_a_thousand_nodes_is_drawn() -> None:
    assert 1000 == draw(chain(1000), "svg").count(">mix</text>")


def _paths(image: ElementTree.Element) -> list[str]:
    return [path.attrib["d"].replace("M", " ") for path in image.iter(f"{SVG}path")]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
