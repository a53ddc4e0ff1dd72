"""The sampler's loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch

from graph.errors import OutOfMemory, StepError
from graph.node import Context
from graph.values import Conditioning, Control, Denoiser, Guide, Inpainting, Latents
from nodes.sd import families
from nodes.sd.bookmarks import Found, Sampling, Stand, found, go_on, stand
from nodes.sd.checkpoints import compute_dtype
from nodes.sd.families import Family, Prompt, Task
from nodes.sd.halves import unbatched
from nodes.sd.methods import METHODS
from nodes.sd.models import Model, opened
from nodes.sd.noise import state
from nodes.sd.residency import weights
from nodes.sd.room import check_room
from nodes.sd.samplers import Schedule, refuse_level, schedule, takes_eta
from nodes.sd.scripts import variant_at
from nodes.sd.settings import Settings, keeping
from nodes.sd.sights import check_guide
from nodes.sd.starts import Begun, Start, starts
from nodes.sd.steering import Held, active, steered
from nodes.sd.tensors import channels_last, freeze, thaw
from nodes.sd.vae_tiles import tile_area


def sample(
    ctx: Context,
    model: Denoiser,
    positive: Conditioning,
    negative: Conditioning,
    latents: Latents,
    noise: Latents | None,
    controls: Sequence[Control],
    settings: Settings,
) -> Latents:
    """Denoise each sample of a batch alone. The result carries the generators as the last step left them.

    Raises StepError, Stopped; OutOfMemory, before the weights are loaded, for a size that can never fit.
    """
    family, described = families.named(model.family), opened(ctx.locate(model.digest), model.prediction)
    _refuse(latents, noise, settings)
    _refuse_prompts(family, positive, negative)
    check_guide(family, latents)
    if settings.strength == 0:
        return latents
    if settings.eta and not takes_eta(settings.method):
        ctx.warn(f"eta makes no difference to {settings.method}")
    if latents.level and (told := refuse_level(described, settings, latents.level)):
        ctx.warn(told)
    _refuse_size(ctx, family, described, latents, settings)
    with weights.use(model, ctx) as denoiser, torch.inference_mode():
        # Its weights may wait elsewhere, and a module's own .dtype looks through all of it.
        like = torch.empty(0, dtype=next(denoiser.parameters()).dtype, device=ctx.device)
        channels, *_ = family.latent_shape(described, None, None)
        begin = partial(_task, family, described, latents, settings, like)
        with steered(ctx, controls, begin(positive, negative, None), denoiser) as held:
            prompts = Prompts(positive, negative, lambda *task: family.prepare(described, denoiser, begin(*task)))
            lent = unbatched(ctx, denoiser)
            job = Job(ctx, family, lent, described, prompts, held, settings, found(ctx, like))
            adds = METHODS[settings.method].adds
            done: list[Sampled] = []
            for start in starts(latents, noise, family, channels, like, adds):
                done.append(_sampled(job, start, done))
            return _joined(done, latents.guide, adds)


@dataclass(frozen=True, slots=True)
class Prompts:
    """The two prompts, which may change by step."""

    positive: Conditioning
    negative: Conditioning
    prepare: Callable[[Conditioning, Conditioning, torch.Tensor | None], Any]

    def prepared(self, masked: torch.Tensor | None) -> Callable[[int, int], Any]:
        """What the denoiser takes at a step (from 0) of so many. Each pair of variants is prepared once.

        masked: the latents of an inpainting model's masked picture, drawn for one sample.
        """
        known: dict[tuple[int, int], Any] = {}

        def at(step: int, steps: int) -> Any:
            which = (variant_at(self.positive.script, step, steps), variant_at(self.negative.script, step, steps))
            if which not in known:
                known[which] = self.prepare(
                    _variant(self.positive, which[0]), _variant(self.negative, which[1]), masked
                )
            return known[which]

        return at


def _variant(conditioning: Conditioning, index: int) -> Conditioning:
    return (conditioning, *conditioning.variants)[index]


@dataclass(frozen=True, slots=True)
class Job:
    """What all samples of a batch share."""

    ctx: Context
    family: Family
    denoiser: Any
    model: Model
    prompts: Prompts
    held: tuple[Held, ...]
    settings: Settings
    found: Found


def _task(
    family: Family,
    model: Model,
    latents: Latents,
    settings: Settings,
    like: torch.Tensor,
    positive: Conditioning,
    negative: Conditioning,
    masked: torch.Tensor | None,
) -> Task:
    *_, rows, columns = latents.samples.shape
    factor = family.factor(model)
    return Task(
        _thawed(positive, like), _thawed(negative, like), settings.cfg, columns * factor, rows * factor,
        settings.rescale, latents.guide, masked,
    )  # fmt: skip


class Sampled(NamedTuple):
    """One sample after its last step."""

    sample: torch.Tensor
    """Float32, in main memory."""
    generator: bytes
    level: float
    """Of the noise left in it."""
    stand: Callable[[], Stand]


def _sampled(job: Job, start: Start, before: Sequence[Sampled]) -> Sampled:
    strength = job.settings.strength
    run = schedule(job.model, job.settings, start.generator, start.latents, start.repaints(strength))
    done = _denoised(job, run, start, start.begun(run, strength), before)
    ended = partial(stand, run, start.generator, done, len(run.times))
    return Sampled(_finite(done, job), state(start.generator), run.left, ended)


def _joined(done: list[Sampled], guide: Guide | None, adds: bool) -> Latents:
    """A batch again. What goes on in another sampler keeps what the model sees beside it."""
    samples, level = torch.cat([one.sample for one in done]), done[0].level
    generators = tuple(one.generator for one in done)
    clean = Latents(freeze(samples), generators, channels_last=channels_last(samples))
    return replace(clean, guide=guide, level=level, adds=adds) if level else clean


def _denoised(job: Job, run: Schedule, start: Start, began: Begun, before: Sequence[Sampled]) -> torch.Tensor:
    """Go from the first noise level to the last, or on from where an earlier run stood.

    before: the samples of the batch that are done.
    """
    steps, order = len(run.times), run.scheduler.order
    first, latents = _first(job, run, start, began)
    inputs_at = job.prompts.prepared(began.masked)
    for step in range(first, steps):
        time = run.times[step]
        # A method of second order evaluates the model twice a step; a ControlNet counts the evaluations, as diffusers.
        place, whole = run.before + step, run.whole
        inputs, steering = inputs_at(place // order, math.ceil(whole / order)), active(job.held, place, whole)
        prediction = job.family.denoise_step(job.denoiser, inputs, run.scheduler, latents, time, steering)
        latents = run.scheduler.step(prediction, time, latents, **run.extras, return_dict=False)[0]
        latents = began.held(latents, run, step)
        mark = partial(_mark, job, run, start, latents, step + 1, before)
        job.ctx.progress(1 + start.before * steps + step, start.among * steps, mark)
    return latents


def _first(job: Job, run: Schedule, start: Start, began: Begun) -> tuple[int, torch.Tensor]:
    """The step to begin with, and the latents before it."""
    stood = job.found.farthest(start.before, run)
    if stood is None:
        return 0, began.latents
    job.ctx.resumed(stood.done)
    return stood.done, go_on(stood, run, start.generator, began.latents)


def _mark(
    job: Job, run: Schedule, start: Start, latents: torch.Tensor, done: int, before: Sequence[Sampled]
) -> Sampling:
    """What a run needs that goes on from here."""
    return Sampling(job.found.machine, (*(one.stand() for one in before), stand(run, start.generator, latents, done)))


def _thawed(conditioning: Conditioning, like: torch.Tensor) -> Prompt:
    def there(tensor: Any) -> torch.Tensor:
        return thaw(tensor).to(like.device, like.dtype)

    pooled, filler = (None if part is None else there(part) for part in (conditioning.pooled, conditioning.filler))
    return Prompt(there(conditioning.embeddings), pooled, "", dict(conditioning.micro), filler)


def _refuse_prompts(family: Family, positive: Conditioning, negative: Conditioning) -> None:
    for which, prompt in (("positive", positive), ("negative", negative)):
        if prompt.family and prompt.family != family.conditioning:
            raise StepError(
                f'{which} was encoded for "{prompt.family}", but the model understands "{family.conditioning}"',
                hint="Encode the prompts with the text encoder of the same model.",
            )


def _refuse(latents: Latents, noise: Latents | None, settings: Settings) -> None:
    given = {"latents": latents, "noise": noise}
    for _, message, hint in keeping(settings, [port for port, value in given.items() if value and value.is_noise]):
        raise StepError(message, hint=hint)
    if noise is not None and not noise.is_noise:
        raise StepError("noise is given a clean picture", hint="Put a noise node there.")
    if noise is not None and noise.samples.shape != latents.samples.shape:
        raise StepError(
            f"noise is {list(noise.samples.shape)}, but latents are {list(latents.samples.shape)}",
            hint="Draw as many samples, of the width and height of the picture.",
        )
    _refuse_parts(latents, noise, settings)
    if len((noise or latents).generators) != latents.samples.shape[0]:
        raise StepError("the latents carry no random generators", hint="Draw noise for them with a noise node.")


def _refuse_parts(latents: Latents, noise: Latents | None, settings: Settings) -> None:
    if latents.level and (noise is not None or settings.strength < 1):
        raise StepError(
            f"the latents have noise of level {latents.level:.3g} left, and can only be sampled on from there",
            hint="Leave out noise and strength, and give the start_step at which the other sampler ended.",
        )
    if settings.is_part and isinstance(latents.guide, Inpainting):
        raise StepError(
            "a masked picture is painted in one run, because what is kept of it has the noise of that run",
            hint="Leave out start_step and end_step; strength says how much may change.",
        )


def _refuse_size(ctx: Context, family: Family, model: Model, latents: Latents, settings: Settings) -> None:
    *_, rows, columns = latents.samples.shape
    together = 2 if settings.cfg > 1 and ctx.saving != "halves" else 1
    factor = family.factor(model)
    size, floors = (columns * factor, rows * factor), family.floors(model)
    step = int(floors.step * rows * columns) * together * compute_dtype("unet", ctx.precision).itemsize
    check_room("sampling", step, ctx.device, size, factor)
    try:
        picture = int(floors.decode * tile_area(*size) / factor**2) * compute_dtype("vae", ctx.precision).itemsize
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
