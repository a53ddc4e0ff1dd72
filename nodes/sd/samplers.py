"""The schedule of a run: which scheduler takes which steps.

Schedules are those of the model: its own scheduler's config (betas, prediction type, spacing of the steps) goes over
to the method's scheduler, as `Scheduler.from_config` of diffusers does it.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import diffusers
import torch
from diffusers.configuration_utils import FrozenDict

from graph.errors import StepError
from nodes.sd import compvis
from nodes.sd.configs import undescribed
from nodes.sd.methods import METHODS, SCHEDULES, SHAPED
from nodes.sd.models import Model
from nodes.sd.noise import TORCH_SEEDS
from nodes.sd.settings import Settings

PREDICTIONS = ("epsilon", "v_prediction", "sample")
MOST_LEVELS = 10_000
"""Levels of noise that a model can be trained at; Stable Diffusion has 1,000."""
CONFIG = ("scheduler", "scheduler_config.json")
NEAR = 0.01
"""How far the noise left in latents may be from that of a step before a warning says so, as a part of it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run of a method over one sample. Schedulers have state: every run needs its own."""

    scheduler: Any
    times: torch.Tensor
    """What each evaluation of the model is asked for, latest first."""
    extras: Mapping[str, Any]
    """What the scheduler's step takes besides: eta, generator."""
    noised: torch.Tensor
    """(1,): up to which time noise is added to a clean picture."""
    left: float
    """The level of noise that the last of these steps leaves; see Latents."""
    before: int
    """How many evaluations come before these, in a run of which they are a part."""
    whole: int
    """How many evaluations that run has."""


def schedule(
    model: Model, settings: Settings, generator: torch.Generator, sample: torch.Tensor, repaints: bool
) -> Schedule:
    """Set up a run over a sample, (1, channels, rows, columns): the steps that the settings name.

    repaints: whether the sample is a clean picture, and not noise.
    Raises StepError for steps that the method cannot do, or that leave nothing to do.
    """
    scheduler = create(model, settings)
    _set_steps(scheduler, model, settings, str(sample.device))
    levels, (first, times, noised) = noise_levels(scheduler), _span(scheduler, settings, repaints)
    if hasattr(scheduler, "set_begin_index"):
        # Also at 0: Karras' spacing may repeat the first time, and searching for it then starts one step late.
        scheduler.set_begin_index(first)
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = Brownian(sample, scheduler.sigmas, generator.initial_seed() % TORCH_SEEDS)
    takes = inspect.signature(scheduler.step).parameters
    extras = {name: value for name, value in (("eta", settings.eta), ("generator", generator)) if name in takes}
    left = levels[settings.last] if settings.last < settings.steps else 0.0
    skipped = 0 if settings.start_step else first  # by strength, which counts anew
    before, whole = first - skipped, len(scheduler.timesteps) - skipped
    return Schedule(scheduler, times, extras, noised, left, before, whole)


def _span(scheduler: Any, settings: Settings, repaints: bool) -> tuple[int, torch.Tensor, torch.Tensor]:
    """The first evaluation, the times of all, and that of the noise on a picture."""
    times, steps = scheduler.timesteps, settings.steps
    doing = min(int(steps * settings.strength), steps)
    if doing == 0:
        raise StepError(
            f"strength {settings.strength:g} of {steps} steps is less than one step",
            hint=f"The smallest strength that works is {smallest_strength(steps)}, or use more steps.",
        )
    if settings.compat == "compvis":
        return compvis.span(times, settings, doing) if repaints else (0, times, times[:1])
    first = (settings.start_step or steps - doing) * scheduler.order
    end = settings.last * scheduler.order if settings.last < steps else len(times)
    if isinstance(scheduler, diffusers.PNDMScheduler) and settings.is_part:
        # Its second step is evaluated twice, and a part of a run must begin as the whole one does.
        distinct = times.unique_consecutive()[first : settings.last]
        return first, torch.cat([distinct[:2], distinct[1:2], distinct[2:]]), distinct[:1]
    return first, times[first:end], times[first : first + 1]


def noise_levels(scheduler: Any) -> list[float]:
    """How much noise there is before each step, and after the last: deviations, beside a picture of 1."""
    if hasattr(scheduler, "sigmas"):
        # One an evaluation: those of methods that take two a step are there twice, but for the first.
        return [*scheduler.sigmas[: len(scheduler.timesteps) : scheduler.order].tolist(), 0.0]
    kept = scheduler.alphas_cumprod[scheduler.timesteps.unique_consecutive().long().cpu()]
    return [*((1 - kept) / kept).sqrt().tolist(), 0.0]


def refuse_level(model: Model, settings: Settings, level: float) -> str:
    """Compare noise that latents have left with the step at which a run is to begin; gives a warning, or "".

    Raises StepError where another step begins nearer to it.
    """
    scheduler = create(model, settings)
    _set_steps(scheduler, model, settings, "cpu")
    levels = noise_levels(scheduler)[:-1]
    begins = levels[settings.start_step]
    said = f"the latents have noise of level {level:.3g} left, but step {settings.start_step} of {settings.steps}"
    nearest = min(range(len(levels)), key=lambda step: abs(math.log(levels[step] / level)))
    if nearest != settings.start_step:
        raise StepError(
            f"{said} begins at {begins:.3g}",
            hint=f"Write start_step: {nearest}, which begins at {levels[nearest]:.3g}.",
        )
    return f"{said} begins at {begins:.3g}" if abs(begins / level - 1) > NEAR else ""


class Brownian:
    """Noise along a Brownian path from a seed: the same on every device, for every order of questions.

    Source: Li et al. 2020, "Scalable gradients for stochastic differential equations" (arXiv:2001.01328).
    """

    def __init__(self, like: torch.Tensor, levels: torch.Tensor, seed: int) -> None:
        from diffusers.schedulers.scheduling_dpmsolver_sde import BatchedBrownianTree  # needs torchsde

        self.like, self.levels, self.seed = like, levels, seed
        self.ends = levels[levels > 0].min(), levels.max()
        self.path = BatchedBrownianTree(torch.empty(like.shape), *self.ends, seed)

    def __reduce__(self) -> tuple[type[Brownian], tuple[torch.Tensor, torch.Tensor, int]]:
        """A copy draws the same path anew: torchsde's own cannot be copied."""
        return Brownian, (self.like, self.levels, self.seed)

    def __call__(self, level: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
        """Unit noise for the way from one noise level to the next."""
        # A level that went through a logarithm and back may lie an ulp outside, which torchsde warns of.
        way = self.path(level.clamp(*self.ends), following.clamp(*self.ends))
        noise: torch.Tensor = way / (following - level).abs().sqrt()
        return noise.to(self.like.device, self.like.dtype)


def create(model: Model, settings: Settings) -> Any:
    """A fresh scheduler for a method, with the model's own schedule and the repairs that pipelines make.

    Raises MissingError for a config that no scheduler can be made of.
    """
    recipe = METHODS[settings.method]
    whose = compvis.OPTIONS if settings.compat == "compvis" else SCHEDULES[settings.schedule]
    return _made(model, recipe.scheduler, {**recipe.options, **whose})


def _made(model: Model, scheduler: str, options: Mapping[str, Any]) -> Any:
    config = trained(model, CONFIG)
    own, predicts = str(config.get("_class_name")), config.get("prediction_type", "epsilon")
    if predicts not in PREDICTIONS:
        raise model.wrong("/".join(CONFIG), f"says that the model predicts {predicts!r:.40}, which is not known")
    if config.get("solver_order") not in (None, 1, 2, 3):
        raise model.wrong("/".join(CONFIG), f'has the unknown "solver_order" {config["solver_order"]!r:.40}')
    if not own.endswith("Scheduler") or not hasattr(diffusers, own):
        raise model.wrong("/".join(CONFIG), f'names no scheduler that is known: "{own:.60}"')
    try:
        return deepcopy(_fresh(own, json.dumps(config), scheduler, tuple(sorted(options.items()))))
    except Exception as error:  # whatever a constructor makes of senseless numbers
        raise model.wrong("/".join(CONFIG), undescribed(scheduler, error)) from error


def trained(model: Model, name: tuple[str, str], least: int = 1) -> dict[str, Any]:
    """Read the config of a scheduler, and check what it says of the noise that the model was trained with.

    Raises MissingError for fewer levels than `least`, for too many, and for shares of noise (betas) that are none, or
    not as many as levels.
    """
    config = model.json(*name)
    levels = config.get("num_train_timesteps", 1000)
    if not isinstance(levels, int) or not least <= levels <= MOST_LEVELS:
        raise model.wrong("/".join(name), f"names {levels!r:.40} levels of noise")
    for key in ("beta_start", "beta_end", "trained_betas"):
        if not _are_betas(config.get(key)):
            raise model.wrong("/".join(name), f'has "{key}" that are no numbers between 0 and 1')
    shares = config.get("trained_betas")
    if isinstance(shares, list) and len(shares) != levels:
        raise model.wrong("/".join(name), f'has {len(shares)} "trained_betas" for {levels} levels of noise')
    return config


def _are_betas(said: object) -> bool:
    """Whether a config has shares of noise, one or a list, or says nothing of them."""
    betas = said if isinstance(said, list) else [] if said is None else [said]
    return all(isinstance(beta, (int, float)) and 0 < beta < 1 for beta in betas)


@lru_cache(maxsize=16)
def _fresh(own: str, config: str, scheduler: str, options: tuple[tuple[str, Any], ...]) -> Any:
    """A scheduler that no run has touched. Once: the constructor of kdpm2's takes half a second."""
    # Options as keywords: merged into the config, they would be ignored where the config took a default.
    return _repaired(getattr(diffusers, scheduler).from_config(_models_config(own, config), **dict(options)))


@lru_cache(maxsize=64)
def _models_config(own: str, config: str) -> Any:
    """The config of the model's own scheduler, with its defaults and repairs. Once: it takes milliseconds."""
    return _repaired(getattr(diffusers, own).from_config(json.loads(config))).config


def smallest_strength(steps: int) -> float:
    """The smallest strength, to three decimals, that leaves a step to do."""
    return next(thousandths / 1000 for thousandths in range(math.ceil(1000 / steps), 1001)
                if int(steps * thousandths / 1000) > 0)  # fmt: skip


def takes_eta(method: str) -> bool:
    """Whether eta makes a difference to a method."""
    return "eta" in inspect.signature(getattr(diffusers, METHODS[method].scheduler).step).parameters


def _repaired(scheduler: Any) -> Any:
    """Start one step late, and do not clip: what the pipelines' constructors do to configs older than 2023."""
    config = dict(scheduler.config)
    if config.get("steps_offset", 1) != 1:
        config["steps_offset"] = 1
    if config.get("clip_sample") is True:
        config["clip_sample"] = False
    scheduler._internal_dict = FrozenDict(config)
    return scheduler


def _set_steps(scheduler: Any, model: Model, settings: Settings, device: str) -> None:
    method, steps, trained = settings.method, settings.steps, scheduler.config.num_train_timesteps
    if settings.compat == "compvis":
        compvis.set_steps(scheduler, steps, device)
        return
    try:
        scheduler.set_timesteps(steps, device=device)
    except ValueError as error:
        most = min(trained, scheduler.config.get("original_inference_steps", trained))
        raise StepError(f"{method} cannot do {steps} steps", hint=f"Use at most {most} steps.") from error
    if float(scheduler.timesteps.max()) > trained - 1 or _repeats_a_level(scheduler):
        raise StepError(
            f"{method} cannot do {steps} steps: the model has only {trained} levels of noise",
            hint=f"Use at most {min(trained, steps) - 1} steps.",
        )
    _borrow(scheduler, model, settings, device)


def _borrow(scheduler: Any, model: Model, settings: Settings, device: str) -> None:
    """Take the noise levels of a scheduler that can make them."""
    lender = METHODS[settings.method].lender
    if lender and settings.schedule in SHAPED:
        shaped = _made(model, lender, SCHEDULES[settings.schedule])
        shaped.set_timesteps(settings.steps, device=device)
        scheduler.sigmas, scheduler.timesteps = shaped.sigmas, shaped.timesteps


def _repeats_a_level(scheduler: Any) -> bool:
    """Whether a step would lead nowhere; multistep solvers divide by its length. The last may."""
    levels = getattr(scheduler, "sigmas", None)
    return scheduler.order == 1 and levels is not None and bool((levels[1:-1] == levels[:-2]).any())
