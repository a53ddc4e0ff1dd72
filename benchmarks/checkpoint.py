"""A checkpoint of Stable Diffusion 1 in one file, in half precision, with random weights of the real layout.

python -m benchmarks.checkpoint FOLDER real|tiny

`model.safetensors`, a tokenizer beside it, and in `whole` the configs that diffusers is given.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.processes import python

SIZES = {"real": ((320, 640, 1280, 1280), (128, 256, 512, 512), 768, 12), "tiny": ((32, 64), (32, 64), 64, 2)}
"""Widths of the U-Net and of the autoencoder, width and layers of the text encoder."""
WORDS = 49408


def make(folder: Path, size: str) -> Path:
    """Make a checkpoint in a process of its own, so that this one stays small."""
    python("-m", "benchmarks.checkpoint", folder, size)
    return folder / "model.safetensors"


def write(folder: Path, size: str) -> None:
    """Write the file and what is beside it."""
    import torch
    from safetensors.torch import save_file

    from tests.nodes.sd.conftest import index, scheduler, write_json, write_tokenizer
    from tests.nodes.sd.single_files import checkpoint

    with torch.device("meta"):
        parts = _parts(*SIZES[size])
    for name in ("unet", "vae", "text_encoder"):
        (folder / "whole" / name).mkdir(parents=True, exist_ok=True)
        module = getattr(parts, name)
        module.save_config(folder / "whole" / name) if name != "text_encoder" else module.config.save_pretrained(
            folder / "whole" / name
        )
        torch.manual_seed(0)
        filled = {key: torch.randn(weight.shape).mul(0.02).half() for key, weight in module.state_dict().items()}
        module.load_state_dict(filled, assign=True)
    save_file(checkpoint(parts), folder / "model.safetensors")
    write_json(folder / "whole" / "model_index.json", index())
    write_json(folder / "whole" / "scheduler" / "scheduler_config.json", scheduler())
    for place in (folder / "tokenizer", folder / "whole" / "tokenizer"):
        write_tokenizer(place)


def _parts(unet: tuple[int, ...], vae: tuple[int, ...], text: int, layers: int) -> Any:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    crossed = ("CrossAttnDownBlock2D",) * (len(unet) - 1)
    config = CLIPTextConfig(
        vocab_size=WORDS, hidden_size=text, intermediate_size=4 * text, num_hidden_layers=layers,
        num_attention_heads=text // 64, hidden_act="quick_gelu",
    )  # fmt: skip
    return SimpleNamespace(
        unet=UNet2DConditionModel(
            block_out_channels=unet, cross_attention_dim=text, attention_head_dim=8, sample_size=64,
            down_block_types=(*crossed, "DownBlock2D"),
            up_block_types=("UpBlock2D", *(name.replace("Down", "Up") for name in crossed)),
        ),
        vae=AutoencoderKL(
            block_out_channels=vae, layers_per_block=2, latent_channels=4, sample_size=512,
            down_block_types=("DownEncoderBlock2D",) * len(vae), up_block_types=("UpDecoderBlock2D",) * len(vae),
        ),
        text_encoder=CLIPTextModel(config),
    )  # fmt: skip


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
