"""A laboratory for the engine: small real nodes, a real cache on disk, workflows as text."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from PIL import Image

from graph.cache import Cache, open_cache
from graph.context import Stop
from graph.errors import Mistake, StepError, WorkflowError
from graph.events import Event, NodeStarted, Warned
from graph.execute import Results, execute
from graph.filerefs import FileRef
from graph.node import Context, Field, Node
from graph.placement import Device
from graph.plan import Plan, plan
from graph.ready import World
from graph.registry import Registry
from graph.steps import Graph
from graph.values import Latents, Picture, SavedFile, Tensor
from graph.wiring import wire
from graph.workflow import parse, set_params

CPU = Device("cpu", "a CPU", 0, "fp32", frozenset({"fp32"}), "fp32 on a CPU")


_THROWN = itertools.count()


class Say(Node, kind="say", version=1):
    """Give a text."""

    text: str = ""
    upper: bool = False
    times: int = Field(default=1, ge=1, le=9)

    def run(self, ctx: Context) -> str:
        return (self.text.upper() if self.upper else self.text) * self.times


class Trim(Node, kind="trim", version=1):
    """Drop white space at both ends."""

    def run(self, ctx: Context, text: str) -> str:
        return text.strip()


class Join(Node, kind="join", version=1):
    """Join two texts; the second may be missing."""

    between: str = "-"

    def run(self, ctx: Context, a: str, b: str = "") -> str:
        return a + self.between + b


class JoinAll(Node, kind="join_all", version=1):
    """Join a list of texts."""

    def run(self, ctx: Context, texts: list[str]) -> str:
        return " ".join(texts)


class Parts(NamedTuple):
    words: list[str]
    number: int


class Split(Node, kind="split", version=1):
    """Split a text into words."""

    def run(self, ctx: Context, text: str) -> Parts:
        return Parts(text.split(), len(text.split()))


class Paint(Node, kind="paint", version=1):
    """A picture of one colour."""

    colour: str = "red"
    size: int = Field(default=8, ge=1, le=4096, multiple_of=4)
    fit: Literal["cover", "contain"] = "cover"
    ratio: float = Field(default=1.0, gt=0, le=2, allow_inf_nan=False)

    def run(self, ctx: Context) -> Picture:
        return Picture(Image.new("RGB", (self.size, self.size), self.colour))


class Frame(Node, kind="frame", version=1):
    """Show a picture on another colour."""

    def run(self, ctx: Context, image: Picture) -> Picture:
        pixels = image.pixels
        pixels.putpixel((0, 0), (1, 2, 3))
        return Picture(pixels)


class Encode(Node, kind="encode", version=1):
    """Something from a picture to latents."""

    def run(self, ctx: Context, image: Picture) -> Latents:
        return Latents(Tensor("U8", (len(image.data),), image.data))


class Open(Node, kind="open", version=1):
    """Read a text file."""

    path: FileRef

    def run(self, ctx: Context) -> str:
        return self.path.path.read_text()


class Write(Node, kind="write", version=1):
    """Save a picture."""

    path: str = "{node}.png"

    def run(self, ctx: Context, image: Picture) -> SavedFile:
        return ctx.save(image, self.path)


class Fail(Node, kind="fail", version=1):
    """Fail."""

    bug: bool = False

    def run(self, ctx: Context, text: str) -> str:
        if self.bug:
            raise ZeroDivisionError("a bug")
        raise StepError("cannot do that", hint="Do not ask.")


class Slow(Node, kind="slow", version=1):
    """Take steps."""

    steps: int = 5

    def run(self, ctx: Context, text: str) -> str:
        for step in range(self.steps):
            ctx.progress(step + 1, self.steps)
        return text


class Dice(Node, kind="dice", version=1):
    """Another number each time, though nothing changed."""

    def run(self, ctx: Context) -> int:
        return next(_THROWN)


NODES = (Say, Trim, Join, JoinAll, Split, Paint, Frame, Encode, Open, Write, Fail, Slow, Dice)
REGISTRY = Registry(MappingProxyType({node.kind: node for node in NODES}))


@dataclass
class Heard:
    """A sink that keeps every event, and can ask to stop."""

    events: list[Event] = field(default_factory=list)
    stop: Stop = field(default_factory=Stop)
    stop_at: type[Event] | None = None

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if self.stop_at and isinstance(event, self.stop_at):
            self.stop.signal = 2

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]

    @property
    def started(self) -> list[str]:
        return [event.node for event in self.events if isinstance(event, NodeStarted)]


@dataclass
class Lab:
    """Runs texts as workflows, with a cache on disk that is closed and opened again between runs."""

    folder: Path
    registry: Registry = REGISTRY
    warnings: list[str] = field(default_factory=list)
    devices: tuple[Device, ...] = (CPU,)

    @property
    def cache_folder(self) -> Path:
        return self.folder / "cache"

    def open(self) -> Cache:
        return open_cache(self.cache_folder, self.warnings.append)

    def graph(self, text: str, only: str | None = None, /, **settings: str) -> Graph:
        document = "darkroom: 1\nname: lab\n" + textwrap.dedent(text)
        workflow = parse(document.encode(), "lab.yaml", self.folder)
        return wire(set_params(workflow, settings, self.folder), self.registry, only)

    def mistakes(self, text: str) -> list[Mistake]:
        try:
            self.graph(text)
        except WorkflowError as error:
            return list(error.mistakes)
        return []

    def world(self, cache: Cache) -> World:
        return World(cache, self.folder / "out", self.devices, "auto", "lab")

    def plan(self, text: str, force: Collection[str] = (), /, **settings: str) -> Plan:
        cache = self.open()
        try:
            return plan(self.graph(text, **settings), cache, self.world(cache), force)
        finally:
            cache.close()

    def run(
        self,
        text: str,
        heard: Heard | None = None,
        /,
        *,
        force: Collection[str] = (),
        only: str | None = None,
        **settings: str,
    ) -> Results:
        heard = heard or Heard()
        cache = self.open()
        try:
            decided = plan(self.graph(text, only, **settings), cache, self.world(cache), force)
            return execute(decided, cache, heard, self.world(cache), stop=heard.stop, keep_values=True)
        finally:
            cache.close()

    def actions(self, text: str, /, **settings: str) -> Mapping[str, str]:
        return self.run(text, **settings).actions
