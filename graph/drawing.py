"""A graph as a drawing: Mermaid, Graphviz' dot, or SVG with a layout of our own.

The layout is that of Sugiyama, Tagawa and Toda (1981), from left to right: every box one column after the last of
those it takes from, long edges led through the columns between, the order in a column by the barycentre of its
neighbours. Nothing recurses: a chain may be of any length.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from graph.node import outputs
from graph.sources import Choice, From, Gather, Source, origins
from graph.steps import Graph, Step
from graph.tables import seen_width

Format = Literal["mermaid", "dot", "svg"]


def draw(graph: Graph, format: Format) -> str:
    """Draw a graph: its nodes with their kinds, an edge for every link, its outputs; skipped nodes are dashed."""
    boxes, edges = _boxes(graph), tuple(_edges(graph))
    return {"mermaid": _mermaid, "dot": _dot, "svg": _svg}[format](graph.workflow.name, boxes, edges)


@dataclass(frozen=True, slots=True)
class Box:
    """A node, or an output of the workflow."""

    id: str
    name: str
    kind: str
    """Empty for an output."""
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """A value on its way from one box to another."""

    source: str
    output: str
    target: str
    port: str
    """Empty at an output."""


def _boxes(graph: Graph) -> tuple[Box, ...]:
    """Every box after those that it takes from."""
    skipped = _skipped(graph)
    nodes = [Box(_node(name), name, step.kind, name in skipped) for name, step in graph.steps.items()]
    return (*nodes, *(Box(_output(wanted.name), wanted.name, "") for wanted in graph.wanted))


def _edges(graph: Graph) -> Iterator[Edge]:
    for name, step in graph.steps.items():
        links = [*step.inputs.items(), *step.linked.items(), *(("when", fact) for fact in step.facts.values())]
        found = {_edge(graph, origin, _node(name), port): None for port, link in links for origin in origins(link)}
        linked = {edge.source for edge in found}
        yield from found
        yield from (Edge(_node(need), "", _node(name), "after") for need in step.needs if _node(need) not in linked)
    for wanted in graph.wanted:
        yield from (_edge(graph, origin, _output(wanted.name), "") for origin in origins(wanted.source))


def _edge(graph: Graph, origin: From, target: str, port: str) -> Edge:
    return Edge(_node(origin.step), list(outputs(graph.steps[origin.step].node))[origin.output], target, port)


def _node(name: str) -> str:
    return f"node {name}"


def _output(name: str) -> str:
    return f"output {name}"


def _skipped(graph: Graph) -> set[str]:
    """The nodes that the file alone switches off, and those that go without a value because of it."""
    off: set[str] = set()
    for name, step in graph.steps.items():
        if step.off or any(_is_lost(part, off) for part in _parts(step)):
            off.add(name)
    return off


def _parts(step: Step) -> Iterator[Source]:
    for source in (*step.inputs.values(), *step.linked.values(), *step.facts.values()):
        yield from source.items if isinstance(source, Gather) else (source,)


def _is_lost(source: Source, off: set[str]) -> bool:
    steps = [origin.step in off for origin in origins(source)]
    return bool(steps) and (all(steps) if isinstance(source, Choice) else any(steps))


# As text for other programs


def _mermaid(title: str, boxes: Sequence[Box], edges: Sequence[Edge]) -> str:
    ids = {box.id: f"n{at}" for at, box in enumerate(boxes)}
    lines = ["---", f"title: {json.dumps(title, ensure_ascii=False)}", "---", "flowchart LR"]
    for box in boxes:
        label = _entities(box.name) + (f"<br/><small>{_entities(box.kind)}</small>" if box.kind else "")
        lines.append(f'  {ids[box.id]}["{label}"]' if box.kind else f'  {ids[box.id]}(["{label}"])')
    for edge in edges:
        port = f'|"{_entities(edge.port)}"|' if edge.port else ""
        lines.append(f"  {ids[edge.source]} {'-->' if edge.output else '-.->'}{port} {ids[edge.target]}")
    results = [ids[box.id] for box in boxes if not box.kind]
    skipped = [ids[box.id] for box in boxes if box.skipped]
    lines += ["  classDef output stroke-width:3px", f"  class {','.join(results)} output"] if results else []
    lines += ["  classDef skipped stroke-dasharray:5", f"  class {','.join(skipped)} skipped"] if skipped else []
    return "\n".join(lines)


def _entities(text: str) -> str:
    """Mermaid's own escapes."""
    return "".join(letter if letter.isalnum() or letter in " _-.,:" else f"#{ord(letter)};" for letter in text)


def _dot(title: str, boxes: Sequence[Box], edges: Sequence[Edge]) -> str:
    lines = [
        f"digraph {_quoted(title)} {{",
        "  rankdir=LR",
        '  node [shape=box, style="rounded", fontname="sans-serif"]',
        '  edge [fontname="sans-serif", fontsize=10]',
    ]
    for box in boxes:
        style = ', style="rounded,dashed"' if box.skipped else "" if box.kind else ', style="rounded,bold"'
        label = _quoted(box.name)[:-1] + (f'\\n{box.kind}"' if box.kind else '"')
        lines.append(f"  {_quoted(box.id)} [label={label}{style}]")
    for edge in edges:
        style = "" if edge.output else ", style=dashed"
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(edge.port)}{style}]")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# As SVG. All lengths are in pixels.

LETTER = 7.4
"""Width of a letter of the names; the other texts are smaller."""
HEAD = 42
"""Height of a box above its ports."""
ROW = 17
"""Height of a port."""
ACROSS = 64
"""Between two columns."""
BETWEEN = 18
"""Between two boxes of a column."""
MARGIN = 20
SWEEPS = 8

_STYLE = (
    "text{font-family:system-ui,'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#1a1a1a}"
    ".name{font-size:13px;font-weight:600}.kind{font-size:11px;fill:#555}.port{font-size:11px;fill:#333}"
    ".node{fill:#f4f6fa;stroke:#5b6b8c}.output{fill:#e6f4e6;stroke:#2f7d32;stroke-width:2}"
    ".skipped{fill:#fafafa;stroke:#999;stroke-dasharray:5 4}.edge{fill:none;stroke:#7a879f;stroke-width:1.4}"
    ".order{stroke-dasharray:3 4}.dot{fill:#7a879f}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A box with what is written in it."""

    box: Box
    taken: tuple[str, ...]
    """Its ports with an edge, each a row on the left."""
    given: tuple[str, ...]
    """Its outputs with an edge, each a row on the right."""

    @property
    def height(self) -> float:
        return HEAD + ROW * max(len(self.taken), len(self.given)) if self.box.kind else 34

    @property
    def width(self) -> float:
        ports = max(map(seen_width, self.taken), default=0) + max(map(seen_width, self.given), default=0) + 4
        return LETTER * max(seen_width(self.box.name) + 2, seen_width(self.box.kind) + 2, ports) + 16

    def port(self, names: Sequence[str], name: str) -> float:
        """How far below its middle the row of a port is."""
        return HEAD + ROW * (names.index(name) + 0.5) - 4 - self.height / 2 if name in names else 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is. Bends, where long edges cross a column, have names as boxes do, and no shape."""

    shapes: Mapping[str, Shape]
    pieces: tuple[Edge, ...]
    """The edges, in pieces from one column to the next."""
    bends: Mapping[str, str]
    """The output that passes each bend."""
    left: Mapping[str, float]
    right: Mapping[str, float]
    middle: Mapping[str, float]


def _svg(title: str, boxes: Sequence[Box], edges: Sequence[Edge]) -> str:
    layout = _layout(_shapes(boxes, edges), edges)
    width = round(max(layout.right.values(), default=0) + MARGIN)
    bottoms = [layout.middle[name] + shape.height / 2 for name, shape in layout.shapes.items()]
    height = round(max([*bottoms, *(layout.middle[name] for name in layout.bends)], default=0) + MARGIN)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *(_drawn_piece(piece, layout) for piece in layout.pieces),
            *(_drawn_bend(name, layout) for name in layout.bends),
            *(_drawn_box(shape, layout.left[name], layout.middle[name]) for name, shape in layout.shapes.items()),
            "</svg>",
        ]
    )


def _shapes(boxes: Sequence[Box], edges: Sequence[Edge]) -> dict[str, Shape]:
    taken: dict[str, dict[str, None]] = defaultdict(dict)
    given: dict[str, dict[str, None]] = defaultdict(dict)
    for edge in edges:
        taken[edge.target][edge.port] = None
        given[edge.source][edge.output] = None
    return {box.id: Shape(box, *(tuple(filter(None, ports[box.id])) for ports in (taken, given))) for box in boxes}


def _layout(shapes: Mapping[str, Shape], edges: Sequence[Edge]) -> Layout:
    layers = _layers(list(shapes), edges)
    pieces, bends = _pieces(edges, layers)
    columns: list[list[str]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for name, layer in layers.items():
        columns[layer].append(name)
    before, after = defaultdict(list), defaultdict(list)
    for piece in pieces:
        before[piece.target].append(piece.source)
        after[piece.source].append(piece.target)
    _order(columns, before, after)
    heights = {name: shapes[name].height if name in shapes else 4 for name in layers}
    left: dict[str, float] = {}
    right: dict[str, float] = {}
    x = float(MARGIN)
    for names in columns:
        widest = max(shapes[name].width for name in names if name in shapes)
        left |= dict.fromkeys(names, x)
        right |= {name: x + (shapes[name].width if name in shapes else widest) for name in names}
        x += widest + ACROSS
    return Layout(shapes, pieces, bends, left, right, _middles(columns, heights, before, after))


def _layers(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The column of each box: one after the last that it takes from; what takes nothing is put close to its use."""
    sources, targets = defaultdict(list), defaultdict(list)
    for edge in edges:
        sources[edge.target].append(edge.source)
        targets[edge.source].append(edge.target)
    layers: dict[str, int] = {}
    for name in names:
        layers[name] = max((layers[source] + 1 for source in sources[name]), default=0)
    for name in names:
        if not sources[name] and targets[name]:
            layers[name] = min(layers[target] for target in targets[name]) - 1
    return layers


def _pieces(edges: Sequence[Edge], layers: dict[str, int]) -> tuple[tuple[Edge, ...], dict[str, str]]:
    """Cut the edges where they cross columns; add the bends to `layers`. Edges from one output share their bends."""
    pieces: list[Edge] = []
    bends: dict[str, str] = {}
    for edge in edges:
        came = edge.source
        for layer in range(layers[edge.source] + 1, layers[edge.target]):
            bend = f"bend {edge.source}.{edge.output} {layer}"
            if bend not in bends:
                pieces.append(Edge(came, edge.output, bend, ""))
                bends[bend], layers[bend] = edge.output, layer
            came = bend
        pieces.append(Edge(came, edge.output, edge.target, edge.port))
    return tuple(pieces), bends


Neighbours = Mapping[str, Sequence[str]]


def _order(columns: list[list[str]], before: Neighbours, after: Neighbours) -> None:
    """Sort every column by the mean position of its neighbours, to and fro."""
    for near, at in _to_and_fro(len(columns), before, after):
        sides = [columns[side] for side in (at - 1, at + 1) if 0 <= side < len(columns)]
        place = {name: row for side in sides for row, name in enumerate(side)}
        wished = {name: _mean([place[other] for other in near.get(name, ())], row)
                  for row, name in enumerate(columns[at])}  # fmt: skip
        columns[at].sort(key=wished.__getitem__)


def _middles(
    columns: list[list[str]], heights: Mapping[str, float], before: Neighbours, after: Neighbours
) -> dict[str, float]:
    """How far down the middle of everything is: near the mean of its neighbours, with room between."""
    middle: dict[str, float] = {}
    for names in columns:
        middle |= _apart(names, [0.0] * len(names), heights)
    for near, at in _to_and_fro(len(columns), before, after):
        wished = [_mean([middle[other] for other in near.get(name, ())], middle[name]) for name in columns[at]]
        middle |= _apart(columns[at], wished, heights)
    top = min((middle[name] - heights[name] / 2 for name in middle), default=0)
    return {name: y - top + MARGIN for name, y in middle.items()}


def _to_and_fro(count: int, before: Neighbours, after: Neighbours) -> Iterator[tuple[Neighbours, int]]:
    for _ in range(SWEEPS):
        yield from ((before, at) for at in range(1, count))
        yield from ((after, at) for at in reversed(range(count - 1)))


def _apart(names: Sequence[str], wished: Sequence[float], heights: Mapping[str, float]) -> dict[str, float]:
    """Put a column where it wishes to be, in its order, nothing over anything else."""
    placed: list[float] = []
    for at, (name, wish) in enumerate(zip(names, wished, strict=True)):
        room = (heights[name] + heights[names[at - 1]]) / 2 + BETWEEN
        placed.append(max(wish, placed[-1] + room) if placed else wish)
    shift = sum(wished) / len(wished) - sum(placed) / len(placed) if placed else 0
    return {name: y + shift for name, y in zip(names, placed, strict=True)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _drawn_piece(piece: Edge, layout: Layout) -> str:
    source, target = layout.shapes.get(piece.source), layout.shapes.get(piece.target)
    x, to_x = layout.right[piece.source], layout.left[piece.target]
    y = layout.middle[piece.source] + (source.port(source.given, piece.output) if source else 0)
    to_y = layout.middle[piece.target] + (target.port(target.taken, piece.port) if target else 0)
    half = (x + to_x) / 2
    curve = f"M{x:.1f} {y:.1f} C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    end = f'<circle class="dot" cx="{to_x:.1f}" cy="{to_y:.1f}" r="3"/>' if target else ""
    return f'<path class="{_look(piece.output)}" d="{curve}"/>{end}'


def _drawn_bend(name: str, layout: Layout) -> str:
    line = f"M{layout.left[name]:.1f} {layout.middle[name]:.1f} H{layout.right[name]:.1f}"
    return f'<path class="{_look(layout.bends[name])}" d="{line}"/>'


def _look(output: str) -> str:
    return "edge" if output else "edge order"


def _drawn_box(shape: Shape, x: float, middle: float) -> str:
    top, box = middle - shape.height / 2, shape.box
    look = "skipped" if box.skipped else "node" if box.kind else "output"
    texts = [_text("name", x + 12, top + (18 if box.kind else 22), box.name)]
    texts += [_text("kind", x + 12, top + 33, box.kind + (" (skipped)" if box.skipped else ""))] if box.kind else []
    rows = [(x + 8, name, shape.taken, "start") for name in shape.taken]
    rows += [(x + shape.width - 8, name, shape.given, "end") for name in shape.given]
    texts += [_text("port", at, middle + shape.port(names, name) + 4, name, side) for at, name, names, side in rows]
    size = f'x="{x:.1f}" y="{top:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}"'
    return "".join([f'<rect class="{look}" {size} rx="6"/>', *texts])


def _text(look: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    side = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}"{side}>{escape(text)}</text>'
