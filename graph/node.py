"""What a node is: a class whose fields are parameters, whose `run` takes the ports and returns the outputs.

    class Grayscale(Node, kind="grayscale", version=1):
        \"\"\"Drop the colour, keep the brightness.\"\"\"

        def run(self, ctx: Context, image: Picture) -> Picture:
            return Picture(image.pixels.convert("L").convert("RGB"))

The wiring reads `parameters`, `ports` and `outputs` of the class; nothing is declared twice.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import is_not
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from graph.ages import NEVER, TAKES, lasts
from graph.filerefs import FileRef
from graph.metadata import Seal
from graph.values import Picture, SavedFile, Value

__all__ = [
    "Context", "Effort", "Field", "Misfit", "Node", "Output", "Port", "outputs", "parameters", "ports", "type_name",
]  # fmt: skip

SCALARS: dict[type, str] = {str: "text", int: "integer", float: "number", bool: "boolean"}
_CONSTANT = frozenset({str, int, float, bool, type(None)})
LOOSE = "darkroom_nodes_"
"""How the modules of files begin that the user names with --nodes."""
RESERVED = frozenset({"use", "when", "each", "device", "cache", "fresh", "doc", "after"})
"""Keys of a node in a workflow that can never be ports or parameters."""


class Context(Protocol):
    """What a node may know of the run it is part of."""

    @property
    def device(self) -> str:
        """Where to compute: "cpu", "cuda:0", "mps" ... ("cpu" for nodes that are not accelerated)."""

    @property
    def precision(self) -> str:
        """What to compute in: fp32, fp16 or bf16."""

    @property
    def saving(self) -> str:
        """How memory must be saved, because it was not enough otherwise: "", or a rung of graph/ladder.py."""

    def progress(self, step: int, total: int, mark: Callable[[], Value] | None = None) -> None:
        """Say that step `step` of `total` is done. Raises Stopped if the user asked to stop.

        mark: gives what a run that goes on from here needs; called before this returns, and only now and then.
        """

    def bookmarks(self) -> list[Value]:
        """What `mark` gave to earlier runs of this work that were cut off or ended early, the newest first."""

    def resumed(self, steps: int) -> None:
        """Say that so many steps more were taken from a bookmark, and not done."""

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the run."""

    def digest(self, file: FileRef) -> str:
        """sha256 of a file's content, from memory where the file has not changed."""

    def locate(self, digest: str) -> Path:
        """Where the file or folder with this content lies in this run."""

    def save(
        self, image: Picture, pattern: str, *, format: str = "", quality: int = 95, seal: Seal | None = None
    ) -> SavedFile:
        """Write a picture under the output folder, atomically and never over an existing file.

        pattern: a relative path; {name}, {node}, {seed}, {n} ... are filled in.
        seal: changes the bytes of the file before it is written, as a signature does. Raises StepError.
        """


class Effort(NamedTuple):
    """How much a node has to do, in any unit that is the same for all of its kind."""

    extent: float
    """How much is handled at a time: memory, and the size of what comes out, go with it."""
    rounds: float = 1.0
    """How often: time goes with both together."""


class Misfit(NamedTuple):
    """What a node cannot do with what arrives at its ports."""

    name: str
    """The parameter or port that is to change."""
    message: str
    hint: str


class Node(BaseModel):
    """Base of all nodes. Subclasses say `kind` (the word after `use:`) and `version` in their class line.

    Raise `version` whenever the same inputs give another result: results of older versions are not used again.
    `accelerated=True` says that the node computes with a model's weights, on a device, in a precision; where its
    ports for models are optional, it does so only when one of them is linked.
    `endings` names parameters that say no more than where to end, by default at the end: a longer run goes on from
    where a shorter one ended.
    `saves` says which of "halves" and "tiles" (graph/ladder.py) it can do where memory is not enough: other bits.
    `converts` lists traits (`Value.carries`) by which its inputs may differ: its outputs have them anew.
    `gives` says in a word what every value of an output is, where its type leaves that open: {"latents": "noise"}.
    `fresh` is for a node that reads the world (a clock, a listing of files): "always", or for how long a result lasts,
    such as "1h"; a workflow may say otherwise.
    `elsewhere` has words of other programs for the kind, its ports, parameters and outputs, and what each is called
    here: messages offer it to whom writes the other word.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    kind: ClassVar[str] = ""
    version: ClassVar[int] = 1
    accelerated: ClassVar[bool] = False
    saves: ClassVar[tuple[str, ...]] = ()
    converts: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[Mapping[str, str]] = MappingProxyType({})
    fresh: ClassVar[str] = NEVER
    endings: ClassVar[tuple[str, ...]] = ()
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init_subclass__(
        cls,
        *,
        kind: str = "",
        version: int = 1,
        accelerated: bool = False,
        saves: tuple[str, ...] = (),
        converts: tuple[str, ...] = (),
        endings: tuple[str, ...] = (),
        gives: Mapping[str, str] = MappingProxyType({}),
        fresh: str = NEVER,
        elsewhere: Mapping[str, str] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        super().__init_subclass__(**options)
        cls.kind, cls.version, cls.accelerated = kind, version, accelerated
        cls.elsewhere, cls.gives = elsewhere, gives
        cls.converts, cls.endings, cls.saves, cls.fresh = converts, endings, saves, fresh
        try:
            lasts(fresh)
        except ValueError:
            raise ValueError(f'{kind}: fresh takes {TAKES}, not "{fresh}"') from None

    def effort(self, sizes: Mapping[str, int]) -> Effort:
        """How much there is to do, for forecasts. sizes: about how many bytes arrive at each port."""
        return Effort(float(sum(sizes.values()) or 1))

    def misfits(self, arriving: Mapping[str, str]) -> Iterable[Misfit]:
        """What does not go together, told before anything runs. arriving: by port, what is linked to it `gives`."""
        return ()


@dataclass(frozen=True, slots=True)
class Port:
    """An argument of `run`."""

    name: str
    type: Any
    """A value type, or one of str, int, float, bool; of a list, of its items."""
    many: bool = False
    """Takes a list."""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Output:
    """One thing that `run` returns."""

    name: str
    type: Any
    many: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field of a node."""

    name: str
    type: Any
    required: bool
    default: Any
    description: str = ""


@cache
def parameters(node: type[Node]) -> dict[str, Parameter]:
    """The parameters of a node class, in the order of their declaration."""
    return {
        name: Parameter(name, field.annotation, field.is_required(), field.default, field.description or "")
        for name, field in node.model_fields.items()
    }


@cache
def ports(node: type[Node]) -> dict[str, Port]:
    """The ports of a node class, in the order of `run`'s arguments.

    Raises TypeError if `run` is missing or an argument's type cannot travel on a link.
    """
    signature = inspect.signature(_run(node))
    hints = typing.get_type_hints(_run(node))
    found = {}
    if list(signature.parameters)[1:2] != ["ctx"]:
        raise TypeError(f"{node.kind}: the first argument of run must be ctx: Context, used or not")
    for name, argument in list(signature.parameters.items())[2:]:
        if name in RESERVED or name in node.model_fields:
            raise TypeError(f'{node.kind}: "{name}" cannot be a port, it is a reserved word or a parameter')
        kind, many = _link_type(without_none(hints[name]), f"{node.kind}.{name}")
        found[name] = Port(name, kind, many, argument.default is inspect.Parameter.empty)
    return found


@cache
def outputs(node: type[Node]) -> dict[str, Output]:
    """The outputs of a node class, the main one first."""
    returned = typing.get_type_hints(_run(node))["return"]
    if isinstance(returned, type) and issubclass(returned, tuple) and hasattr(returned, "_fields"):
        parts = typing.get_type_hints(returned)
    else:
        parts = {_noun(returned): returned}
    if not parts:
        raise TypeError(f"{node.kind}: a node gives at least one output")
    return {name: Output(name, *_link_type(part, f"{node.kind} -> {name}")) for name, part in parts.items()}


def returned(node: type[Node], result: Any) -> tuple[Any, ...]:
    """What `run` gave, one value an output."""
    return tuple(result) if len(outputs(node)) > 1 or hasattr(result, "_fields") else (result,)


def run_apart(node: Node, context: Context, arguments: Mapping[str, object]) -> Any:
    """Run a node. Whatever it writes into its parameters meanwhile, they are afterwards as they were before.

    Not for two threads at once with one node, unless it writes nothing into itself.
    """
    working: Any = node
    values = vars(node)
    if node.__pydantic_private__ is not None or not _CONSTANT.issuperset(map(type, values.values())):
        return working.__deepcopy__().run(context, **arguments)
    before = values.copy()
    try:
        return working.run(context, **arguments)
    finally:
        after = vars(node)
        if [*after] != [*before] or any(map(is_not, after.values(), before.values())):
            object.__setattr__(node, "__dict__", before)


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(kind) if part is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind


without_none: Callable[[Any], Any] = cache(_without_none)
"""A type without "or None"."""


def source(node: type[Node]) -> str:
    """The file that declares a node, for messages."""
    return inspect.getsourcefile(node) or node.__module__


def type_name(kind: Any, many: bool = False) -> str:
    """How a type is called in messages."""
    name = SCALARS.get(kind) or str(getattr(kind, "__name__", kind))
    return f"list[{name}]" if many else name


def _run(node: type[Node]) -> Any:
    run = getattr(node, "run", None)
    if run is None:
        raise TypeError(f'{node.__name__} ("{node.kind}") has no method "run"')
    return run


def _link_type(kind: Any, where: str) -> tuple[Any, bool]:
    parts = typing.get_args(kind)
    many = (typing.get_origin(kind) is list and len(parts) == 1) or (
        typing.get_origin(kind) is tuple and parts[1:] == (...,)
    )
    item = parts[0] if many else kind
    if item in SCALARS or (isinstance(item, type) and issubclass(item, Value)):
        return item, many
    raise TypeError(f"{where}: {kind} cannot travel on a link")


def _noun(kind: Any) -> str:
    item, _ = _link_type(kind, "output")
    return SCALARS[item] if item in SCALARS else str(item.noun)
