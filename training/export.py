"""Write the trained parts as a model folder in the diffusers layout, weights in float16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from training.denoiser import new_scheduler
from training.text import load_tokenizer

LIMIT = 12_000_000
"""Bytes the folder may hold."""


def export(vae: AutoencoderKL, unet: UNet2DConditionModel, text: CLIPTextModel, tokenizer: Path, folder: Path) -> None:
    """Replace the model in `folder`; other files there (the model card) stay.

    tokenizer: the folder with vocab.json, merges.txt and tokenizer_config.json, which is copied as it is,
    since transformers 5 would write tokenizer.json alone.

    Raises ValueError above the size limit.
    """
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text.half(),
        tokenizer=load_tokenizer(tokenizer),
        unet=unet.half(),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with TemporaryDirectory() as beside:
        pipeline.save_pretrained(beside)
        for part in Path(beside).iterdir():
            target = folder / part.name
            if part.is_dir():
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(part, target, copy_function=shutil.copyfile)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(part, target)
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(tokenizer, folder / "tokenizer", copy_function=shutil.copyfile)
    _tidy(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if size > LIMIT:
        raise ValueError(f"the model folder holds {size:,} bytes, {LIMIT:,} are allowed")


def _tidy(folder: Path) -> None:
    """Drop where the parts came from, and let loaders compute in float32 unless told otherwise."""
    for path in folder.rglob("*.json"):
        if path.parent.name == "tokenizer":
            continue
        config = json.loads(path.read_text("utf-8"))
        config.pop("_name_or_path", None)
        if "dtype" in config:
            config["dtype"] = "float32"
        path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
