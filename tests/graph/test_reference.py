"""What is told of the kinds of nodes, in the terminal and as Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

import darkroom
from graph.errors import UsageError, WorkflowError
from graph.fields import takes
from graph.filerefs import PictureFile
from graph.node import Context, Field, Node, outputs, parameters, ports
from graph.reference import markdown, overview, page
from graph.registry import Registry
from graph.values import Latents, Mask, Picture
from graph.wiring import wire
from graph.workflow import parse

DOCS = Path(__file__).parents[2] / "docs"


class Found(NamedTuple):
    image: Picture
    mask: Mask


class Find(Node, kind="find", version=1):
    """Find a picture. It may be anywhere.

    path: where to look first,
    and where to look then.
    Nothing else is read.
    """

    path: PictureFile = Field(description="the file")

    def run(self, ctx: Context) -> Found:
        raise NotImplementedError


class Stack(Node, kind="stack", version=1):
    """Stack pictures; a|b and a * b are no Markdown here."""

    order: Literal["up", "down"] = Field(description="which | way")
    gap: int = Field(gt=3, multiple_of=8, description="pixels")
    ratio: float = Field(lt=-2)
    title: str = Field(min_length=2)
    note: str | None = Field(default=None)
    tint: str = Field(default="true")

    def run(
        self, ctx: Context, images: list[Picture], mask: Mask, caption: str, over: Latents | None = None
    ) -> Picture:
        raise NotImplementedError


KINDS = Registry({node.kind: node for node in (Find, Stack)})
EXAMPLE = """\
stack:
  use: stack
  images: [$find]
  mask: $find.mask
  caption: a text
  order: up
  gap: 8
  ratio: -3.0
  title: a text
  tint: "true\""""


def test_the_overview_has_a_line_for_every_kind() -> None:
    lines = overview(KINDS, None, colour=False).splitlines()

    assert ["find", "->", "image,", "mask", "Find", "a", "picture."] == lines[1].split()
    assert "images, mask, caption, [over] -> image" in lines[2]


def test_the_overview_fits_the_terminal() -> None:
    assert max(map(len, overview(darkroom.kinds(), 60, colour=False).splitlines())) <= 60


def test_a_page_tells_types_ranges_and_defaults() -> None:
    told = page(KINDS, "stack", 120, colour=False)

    assert "  images   list[Picture]\n" in told
    assert "  over     Latents, optional\n" in told
    assert "  order  one of up, down, required: which | way\n" in told
    assert "  gap    a whole number above 3, a multiple of 8, required: pixels\n" in told
    assert '  tint   a text, default "true"' in told


def test_a_page_fits_the_terminal() -> None:
    for kind in darkroom.kinds().kinds:
        assert max(map(len, page(darkroom.kinds(), kind, 60, colour=False).splitlines())) <= 60


def test_a_page_begins_a_line_where_the_docstring_names_something() -> None:
    assert "path: where to look first, and where to look then.\nNothing else is read.\n" in page(
        KINDS, "find", 80, False
    )


def test_an_unknown_kind_is_answered_with_one_that_is_near() -> None:
    with pytest.raises(UsageError) as raised:
        page(KINDS, "stak", None, colour=False)

    assert 'there is no kind of node "stak"\n  Did you mean "stack"?' == str(raised.value)


def test_an_example_refers_to_nodes_that_give_what_it_takes() -> None:
    assert EXAMPLE in markdown(KINDS)


def test_every_example_is_valid() -> None:
    """All examples together are a workflow, but for the files that they name."""
    sections = markdown(darkroom.kinds()).split("```yaml\n")[1:]
    entries = "".join(f"  {line}\n" for section in sections for line in section.partition("\n```")[0].splitlines())
    workflow = parse(f"darkroom: 1\nnodes:\n{entries}".encode(), "examples.yaml", Path.cwd())
    with pytest.raises(WorkflowError) as raised:
        wire(workflow, darkroom.kinds())

    assert [] == [str(mistake) for mistake in raised.value.mistakes if not mistake.missing]


@pytest.mark.parametrize("kind", sorted(darkroom.kinds().kinds))
def test_what_a_docstring_lists_is_there_each_on_a_line_of_its_own(kind: str) -> None:
    """Ports, parameters, outputs, and the choices of parameters."""
    node = darkroom.kinds()[kind]
    prose = markdown(Registry({kind: node})).partition(f"## {kind}\n")[2].partition("\n| ")[0]
    known = {*parameters(node), *ports(node), *outputs(node)}
    words = {word for field in node.model_fields.values() for word in re.findall(r"\w+", takes(field))}
    listed = [name for line in re.findall(r"^- (`[^:]*`):", prose, re.M) for name in re.findall(r"\w+", line)]

    assert [] == [name for name in listed if name not in known | words]
    assert [] == [name for name in re.findall(r"[.;] (\w+): ", prose) if name in known]


def test_what_markdown_would_read_as_its_own_is_escaped() -> None:
    told = markdown(KINDS)

    assert r"| `order` | one of up, down | required | which \| way |" in told
    assert r"a|b and a \* b are no Markdown here." in told
    assert "- `path`: where to look first, and where to look then.\n\nNothing else is read." in told


def test_markdown_is_the_same_in_any_order_of_declaration() -> None:
    assert markdown(darkroom.kinds()) == markdown(Registry(dict(sorted(darkroom.kinds().kinds.items()))))


def test_the_page_of_all_nodes_is_up_to_date() -> None:
    """If this fails: make docs."""
    assert markdown(darkroom.kinds()) + "\n" == (DOCS / "nodes.md").read_text(encoding="utf-8")
