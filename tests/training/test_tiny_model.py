"""The model that is shipped: small, complete, loadable offline, and it paints."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from training.export import LIMIT

MODEL = Path(__file__).parents[2] / "nodes" / "sd" / "tiny"


@pytest.fixture(scope="module")
def pipeline():  # type: ignore[no-untyped-def]  # diffusers is Any
    from diffusers import StableDiffusionPipeline

    loaded = StableDiffusionPipeline.from_pretrained(
        MODEL, safety_checker=None, feature_extractor=None, requires_safety_checker=False, local_files_only=True
    )
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_the_folder_keeps_to_twelve_megabytes() -> None:
    assert sum(file.stat().st_size for file in MODEL.rglob("*") if file.is_file()) <= LIMIT


def test_the_folder_holds_what_a_loader_looks_for() -> None:
    wanted = (
        "model_index.json", "MODEL_CARD.md", "scheduler/scheduler_config.json", "tokenizer/vocab.json",
        "tokenizer/merges.txt", "tokenizer/tokenizer_config.json", "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
    )  # fmt: skip

    assert [] == [name for name in wanted if not (MODEL / name).is_file()]


def test_no_configuration_names_a_place_on_the_maker_s_machine() -> None:
    for path in MODEL.rglob("*.json"):
        if path.parent.name != "tokenizer":
            assert os.sep + "work" not in path.read_text("utf-8")
            assert "_name_or_path" not in json.loads(path.read_text("utf-8"))


def test_it_paints_a_red_shape_on_a_blue_ground(pipeline) -> None:  # type: ignore[no-untyped-def]
    import torch

    picture = pipeline(
        "a red circle on a blue background",
        height=128,
        width=128,
        num_inference_steps=8,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(1),
    ).images[0]
    pixels = np.asarray(picture).astype(int)

    assert (128, 128, 3) == pixels.shape
    assert pixels[2:8].mean((0, 1)).argmax() == 2
