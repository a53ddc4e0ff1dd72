"""Where weights are: loaded once, moved to where a step computes, moved out when others need the room.

    file --load--> main memory --use--> device
                        ^                 |
                        +-- room needed --+          release: forgotten

There is one owner, `weights`. A step borrows a module with `use`; nobody else keeps one. The state is one table,
least recently used first, from what decides the weights' bits (content, component, dtype, patches) to the module,
its size, where it is, and how many steps are using it. On the CPU nothing moves; what is idle there is forgotten when
a step runs out of memory. Where memory must be saved, a module stays in main memory and its layers visit the device.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import torch

from graph.errors import OutOfMemory
from graph.node import Context
from graph.values import ModelHandle, TextEncoder
from nodes.sd import families
from nodes.sd.checkpoints import compute_dtype, load
from nodes.sd.layers import visiting
from nodes.sd.memory import free_bytes, named_out_of_memory
from nodes.sd.models import opened
from nodes.sd.patches import apply

WORKING_BYTES = 2 << 30
"""What a step is given beside its weights before other weights are moved out; 512 x 512 needs about half of it."""

Key = tuple[str, str, torch.dtype, tuple[str, ...]]


@dataclass(slots=True)
class Held:
    """A module in memory."""

    module: Any
    size: int
    """Of its weights, in bytes."""
    changed: frozenset[str] = frozenset()
    """The weights that are not those of the file."""
    device: str = "cpu"
    users: int = 0


class Weights:
    """The weights of this process.

    budget: the bytes that are free on a device.
    """

    def __init__(self, budget: Callable[[str], int] = free_bytes) -> None:
        self.loads = 0
        """How often weights were read from files."""
        self.seconds = 0.0
        """How long that took in all."""
        self._budget = budget
        self._held: OrderedDict[Key, Held] = OrderedDict()
        self._lock = RLock()

    @contextmanager
    def use(self, handle: ModelHandle, ctx: Context) -> Iterator[Any]:
        """Lend a module, on ctx.device, in ctx.precision (a VAE in fp32 where that is fp16).

        Raises MissingError for weights that cannot be loaded; OutOfMemory, also for what the step itself does
        with the module, after everything idle was moved off the device.
        """
        with self._making_room(ctx.device), named_out_of_memory(ctx.device):
            held = self._borrow(handle, ctx)
        try:
            with self._making_room(ctx.device), named_out_of_memory(ctx.device), _there(held, ctx.device):
                yield held.module
        finally:
            self._return(held)

    @contextmanager
    def _making_room(self, device: str) -> Iterator[None]:
        """Where memory is not enough, move everything idle out before that is told: a second try finds the room."""
        try:
            yield
        except OutOfMemory:
            with named_out_of_memory("cpu"):
                self._make_room(device, None)
            raise

    def release(self, handle: ModelHandle) -> None:
        """Forget a component's weights, in every precision. A step that uses them keeps them until it ends.

        A text encoder's handle stands for all the text encoders of its model.
        """
        gone = families.named(handle.family).encoders if isinstance(handle, TextEncoder) else (handle.component,)
        with self._lock:
            for digest, component, dtype, patches in list(self._held):
                if (digest, patches) == (handle.digest, handle.patches) and component in gone:
                    del self._held[digest, component, dtype, patches]

    def tidy(self) -> None:
        """Forget idle weights for which no handle goes from step to step, so that nobody tells who takes them last."""
        with self._lock:
            for key in [key for key, held in self._held.items() if key[1] in UNLINKED and not held.users]:
                del self._held[key]

    def _borrow(self, handle: ModelHandle, ctx: Context) -> Held:
        with self._lock:
            held = self._loaded(handle, ctx)
            held.users += 1
            try:
                self._bring(held, ctx)
            except BaseException:
                self._return(held)
                raise
            return held

    def _bring(self, held: Held, ctx: Context) -> None:
        """Move a module to where it is to be. While memory must be saved nothing idle stays on the device."""
        device = "cpu" if ctx.saving else ctx.device
        if ctx.saving:
            self._make_room(ctx.device, None)
        elif held.device != device:
            self._make_room(device, held.size + WORKING_BYTES)
        if held.device != device:
            self._move(held, device)

    def _return(self, held: Held) -> None:
        with self._lock:
            held.users -= 1

    def _loaded(self, handle: ModelHandle, ctx: Context) -> Held:
        dtype = compute_dtype(handle.component, ctx.precision)
        key = (handle.digest, handle.component, dtype, handle.patches)
        if key not in self._held:
            self.tidy()
            start = time.perf_counter()
            module = _read(handle, ctx.locate(handle.digest), dtype, self._unchanged(key))
            changed = apply(module, handle.component, handle.patches, ctx)
            self.loads += 1
            size = sum(weight.numel() * weight.element_size() for weight in module.state_dict().values())
            self._held[key] = Held(module, size, changed)
            self.seconds += time.perf_counter() - start
        self._held.move_to_end(key)
        return self._held[key]

    def _unchanged(self, key: Key) -> dict[str, torch.Tensor]:
        """The file's own weights that modules with other patches have in main memory: they are shared."""
        return {
            name: weight
            for other, held in self._held.items()
            if other[:3] == key[:3] and held.device == "cpu"
            for name, weight in held.module.state_dict().items()
            if name not in held.changed
        }

    def _make_room(self, device: str, wanted: int | None) -> None:
        """Move idle weights off a device, least recently used first, until `wanted` bytes are free; None: all.

        Out of main memory there is nowhere to go: what is idle is forgotten.
        """
        with self._lock:
            idle = [key for key, held in self._held.items() if held.device == device and not held.users]
            for key in idle:
                if wanted is not None and self._budget(device) >= wanted:
                    return
                if device == "cpu":
                    del self._held[key]
                else:
                    self._move(self._held[key], "cpu")

    def _move(self, held: Held, device: str) -> None:
        left, held.device = held.device, device
        try:
            held.module.to(device)
        except BaseException:
            held.device = left
            held.module.to(left)  # half of it may have moved
            raise
        if torch.device(left).type == "cuda":
            torch.cuda.empty_cache()


def _upscaler(path: Path, dtype: torch.dtype) -> torch.nn.Module:
    from nodes.sd.upscalers import load_upscaler

    return load_upscaler(path, dtype)


def _safety_checker(path: Path, dtype: torch.dtype) -> torch.nn.Module:
    from nodes.sd.safety_net import load_safety  # imports transformers, which a run without a checker may not need yet

    return load_safety(path, dtype)


def _there(held: Held, device: str) -> AbstractContextManager[None]:
    """See that a module in main memory computes on another device; who borrowed it first does."""
    return visiting(held.module, device) if held.device != device and held.users == 1 else nullcontext()


def _read(handle: ModelHandle, path: Path, dtype: torch.dtype, known: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    if alone := ALONE.get(handle.component):
        return alone(path, dtype)
    return load(opened(path), handle.family, handle.component, dtype, known)


ALONE: Mapping[str, Callable[[Path, torch.dtype], torch.nn.Module]] = {
    "upscaler": _upscaler,
    "safety_checker": _safety_checker,
}
"""What reads the components that are files of their own, not parts of a model."""
UNLINKED = frozenset({"safety_checker"})
"""The components that a node loads by itself. They stay until other weights are read, or the run ends."""
weights = Weights()
"""The one owner."""
