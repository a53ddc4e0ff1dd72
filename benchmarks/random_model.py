"""Models with random weights, saved as diffusers saves them: as costly to load and run as trained ones.

python -m benchmarks.random_model FOLDER tiny|large
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.processes import ROOT, python


class Size(NamedTuple):
    """How wide the parts are."""

    unet: tuple[int, ...]
    vae: tuple[int, ...]
    text: int
    layers: int


SIZES = {
    "tiny": Size((64, 96, 96), (12, 24, 48, 48), 64, 3),
    "large": Size((128, 256, 512), (64, 128, 128, 128), 768, 12),
}
"""tiny: as builtin:tiny, for checkouts without it. large: enough for weights to outweigh the libraries."""


def tiny(folder: Path) -> str:
    """The model that comes with Darkroom; where it is not there, one like it, made below `folder`."""
    return "builtin:tiny" if (ROOT / "nodes" / "sd" / "tiny").is_dir() else str(make(folder, "tiny"))


def folder_of(model: str) -> Path:
    """Where the files of a model are that `tiny` or `make` gave."""
    return ROOT / "nodes" / "sd" / "tiny" if model == "builtin:tiny" else Path(model)


def make(folder: Path, size: str) -> Path:
    """Make a model below a folder, in a process of its own, so that this one stays small."""
    python("-m", "benchmarks.random_model", folder / size, size)
    return folder / size


def write(folder: Path, size: Size) -> None:
    """Write the whole model."""
    import torch

    torch.manual_seed(0)
    words = _write_tokenizer(folder / "tokenizer")
    _unet(size).save_pretrained(folder / "unet")
    _vae(size).save_pretrained(folder / "vae")
    _text_encoder(size, words).save_pretrained(folder / "text_encoder")
    _write(folder / "scheduler" / "scheduler_config.json", _SCHEDULER)
    _write(folder / "model_index.json", _INDEX)


def _unet(size: Size) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=size.unet,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=size.text,
        attention_head_dim=4,
        norm_num_groups=8,
        sample_size=16,
    )


def _vae(size: Size) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=size.vae,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=1,
        sample_size=128,
    )


def _text_encoder(size: Size, words: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=size.text,
        intermediate_size=4 * size.text,
        num_hidden_layers=size.layers,
        num_attention_heads=4,
        projection_dim=size.text,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return CLIPTextModel(config)


def _write_tokenizer(folder: Path) -> int:
    """Write a tokenizer of single bytes; gives the number of its tokens.

    Source: Radford et al. 2019, the byte alphabet of GPT-2.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in plain] + [chr(256 + number) for number in range(256 - len(plain))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    _write(folder / "vocab.json", {word: number for number, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    _write(folder / "tokenizer_config.json", {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"})
    return len(words)


def _write(path: Path, tree: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree), encoding="utf-8")


_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.42.1",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

if __name__ == "__main__":
    write(Path(sys.argv[1]), SIZES[sys.argv[2]])
