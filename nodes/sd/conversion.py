"""From the names in checkpoints of CompVis, Stability and OpenCLIP to those of diffusers and transformers. Light.

Each function takes the weights of one network, by their names without the prefix that a checkpoint puts before them,
and gives each by its new name. Weights are places in a file, so that splitting or turning one costs nothing. What a
network is built of is told from the names alone; `levels` gives the U-Net's halves, of which configs are made as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from nodes.sd.headers import Entry
from nodes.sd.unet_names import compvis_names

Entries = Mapping[str, Entry]
Named = Iterator[tuple[str, Entry]]


class Level(NamedTuple):
    """What a U-Net does at one size of the latents, by the prefixes of the names; resnets and attentions in order."""

    resnets: tuple[str, ...]
    attentions: tuple[str, ...]
    """One behind each resnet, or none."""
    resampler: str
    """Leads to the next level; empty at the last."""


def within(entries: Entries, prefix: str) -> dict[str, Entry]:
    """The weights whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): entry for name, entry in entries.items() if name.startswith(prefix)}


# The U-Net, and the ControlNet that is a copy of its first half

_UNET = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "label_emb": "class_embedding",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
    "middle_block_out.0": "controlnet_mid_block",
    "input_hint_block.0": "controlnet_cond_embedding.conv_in",
    "input_hint_block.14": "controlnet_cond_embedding.conv_out",
} | {f"input_hint_block.{2 * n}": f"controlnet_cond_embedding.blocks.{n - 1}" for n in range(1, 7)}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}


def unet(entries: Entries) -> Named:
    """Of a U-Net (`input_blocks.0.0.weight` ...), or of a ControlNet. Names that are not known are left out."""
    places = {f"{old}.": f"{new}." for old, new in _UNET.items()} | dict(_places(entries.keys()))
    for name, entry in entries.items():
        cuts = [at + 1 for at, letter in enumerate(name) if letter == "."]
        cut = next((cut for cut in reversed(cuts) if name[:cut] in places), None)
        if cut is not None:
            yield places[name[:cut]] + _renamed(name[cut:], _RESNET), entry
        elif zero := re.fullmatch(r"zero_convs\.(\d+)\.0\.(\w+)", name):
            yield f"controlnet_down_blocks.{zero[1]}.{zero[2]}", entry


def published(entries: Entries) -> Entries:
    """A ControlNet's weights under its authors' names, from diffusers'; without the convolutions of its outputs."""
    theirs = compvis_names({name.rpartition(".")[0] for name in entries})
    theirs |= {new: old for old, new in _UNET.items() if new.startswith("controlnet_")}
    parts = {name: name.rpartition(".") for name in entries}
    return {f"{theirs[place]}.{kind}": entries[name] for name, (place, _, kind) in parts.items() if place in theirs}


def _places(names: Set[str]) -> Iterator[tuple[str, str]]:
    for side, new, sampler in (("input_blocks", "down", "downsamplers"), ("output_blocks", "up", "upsamplers")):
        for depth, level in enumerate(levels(names, side)):
            for kind, prefixes in (("resnets", level.resnets), ("attentions", level.attentions)):
                yield from ((old, f"{new}_blocks.{depth}.{kind}.{at}.") for at, old in enumerate(prefixes))
            if level.resampler:
                yield level.resampler, f"{new}_blocks.{depth}.{sampler}.0.conv."


def levels(names: Set[str], side: str) -> list[Level]:
    """The levels of a half of a U-Net, `input_blocks` or `output_blocks`, from the names of its weights."""
    found, resnets, attentions = [], [], []
    at = 1 if side == "input_blocks" else 0
    while any(f"{side}.{at}.0.{first}.weight" in names for first in ("in_layers.0", "op", "conv")):
        resampler = ""
        for prefix in (f"{side}.{at}.{part}." for part in range(3)):
            if prefix + "in_layers.0.weight" in names:
                resnets.append(prefix)
            elif prefix + "norm.weight" in names:
                attentions.append(prefix)
            elif kind := next((kind for kind in ("op.", "conv.") if f"{prefix}{kind}weight" in names), ""):
                resampler = prefix + kind
        at += 1
        if resampler:
            found.append(Level(tuple(resnets), tuple(attentions), resampler))
            resnets, attentions = [], []
    return [*found, Level(tuple(resnets), tuple(attentions), "")] if resnets else found


def _renamed(name: str, table: Mapping[str, str]) -> str:
    """Change the beginning of a name."""
    stem, dot, kind = name.rpartition(".")
    return table.get(stem, stem) + dot + kind


# The autoencoder

_VAE = (
    (r"mid\.block_1\.", "mid_block.resnets.0."),
    (r"mid\.block_2\.", "mid_block.resnets.1."),
    (r"mid\.attn_1\.norm\.", "mid_block.attentions.0.group_norm."),
    (r"mid\.attn_1\.proj_out\.", "mid_block.attentions.0.to_out.0."),
    (r"mid\.attn_1\.([qkv])\.", r"mid_block.attentions.0.to_\1."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"(down_blocks|up_blocks)\.(\d+)\.block\.", r"\1.\2.resnets."),
    (r"(down|up)_blocks\.(\d+)\.(down|up)sample\.", r"\1_blocks.\2.\3samplers.0."),
)


def vae(entries: Entries) -> Named:
    """Of an autoencoder (`encoder.conv_in.weight` ...). Its attention by 1x1 convolutions becomes linear layers."""
    ups = 1 + max((int(found[1]) for name in entries if (found := re.match(r"decoder\.up\.(\d+)\.", name))), default=0)
    for name, entry in entries.items():
        new = re.sub(r"\bdown\.(\d+)\.", r"down_blocks.\1.", name)
        # The decoder's levels are counted from the picture in one, from the latents in the other.
        new = re.sub(r"\bup\.(\d+)\.", lambda found: f"up_blocks.{ups - 1 - int(found[1])}.", new)
        for old, modern in _VAE:
            new = re.sub(old, modern, new)
        is_attention = ".mid_block.attentions." in new and len(entry.shape) > 2
        yield new, entry.shaped(entry.shape[:2]) if is_attention else entry


# The text encoders

_OPEN_CLIP = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def clip(entries: Entries) -> Named:
    """Of transformers' text encoder, which some wrote without its outermost level."""
    for name, entry in entries.items():
        yield name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}", entry


def open_clip(entries: Entries) -> Named:
    """Of OpenCLIP's text encoder (`transformer.resblocks.0.ln_1.weight` ...). Its queries, keys, values are parted."""
    for name, entry in entries.items():
        if name in _OPEN_CLIP:
            yield _OPEN_CLIP[name], entry
        elif name == "text_projection":
            yield "text_projection.weight", entry.turned()
        elif found := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", name):
            layer, rest = f"text_model.encoder.layers.{found[1]}.", found[2]
            if rest.startswith("attn.in_proj_"):
                kind = rest.removeprefix("attn.in_proj_")
                yield from (
                    (f"{layer}self_attn.{which}_proj.{kind}", entry.part(at, 3)) for at, which in enumerate("qkv")
                )
            else:
                yield layer + _renamed(rest, _OPEN_CLIP_LAYER), entry
