"""The sampler's loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from graph.errors import OutOfMemory, StepError
from graph.node import Context
from graph.values import Conditioning, Denoiser, Latents
from nodes.sd import families
from nodes.sd.checkpoints import compute_dtype
from nodes.sd.families import Family, Prompt
from nodes.sd.folders import ModelFolder
from nodes.sd.noise import resumed, state
from nodes.sd.residency import weights
from nodes.sd.room import check_room
from nodes.sd.samplers import Schedule, schedule, takes_eta
from nodes.sd.tensors import channels_last, freeze, in_layout, thaw


@dataclass(frozen=True, slots=True)
class Settings:
    """How to sample; see the node."""

    method: str
    steps: int
    cfg: float
    strength: float
    eta: float


def sample(
    ctx: Context,
    model: Denoiser,
    positive: Conditioning,
    negative: Conditioning,
    latents: Latents,
    noise: Latents | None,
    settings: Settings,
) -> Latents:
    """Denoise each sample of a batch alone. The result carries the generators as the last step left them.

    Raises StepError, Stopped; OutOfMemory, before the weights are loaded, for a size that can never fit.
    """
    _refuse(latents, noise, settings)
    if settings.strength == 0:
        return latents
    if settings.eta and not takes_eta(settings.method):
        ctx.warn(f"eta makes no difference to {settings.method}")
    family, folder = families.named(model.family), ModelFolder(ctx.locate(model.digest))
    _refuse_size(ctx, family, folder, latents, settings)
    with weights.use(model, ctx) as denoiser, torch.inference_mode():
        like = next(denoiser.parameters())  # a module's own .device and .dtype look through all of it
        inputs = family.prepare(denoiser, _thawed(positive, like), _thawed(negative, like), settings.cfg)
        job = Job(ctx, family, denoiser, inputs, folder, settings)
        starts = _starts(latents, noise, denoiser.config.in_channels, like)
        return _joined([_sampled(job, start, latents.is_noise) for start in starts])


@dataclass(frozen=True, slots=True)
class Job:
    """What all samples of a batch share."""

    ctx: Context
    family: Family
    denoiser: Any
    inputs: Any
    folder: ModelFolder
    settings: Settings


class Start(NamedTuple):
    """What one sample of a batch starts from."""

    latents: torch.Tensor
    noise: torch.Tensor | None
    """To be added to a clean picture; None: to be drawn."""
    generator: torch.Generator
    before: int
    """How many samples of the batch come before this one."""
    among: int
    """How many samples the batch has."""


def _starts(latents: Latents, noise: Latents | None, channels: int, like: torch.Tensor) -> Iterator[Start]:
    """Part a batch into single samples, each with its generator, where and in what `like` is."""
    batch = in_layout(thaw(latents.samples), latents.channels_last)
    if batch.shape[1] != channels:
        raise StepError(
            f"latents have {batch.shape[1]} channels, but the model takes {channels}",
            hint="Use noise and VAE of the same model.",
        )
    given = None if noise is None else thaw(noise.samples)
    for index, saved in enumerate((noise or latents).generators):
        one = batch[index : index + 1].to(like.device, like.dtype)
        added = None if given is None else given[index : index + 1]
        yield Start(one, added, resumed(saved), index, len(batch))


def _sampled(job: Job, start: Start, is_noise: bool) -> tuple[torch.Tensor, bytes]:
    """One sample, denoised, as float32 in main memory, and its generator as the last step left it."""
    run = schedule(job.folder, job.settings.method, job.settings.steps, job.settings.strength,
                   job.settings.eta, start.generator, job.ctx.device)  # fmt: skip
    first = _scaled(start, run) if is_noise else _noised(start, run)
    return _finite(_denoised(job, run, start, first), job), state(start.generator)


def _joined(done: list[tuple[torch.Tensor, bytes]]) -> Latents:
    samples = torch.cat([sample for sample, _ in done])
    return Latents(freeze(samples), tuple(saved for _, saved in done), channels_last=channels_last(samples))


def _denoised(job: Job, run: Schedule, start: Start, latents: torch.Tensor) -> torch.Tensor:
    """Go from the first noise level to none."""
    total = start.among * len(run.times)
    for step, time in enumerate(run.times, 1 + start.before * len(run.times)):
        prediction = job.family.denoise_step(job.denoiser, job.inputs, run.scheduler, latents, time)
        latents = run.scheduler.step(prediction, time, latents, **run.extras, return_dict=False)[0]
        job.ctx.progress(step, total)
    return latents


def _scaled(start: Start, run: Schedule) -> torch.Tensor:
    """Bring unit noise to the first noise level."""
    scaled: torch.Tensor = start.latents * run.scheduler.init_noise_sigma
    return scaled


def _noised(start: Start, run: Schedule) -> torch.Tensor:
    """Add noise to a clean picture, up to the level at which the run starts.

    Source: Meng et al. 2021, "SDEdit" (arXiv:2108.01073), algorithm 1.
    """
    clean, noise = start.latents, start.noise
    if noise is None:
        noise = torch.randn(clean.shape, generator=start.generator)
    level: torch.Tensor = run.scheduler.add_noise(clean, noise.to(clean.device, clean.dtype), run.times[:1])
    return level


def _thawed(conditioning: Conditioning, like: torch.Tensor) -> Prompt:
    def there(tensor: Any) -> torch.Tensor:
        return thaw(tensor).to(like.device, like.dtype)

    pooled = None if conditioning.pooled is None else there(conditioning.pooled)
    return Prompt(there(conditioning.embeddings), pooled, "")


def _refuse(latents: Latents, noise: Latents | None, settings: Settings) -> None:
    if latents.is_noise and settings.strength < 1:
        raise StepError(
            f"strength {settings.strength:g} would keep a part of the latents, but they are noise",
            hint="Leave strength at 1, or give the latents of a picture (vae_encode).",
        )
    if noise is not None and latents.is_noise:
        raise StepError("latents and noise are both noise", hint="Give the noise to latents alone.")
    if noise is not None and not noise.is_noise:
        raise StepError("noise is given a clean picture", hint="Put a noise node there.")
    if noise is not None and noise.samples.shape != latents.samples.shape:
        raise StepError(
            f"noise is {list(noise.samples.shape)}, but latents are {list(latents.samples.shape)}",
            hint="Draw as many samples, of the width and height of the picture.",
        )
    if len((noise or latents).generators) != latents.samples.shape[0]:
        raise StepError("the latents carry no random generators", hint="Draw noise for them with a noise node.")


def _refuse_size(ctx: Context, family: Family, folder: ModelFolder, latents: Latents, settings: Settings) -> None:
    *_, rows, columns = latents.samples.shape
    guided, factor = 2 if settings.cfg > 1 else 1, family.factor(folder)
    size, floors = (columns * factor, rows * factor), family.floors(folder)
    step = int(floors.step * rows * columns) * guided * compute_dtype("unet", ctx.precision).itemsize
    check_room("sampling", step, ctx.device, size, factor)
    try:
        picture = int(floors.decode * rows * columns) * compute_dtype("vae", ctx.precision).itemsize
        check_room("decoding", picture, ctx.device, size, factor)
    except OutOfMemory as error:  # no refusal: latents may be decoded elsewhere, or not at all
        ctx.warn(f"{error.message}. {error.hint}")


def _finite(latents: torch.Tensor, job: Job) -> torch.Tensor:
    """The latents as float32 in main memory, if they are numbers."""
    here = latents.float().cpu()
    if not bool(here.isfinite().all()):
        full = job.ctx.precision == "fp32"
        way_out = "another method or number of steps" if full else "precision: fp32 in load_model"
        raise StepError(f"{job.settings.method} ended in values that are no numbers", hint=f"Try {way_out}.")
    return here
