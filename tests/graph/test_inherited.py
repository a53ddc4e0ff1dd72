"""What a model proposes for the nodes that its parts go to: whom it reaches, and what comes before it."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

import pytest

from graph.document import Scalar, Table, read
from graph.filerefs import Default, FileRef
from graph.node import Context, Field, Node
from graph.registry import Registry
from graph.values import Denoiser, Latents, Tensor, Vae
from graph.views import defaults_table
from tests.graph.lab import Lab, Say


class Box(FileRef):
    """A file whose name is YAML: what it proposes by kind."""

    what = "box"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        return cls(written, folder)

    def members(self) -> tuple[tuple[str, Path], ...]:
        return ()

    def defaults(self) -> tuple[Default, ...]:
        return tuple(
            Default(kind.text, name.text, value.value, value.text, value.quoted, value.place, kind.place, self.path)
            for kind, table in read(self.written.encode(), "box.yaml")[0].entries
            if isinstance(table, Table)
            for name, value in table.entries
            if isinstance(value, Scalar)
        )


class Parts(NamedTuple):
    model: Denoiser
    vae: Vae


class LoadBox(Node, kind="load_box", version=1):
    """Give the parts of a box."""

    path: Box
    dtype: str = "F32"

    def run(self, ctx: Context) -> Parts:
        return Parts(Denoiser("d", "unet", "toy", self.dtype), Vae("d", "vae", "toy"))


class Patch(Node, kind="patch", version=1):
    """Hand a model on."""

    def run(self, ctx: Context, model: Denoiser) -> Denoiser:
        return model


class Paint(Node, kind="paint", version=1):
    """Paint with a model."""

    steps: int = Field(default=30, ge=1, le=50)
    cfg: float = 7.5
    name: str = "x"

    def run(self, ctx: Context, model: Denoiser, other: Denoiser | None = None) -> Latents:
        return Latents(Tensor("U8", (1,), bytes([self.steps])))


class Show(Node, kind="show", version=1):
    """Show latents."""

    steps: int = 1

    def run(self, ctx: Context, latents: Latents, vae: Vae | None = None) -> str:
        return f"{latents.samples.data[0]} {self.steps}"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, Registry(MappingProxyType({node.kind: node for node in (LoadBox, Patch, Paint, Show, Say)})))


BASE = """\
nodes:
  a: {use: load_box, path: "paint: {steps: 20, cfg: 4}\\nshow: {steps: 2}\\nload_box: {dtype: F16}"}
  b: {use: load_box, path: "paint: {steps: 10}"}
"""


def steps(lab: Lab, *lines: str, top: str = "") -> dict[str, object]:
    """The number of steps of every node that has one, and who set it."""
    graph = lab.graph(top + BASE + "".join(f"  {line}\n" for line in lines))
    known = ((name, step.fixed.get("steps"), step.set_by("steps")) for name, step in graph.steps.items())
    return {name: (count, by) for name, count, by in known if count is not None}


def test_a_models_defaults_reach_what_takes_its_parts_however_far(lab: Lab) -> None:
    lines = ("c: {use: patch, model: $a}", "d: {use: patch, model: $c}", "p: {use: paint, model: $d}")

    assert {"p": (20, "model")} == steps(lab, *lines)


def test_they_end_where_no_part_of_the_model_goes_on(lab: Lab) -> None:
    lines = ("p: {use: paint, model: $a}", "q: {use: show, latents: $p}", "r: {use: show, latents: $p, vae: $a.vae}")

    assert {"p": (20, "model"), "r": (2, "model")} == steps(lab, *lines)


def test_they_reach_the_node_that_names_the_model(lab: Lab) -> None:
    assert "F16" == lab.graph(BASE).steps["a"].fixed["dtype"]


def test_the_first_port_with_a_model_decides(lab: Lab) -> None:
    lines = ("p: {use: paint, model: $b, other: $a}", "q: {use: paint, other: $b, model: $a}")

    assert {"p": (10, "model"), "q": (20, "model")} == steps(lab, *lines)


def test_of_a_choice_only_one_model_can_decide(lab: Lab) -> None:
    lines = ("c: {use: patch, model: $a}", "p: {use: paint, model: {first: [$c, $a]}}")

    assert {"p": (20, "model")} == steps(lab, *lines)
    assert {} == steps(lab, "p: {use: paint, model: {first: [$a, $b]}}")


def test_the_node_comes_first_then_the_workflow_then_the_model_then_the_kind(lab: Lab) -> None:
    graph = lab.graph("defaults: {paint: {cfg: 5}}\n" + BASE + "  p: {use: paint, model: $a, name: y}\n")

    assert {"steps": 20, "cfg": 5.0, "name": "y"} == graph.steps["p"].fixed
    assert ["model", "defaults", "node"] == [graph.steps["p"].set_by(name) for name in ("steps", "cfg", "name")]
    rows = [line.split() for line in defaults_table(graph, None, False).splitlines()]
    assert [["p", "steps", "20", "box.yaml"], ["p", "cfg", "5.0", "defaults:"]] == rows[5:7]


def test_only_the_nodes_that_take_a_value_run_again_when_it_changes(lab: Lab) -> None:
    text = BASE + "  p: {use: paint, model: $a}\n  q: {use: show, latents: $p, vae: $a.vae}\n"
    lab.run(text)

    written_out = lab.actions(text.replace("paint, model: $a", "paint, model: $a, steps: 20"))
    assert {"a": "hit", "b": "hit", "p": "hit", "q": "hit"} == written_out
    other = lab.actions(text.replace("show: {steps: 2}", "show: {steps: 3}"))
    assert {"a": "hit", "b": "hit", "p": "hit", "q": "run"} == other


def test_what_is_wrong_in_it_is_told_once_at_its_own_place(lab: Lab) -> None:
    text = BASE.replace("steps: 20, cfg: 4", "stepps: 20, cfg: high").replace("show:", "shwo:").replace("10", "99")
    uses = [f"  {name}: {{use: paint, model: ${model}}}\n" for name, model in ("pa", "qb", "ra")]

    assert [
        ("bad-value", "box.yaml:1:16", "The nearest valid value is 50."),
        ("unknown-parameter", "box.yaml:1:17", 'Did you mean "steps"?'),
        ("bad-value", "box.yaml:1:26", ""),
        ("unknown-kind", "box.yaml:2:1", 'Did you mean "show"?'),
    ] == [(one.code, str(one.place), one.hint) for one in lab.mistakes(text + "".join(uses))]


def test_a_model_that_is_named_when_running_proposes_nothing(lab: Lab) -> None:
    text = "nodes: {n: {use: say, text: x}, a: {use: load_box, path: $n}, p: {use: paint, model: $a}}"

    assert "steps" not in lab.graph(text).steps["p"].fixed
