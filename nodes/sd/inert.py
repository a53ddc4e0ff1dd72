"""Reading a pickle without running it: plain values are built, everything else becomes a stand-in.

A pickle is a program for a small stack machine. The machine here knows how to push numbers and texts, and to put
them into tuples, lists and dicts. Where Python's would look a name up, call it, or hand a state to an object, this
one notes the name, what it would have been given, and the state: nothing is imported, nothing is called. Light.

Source: the opcodes' meanings in the documentation of Python's pickletools.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MOST_STEPS = 1_000_000
"""Opcodes of one pickle. A checkpoint with its optimizer takes some 400,000."""
WIDEST_KEY = 64
"""Bits of a number that is a key. Python keeps the hash of a text, but computes that of a number each time."""


class Name(NamedTuple):
    """Something that a pickle would import."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Stub:
    """Something that a pickle would make by a call, and perhaps fill."""

    made_by: Any
    arguments: Any
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """Something that lies outside the pickle, by what it is called there."""

    said: Any


class Pickle(NamedTuple):
    tree: Any
    """What it holds. Sets come as lists, what is no plain value as `Stub`, `Name` and `Outside`."""
    end: int
    """Of its bytes."""
    outside: tuple[Any, ...]
    """What it says of each thing that lies outside."""


def read(data: bytes, start: int = 0) -> Pickle:
    """Read a pickle that lies in `data`.

    Raises ValueError for what is no pickle, or more of one than any checkpoint has.
    """
    machine = _Machine(data, start)
    try:
        for _ in range(MOST_STEPS):
            code = data[machine.at]
            machine.at += 1
            if code == _STOP:
                return Pickle(machine.stack.pop(), machine.at, tuple(machine.outside))
            _OPCODES[code](machine)
    except (IndexError, KeyError, TypeError, AttributeError, struct.error, UnicodeError) as error:
        raise ValueError(f"its pickle is damaged at byte {machine.at}") from error
    raise ValueError(f"its pickle has more than {MOST_STEPS} instructions")


class _Machine:
    """What the opcodes work on."""

    __slots__ = ("at", "data", "marks", "memo", "outside", "stack")

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        """Never a list: a pickle may name any number."""
        self.outside: list[Any] = []

    def take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise ValueError("its pickle is cut short")
        self.at += count
        return taken

    def number(self, form: struct.Struct) -> Any:
        found = form.unpack_from(self.data, self.at)[0]
        self.at += form.size
        return found

    def line(self) -> str:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise ValueError("its pickle is cut short")
        return self.take(end + 1 - self.at)[:-1].decode()

    def marked(self) -> list[Any]:
        """Pop what was pushed since the last mark."""
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken


_Op = Callable[[_Machine], None]
_STOP = ord(".")
_U8, _U16, _U32, _U64 = (struct.Struct(f"<{letter}") for letter in "BHIQ")
_I32, _F64 = struct.Struct("<i"), struct.Struct(">d")


def _push(make: Callable[[_Machine], Any]) -> _Op:
    return lambda machine: machine.stack.append(make(machine))


def _named(machine: _Machine) -> Name:
    match _popped(machine, 2):
        case [str(module), str(name)]:
            return Name(module, name)
    raise ValueError("its pickle is damaged")


def _call(machine: _Machine) -> Stub:
    arguments, made_by = machine.stack.pop(), machine.stack.pop()
    return Stub(made_by, arguments)


def _call_with_names(machine: _Machine) -> Stub:
    machine.stack.pop()
    return _call(machine)


def _instance(machine: _Machine) -> Stub:
    arguments = machine.marked()
    return Stub(Name(machine.line(), machine.line()), tuple(arguments))


def _object(machine: _Machine) -> Stub:
    made_by, *arguments = machine.marked()
    return Stub(made_by, tuple(arguments))


def _outside(machine: _Machine) -> Outside:
    machine.outside.append(machine.stack.pop())
    return Outside(machine.outside[-1])


def _build(machine: _Machine) -> None:
    state = machine.stack.pop()
    if isinstance(machine.stack[-1], Stub):
        machine.stack[-1].state = state


def _set(machine: _Machine, pairs: list[Any]) -> None:
    holder = machine.stack[-1]
    items = holder.items if isinstance(holder, Stub) else holder
    for key, value in _pairs(pairs):
        items[key] = value


def _pairs(flat: list[Any]) -> Iterator[tuple[Any, Any]]:
    """What is under a plain key. Others name no weight, and to hash them, again and again, may last for ever."""
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        if isinstance(key, (str, float)) or (isinstance(key, int) and key.bit_length() <= WIDEST_KEY):
            yield key, value


def _extend(machine: _Machine, values: list[Any]) -> None:
    if isinstance(machine.stack[-1], list):
        machine.stack[-1].extend(values)


def _popped(machine: _Machine, count: int) -> list[Any]:
    taken = machine.stack[len(machine.stack) - count :]
    if len(taken) < count:
        raise ValueError("its pickle is damaged")
    del machine.stack[-count:]
    return taken


def _integer(machine: _Machine) -> int | bool:
    text = machine.line()
    return text == "01" if text in ("00", "01") else int(text)


def _long(form: struct.Struct) -> _Op:
    return _push(lambda machine: int.from_bytes(machine.take(machine.number(form)), "little", signed=True))


def _text(form: struct.Struct, encoding: str = "utf-8") -> _Op:
    return _push(lambda machine: machine.take(machine.number(form)).decode(encoding, "surrogatepass"))


def _bytes(form: struct.Struct) -> _Op:
    return _push(lambda machine: machine.take(machine.number(form)))


def _remember(which: Callable[[_Machine], int]) -> _Op:
    return lambda machine: machine.memo.__setitem__(which(machine), machine.stack[-1])


def _recall(which: Callable[[_Machine], int]) -> _Op:
    return _push(lambda machine: machine.memo[which(machine)])


def _pop(machine: _Machine) -> None:
    """A mark lies on the stack as well, in Python's machine."""
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _latin(text: bytes) -> str:
    return text.decode("latin-1")


_OPCODES: dict[int, _Op] = {
    ord(code): operation
    for code, operation in {
        # Stack and memo
        "(": lambda machine: machine.marks.append(len(machine.stack)),
        "0": _pop,
        "1": lambda machine: machine.marked().clear(),
        "2": _push(lambda machine: machine.stack[-1]),
        "p": _remember(lambda machine: int(machine.line())),
        "q": _remember(lambda machine: machine.number(_U8)),
        "r": _remember(lambda machine: machine.number(_U32)),
        "\x94": _remember(lambda machine: len(machine.memo)),
        "g": _recall(lambda machine: int(machine.line())),
        "h": _recall(lambda machine: machine.number(_U8)),
        "j": _recall(lambda machine: machine.number(_U32)),
        "\x80": lambda machine: machine.take(1) and None,
        "\x95": lambda machine: machine.take(8) and None,
        # Plain values
        "N": _push(lambda machine: None),
        "\x88": _push(lambda machine: True),
        "\x89": _push(lambda machine: False),
        "I": _push(_integer),
        "J": _push(lambda machine: machine.number(_I32)),
        "K": _push(lambda machine: machine.number(_U8)),
        "M": _push(lambda machine: machine.number(_U16)),
        "L": _push(lambda machine: int(machine.line().removesuffix("L"))),
        "\x8a": _long(_U8),
        "\x8b": _long(_U32),
        "F": _push(lambda machine: float(machine.line())),
        "G": _push(lambda machine: machine.number(_F64)),
        "S": _push(lambda machine: machine.line()[1:-1]),
        "T": _text(_U32, "latin-1"),
        "U": _text(_U8, "latin-1"),
        "V": _push(lambda machine: machine.line()),
        "X": _text(_U32),
        "\x8c": _text(_U8),
        "\x8d": _text(_U64),
        "B": _bytes(_U32),
        "C": _bytes(_U8),
        "\x8e": _bytes(_U64),
        "\x96": _bytes(_U64),
        # Containers
        ")": _push(lambda machine: ()),
        "t": _push(lambda machine: tuple(machine.marked())),
        "\x85": _push(lambda machine: tuple(_popped(machine, 1))),
        "\x86": _push(lambda machine: tuple(_popped(machine, 2))),
        "\x87": _push(lambda machine: tuple(_popped(machine, 3))),
        "]": _push(lambda machine: []),
        "l": _push(_Machine.marked),
        "a": lambda machine: _extend(machine, [machine.stack.pop()]),
        "e": lambda machine: _extend(machine, machine.marked()),
        "}": _push(lambda machine: {}),
        "d": _push(lambda machine: dict(_pairs(machine.marked()))),
        "s": lambda machine: _set(machine, _popped(machine, 2)),
        "u": lambda machine: _set(machine, machine.marked()),
        "\x8f": _push(lambda machine: []),
        "\x90": lambda machine: _extend(machine, machine.marked()),
        "\x91": _push(_Machine.marked),
        # What would import or call
        "c": _push(lambda machine: Name(machine.line(), machine.line())),
        "\x93": _push(_named),
        "R": _push(_call),
        "\x81": _push(_call),
        "\x92": _push(_call_with_names),
        "i": _push(_instance),
        "o": _push(_object),
        "b": _build,
        "Q": _push(_outside),
    }.items()
}
"""By their letters. Left out: extension codes, which stand for things that this process imported already; texts that
name something outside; buffers beside the pickle. None of them is in a checkpoint."""
