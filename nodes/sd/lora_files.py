"""LoRA files: which weights of which component they change, told from the names of their tensors. Light: no torch.

Source: Hu et al. 2021 (arXiv:2106.09685), equation 3; names as kohya's sd-scripts, peft and diffusers write them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from graph.errors import MissingError
from graph.filerefs import FileRef
from nodes.sd.headers import FETCH_FILE, Entry
from nodes.sd.pickles import read_entries
from nodes.sd.search import find

FRACTIONS = ("F16", "BF16", "F32", "F64")
MOST_NAMED = 3
"""Tensors that a message names."""

_ROLES = {"lora_down": "down", "lora_up": "up", "lora_mid": "mid", "lora_A": "down", "lora_B": "up"}
_TENSOR = re.compile(
    r"(?P<module>.+?)(?:(?:\.lora|_lora|\.lora_linear_layer)(?=\.(?:down|up)\.))?"
    r"\.(?:(?P<role>lora_down|lora_up|lora_mid|lora_A|lora_B|down|up)(?:\.\w+)?\.weight|alpha)"
)
_COMPONENTS = {
    "lora_unet_": "unet", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2", "lora_te_": "text_encoder",
    "unet.": "unet", "text_encoder_2.": "text_encoder_2", "text_encoder.": "text_encoder",
    "text_model.": "text_encoder", "base_model.model.": "unet", "": "unet",
}  # fmt: skip
"""By how a name begins; the last is that of files with the U-Net alone, from diffusers and peft."""
_OLD_WORDS = {
    "unet": {"to_out": "to_out_0"},
    "text": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
}
"""What the ends of modules were called by diffusers' attention processors of early 2023."""
_OTHERS = {
    "first_stage_model": "a whole checkpoint", "model.diffusion_model": "a whole checkpoint",
    "hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "oft_": "OFT",
    ".on_input": "(IA)3", "w_norm": "LyCORIS norms",
    "lora_controlnet": "a control LoRA", "bundle_emb": "a LoRA with embeddings in it",
    "double_blocks": "a LoRA for Flux", "single_transformer_blocks": "a LoRA for Flux",
    "joint_transformer": "a LoRA for Stable Diffusion 3", "lora_transformer": "a LoRA for a transformer",
    "transformer.": "a LoRA for a transformer", "diffusion_model.": "a LoRA for a transformer",
    "string_to_param": "a textual inversion", "emb_params": "a textual inversion",
    "control_model": "a ControlNet", ".diff": "whole differences (LyCORIS full)",
}  # fmt: skip
"""What a file is instead, by a part of a tensor's name."""
_NETWORKS = {768: "sd1", 1024: "sd2", 1280: "sdxl-refiner", 2048: "sdxl"}
"""Families by the width of the prompts that a U-Net attends to."""
_DEEP = re.compile(r"_transformer_blocks_[4-9]_")
"""A block that only the U-Net of Stable Diffusion XL has: its refiner's transformers have four, the others' one."""


@dataclass(frozen=True, slots=True)
class Change:
    """A low-rank change of one weight: the names of its tensors in the file."""

    down: str
    up: str
    mid: str = ""
    alpha: str = ""

    @property
    def tensors(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.down, self.up, self.mid, self.alpha)))


@dataclass(frozen=True, slots=True)
class Lora:
    """What a file says, before anything of its weights is read."""

    path: Path
    tensors: Mapping[str, Entry]
    changes: Mapping[tuple[str, str], Change]
    """By component, and by module with "_" for every dot, because kohya's names have no dots."""

    def shape(self, change: Change) -> tuple[int, ...]:
        """Of the weight that is changed: (out, in), or (out, in, height, width); ones at the end are left out."""
        down, up = self.tensors[change.down].shape, self.tensors[change.up].shape
        kernel = self.tensors[change.mid].shape[2:] if change.mid else down[2:]
        return trimmed((up[0], down[1], *kernel))


class LoraFile(FileRef):
    """A LoRA, whatever program trained it."""

    what = "LoRA"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a LoRA, by path or by name, and see that it is one. Raises MissingError."""
        path = find("lora", written, folder)
        read_lora(path)
        return cls(written, path)

    def traits(self) -> Mapping[str, str]:
        """The family whose networks it changes, where its names and shapes tell it."""
        network = _network(read_lora(self.path))
        return {"network": network} if network else {}


def _network(lora: Lora) -> str:
    """By the width of the prompts; else by what only Stable Diffusion XL has: two text encoders, deep transformers."""
    unet = {module: change for (component, module), change in lora.changes.items() if component == "unet"}
    widths = (lora.shape(change)[1] for module, change in unet.items() if re.search(r"attn2_to_[kv]$", module))
    if network := _NETWORKS.get(next(widths, 0)):
        return network
    has_both = {"text_encoder", "text_encoder_2"} <= {component for component, _ in lora.changes}
    return "sdxl" if has_both or any(_DEEP.search(module) for module in unet) else ""


def read_lora(path: Path) -> Lora:
    """Tell what a LoRA changes. Raises MissingError for a file that is damaged, or something else, naming what."""
    state = path.stat()
    return _read(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, size: int, mtime_ns: int) -> Lora:
    """Once for a file that stays as it is."""
    tensors = read_entries(path)
    parts: dict[tuple[str, str], dict[str, str]] = {}
    unknown = []
    for name in tensors:
        if not (found := _TENSOR.fullmatch(name)) or _other([name]):
            unknown.append(name)
            continue
        role = _ROLES.get(found["role"], found["role"]) if found["role"] else "alpha"
        known = parts.setdefault(_place(found["module"]), {})
        if role in known:
            raise _wrong(path, f'has "{known[role]}" and "{name}" for one weight')
        known[role] = name
    if unknown or not parts:
        raise _not_a_lora(path, unknown)
    changes = {place: _change(path, tensors, known) for place, known in parts.items()}
    return Lora(path, tensors, changes)


def trimmed(shape: Sequence[int]) -> tuple[int, ...]:
    """A weight's shape without a kernel of 1 x 1: such a convolution is a linear layer."""
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)


def named(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(f'"{name:.120}"' for name in names[:MOST_NAMED]) + more


def _place(module: str) -> tuple[str, str]:
    """Component and module of a name, in one spelling."""
    start = next(start for start in _COMPONENTS if module.startswith(start))
    component = _COMPONENTS[start]
    plain = module.removeprefix(start).replace(".processor", "").replace(".", "_").removeprefix("text_model_")
    words = _OLD_WORDS["unet" if component == "unet" else "text"]
    old = next((word for word in words if plain.endswith("_" + word)), "")
    return component, plain.removesuffix(old) + words.get(old, "")


def _change(path: Path, tensors: Mapping[str, Entry], known: Mapping[str, str]) -> Change:
    """One change, whose tensors fit together. Raises MissingError."""
    if lacking := {"up", "down"} - known.keys():
        raise _wrong(path, f"has {named(list(known.values()))}, but not the {min(lacking)} that belongs to it")
    if odd := next((name for name in known.values() if tensors[name].dtype not in FRACTIONS), ""):
        raise _wrong(path, f'has "{odd}" as {tensors[odd].dtype}, which is not supported')
    change = Change(**known)
    shapes = {role: tensors[name].shape for role, name in known.items()}
    if not _agree(shapes):
        said = ", ".join(f'"{name}" is {list(tensors[name].shape)}' for name in change.tensors)
        raise _wrong(path, f"has tensors that do not go together: {said}")
    return change


def _agree(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the ranks are one, and only the way down, or the middle, looks beside a pixel."""
    down, up, mid = shapes["down"], shapes["up"], shapes.get("mid")
    if any(len(shape) not in (2, 4) or 0 in shape for shape in (down, up)) or len(trimmed(up)) != 2:
        return False
    if shapes.get("alpha", ()) not in ((), (1,)):
        return False
    if mid is None:
        return up[1] == down[0]
    return len(mid) == 4 and 0 not in mid and mid[:2] == (up[1], down[0]) and len(trimmed(down)) == 2


def _other(names: Sequence[str]) -> str:
    return next((other for part, other in _OTHERS.items() for name in names if part in name), "")


def _not_a_lora(path: Path, unknown: Sequence[str]) -> MissingError:
    looks = f"; it looks like {_other(unknown)}" if _other(unknown) else ""
    holds = f"holds {named(unknown)}" if unknown else "holds nothing"
    return MissingError(
        f'"{path.name}" is no LoRA that can be used: it {holds}{looks}',
        hint="Plain LoRA and LoCon are read, for Stable Diffusion 1, 2 and XL, as kohya, peft and diffusers save them.",
    )


def _wrong(path: Path, reason: str) -> MissingError:
    return MissingError(f'LoRA "{path.name}" {reason}', hint=FETCH_FILE)
