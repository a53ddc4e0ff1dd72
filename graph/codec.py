"""Values as bytes, and back: one canonical form, from which digests and keys are made.

JSON where there are no arrays, the safetensors layout where there are. The sha256 of the bytes is the value's digest;
equal values have equal bytes.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, NamedTuple

TYPES: dict[str, type] = {"tensor": object, "bytes": bytes}
"""The types of values by the names that their bytes give them; arrays have two of their own."""


@dataclass(frozen=True)
class Value:
    """Base of what travels on links besides text, numbers and booleans. Declare subclasses as frozen dataclasses.

    Fields may be None, bool, int, float, str, bytes, `Tensor`, other values, and tuples of these.
    """

    noun: ClassVar[str] = "value"
    """The name of an output of this type, where a node has one output."""
    carries: ClassVar[tuple[str, ...]] = ()
    """The traits of a model that what is made with it has too: things of different traits do not go together.

    network: whose weights; conditioning: whose prompts it gives or takes; latents: in whose latent space.
    """

    def __init_subclass__(cls, noun: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.noun = noun or cls.noun
        if "type" in inspect.get_annotations(cls):
            raise TypeError(f'{cls.__name__}: a value cannot have a field "type", its bytes name its own type by it')
        known = TYPES.setdefault(cls.__name__, cls)
        if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
            raise TypeError(f'two value types are called "{cls.__name__}": {known.__module__}, {cls.__module__}')
        TYPES[cls.__name__] = cls


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array at rest: C-contiguous little-endian bytes. `dtype` as safetensors writes it (F32, F16, BF16, U8 ...)."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Blob(NamedTuple):
    """A value as bytes, with the sha256 of these bytes (64 hexadecimal digits)."""

    digest: str
    data: bytes


_BEGIN = '{"darkroom":1,"value":'
_HEAD = _BEGIN.encode()
_decoded = json.JSONDecoder().raw_decode
_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode(value: object) -> Blob:
    """Give a value its canonical bytes.

    Raises TypeError for what no value may hold, ValueError for a number that is not finite.
    """
    arrays: list[Tensor] = []
    # An encoder is made for all but a text.
    text = repr(value) if type(value) is int else _encoded(_pack(value, arrays))
    tree = f"{_BEGIN}{text}}}".encode("utf-8", "surrogatepass")
    data = _with_arrays(tree, arrays) if arrays else tree
    return Blob(hashlib.sha256(data).hexdigest(), data)


def decode(data: bytes) -> Any:
    """Give the value that `encode` made these bytes of. A sequence comes back as a list, inside values as a tuple.
    Its type must have been declared by now.

    Raises ValueError if these are not the bytes of a value.
    """
    try:
        if data.startswith(_HEAD):
            text = data.decode("utf-8", "surrogatepass")
            tree, end = _decoded(text, len(_HEAD))
            if text[end:] != "}":
                raise ValueError("not the bytes of a value: more, or less, than one")
            value = _unpack(tree, ()) if isinstance(tree, (dict, list)) else tree
        else:
            whole, arrays = _read_arrays(data)
            value = _unpack(json.loads(whole)["value"], arrays)
    except (LookupError, TypeError, AttributeError, UnicodeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"not the bytes of a value: {error!r}") from error
    return list(value) if isinstance(value, tuple) else value


def _pack(value: object, arrays: list[Tensor]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Value):
        return {"type": type(value).__name__, **{name: _pack(part, arrays) for name, part in _said(value)}}
    if isinstance(value, (list, tuple)):
        return [_pack(item, arrays) for item in value]
    if isinstance(value, (Tensor, bytes)):
        arrays.append(value if isinstance(value, Tensor) else Tensor("U8", (len(value),), value))
        return {"type": "tensor" if isinstance(value, Tensor) else "bytes", "at": len(arrays) - 1}
    raise TypeError(f"a value cannot hold {type(value).__name__}: {value!r:.80}")


def _said(value: Value) -> Iterator[tuple[str, object]]:
    """The fields that are not at their default: a field that a type gets later changes no digest of before."""
    for field in fields(value):
        part = getattr(value, field.name)
        # By repr as well: 0 is False, and -0.0 is 0.0, for == alone.
        if part != field.default or repr(part) != repr(field.default):
            yield field.name, part


def _unpack(tree: Any, arrays: tuple[Tensor, ...]) -> Any:
    if isinstance(tree, list):
        return tuple(_unpack(item, arrays) for item in tree)
    if not isinstance(tree, dict):
        return tree
    kind = tree["type"]
    if kind in ("tensor", "bytes"):
        array = arrays[tree["at"]]
        return array if kind == "tensor" else array.data
    value: Any = object.__new__(TYPES[kind])
    for field in fields(value):
        part = _unpack(tree[field.name], arrays) if field.name in tree or field.default is MISSING else field.default
        object.__setattr__(value, field.name, part)
    return value


def _with_arrays(tree: bytes, arrays: list[Tensor]) -> bytes:
    """Source: the safetensors format (8-byte length, JSON header, bytes), readable by any of its readers."""
    header: dict[str, Any] = {"__metadata__": {"darkroom": tree.decode("utf-8", "surrogatepass")}}
    start = 0
    for name, array in enumerate(arrays):
        start, offsets = start + len(array.data), [start, start + len(array.data)]
        header[str(name)] = {"dtype": array.dtype, "shape": list(array.shape), "data_offsets": offsets}
    # Not escaped: the escapes of two lone surrogates are those of the one character that a pair of them stands for.
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *(array.data for array in arrays)))


def _read_arrays(data: bytes) -> tuple[str, tuple[Tensor, ...]]:
    body = 8 + int.from_bytes(data[:8], "little")
    if body > len(data):
        raise ValueError("not the bytes of a value: cut short")
    header = json.loads(data[8:body])
    tree: str = header.pop("__metadata__")["darkroom"]
    return tree, tuple(_array(header[str(name)], data, body) for name in range(len(header)))


def _array(entry: dict[str, Any], data: bytes, body: int) -> Tensor:
    start, stop = entry["data_offsets"]
    if body + stop > len(data):
        raise ValueError("not the bytes of a value: cut short")
    return Tensor(entry["dtype"], tuple(entry["shape"]), data[body + start : body + stop])


if sys.byteorder != "little":
    raise ImportError("Darkroom keeps arrays as little-endian bytes and does not run on big-endian machines")
