"""An edit runs what follows from it and nothing else: random graphs and edits, against a model that knows no cache.

The model works every value out by itself. A step is to run exactly if nothing of its kind, with its parameters, was
ever run on these very values; so what an edit runs is what it changes and what follows from that, up to where the
values are again what they were.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.graph.lab import Lab

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DEEP = settings(QUICK, max_examples=600)

Value = str | tuple[str, ...]
Links = Mapping[str, tuple[str, ...]]
"""By port, the nodes that it takes; several for a list."""

DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "say": {"text": "", "upper": False, "times": 1},
    "trim": {},
    "join": {"between": "-"},
    "split": {},
    "join_all": {},
}
CHOICES: Mapping[str, tuple[object, ...]] = {
    "text": ("", "a", " a", "A", "b c"),
    "upper": (False, True),
    "times": (1, 2),
    "between": ("-", " ", ""),
}


@dataclass(frozen=True)
class Node:
    """A node of the model."""

    kind: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    links: Links = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(name for names in self.links.values() for name in names)


@dataclass(frozen=True)
class Model:
    """A workflow: nodes by name, each after those that it takes, and how the file is written."""

    nodes: Mapping[str, Node]
    seed: int = 0
    """Of the order of the file, and of what in it is written out."""

    def text(self) -> str:
        drawn = random.Random(self.seed)
        lines = [self._line(name, node, drawn) for name, node in self.nodes.items()]
        if self.seed:
            drawn.shuffle(lines)
        return "\n".join(["nodes:", *lines])

    def _line(self, name: str, node: Node, drawn: random.Random) -> str:
        told = DEFAULTS[node.kind] if self.seed and drawn.random() < 0.5 else {}
        parts = [f"use: {node.kind}", *(f"{key}: {_yaml(value)}" for key, value in {**told, **node.parameters}.items())]
        for port, names in node.links.items():
            links = [f"${name}" for name in names]
            parts.append(
                f"{port}: {links[0] if port != 'texts' or self._is_list(names) else '[' + ', '.join(links) + ']'}"
            )
        if self.seed:
            drawn.shuffle(parts)
        return f"  {name}: {{{', '.join(parts)}}}" + (f"  # {drawn.random()}" if self.seed else "")

    def _is_list(self, names: tuple[str, ...]) -> bool:
        return self.nodes[names[0]].kind == "split"

    def values(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for name, node in self.nodes.items():
            given = {port: [found[need] for need in names] for port, names in node.links.items()}
            found[name] = _computed(node, given)
        return found

    def works(self) -> dict[str, Hashable]:
        """What each node has to do: equal works are done once."""
        values = self.values()
        return {
            name: (
                node.kind,
                tuple(sorted({**DEFAULTS[node.kind], **node.parameters}.items())),
                tuple((port, tuple(values[need] for need in names)) for port, names in sorted(node.links.items())),
            )
            for name, node in self.nodes.items()
        }

    def after(self, names: set[str]) -> set[str]:
        """These nodes and all that follow from them."""
        found = set(names)
        for name, node in self.nodes.items():
            if found.intersection(node.needs):
                found.add(name)
        return found

    def sinks(self) -> set[str]:
        return set(self.nodes) - {need for node in self.nodes.values() for need in node.needs}


def _yaml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _computed(node: Node, given: Mapping[str, list[Any]]) -> Value:
    own = {**DEFAULTS[node.kind], **node.parameters}
    match node.kind:
        case "say":
            text = str(own["text"])
            return (text.upper() if own["upper"] else text) * int(str(own["times"]))
        case "trim":
            return str(given["text"][0]).strip()
        case "join":
            return f"{given['a'][0]}{own['between']}{given.get('b', [''])[0]}"
        case "split":
            return tuple(str(given["text"][0]).split())
    texts = given["texts"]
    return " ".join(texts[0] if isinstance(texts[0], tuple) else texts)


# Graphs


def _parameters(draw: st.DrawFn, kind: str) -> dict[str, object]:
    named = draw(st.sets(st.sampled_from(sorted(DEFAULTS[kind])))) if DEFAULTS[kind] else set()
    return {name: draw(st.sampled_from(CHOICES[name])) for name in sorted(named)}


def _links(draw: st.DrawFn, kind: str, before: Mapping[str, Node]) -> dict[str, tuple[str, ...]]:
    texts = st.sampled_from([name for name, node in before.items() if node.kind != "split"])
    lists = [name for name, node in before.items() if node.kind == "split"]
    match kind:
        case "say":
            return {}
        case "join":
            ports = ["a", "b"] if draw(st.booleans()) else ["a"]
            return {port: (draw(texts),) for port in ports}
        case "join_all":
            several = st.lists(texts, min_size=1, max_size=3).map(tuple)
            return {"texts": draw(several | st.sampled_from(lists).map(lambda name: (name,)) if lists else several)}
    return {"text": (draw(texts),)}


@st.composite
def scattered(draw: st.DrawFn) -> Model:
    nodes = {"n0": Node("say", _parameters(draw, "say"))}
    for at in range(1, draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(sorted(DEFAULTS)))
        nodes[f"n{at}"] = Node(kind, _parameters(draw, kind), _links(draw, kind, nodes))
    return Model(nodes)


@st.composite
def chains(draw: st.DrawFn) -> Model:
    nodes = {"n0": Node("say", _parameters(draw, "say"))}
    for at in range(1, draw(st.integers(3, 12))):
        kind, port = draw(st.sampled_from([("trim", "text"), ("join", "a")]))
        nodes[f"n{at}"] = Node(kind, _parameters(draw, kind), {port: (f"n{at - 1}",)})
    return Model(nodes)


@st.composite
def fans(draw: st.DrawFn) -> Model:
    """One node, many that take it, and one that takes all of these: also a diamond, and several of them."""
    count = draw(st.integers(2, 6))
    arms = {f"arm{at}": Node("join", _parameters(draw, "join"), {"a": ("top",)}) for at in range(count)}
    end = {"end": Node("join_all", {}, {"texts": tuple(arms)}), "next": Node("trim", {}, {"text": ("end",)})}
    return Model({"top": Node("say", _parameters(draw, "say"))} | arms | end)


GRAPHS = scattered() | chains() | fans()


# Edits: each gives the workflow anew, and the nodes that it changes

Edit = Callable[[st.DrawFn, Model], tuple[Model, set[str]]]


def _with(model: Model, name: str, node: Node) -> Model:
    return replace(model, nodes={**model.nodes, name: node})


def _unused(model: Model, word: str) -> str:
    return next(name for at in itertools.count() if (name := f"{word}{at}") not in model.nodes)


def change_a_parameter(draw: st.DrawFn, model: Model) -> tuple[Model, set[str]]:
    name = draw(st.sampled_from([name for name, node in model.nodes.items() if DEFAULTS[node.kind]]))
    node = model.nodes[name]
    key = draw(st.sampled_from(sorted(DEFAULTS[node.kind])))
    value = draw(st.sampled_from(CHOICES[key]))
    return _with(model, name, replace(node, parameters={**node.parameters, key: value})), {name}


def rewire(draw: st.DrawFn, model: Model) -> tuple[Model, set[str]]:
    names = list(model.nodes)
    at = draw(st.integers(0, len(names) - 1))
    node = model.nodes[names[at]]
    before = {name: model.nodes[name] for name in names[:at]}
    if not node.links:
        return model, set()
    return _with(model, names[at], replace(node, links=_links(draw, node.kind, before))), {names[at]}


def add(draw: st.DrawFn, model: Model) -> tuple[Model, set[str]]:
    kind, name = draw(st.sampled_from(sorted(DEFAULTS))), _unused(model, "new")
    return _with(model, name, Node(kind, _parameters(draw, kind), _links(draw, kind, model.nodes))), {name}


def delete(draw: st.DrawFn, model: Model) -> tuple[Model, set[str]]:
    name = draw(st.sampled_from(sorted(model.sinks())))
    left = {other: node for other, node in model.nodes.items() if other != name}
    return (replace(model, nodes=left) if left else model), set()


def rename(draw: st.DrawFn, model: Model) -> tuple[Model, set[str]]:
    old = draw(st.sampled_from(sorted(model.nodes)))
    new = _unused(model, "other")
    names = {name: new if name == old else name for name in model.nodes}
    nodes = {
        names[name]: replace(
            node, links={port: tuple(names[need] for need in needs) for port, needs in node.links.items()}
        )
        for name, node in model.nodes.items()
    }
    return replace(model, nodes=nodes), set()


def rewrite(draw: st.DrawFn, model: Model) -> tuple[Model, set[str]]:
    """Another order of the file and of the keys, defaults written out, comments."""
    return replace(model, seed=draw(st.integers(1, 2**16))), set()


EDITS: tuple[Edit, ...] = (change_a_parameter, change_a_parameter, rewire, add, delete, rename, rewrite)
COSMETIC: tuple[Edit, ...] = (delete, rename, rewrite)


@st.composite
def histories(draw: st.DrawFn, edits: tuple[Edit, ...] = EDITS) -> list[tuple[Model, set[str]]]:
    """A workflow and what becomes of it, edit by edit, with the nodes that each edit changes."""
    model = draw(GRAPHS)
    told: list[tuple[Model, set[str]]] = [(model, set(model.nodes))]
    for edit in draw(st.lists(st.sampled_from(edits), min_size=1, max_size=5)):
        told.append(edit(draw, told[-1][0]))
    return told


@dataclass
class Memory:
    """Everything that was ever computed, as the model has it."""

    works: set[Hashable] = field(default_factory=set)

    def check(self, lab: Lab, model: Model, edited: set[str]) -> None:
        """Run a workflow, and see that it runs what it must, gives what it must, and does nothing else."""
        works, values = model.works(), model.values()
        result = lab.run(model.text())
        ran = {name for name, action in result.actions.items() if action == "run"}

        assert Counter(set(works.values()) - self.works) == Counter(works[name] for name in ran)
        assert ran <= model.after(edited)
        assert {"run", "hit"} >= set(result.actions.values())
        assert {name: values[name] for name in model.sinks()} == {
            name: tuple(value) if isinstance(value, list) else value for name, value in result.outputs.items()
        }
        self.works |= set(works.values())


def follow(history: list[tuple[Model, set[str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab, memory = Lab(Path(folder)), Memory()
        for model, edited in history:
            memory.check(lab, model, edited)
        memory.check(lab, history[0][0], set())  # back to the beginning: nothing runs
        assert [] == lab.warnings


@QUICK
@given(histories())
def test_an_edit_runs_what_follows_from_it_and_nothing_else(history: list[tuple[Model, set[str]]]) -> None:
    follow(history)


@QUICK
@given(histories(COSMETIC))
def test_an_edit_that_changes_no_value_runs_nothing(history: list[tuple[Model, set[str]]]) -> None:
    assert all(not edited for _, edited in history[1:])
    follow(history)


@pytest.mark.slow
@DEEP
@given(histories())
def test_any_edit_runs_what_follows_from_it_and_nothing_else(history: list[tuple[Model, set[str]]]) -> None:
    follow(history)
