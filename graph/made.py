"""What a node gave, checked against what it declares, as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

from graph.ages import NEVER
from graph.codec import Blob, decode, encode
from graph.errors import StepError
from graph.node import Output, outputs, type_name
from graph.steps import Step
from graph.values import ModelHandle, SavedFile, Value

QUICK = 0.001
"""Seconds of work beside which a look into the cache for what another process gave would cost something."""


def encoded(step: Step, values: tuple[Any, ...]) -> tuple[Blob, ...]:
    """Check what a node gave against what it declares, and give each value its bytes. Raises StepError."""
    declared = outputs(step.node).values()
    if len(values) != len(declared):
        raise StepError(f"a {step.kind} gave {len(values)} values, but declares {len(declared)}")
    for value, output in zip(values, declared, strict=True):
        if output.many or type(value) is not output.type:
            _check(step, output, value)
    try:
        return tuple(map(encode, values))
    except (TypeError, ValueError) as error:
        raise StepError(f"a {step.kind} gave what cannot be kept: {error}") from error


def _check(step: Step, output: Output, value: Any) -> None:
    is_list = isinstance(value, (list, tuple))
    wrong = [item for item in (value if output.many and is_list else [value]) if not _is_a(item, output.type)]
    if wrong or output.many != is_list:
        given = f"a list with {type(wrong[0]).__name__}" if is_list and wrong else type(value).__name__
        want = type_name(output.type, output.many)
        raise StepError(f"a {step.kind} gave {given} as {output.name}, but declares {want}")


def _is_a(value: object, kind: Any) -> bool:
    """True and False are no whole numbers here, as in a workflow."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def is_known(data: bytes) -> bool:
    """Whether bytes from the cache are a value of today: its type may have changed, or be of a plug-in that is gone."""
    try:
        decode(data)
    except ValueError:
        return False
    return True


def surprise(step: Step, blobs: tuple[Blob, ...]) -> str:
    """What to say of values that are others than the same key gave before; "" where nothing is strange about that.

    The world that a node reads may change, and a file that it writes may have another name each time.
    """
    if step.fresh != NEVER or any(isinstance(decode(blob.data), SavedFile) for blob in blobs):
        return ""
    return f"a {step.kind} gave other values for the same inputs than before: it is not deterministic"


def remarks(step: Step, digests: Sequence[str], read: Callable[[str], bytes | None]) -> list[str]:
    """What a node warned of when it made a result, which stands behind its values; nothing where it was evicted.

    digests: of all that the result holds.
    """
    for digest in digests[len(outputs(step.node)) :]:
        with suppress(ValueError):  # a result from elsewhere may hold anything there
            found = decode(read(digest) or b"")
            return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
    return []


def gives_handles(step: Step, output: int) -> bool:
    """Whether an output is model handles, or has some in it."""
    return _holds_handles(list(outputs(step.node).values())[output].type)


@cache
def _holds_handles(kind: Any) -> bool:
    if not isinstance(kind, type) or not issubclass(kind, Value):
        return False
    return issubclass(kind, ModelHandle) or any(_holds_handles(part) for part in get_type_hints(kind).values())


def weights_of(handle: ModelHandle) -> tuple[str, str, tuple[str, ...]]:
    """What decides which weights a handle stands for; what else it says changes none of their bits in the file."""
    return handle.digest, handle.component, handle.patches


def handles(value: object) -> Iterator[ModelHandle]:
    """The model handles in a value: the handle that it is, or those that it holds."""
    if isinstance(value, ModelHandle):
        yield value
    elif isinstance(value, Value):
        for field in fields(value):
            yield from handles(getattr(value, field.name))
