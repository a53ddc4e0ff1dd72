"""A result as bytes that another machine can believe, as far as such a thing can be believed.

That the recipe is the one of the key, and a blob the one of its digest, can be checked, and is. That the recipe gives
just these outputs cannot, short of running it: for that one trusts whoever wrote the letter.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from graph.keys import key_of
from graph.store import Result

FORMAT = 1
MOST_LETTER = 1 << 20
"""Bytes of a result; a recipe is some kilobytes."""
MOST_VALUE = 1 << 30
"""Bytes of a value that travels: it is read into memory before it can be checked."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_OUTPUTS = 1000


def is_shared(recipe: str) -> bool:
    """Whether a result means anything on another machine: that of a step that writes files is a place on this one."""
    return "folder" not in _object(json.loads(recipe).get("world", {}))


def sealed(result: Result) -> bytes:
    """Write a result down: the same bytes for the same result."""
    parts = {
        "format": FORMAT,
        "made": result.made,
        "memory": result.memory,
        "outputs": result.outputs,
        "recipe": result.recipe,
        "seconds": result.seconds,
    }
    return json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()


def opened(key: str, data: bytes) -> Result:
    """Read the result of a key. Raises ValueError, saying what is wrong, for bytes that are not such a result."""
    try:
        parts = _object(json.loads(data))
        recipe, outputs = parts["recipe"], parts["outputs"]
        result = Result(key, tuple(outputs), recipe, parts["seconds"], parts["made"], parts["memory"])
        is_sound = parts["format"] == FORMAT and _fits(result) and isinstance(json.loads(recipe)["kind"], str)
        is_ours = is_sound and is_shared(recipe)
    except (KeyError, TypeError, AttributeError, UnicodeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError("it is not a result") from error
    if not is_sound:
        raise ValueError("it is not a result of this format")
    if key_of(recipe) != key:
        raise ValueError("its recipe is another's")
    if not is_ours:
        raise ValueError("it names files of another machine")
    return result


def is_digest(text: object) -> bool:
    """Whether this is a sha256 as keys and digests are written."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def has_digest(data: bytes, digest: str) -> bool:
    """Whether bytes are those of a digest."""
    return hashlib.sha256(data).hexdigest() == digest


def _fits(result: Result) -> bool:
    times = (result.seconds, result.made)
    return (
        0 < len(result.outputs) <= _MOST_OUTPUTS
        and all(is_digest(digest) for digest in result.outputs)
        and all(type(time) in (int, float) and 0 <= time < 1e12 for time in times)
        and type(result.memory) is int
        and 0 <= result.memory < 2**63
    )


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
