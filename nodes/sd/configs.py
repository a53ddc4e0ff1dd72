"""What the config of a network may say, by the class that is built of it: diffusers builds of anything, and computes
with it later. Light: no torch.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nodes.sd.headers import MOST_SHOWN

LARGEST_NUMBER = 1_000_000
"""In a config; the largest real one is a vocabulary of some 50,000 words."""

UNUSED = ("bos_token_id", "pad_token_id")
"""What a text encoder's config may leave open: its tokenizer has them."""

FITTING: Mapping[str, Sequence[object]] = {"downsample_padding": (0, 1), "output_hidden_states": (False, True, None)}
"""All that can be computed with, of keys for which anything builds. With more padding, no layer halves the sides."""


def odd(built: type, config: Mapping[str, Any]) -> Iterator[str]:
    """Name what a class cannot compute with: a number over `LARGEST_NUMBER`, what is none where it takes one,
    and what is none of the `FITTING` values.

    built: the class, or that of its config: it takes numbers from 0 on where its constructor has some by itself.
    """
    yield from (key for key, value in config.items() if any(_is_endless(one) for one in _flat(value)))
    for key, parameter in inspect.signature(built).parameters.items():
        if key in config and _takes_numbers(parameter) and not _is_taken(config[key], parameter):
            yield key
    yield from (key for key, fit in FITTING.items() if config.get(key, fit[0]) not in fit)


def undescribed(what: str, error: Exception) -> str:
    """Say that a config describes no network or scheduler, and what its constructor says to that."""
    return f"does not describe a {what}: {error!s:.{MOST_SHOWN}}"


def _takes_numbers(parameter: inspect.Parameter) -> bool:
    return str(parameter.annotation).startswith("int") or any(map(_is_number, _flat(parameter.default)))


def _is_taken(value: object, parameter: inspect.Parameter) -> bool:
    takes = str(parameter.annotation)
    if value is None:
        return parameter.default is None or parameter.name in UNUSED
    if isinstance(value, (list, tuple)) and "uple" not in takes:
        return False
    return all(_is_number(one) and one >= 0 and ("float" in takes or isinstance(one, int)) for one in _flat(value))


def _flat(value: object) -> Iterator[Any]:
    """A value, or those of a list, also of lists in it."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, (list, tuple)):
            pending += reversed(one)
        else:
            yield one


def _is_number(value: object) -> bool:
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _is_endless(value: object) -> bool:
    """Whether building by a number would never end."""
    return isinstance(value, int) and value > LARGEST_NUMBER
