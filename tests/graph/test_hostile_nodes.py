"""A node that writes into what it is given, by whatever way Python leaves open, changes nobody else's values.

Neither what other nodes take in the same run, nor what is given back, nor what a later run reads.
"""

from __future__ import annotations

import ctypes
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from graph.execute import execute
from graph.node import Context, Field, Node
from graph.plan import plan
from graph.registry import Registry
from graph.upkeep import verify
from graph.values import Latents, Picture, Tensor
from tests.graph.lab import NODES, Heard, Lab

RED = Picture(Image.new("RGB", (8, 8), "red"))
WAYS = ("set", "vars", "pillow", "numpy", "memory")


def overwrite(data: bytes) -> None:
    """Write into the memory of bytes, which Python holds to be constant."""
    start = bytes(data).__sizeof__() - len(data) - 1
    ctypes.memset(id(data) + start, 0, len(data))


def vandalise(image: Picture, way: str) -> None:
    if way == "set":
        object.__setattr__(image, "data", bytes(len(image.data)))
        object.__setattr__(image, "width", 1)
    elif way == "vars":
        vars(image).clear()
    elif way == "pillow":
        image.pixels.paste("blue", (0, 0, 8, 8))
    elif way == "numpy":
        pixels = np.frombuffer(image.data, np.uint8)
        with pytest.raises(ValueError, match="WRITEABLE"):
            pixels.setflags(write=True)
        ctypes.memset(pixels.ctypes.data, 0, pixels.nbytes)
    elif way == "memory":
        overwrite(image.data)


class Vandal(Node, kind="vandal", version=1):
    """Spoil a picture, and give it back."""

    way: str

    def run(self, ctx: Context, image: Picture) -> Picture:
        vandalise(image, self.way)
        return RED


class Scrambler(Node, kind="scrambler", version=1):
    """Spoil latents."""

    def run(self, ctx: Context, latents: Latents) -> int:
        overwrite(latents.samples.data)
        object.__setattr__(latents.samples, "shape", (0,))
        object.__setattr__(latents, "samples", Tensor("U8", (0,), b""))
        return 0


class Shuffler(Node, kind="shuffler", version=1):
    """Spoil a list."""

    def run(self, ctx: Context, texts: list[str]) -> int:
        texts.clear()
        return 0


class Keeper(Node, kind="keeper", version=1):
    """Spoil what it gave, when it is run for the next time."""

    at: int

    def run(self, ctx: Context) -> Picture:
        for image in GIVEN:
            overwrite(image.data)
        GIVEN.append(Picture(Image.new("RGB", (8, 8), "red")))
        return GIVEN[-1]


class Shifty(Node, kind="shifty", version=1):
    """Change its own parameters."""

    size: int = 8
    words: list[str] = Field(default=["a"])

    def run(self, ctx: Context) -> str:
        told = f"{self.size} {self.words}"
        self.words.append("b")
        object.__setattr__(self, "size", self.size + 1)
        return told


class Flat(Node, kind="flat", version=1):
    """Change its own parameters, of which none can be changed within."""

    size: int = 8
    way: str = ""

    def run(self, ctx: Context) -> str:
        told = f"{self.size} {sorted(vars(self))}"
        changed = {**vars(self), "size": self.size + 1}
        match self.way:
            case "set" | "fail":
                object.__setattr__(self, "size", self.size + 1)
            case "add":
                vars(self)["more"] = 1
            case "remove":
                del vars(self)["size"]
            case "rename":
                vars(self)["other"] = vars(self).pop("size")
            case "turn":
                vars(self)["way"], vars(self)["size"] = vars(self).pop("size"), vars(self).pop("way")
            case "replace":
                object.__setattr__(self, "__dict__", changed)
        if self.way == "fail":
            raise ValueError(told)
        return told


GIVEN: list[Picture] = []


@pytest.fixture
def lab(lab: Lab) -> Lab:
    GIVEN.clear()
    hostile = (Vandal, Scrambler, Shuffler, Keeper, Shifty, Flat)
    lab.registry = Registry(MappingProxyType({node.kind: node for node in (*NODES, *hostile)}))
    return lab


def vandals(way: str) -> str:
    return f"""
    nodes:
      drawn:  {{use: paint}}
      spoilt: {{use: vandal, image: $drawn, way: {way}}}
      again:  {{use: vandal, image: $drawn, way: {way}, after: $spoilt}}
      framed: {{use: frame, image: $drawn, after: $again}}
    outputs: {{drawn: $drawn, framed: $framed, spoilt: $spoilt}}
    """


@pytest.mark.parametrize("way", WAYS)
def test_others_in_the_run_take_the_value_as_it_was(lab: Lab, way: str) -> None:
    result = lab.run(vandals(way))

    assert {"run", "hit"} == set(result.actions.values())
    assert (RED, RED) == (result.outputs["drawn"], result.outputs["spoilt"])
    assert (255, 0, 0) == result.outputs["framed"].pixels.getpixel((1, 1))


@pytest.mark.parametrize("way", WAYS)
def test_later_runs_read_the_value_as_it_was(lab: Lab, way: str) -> None:
    lab.run(vandals(way))
    result = lab.run(vandals(way) + "    # again", force=["spoilt"])

    assert (RED, RED) == (result.outputs["drawn"], result.outputs["spoilt"])
    assert 0 == verify(lab.cache_folder, lab.warnings.append).damaged
    assert [] == lab.warnings


def test_latents_and_lists_are_as_safe_as_pictures(lab: Lab) -> None:
    text = """
    nodes:
      drawn:    {use: paint}
      latents:  {use: encode, image: $drawn}
      words:    {use: split, text: a b}
      spoilt:   {use: scrambler, latents: $latents}
      shuffled: {use: shuffler, texts: $words.words}
      joined:   {use: join_all, texts: $words.words, after: $shuffled}
    outputs: {latents: $latents, joined: $joined, spoilt: $spoilt}
    """
    expected = Latents(Tensor("U8", (len(RED.data),), RED.data))

    for _ in range(2):
        result = lab.run(text, force=["spoilt", "shuffled"])
        assert (expected, "a b") == (result.outputs["latents"], result.outputs["joined"])


def test_a_value_that_was_given_can_no_longer_be_changed(lab: Lab) -> None:
    text = "nodes: {one: {use: keeper, at: 1}, two: {use: keeper, at: 2}, last: {use: frame, image: $one, after: $two}}"
    result = lab.run(text + "\noutputs: {one: $one, last: $last}")

    assert RED == result.outputs["one"]
    assert (255, 0, 0) == result.outputs["last"].pixels.getpixel((1, 1))


def test_a_node_that_changes_its_parameters_changes_no_key(lab: Lab) -> None:
    graph, cache = lab.graph("nodes: {a: {use: shifty}}"), lab.open()

    def run() -> tuple[str, object]:
        result = execute(plan(graph, cache, lab.world(cache)), cache, Heard(), lab.world(cache), keep_values=True)
        return result.actions["a"], result.outputs["a"]

    assert [("run", "8 ['a']"), ("hit", "8 ['a']")] == [run(), run()]
    cache.close()


@pytest.mark.parametrize("way", ["", "set", "add", "remove", "rename", "turn", "replace", "fail"])
def test_a_node_of_texts_and_numbers_is_afterwards_as_it_was(lab: Lab, way: str) -> None:
    graph, cache = lab.graph(f"nodes: {{a: {{use: flat, way: '{way}'}}}}"), lab.open()
    node = graph.steps["a"].instance
    assert node
    before = dict(vars(node))

    told = []
    for _ in range(2):
        world = lab.world(cache)
        result = execute(plan(graph, cache, world, force=["a"]), cache, Heard(), world, keep_values=True)
        told.append((result.actions["a"], result.outputs.get("a"), str(result.failures)))

    assert told[0] == told[1]
    assert before == vars(node)
    assert ("failed" if way == "fail" else "run") == told[0][0]
    cache.close()
