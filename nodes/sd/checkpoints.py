"""From files to modules: configs build them, weights fill them. No network, no code of the model's."""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import RawIOBase
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from graph.errors import MissingError
from nodes.sd import families
from nodes.sd.configs import odd, undescribed
from nodes.sd.headers import FETCH_MODEL, Entry, Weight
from nodes.sd.models import Model
from nodes.sd.tensors import DTYPES

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FLOATS = frozenset(name for name, dtype in DTYPES.items() if dtype.is_floating_point) | {"F8_E4M3", "F8_E5M2"}
"""The dtypes in safetensors that hold fractions."""
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What the attention of autoencoders was called until diffusers 0.18; most checkpoints of SD 1 are that old."""

ALONE = {"controlnet": families.Part("diffusers", "ControlNetModel")}
"""What is a part of no model."""
NOTHING: Mapping[str, torch.Tensor] = MappingProxyType({})
READERS = 2
"""Threads: one reads or converts while the other waits for the file, or for memory."""
PIECE = 1 << 22
"""Numbers that are read before they are converted: memory for all of a large weight would have to be found anew."""
MOST_WEIGHTS = 10_000
"""Of one network, without counting the numbers in each. The U-Net of Stable Diffusion XL has 1,680."""


def compute_dtype(component: str, precision: str) -> torch.dtype:
    """What a component computes in. A VAE never computes in fp16: some overflow there, and give black pictures."""
    return PRECISIONS["fp32" if (component, precision) == ("vae", "fp16") else precision]


def load(
    folder: Model, family: str, component: str, dtype: torch.dtype, known: Mapping[str, torch.Tensor] = NOTHING
) -> torch.nn.Module:
    """Build one component on the CPU, in eval mode, with its weights as `dtype`, and no gradients.

    known: weights that are in memory already, as `dtype`, by name: they are shared, the others are read. Every weight
    lies in aligned memory of its own, whatever the file's layout. Never is more in memory twice than pieces of weights.

    Raises MissingError naming the file, and the weight, that is lacking, damaged, or of the wrong shape.
    """
    return filled(empty(folder, family, component), folder.weights(component), component, dtype, known)


def filled(
    module: torch.nn.Module,
    weights: Iterable[tuple[str, Weight]],
    what: str,
    dtype: torch.dtype,
    known: Mapping[str, torch.Tensor] = NOTHING,
) -> torch.nn.Module:
    """Give a module that was built without memory its weights, as `load` does. what: its name, for messages."""
    wanted = module.state_dict()
    found = _found(weights, wanted)
    if lacking := sorted(wanted.keys() - found.keys()):
        raise MissingError(f'the weights of "{what}" lack "{lacking[0]}" ({len(lacking)} in all)')
    # Names that are not wanted are left over from older versions (position_ids), or from training.
    for name in wanted:
        _check_weight(name, found[name], wanted[name])
    unknown = [name for name in wanted if name not in known]
    with ThreadPoolExecutor(READERS) as readers:
        read = readers.map(lambda name: read_weight(*found[name], dtype), unknown)
        state = {**{name: known[name] for name in wanted if name in known}, **dict(zip(unknown, read, strict=True))}
    module.load_state_dict(state, assign=True)
    _compute_buffers(module)
    return module.requires_grad_(False).eval()


def empty(folder: Model, family: str, component: str) -> Any:
    """The module with its shapes, and no memory behind them."""
    part = ALONE.get(component) or families.named(family).components[component]
    kind = getattr(importlib.import_module(part.library), part.name)
    return built(part.name, kind, folder.config(component), partial(folder.wrong, f"{component}/config.json"))


def built(what: str, kind: Any, config: Mapping[str, Any], wrong: Callable[[str], MissingError]) -> Any:
    """Build a network as a config describes it: its shapes, and no memory behind them.

    what: its name, for messages. kind: a class of diffusers, or one that takes a config of its own `config_class`.

    Raises what `wrong` makes of the reason why there can be no such network.
    """
    own = getattr(kind, "config_class", None)
    try:
        if key := next(odd(own or kind, config), ""):
            raise ValueError(f'"{key}" is {config[key]!r:.60}')
        with without_memory():
            return kind(own(**config)) if own else kind.from_config(config)
    except Exception as error:  # whatever a constructor makes of a senseless number
        raise wrong(undescribed(what, error)) from error


@contextmanager
def without_memory() -> Iterator[None]:
    """Build modules with their shapes, and nothing behind them.

    Raises ValueError for one of so many layers that building it would hardly end.
    """
    built, here = itertools.count(1), threading.get_ident()

    def counted(*_: object) -> None:
        if threading.get_ident() == here and next(built) > MOST_WEIGHTS:
            raise ValueError(f"it would have more than {MOST_WEIGHTS} weights")

    hook = register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


def _check_weight(name: str, weight: Weight, wanted: torch.Tensor) -> None:
    if wanted.shape != weight.entry.shape:
        differs = f"{list(weight.entry.shape)}, but the config asks for {list(wanted.shape)}"
    elif wanted.is_floating_point() != (weight.entry.dtype in FLOATS):
        needed = "fractions" if wanted.is_floating_point() else "whole numbers"
        differs = f"{weight.entry.dtype}, but the model computes with {needed}"
    else:
        return
    raise MissingError(f'the weight "{name}" in "{weight.path.parent.name}/{weight.path.name}" is {differs}')


def _found(weights: Iterable[tuple[str, Weight]], wanted: dict[str, torch.Tensor]) -> dict[str, Weight]:
    """Where each weight lies, by what it is called today. Raises MissingError for one that is there twice."""
    found: dict[str, Weight] = {}
    for old, weight in weights:
        name = _name(old, wanted)
        if name in wanted and name in found:
            files = " and in ".join(
                dict.fromkeys(f'"{path.parent.name}/{path.name}"' for path in (found[name].path, weight.path))
            )
            raise MissingError(f'the weight "{name}" is there twice, in {files}', hint=FETCH_MODEL)
        found[name] = weight
    return found


def _name(name: str, wanted: dict[str, torch.Tensor]) -> str:
    """What a weight is called today."""
    if name in wanted:
        return name
    # transformers 4 had one level more
    plain = name.removeprefix("text_model.").replace("vision_model.vision_model.", "vision_model.", 1)
    before, _, kind = plain.rpartition(".")
    stem, _, last = before.rpartition(".")
    modern = f"{stem}.{_OLD_ATTENTION.get(last, last)}.{kind}" if ".attentions." in plain else plain
    return modern if modern in wanted else name


def read_weight(path: Path, entry: Entry, dtype: torch.dtype) -> torch.Tensor:
    """Read one weight. Not mapped: mapped tensors are unaligned, and convolutions then round otherwise."""
    if entry.dtype not in DTYPES:
        raise MissingError(f'"{path.parent.name}/{path.name}" has weights as {entry.dtype}, which is not supported')
    stored = DTYPES[entry.dtype]
    flat = torch.empty(entry.size // stored.itemsize, dtype=dtype if stored.is_floating_point else stored)
    with path.open("rb", buffering=0) as file:
        file.seek(entry.start)
        if flat.dtype == stored:
            _read_into(flat, file, path)
        else:
            _read_converted(flat, stored, file, path)
    order = entry.order or tuple(range(len(entry.shape)))
    lying = flat.reshape([entry.shape[axis] for axis in order])
    return lying.permute([order.index(axis) for axis in range(len(order))]).contiguous()


def _read_converted(numbers: torch.Tensor, stored: torch.dtype, file: RawIOBase, path: Path) -> None:
    desk = torch.empty(min(PIECE, numbers.numel()), dtype=stored)
    for part in numbers.split(PIECE):
        as_stored = desk[: part.numel()]
        _read_into(as_stored, file, path)
        part.copy_(as_stored)


def _read_into(numbers: torch.Tensor, file: RawIOBase, path: Path) -> None:
    view, read = memoryview(numbers.view(torch.uint8).numpy()), 0
    while read < len(view):
        got = file.readinto(view[read:])
        if not got:
            raise MissingError(f'"{path.parent.name}/{path.name}" became shorter while it was read')
        read += got


def _compute_buffers(module: torch.nn.Module) -> None:
    """Fill the buffers that no file holds, because they follow from the config."""
    for path, part in module.named_modules():
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_meta:
                if name != "position_ids":
                    raise RuntimeError(f"nothing is known to fill the buffer {path}.{name} with")
                part.register_buffer(name, torch.arange(buffer.shape[-1]).expand(buffer.shape), persistent=False)
