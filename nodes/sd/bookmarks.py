"""Where sampling stands, as a value, and going on from there with the very bits of a run that nobody cut off.

All that a run carries from one step to the next is the latents, the generator, and what the scheduler remembers. Of
the scheduler everything is kept that is not its config, for which of its attributes a step changes is its own affair.
How a tensor lies in memory is kept as well: it decides the last bits of what a convolution makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch

from graph.node import Context
from graph.values import Tensor, Value
from nodes.sd import tensors
from nodes.sd.noise import state
from nodes.sd.samplers import Schedule
from nodes.sd.tensors import freeze, in_layout, thaw

MADE_ANEW = frozenset({"_internal_dict", "noise_sampler", "tau_func"})
"""What a scheduler has that no step changes, and that is no data: its config, a Brownian path, a function."""
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class KeptArray(Value):
    """A tensor of torch's, or an array or number of numpy's."""

    tensor: Tensor
    form: str = "torch"
    """torch, numpy or number."""
    is_away: bool = False
    """Whether it lies on the device that samples, and not in main memory."""
    channels_last: bool = False


@dataclass(frozen=True)
class KeptList(Value):
    """A list; steps change its items."""

    items: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Stand(Value):
    """One sample between two steps."""

    done: int
    """How many evaluations of the model are behind it."""
    times: Tensor
    """What they were asked for."""
    among: tuple[int, int]
    """How many evaluations came before these in the whole run, and how many that has: prompts and controls count."""
    latents: KeptArray
    generator: bytes
    scheduler: tuple[tuple[str, Any], ...] = ()
    """What it remembers, by attribute; nothing once it is clean."""


@dataclass(frozen=True)
class Sampling(Value):
    """How far a batch has come."""

    machine: str
    """What it was computed on and with: elsewhere, other bits come out."""
    stands: tuple[Stand, ...]
    """Of the samples that were begun, in the order of the batch."""


class Found(NamedTuple):
    """What earlier runs left of the same work."""

    machine: str
    """This one."""
    bookmarks: tuple[Value, ...]

    def farthest(self, index: int, run: Schedule) -> Stand | None:
        """Where sample `index` of the batch stood last on this machine, of all that this run comes through."""
        ours = (one for one in self.bookmarks if isinstance(one, Sampling) and one.machine == self.machine)
        stands = (one.stands[index] for one in ours if index < len(one.stands))
        return max((each for each in stands if _comes_through(run, each)), key=lambda each: each.done, default=None)


def _comes_through(run: Schedule, stood: Stand) -> bool:
    """Whether a run takes the very steps that led here, and can go on."""
    goes_on = bool(stood.scheduler) or stood.done == len(run.times)
    return goes_on and stood.among == (run.before, run.whole) and stood.times == freeze(run.times[: stood.done])


def found(ctx: Context, like: torch.Tensor) -> Found:
    """Look for what earlier runs left. like: a weight of the model, on the device that samples."""
    name = torch.cuda.get_device_name(like.device) if like.is_cuda else like.device.type
    here = f"{name}, {ctx.precision}, torch {torch.__version__}, diffusers {diffusers.__version__}"
    return Found(here, tuple(ctx.bookmarks()))


def stand(run: Schedule, generator: torch.Generator, latents: torch.Tensor, done: int) -> Stand:
    """Write down where a sample stands after `done` evaluations.

    Raises TypeError for a scheduler that remembers what cannot be written down.
    """
    is_over = done == len(run.times) and not run.left
    names = () if is_over else sorted(vars(run.scheduler).keys() - MADE_ANEW)
    remembered = tuple((name, _kept(vars(run.scheduler)[name])) for name in names)
    times, among = freeze(run.times[:done]), (run.before, run.whole)
    return Stand(done, times, among, _array(latents), state(generator), remembered)


def go_on(from_: Stand, run: Schedule, generator: torch.Generator, like: torch.Tensor) -> torch.Tensor:
    """Bring a fresh run and its generator to where a sample stood; gives its latents, on the device of `like`."""
    generator.set_state(torch.from_numpy(np.frombuffer(from_.generator, np.uint8).copy()))
    vars(run.scheduler).update({name: _restored(part, like.device) for name, part in from_.scheduler})
    latents: torch.Tensor = _restored(from_.latents, like.device)
    return latents


def _kept(part: Any) -> Any:
    if type(part) in _PLAIN:
        return part
    if isinstance(part, (torch.Tensor, np.ndarray, np.generic)):
        return _array(part)
    if isinstance(part, list):
        return KeptList(tuple(_kept(item) for item in part))
    raise TypeError(f"a scheduler remembers a {type(part).__name__}, which cannot be written down")


def _array(part: torch.Tensor | np.ndarray[Any, Any] | np.generic) -> KeptArray:
    if not isinstance(part, torch.Tensor):
        return KeptArray(
            freeze(torch.from_numpy(np.array(part))), "numpy" if isinstance(part, np.ndarray) else "number"
        )
    is_away = part.device.type != "cpu"
    return KeptArray(freeze(part), "torch", is_away, part.dim() == 4 and tensors.channels_last(part))


def _restored(part: Any, device: torch.device) -> Any:
    if isinstance(part, KeptList):
        return [_restored(item, device) for item in part.items]
    if not isinstance(part, KeptArray):
        return part
    tensor = thaw(part.tensor)
    if part.form != "torch":
        return tensor.numpy() if part.form == "numpy" else tensor.numpy()[()]
    laid_out = in_layout(tensor, True) if part.channels_last else tensor
    return laid_out.to(device) if part.is_away else laid_out
