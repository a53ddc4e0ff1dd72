"""A model with random weights, as small as Stable Diffusion 1 can be built, saved the way diffusers saves it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from nodes.load_model import LoadModel
from nodes.sd.files import ModelFile
from nodes.sd.residency import Weights, weights
from tests.nodes.sd.lab import Lab

MERGES = ["c a", "ca t</w>", "d o", "do g</w>", "a n", "an d</w>"]

WARNINGS_OF_DIFFUSERS = (
    # 0.42.1 mixes numpy arrays and torch tensors the way numpy 1 had it.
    "ignore:__array_wrap__ must accept context:DeprecationWarning",
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    # Its pipelines mend old scheduler configs, and say so.
    "ignore:The configuration file of this scheduler:FutureWarning",
    # Its stochastic solver asks torchsde for noise an ulp outside of the path.
    "ignore:Should have t[ab]:UserWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    for line in WARNINGS_OF_DIFFUSERS:
        config.addinivalue_line("filterwarnings", line)


@dataclass(frozen=True)
class Whole:
    """The modules in memory, and the folder they were saved to."""

    folder: Path
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("models") / "small"
    words = write_tokenizer(folder / "tokenizer")
    torch.manual_seed(11)
    parts = {"unet": unet(), "vae": vae(), "text_encoder": text_encoder(words)}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    write_json(folder / "model_index.json", index())
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler())
    own = PNDMScheduler.from_pretrained(str(folder / "scheduler"), local_files_only=True)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    return Whole(folder, tokenizer=tokenizer, scheduler=own, **parts)


@pytest.fixture
def lab(whole: Whole, ctx: Any) -> Lab:
    return Lab(LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx), ctx)


@pytest.fixture
def spoiled(whole: Whole, tmp_path: Path) -> Path:
    """A copy of the model's folder, to be damaged."""
    return shutil.copytree(whole.folder, tmp_path / "spoiled")


@pytest.fixture
def fresh() -> Iterator[Weights]:
    """The owner of the weights, holding none."""
    weights.__init__()  # type: ignore[misc]  # the one owner is imported by name in every stage
    yield weights
    weights.__init__()  # type: ignore[misc]  # as above


def write_json(path: Path, tree: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree), encoding="utf-8")


def index() -> dict[str, object]:
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def write_tokenizer(folder: Path) -> int:
    """Write a tokenizer of single bytes and a few words; gives the number of its tokens.

    Source: Radford et al. 2019, the byte alphabet of GPT-2.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in plain] + [chr(256 + n) for n in range(256 - len(plain))]
    words = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in MERGES]
    words += ["<|startoftext|>", "<|endoftext|>"]
    write_json(folder / "vocab.json", {word: number for number, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"})
    return len(words)


def unet() -> Any:
    model = UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
        sample_size=8,
    )
    return model.eval().requires_grad_(False)


def vae() -> Any:
    model = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
    )
    return model.eval().requires_grad_(False)


def text_encoder(words: int) -> Any:
    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    model = CLIPTextModel(config)
    # As training leaves it: without, the mean of all states is 0, and weights in prompts divide by it.
    torch.nn.init.normal_(model.final_layer_norm.bias, mean=0.2, std=0.2)
    return model.eval().requires_grad_(False)


def scheduler() -> dict[str, object]:
    """The config of early checkpoints of Stable Diffusion 1: whatever it leaves out is up to each sampling method."""
    return {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    }
