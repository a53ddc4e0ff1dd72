"""What weights a file holds, told by its content: safetensors, or what torch.save writes. Runs nothing. Light.

torch writes a pickle that says how tensors are made of *storages*, and the storages' bytes beside it: since torch 1.6
as members of a zip file that only stores, before that behind the pickle. So every weight lies in the file as it is,
and is read from there, like those of a safetensors file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from graph.errors import MissingError
from nodes.sd.archives import Member, members
from nodes.sd.headers import FETCH_FILE, MOST_SHOWN, SIZES, Entry, Header, read_header
from nodes.sd.inert import Name, Outside, Stub, read

WRAPPERS = ("state_dict", "params_ema", "params")
"""What weights are wrapped in beside other things: by Lightning, by BasicSR (the smoothed ones first)."""
LARGEST_PICKLE = 16 << 20
"""In bytes, without the weights. A checkpoint with its optimizer has 2 MB."""
LONGEST_NAME = 500
"""In characters: all keys of the dicts down to a weight, joined by dots."""
MOST_AXES = 8
MOST_PARTS = 200_000
"""Entries of all dicts together, each as often as it is met: a small file can name one large dict many times."""

_DTYPES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "UntypedStorage": "U8",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "uint16": "U16", "uint32": "U32", "uint64": "U64",
}  # fmt: skip
"""By torch's names, of storages and of dtypes."""
_LEGACY = 0x1950A86A20F9469CFC6C
"""The first pickle of the old format."""
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")
"""Where a whole pickled network keeps its weights: they are called as in its state_dict."""


def read_entries(path: Path) -> Mapping[str, Entry]:
    """Read which weights a file holds, whatever its suffix, and where each lies. No weight is read.

    Weights in dicts of dicts have the names of all of them, joined by dots. Where the outermost has one of
    `WRAPPERS`, what is in that is all; names start within. A whole pickled network has its state_dict's names.

    Raises MissingError naming the file and what is wrong with it: no such format, damaged, bytes out of range,
    big-endian, compressed, strides with gaps.
    """
    return MappingProxyType(_looked(path).entries)


def read_notes(path: Path) -> Mapping[str, str]:
    """Read what a file says of itself beside its weights: its metadata, or the plain values of its outermost dict.

    Raises MissingError as `read_entries` does.
    """
    return MappingProxyType(_looked(path).notes)


def _looked(path: Path) -> Header:
    try:
        state = path.stat()
        return _remembered(path, state.st_ino, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise MissingError(f'cannot read weights "{_short(path)}": {error.strerror}') from error
    except ValueError as error:
        reason = str(error)[:MOST_SHOWN]
        raise MissingError(f'"{_short(path)}" is no good file of weights: {reason}', hint=FETCH_FILE) from error


@lru_cache(maxsize=64)
def _remembered(path: Path, inode: int, size: int, mtime_ns: int) -> Header:
    """Once for a file that stays as it is."""
    with path.open("rb") as file:
        head = file.read(262)
        if head.startswith(b"PK\3\4"):
            return _zipped(file)
        if head[:1] == b"\x80" and head[8:9] != b"{":  # a header of safetensors may be as long as that byte says
            return _legacy(file, size)
    if head[257:] == b"ustar":
        raise ValueError("it is a tar file of torch before 0.4, which is not read; save it with a newer torch")
    if head.startswith(b"GGUF"):
        raise ValueError("it is a GGUF file, which is not read")
    return read_header(path)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A tensor: part of a storage. Lengths count elements."""

    storage: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _zipped(file: BinaryIO) -> Header:
    inside = members(file)
    pickles = [name for name in inside if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("it is a zip, but not one that torch wrote")
    root = pickles[0].removesuffix("data.pkl")
    if root + "constants.pkl" in inside:
        raise ValueError("it is a TorchScript program, not a file of weights")
    if root + "byteorder" in inside and _content(file, inside[root + "byteorder"]) != b"little":
        raise ValueError("it was saved on a big-endian machine")
    tree = read(_content(file, inside[pickles[0]])).tree
    storages = {name.removeprefix(root + "data/"): member for name, member in inside.items()}
    return _header(tree, storages)


def _content(file: BinaryIO, member: Member) -> bytes:
    if member.size > LARGEST_PICKLE:
        raise ValueError(f"its pickle has {member.size} bytes")
    file.seek(member.start)
    return file.read(member.size)


def _legacy(file: BinaryIO, size: int) -> Header:
    """A number, a version, a machine, the tree, the names of the storages: five pickles. Then the storages."""
    file.seek(0)
    data = file.read(LARGEST_PICKLE)
    pickles = [read(data)]
    if pickles[0].tree != _LEGACY:
        raise ValueError("it is a pickle, but not one that torch wrote")
    while len(pickles) < 5:
        pickles.append(read(data, pickles[-1].end))
    _, _, machine, content, names = pickles
    if not isinstance(machine.tree, dict) or machine.tree.get("little_endian") is not True:
        raise ValueError("it was saved on a big-endian machine")
    if not isinstance(names.tree, list):
        raise ValueError("its list of storages is damaged")
    return _header(content.tree, dict(_behind(file, names.end, size, names.tree, _widths(content.outside))))


def _widths(outside: Iterable[Any]) -> dict[str, int]:
    """The bytes an element of each storage that a pickle speaks of."""
    found = {}
    for said in outside:
        match said:
            case ("storage", Name(_, kind), str(storage), _, _, None) if kind in _DTYPES:
                found[storage] = SIZES[_DTYPES[kind]]
    return found


def _behind(
    file: BinaryIO, at: int, size: int, names: Iterable[Any], widths: Mapping[str, int]
) -> Iterator[tuple[str, Member]]:
    """Where the storages lie behind the pickles: each is its length in elements, 8 bytes, and its bytes."""
    for name in names:
        if not isinstance(name, str) or name not in widths:
            raise ValueError("it holds numbers of a kind that is not read")
        file.seek(at)
        count = int.from_bytes(file.read(8), "little")
        member = Member(at + 8, count * widths[name])
        at = member.start + member.size
        if at > size:
            raise ValueError("it is cut short")
        yield name, member


def _header(tree: Any, storages: Mapping[str, Member]) -> Header:
    found: dict[str, Entry] = {}
    for name, piece in _pieces(tree):
        if name in found:
            raise ValueError(f'the weight "{name}" is there twice')
        member = storages.get(piece.storage)
        if member is None:
            raise ValueError(f'the bytes of "{name}" are not there')
        found[name] = _entry(name, piece, member)
    plain = {key: value for key, value in _items(tree).items() if isinstance(value, (str, int, float))}
    return Header(found, {str(key)[:MOST_SHOWN]: str(value)[:MOST_SHOWN] for key, value in plain.items()})


def _entry(name: str, piece: _Piece, member: Member) -> Entry:
    width, count = SIZES[piece.dtype], math.prod(piece.shape)
    plain = tuple(range(len(piece.shape)))
    order = plain if _is_dense(piece, plain) else tuple(sorted(plain, key=lambda axis: -piece.strides[axis]))
    if not _is_dense(piece, order):
        raise ValueError(f'"{name}" is {list(piece.shape)} with strides {list(piece.strides)}, which leave gaps')
    if (piece.offset + count) * width > member.size:
        raise ValueError(f'the bytes of "{name}" are cut short')
    start = member.start + piece.offset * width
    return Entry(piece.dtype, piece.shape, start, count * width, () if order == plain else order)


def _is_dense(piece: _Piece, order: tuple[int, ...]) -> bool:
    """Whether the elements lie one behind the other, the axes in this order from the slowest to the fastest."""
    step = 1
    for axis in reversed(order):
        if piece.shape[axis] > 1 and piece.strides[axis] != step and 0 not in piece.shape:
            return False
        step *= piece.shape[axis]
    return True


def _pieces(tree: Any) -> Iterator[tuple[str, _Piece]]:
    """The tensors in a tree of dicts, by their names. A dict that is there twice is named once."""
    pending, met, left = [("", _unwrapped(tree))], set(), MOST_PARTS
    while pending:
        name, node = pending.pop()
        if (piece := _tensor(node)) is not None:
            yield name, piece
        elif id(node) not in met and len(name) < LONGEST_NAME:
            met.add(id(node))
            left -= _length(node)
            if left < 0:
                raise ValueError(f"its pickle names more than {MOST_PARTS} parts")
            pending += [(_joined(name, key), part) for key, part in reversed(_items(node).items())]


def _joined(name: str, key: object) -> str:
    if key in _MODULE_PARTS:
        return name
    return f"{name}.{key!s:.{LONGEST_NAME}}" if name else f"{key!s:.{LONGEST_NAME}}"


def _unwrapped(tree: Any) -> Any:
    outermost = _items(tree)
    return next((outermost[name] for name in WRAPPERS if _items(outermost.get(name))), tree)


def _items(node: Any) -> dict[Any, Any]:
    """What a dict holds, or what would have become one: ordered dicts, networks, dicts of an unknown class."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, Stub):
        return {}
    given = {}
    if node.made_by == Name("collections", "OrderedDict") and node.arguments and isinstance(node.arguments[0], list):
        pairs = [pair for pair in node.arguments[0] if isinstance(pair, (list, tuple)) and len(pair) == 2]
        given = {key: value for key, value in pairs if isinstance(key, str)}
    state = node.state if isinstance(node.state, dict) and not node.items else {}
    return {**given, **node.items, **state}


def _length(node: Any) -> int:
    """How much `_items` would go through."""
    if not isinstance(node, Stub):
        return len(node) if isinstance(node, dict) else 0
    arguments = node.arguments if isinstance(node.arguments, tuple) else ()
    parts = (node.items, node.state, *arguments[:1])
    return sum(len(part) for part in parts if isinstance(part, (dict, list)))


def _tensor(node: Any) -> _Piece | None:
    """The tensor that a call would have made, if it is one of torch's own and of a known dtype."""
    for _ in range(3):  # a parameter, of a class of its own, around a tensor
        if not isinstance(node, Stub):
            return None
        match node.made_by, node.arguments:
            case Name("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"), (inner, *_):
                node = inner
            case Name("torch._tensor", "_rebuild_from_type_v2"), (made_by, _, tuple() as arguments, *_):
                node = Stub(made_by, arguments)
            case Name("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"), (Outside(said), *place):
                return _piece(said, place[:3], None)
            case Name("torch._utils", "_rebuild_tensor_v3"), (Outside(said), *place) if len(place) > 5:
                return _piece(said, place[:3], place[5])
            case _:
                return None
    return None


def _piece(said: Any, place: list[Any], dtype: Any) -> _Piece | None:
    match said, place:
        case ("storage", Name(_, kind), str(storage), *_), [offset, tuple() as shape, tuple() as strides]:
            known = _DTYPES.get(dtype.name if isinstance(dtype, Name) else kind)
        case _:
            return None
    lengths = (offset, *shape, *strides)
    if known is None or len(shape) != len(strides) or len(shape) > MOST_AXES:
        return None
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in lengths):
        raise ValueError("a tensor in it has an impossible shape or place")
    return _Piece(storage, known, offset, shape, strides)


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
