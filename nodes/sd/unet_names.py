"""What the modules of a U-Net are called in the scripts that Stable Diffusion was published with. Light: no torch.

Source: the U-Net of Rombach et al. 2022 (arXiv:2112.10752), as CompVis and Stability write it.
"""

from __future__ import annotations

from collections.abc import Collection

_OUTSIDE = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
_IN_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_MIDDLE = {("resnets", "0"): "0", ("attentions", "0"): "1", ("resnets", "1"): "2"}


def compvis_names(modules: Collection[str]) -> dict[str, str]:
    """Translate what diffusers calls a U-Net's modules. Modules of anything else are left out.

    Their blocks are one list: on the way down each resnet is an entry, and so is what halves the sides; on the way
    up what doubles them is a part of the entry before it.
    """
    layers = max((int(name.split(".")[3]) for name in modules if name.startswith("down_blocks.0.resnets.")), default=0)
    crossed = {name.split(".")[1] for name in modules if name.startswith("up_blocks.") and ".attentions." in name}
    found = {name: _OUTSIDE.get(name) or _in_block(name, layers + 1, crossed) for name in modules}
    return {name: other for name, other in found.items() if other}


def _in_block(name: str, layers: int, crossed: Collection[str]) -> str:
    """layers: resnets of a block on the way down. crossed: the blocks on the way up that attend to the prompt."""
    match name.split("."):
        case ["mid_block", kind, at, *rest] if (kind, at) in _MIDDLE:
            return ".".join(["middle_block", _MIDDLE[kind, at], *_part(kind, rest)])
        case ["down_blocks", block, "downsamplers", *_]:
            return f"input_blocks.{(int(block) + 1) * (layers + 1)}.0.op"
        case ["down_blocks", block, kind, at, *rest]:
            number = 1 + int(block) * (layers + 1) + int(at)
            return ".".join([f"input_blocks.{number}", _side(kind), *_part(kind, rest)])
        case ["up_blocks", block, "upsamplers", *_]:
            number, beside = int(block) * (layers + 1) + layers, 2 if block in crossed else 1
            return f"output_blocks.{number}.{beside}.conv"
        case ["up_blocks", block, kind, at, *rest]:
            number = int(block) * (layers + 1) + int(at)
            return ".".join([f"output_blocks.{number}", _side(kind), *_part(kind, rest)])
    return ""


def _side(kind: str) -> str:
    return "0" if kind == "resnets" else "1"


def _part(kind: str, rest: list[str]) -> list[str]:
    return [_IN_RESNET.get(rest[0], rest[0]), *rest[1:]] if kind == "resnets" else rest
