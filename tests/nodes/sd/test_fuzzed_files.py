"""Files of every kind, damaged in many ways: each is read, or refused in words that are soon said."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from graph.errors import DarkroomError
from graph.filerefs import FileRef
from nodes.load_upscaler import LoadUpscaler
from nodes.load_vae import LoadVae
from nodes.lora import AddLora
from nodes.sd.alone_files import VaeFile
from nodes.sd.checkpoints import load
from nodes.sd.embedding_files import EmbeddingFile
from nodes.sd.files import ModelFile
from nodes.sd.lora_files import LoraFile
from nodes.sd.models import opened
from nodes.sd.residency import weights
from nodes.sd.super_resolution import UpscalerFile
from nodes.text_encode import TextEncode
from nodes.textual_inversion import TextualInversion
from tests.nodes.sd import loras, single_files
from tests.nodes.sd.lab import Lab
from tests.nodes.sd.test_super_resolution import COMPACT_X4, ESRGAN_X4
from tests.nodes.sd.test_super_resolution import weights as random_weights

TRIES = 15
"""Of every file; thousands were tried when this was written."""
LONGEST = 2_000
"""Characters of a refusal."""
Use = Callable[[Path, Lab], None]


@pytest.fixture(scope="module")
def originals(whole: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    torch.manual_seed(3)
    state = single_files.checkpoint(single_files.sd1(folder / "sd1"))
    shutil.copytree(folder / "sd1" / "tokenizer", folder / "tokenizer")
    save_file(state, folder / "sd1.safetensors")
    torch.save({"state_dict": state, "global_step": 1}, folder / "sd1.ckpt")
    torch.save({"state_dict": state}, folder / "old.ckpt", _use_new_zipfile_serialization=False)
    loras.write(folder / "lora.safetensors", {"unet": whole.unet, "text_encoder": whole.text_encoder}, loras.kohya)
    save_file({"emb_params": torch.randn(2, 32)}, folder / "embedding.safetensors")
    torch.save({"string_to_param": {"*": torch.randn(2, 32)}, "name": "x"}, folder / "embedding.pt")
    save_file(single_files.vae_weights(single_files.autoencoder(0.18, 64)), folder / "vae.safetensors")
    save_file(random_weights(COMPACT_X4), folder / "compact.safetensors")
    torch.save({"params_ema": random_weights(ESRGAN_X4)}, folder / "esrgan.pth")
    return folder


def find(kind: type[FileRef], path: Path) -> Any:
    """Look at a file as `check` and `plan` do."""
    found = kind.find(str(path), path.parent)
    found.members()
    found.traits()
    return found


def use_checkpoint(path: Path, lab: Lab) -> None:
    found = find(ModelFile, path)
    for component in ("unet", "vae", "text_encoder"):
        load(opened(path), found.family, component, torch.float32)


def use_lora(path: Path, lab: Lab) -> None:
    model, text = AddLora(path=find(LoraFile, path)).run(lab.ctx, lab.parts.model, lab.parts.text_encoder)
    with weights.use(model, lab.ctx), weights.use(text, lab.ctx):
        pass


def use_embedding(path: Path, lab: Lab) -> None:
    text = TextualInversion(path=find(EmbeddingFile, path), token="zz").run(lab.ctx, lab.parts.text_encoder)
    TextEncode(text="a zz").run(lab.ctx, text)


def use_vae(path: Path, lab: Lab) -> None:
    with weights.use(LoadVae(path=find(VaeFile, path), latents="sd").run(lab.ctx), lab.ctx):
        pass


def use_upscaler(path: Path, lab: Lab) -> None:
    with weights.use(LoadUpscaler(path=find(UpscalerFile, path)).run(lab.ctx), lab.ctx):
        pass


FILES: dict[str, Use] = {
    "sd1.safetensors": use_checkpoint, "sd1.ckpt": use_checkpoint, "old.ckpt": use_checkpoint,
    "lora.safetensors": use_lora, "embedding.safetensors": use_embedding, "embedding.pt": use_embedding,
    "vae.safetensors": use_vae, "compact.safetensors": use_upscaler, "esrgan.pth": use_upscaler,
}  # fmt: skip


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Cut short, or with bytes that are changed, moved, put in or taken out; often at the start, where names are."""
    reach = chance.choice([len(content), len(content), min(len(content), 4_000)])
    at, other, length = chance.randrange(reach), chance.randrange(len(content)), chance.randrange(1, 64)
    match chance.choice(("cut", "flip", "flip", "flip", "move", "put in", "take out", "behind")):
        case "cut":
            return content[:at]
        case "flip":
            changed = bytearray(content)
            for _ in range(chance.choice((1, 1, 3))):
                changed[chance.randrange(reach)] ^= 1 << chance.randrange(8)
            return bytes(changed)
        case "move":
            return content[:at] + content[other : other + length] + content[at + length :]
        case "put in":
            return content[:at] + chance.randbytes(length) + content[at:]
        case "take out":
            return content[:at] + content[at + length :]
        case _:
            return content + chance.randbytes(length)


def read_or_refuse(use: Use, path: Path, lab: Lab) -> None:
    """Whatever is no DarkroomError, or takes a page, fails the test."""
    said = ""
    try:
        use(path, lab)
    except DarkroomError as error:
        said = str(error)
    assert len(said) < LONGEST


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_good_before_they_are_damaged(name: str, originals: Path, lab: Lab, fresh: Any) -> None:
    FILES[name](originals / name, lab)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused_in_words(
    name: str, originals: Path, tmp_path: Path, lab: Lab, fresh: Any
) -> None:
    content, chance = (originals / name).read_bytes(), random.Random(name)
    shutil.copytree(originals / "tokenizer", tmp_path / "tokenizer")

    for number in range(TRIES):
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(damaged(content, chance))
        read_or_refuse(FILES[name], path, lab)
        path.unlink()


ODD: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "whole numbers": lambda weight: weight.to(torch.int32),
    "true or false": lambda weight: weight.to(torch.bool),
    "eight bits": lambda weight: weight.to(torch.float8_e4m3fn),
    "double": lambda weight: weight.double(),
    "no numbers": lambda weight: torch.full_like(weight, float("nan")),
    "a number": lambda weight: torch.tensor(1.0),
    "nothing": lambda weight: torch.zeros(0),
    "no rows": lambda weight: torch.zeros(0, *weight.shape[1:]),
    "one number": lambda weight: weight.reshape(-1)[:1].clone(),
    "flat": lambda weight: weight.reshape(-1),
    "many axes": lambda weight: weight.reshape(*[1] * 20, *weight.shape),
    "another name": None,
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".safetensors")])
def test_an_odd_weight_is_read_or_refused_in_words(
    name: str, odd: str, originals: Path, tmp_path: Path, lab: Lab, fresh: Any
) -> None:
    state, path = load_file(originals / name), tmp_path / name
    shutil.copytree(originals / "tokenizer", tmp_path / "tokenizer")
    key, change = random.Random(odd).choice(sorted(state)), ODD[odd]
    weight = state.pop(key)
    save_file(state | ({key: change(weight)} if change else {key + "/x": weight}), path)

    read_or_refuse(FILES[name], path, lab)
