"""The stages in their order; each reads what the earlier ones left in the work folder and adds its own file.

pictures -> vae -> text -> latents -> denoiser -> decoder -> export -> score
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from training import vae
from training.captions import vocabulary
from training.denoiser import Denoising, new_unet
from training.export import export
from training.loop import Course, averaged, train
from training.pictures import pictures
from training.text import Reading, load_tokenizer, new_text_encoder
from training.tokenizer import write_tokenizer

WORKERS = 2
TAUGHT = 20_000
"""Pictures that the denoiser is shown; the VAE sees them all."""
_CHUNK = 2_000
BOTH = Course("vae", steps=700, rate=1.5e-3, cooldown=0.7, decay=0.995, weight_decay=0.0)
DECODER = Course("decoder", steps=780, rate=1.0e-3, cooldown=0.7, decay=0.995, weight_decay=0.0)
TEXT = Course("text", steps=900, rate=2e-3, cooldown=0.6, decay=0.995)
DENOISER = Course("denoiser", steps=4900, rate=1.0e-3, cooldown=0.3)


def train_vae(work: Path) -> None:
    """Train encoder and decoder, make the latents standard, write encoder.safetensors (the whole VAE)."""
    if (work / "encoder.safetensors").exists():
        return
    weights = train(partial(_both_lesson, work), BOTH, work)
    whole = _fresh_vae(work)
    whole.load_state_dict(weights)
    explained = vae.finish_encoder(whole, pictures(work, WORKERS)[:400])
    print(f"fourth latent: {explained:.2f} of its variance explained", flush=True)
    save_file(whole.state_dict(), work / "encoder.safetensors")


def train_decoder(work: Path) -> None:
    """Train the decoder on against the finished encoder; write vae.safetensors."""
    weights = train(partial(_decoder_lesson, work), DECODER, work)
    whole = load_vae(work, "encoder")
    whole.load_state_dict({**whole.state_dict(), **weights})
    save_file(whole.state_dict(), work / "vae.safetensors")


def train_text(work: Path) -> None:
    """Write the tokenizer and train the text encoder to understand captions; write text.safetensors."""
    write_tokenizer(vocabulary(), work / "tokenizer")
    weights = train(partial(_reading_lesson, work), TEXT, work)
    own = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    save_file(own, work / "text.safetensors")


def write_latents(work: Path) -> None:
    """Encode the first pictures: latents.npy, (TAUGHT, 4, 16, 16) float32, the means."""
    path = work / "latents.npy"
    if path.exists():
        return
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        parts = pool.map(partial(_encode, work), range(0, TAUGHT, _CHUNK))
        np.save(path, np.concatenate(list(parts)))


def _encode(work: Path, first: int) -> NDArray[np.float32]:
    torch.set_num_threads(1)
    whole, pixels = load_vae(work, "encoder"), pictures(work, WORKERS)
    # More than 16 at a time are slower: the system then maps memory anew for every layer.
    batches = (pixels[at : at + 16] for at in range(first, first + _CHUNK, 16))
    with torch.no_grad():
        return np.concatenate([whole.encode(vae.to_signal(b)).latent_dist.mean.numpy() for b in batches])


def train_denoiser(work: Path) -> None:
    """Train the UNet on the latents, with captions made anew at every step."""
    train(partial(_denoising_lesson, work), DENOISER, work)


def write_model(work: Path, folder: Path) -> None:
    """Write the model folder from the newest weights of each part."""
    unet = new_unet()
    unet.load_state_dict(averaged(work / "denoiser.pt"))
    export(load_vae(work, "vae"), unet, load_text(work), work / "tokenizer", folder)


def load_text(work: Path) -> CLIPTextModel:
    """Load the trained text encoder."""
    encoder = new_text_encoder(load_tokenizer(work / "tokenizer"))
    encoder.load_state_dict(load_file(work / "text.safetensors"))
    return encoder


def load_vae(work: Path, name: str) -> AutoencoderKL:
    """Load the VAE after "encoder" (first lesson) or "vae" (both lessons)."""
    whole = _fresh_vae(work)
    whole.load_state_dict(load_file(work / f"{name}.safetensors"))
    return whole


def _fresh_vae(work: Path) -> AutoencoderKL:
    return vae.new_vae(vae.to_signal(np.asarray(pictures(work, WORKERS)[:32])))


def _both_lesson(work: Path) -> vae.Both:
    return vae.Both(_fresh_vae(work), pictures(work, WORKERS))


def _decoder_lesson(work: Path) -> vae.Decoder:
    return vae.Decoder(load_vae(work, "encoder"), pictures(work, WORKERS))


def _reading_lesson(work: Path) -> Reading:
    return Reading(load_tokenizer(work / "tokenizer"))


def _denoising_lesson(work: Path) -> Denoising:
    tokenizer = load_tokenizer(work / "tokenizer")
    return Denoising(load_text(work), tokenizer, np.load(work / "latents.npy"))


def psnr(whole: AutoencoderKL, pixels: vae.Pixels) -> float:
    """Measure how well pictures survive the way there and back, in decibels."""
    with torch.no_grad():
        back = whole.decode(whole.encode(vae.to_signal(pixels)).latent_dist.mean).sample
    error = np.square(vae.to_pixels(back).astype(np.float64) - pixels).mean()
    return float(10 * np.log10(255**2 / error))
