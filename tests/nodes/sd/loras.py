"""LoRA files for the tests: random changes, under the names of the programs that write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

RANK = 3
Names = Callable[[str, str], tuple[str, str]]
"""From a component and a module to the names of the tensors down and up."""


def changes(component: Any, rank: int = RANK) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """For every linear layer and convolution: its name, and the tensors down and up."""
    for name, layer in component.named_modules():
        if isinstance(layer, torch.nn.Linear):
            yield name, 0.1 * torch.randn(rank, layer.in_features), 0.1 * torch.randn(layer.out_features, rank)
        if isinstance(layer, torch.nn.Conv2d):
            down = 0.1 * torch.randn(rank, layer.in_channels, *layer.kernel_size)
            yield name, down, 0.1 * torch.randn(layer.out_channels, rank, 1, 1)


def write(path: Path, components: Mapping[str, Any], names: Names, seed: int = 0, only: str = "") -> Path:
    """Write a LoRA that changes the modules with `only` in their names. Kohya's carry an alpha."""
    torch.manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for component, module in components.items():
        for name, down, up in changes(module):
            if only in name:
                below, above = names(component, name)
                tensors |= {below: down, above: up}
                if names is kohya:
                    tensors[below.replace("lora_down.weight", "alpha")] = torch.tensor(2.0)
    save_file(tensors, path)
    return path


def kohya(component: str, name: str) -> tuple[str, str]:
    start = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
    stem = start[component] + _as_clip(component, name).replace(".", "_")
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight"


def peft(component: str, name: str) -> tuple[str, str]:
    stem = f"{component}.{_as_clip(component, name)}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def peft_alone(component: str, name: str) -> tuple[str, str]:
    """As peft saves a module by itself, not a pipeline's."""
    return f"base_model.model.{name}.lora_A.weight", f"base_model.model.{name}.lora_B.weight"


def diffusers(component: str, name: str) -> tuple[str, str]:
    middle = "lora_linear_layer" if component.startswith("text") else "lora"
    stem = f"{component}.{_as_clip(component, name)}"
    return f"{stem}.{middle}.down.weight", f"{stem}.{middle}.up.weight"


def processors(component: str, name: str) -> tuple[str, str]:
    """As diffusers saved the attention of a pipeline in early 2023."""
    block, _, last = name.replace("to_out.0", "to_out").rpartition(".")
    if component.startswith("text"):
        stem = f"{component}.text_model.{block}.{last.replace('_proj', '').replace('out', 'to_out')}_lora"
        stem = stem if ".to_out" in stem else stem.replace(f".{last[0]}_lora", f".to_{last[0]}_lora")
    else:
        stem = f"{component}.{block}.processor.{last}_lora"
    return f"{stem}.down.weight", f"{stem}.up.weight"


def xl(component: str, name: str) -> tuple[str, str]:
    """As kohya names Stable Diffusion XL, by the scripts of its publication. Written out for the test's own U-Net."""
    if component != "unet":
        below, above = kohya(component, name)
        return below.replace("lora_te_", "lora_te1_"), above.replace("lora_te_", "lora_te1_")
    stem = "lora_unet_" + _published(name).replace(".", "_")
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight"


def _as_clip(component: str, name: str) -> str:
    """transformers 4 had one level more in its text encoders."""
    inside = component.startswith("text") and name.startswith("encoder")
    return f"text_model.{name}" if inside else name


def _published(name: str) -> str:
    blocks = {
        "conv_in": "input_blocks.0.0", "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "down_blocks.0.resnets.0": "input_blocks.1.0", "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
        "down_blocks.1.resnets.0": "input_blocks.3.0", "down_blocks.1.attentions.0": "input_blocks.3.1",
        "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "up_blocks.0.resnets.0": "output_blocks.0.0", "up_blocks.0.attentions.0": "output_blocks.0.1",
        "up_blocks.0.resnets.1": "output_blocks.1.0", "up_blocks.0.attentions.1": "output_blocks.1.1",
        "up_blocks.0.upsamplers.0": "output_blocks.1.2",
        "up_blocks.1.resnets.0": "output_blocks.2.0", "up_blocks.1.resnets.1": "output_blocks.3.0",
    }  # fmt: skip
    layers = {"conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "conv2": "out_layers.3",
              "conv_shortcut": "skip_connection"}  # fmt: skip
    block = next(block for block in blocks if name == block or name.startswith(block + "."))
    rest = name.removeprefix(block)
    return blocks[block] + ("." + layers.get(rest[1:], rest[1:]) if rest else "")
