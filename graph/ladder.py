"""What is tried when a device has not enough memory for a step, the smallest change of its result first.

    (again)  once everything idle has left the device's memory           the same bits, the same key
    offload  weights stay in main memory, a layer's come to compute      the same bits, the same key
    halves   the halves of a batch go through a network one by one       other last bits, a key of its own
    cpu      on the CPU, in fp32 where it does not compute well in less  the key of that precision
    tiles    a picture in small tiles                                    seams that may be seen, a key of its own

A key has one value on every machine: what changes bits is in the recipe. Where a step ended is noted under its key
at the foot of the ladder and its device; a later plan begins there, and so comes to the key that has the result. A
result that is known at the foot is better, and is taken.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from graph.cache import Cache, Result
from graph.errors import OutOfMemory, TooLarge
from graph.events import Sink, Warned
from graph.keys import key_of, revised
from graph.placement import Device, Placed, pick, place
from graph.ready import Off, Outcomes, Read, Ready, Wait, World, prepare
from graph.steps import Step, values_of

RUNG = "rung"
"""The space of notes that tell where a step was done at last."""
RUNGS = {
    "offload": "with its weights in main memory, a layer's at a time on the device",
    "halves": "with the halves of a batch one after the other, which changes the last bits",
    "cpu": "on the CPU",
    "tiles": "in small tiles, whose seams may be seen",
}
_AGAIN = "with everything idle moved out"
_OF_NODES = ("halves", "tiles")
"""What only some kinds can do (`Node.saves`), and what changes bits."""


def prepared(step: Step, outcomes: Outcomes, read: Read, world: World, cache: Cache) -> Ready | Off | Wait:
    """Say what a step is made from, as `prepare`, on the rung that is noted for it; where no better result is known."""
    ready = prepare(step, outcomes, read, world)
    if not isinstance(ready, Ready) or not step.accelerated:
        return ready
    rung = _noted(_name(ready, world.devices), cache)
    if rung not in _rungs(ready, world.devices):
        return ready
    lifted = _lifted(ready, rung, world.devices)
    return ready if lifted.key != ready.key and cache.result(ready.key) else lifted


def at_foot(ready: Ready | Off) -> Ready | Off:
    """The same step where memory is not short."""
    return (ready.foot or ready) if isinstance(ready, Ready) else ready


def climb(step: Step, ready: Ready, world: World, cache: Cache, work: Callable[[Ready], None], sink: Sink) -> None:
    """Do an accelerated step's work, from rung to rung as long as memory is not enough, and note where it was done.

    Raises OutOfMemory, as at the first try, with all that was tried; and whatever else the work raises.
    """
    tried: list[tuple[OutOfMemory, str]] = []
    for at, how in _attempts(ready, world.devices):
        if tried and isinstance(tried[-1][0], TooLarge) and at.rung in ("offload", ready.rung):
            continue
        if tried:
            sink.emit(Warned(f"{tried[-1][0].message}; tried again {how}", step.name))
        try:
            work(at)
            _note(at, world, cache)
            return
        except (OutOfMemory, MemoryError) as error:
            tried.append((told_anew(error), how))
        _give_back()
    raise _in_vain(tried)


def can_be_had(step: Step, result: Result, cache: Cache) -> bool:
    """Whether all values of a result are in the cache; they are kept from eviction then."""
    return cache.touch(result.outputs) >= frozenset(values_of(step, result.outputs))


def told_anew(error: OutOfMemory | MemoryError) -> OutOfMemory:
    """The same error without its frames, in which all that the step had in memory lives on."""
    if isinstance(error, OutOfMemory):
        return type(error)(error.message, hint=error.hint)
    said = f": {error}" if str(error) else ""
    return OutOfMemory(f"there is not enough memory{said}", hint="Make the picture smaller.")


def is_reached_by_climbing(key: str, cache: Cache) -> bool:
    """Whether a key was ever another's on a higher rung; --force may lead to that other one again."""
    return bool(_noted(key, cache))


def _noted(name: str, cache: Cache) -> str:
    return (cache.noted(RUNG, name) or b"").decode()


def _note(at: Ready, world: World, cache: Cache) -> None:
    if _noted(name := _name(at, world.devices), cache) != at.rung:
        cache.note(RUNG, name, at.rung.encode())
        if at.foot and at.foot.key != at.key:
            cache.note(RUNG, at.key, at.rung.encode())


def _name(ready: Ready, devices: Sequence[Device]) -> str:
    """Under which name the rung of a step is noted. Another device, or one with other memory, begins at the foot."""
    foot = ready.foot or ready
    device = pick(devices, foot.placed.device)
    return f"{foot.key} {device.name} {device.label} {device.total_bytes}" if device else foot.key


def _attempts(ready: Ready, devices: Sequence[Device]) -> Iterator[tuple[Ready, str]]:
    """Where to do a step, and how to tell it; the first is as planned."""
    yield ready, ""
    yield ready, _AGAIN
    foot, rungs = ready.foot or ready, _rungs(ready, devices)
    for rung in rungs[rungs.index(ready.rung) + 1 if ready.rung else 0 :]:
        yield _lifted(foot, rung, devices), RUNGS[rung]


def _rungs(ready: Ready, devices: Sequence[Device]) -> list[str]:
    foot = ready.foot or ready
    elsewhere = foot.placed.device != "cpu" and pick(devices, "cpu") is not None
    return [rung for rung in RUNGS if (rung in foot.node.saves if rung in _OF_NODES else elsewhere)]


def _lifted(foot: Ready, rung: str, devices: Sequence[Device]) -> Ready:
    placed = _placed(foot.placed, rung, devices)
    text = revised(foot.recipe, precision=placed.precision, saving=rung if rung in _OF_NODES else "")
    return replace(foot, recipe=text, key=key_of(text), placed=placed, rung=rung, foot=foot)


def _placed(foot: Placed, rung: str, devices: Sequence[Device]) -> Placed:
    short = f"{foot.device} had not enough memory for this"
    if rung == "cpu":
        there = place(devices, "cpu", foot.precision)
        return Placed(there.device, there.precision, short)
    return replace(foot, why=f"{RUNGS[rung]}, because {short}", saving=rung)


def _give_back() -> None:
    """Free what a try held: the frames of its error are in cycles with it, and glibc keeps what is freed for itself."""
    gc.collect()
    with suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _in_vain(tried: Sequence[tuple[OutOfMemory, str]]) -> OutOfMemory:
    first, others = tried[0][0], tried[1:]
    told = [how if error.message == first.message else f"{how} ({error.message})" for error, how in others]
    return type(first)(first.message, hint="\n  ".join([first.hint, *(f"Tried in vain {line}." for line in told)]))
