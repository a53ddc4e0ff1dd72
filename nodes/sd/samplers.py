"""The sampling methods: one table, and the schedule of a run.

Schedules are those of the model: its own scheduler's config (betas, prediction type, spacing of the steps) goes over
to the method's scheduler, as `Scheduler.from_config` of diffusers does it.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers.configuration_utils import FrozenDict

from graph.errors import StepError
from nodes.sd.models import Model

PREDICTIONS = ("epsilon", "v_prediction", "sample")
MOST_LEVELS = 10_000
"""Levels of noise that a model can be trained at; Stable Diffusion has 1,000."""
CONFIG = ("scheduler", "scheduler_config.json")


class Recipe(NamedTuple):
    """A method as diffusers has it."""

    scheduler: str
    options: Mapping[str, Any] = MappingProxyType({})


_KARRAS = {"use_karras_sigmas": True}  # Karras et al. 2022 (arXiv:2206.00364), equation 5
_SDE = {"algorithm_type": "sde-dpmsolver++"}

METHODS: Mapping[str, Recipe] = MappingProxyType(
    {
        # Song et al. 2020 (arXiv:2010.02502), equation 12
        "ddim": Recipe("DDIMScheduler"),
        # Ho et al. 2020 (arXiv:2006.11239), algorithm 2
        "ddpm": Recipe("DDPMScheduler"),
        # Zhang and Chen 2022 (arXiv:2204.13902), tAB
        "deis": Recipe("DEISMultistepScheduler"),
        # Lu et al. 2022 (arXiv:2211.01095), algorithm 2
        "dpmpp_2m": Recipe("DPMSolverMultistepScheduler"),
        "dpmpp_2m_karras": Recipe("DPMSolverMultistepScheduler", _KARRAS),
        # the same, section 5: the solver of the diffusion's own stochastic equation
        "dpmpp_2m_sde": Recipe("DPMSolverMultistepScheduler", _SDE),
        "dpmpp_2m_sde_karras": Recipe("DPMSolverMultistepScheduler", _SDE | _KARRAS),
        # the same, algorithm 1
        "dpmpp_2s": Recipe("DPMSolverSinglestepScheduler"),
        # Karras et al. 2022, algorithm 2 without its noise, of first order
        "euler": Recipe("EulerDiscreteScheduler"),
        # the same with the noise of an ancestral step (k-diffusion, sample_euler_ancestral)
        "euler_a": Recipe("EulerAncestralDiscreteScheduler"),
        # Karras et al. 2022, algorithm 2 without its noise
        "heun": Recipe("HeunDiscreteScheduler"),
        # Karras et al. 2022, algorithm 2 with the midpoint of Dormand and Prince (k-diffusion, sample_dpm_2)
        "kdpm2": Recipe("KDPM2DiscreteScheduler"),
        "kdpm2_a": Recipe("KDPM2AncestralDiscreteScheduler"),
        # Luo et al. 2023 (arXiv:2310.04378), algorithm 3; for models distilled that way
        "lcm": Recipe("LCMScheduler"),
        # Liu et al. 2022 (arXiv:2202.09778), without the Runge-Kutta steps at the start: what CompVis calls PLMS
        "plms": Recipe("PNDMScheduler", {"skip_prk_steps": True}),
        # Zhao et al. 2023 (arXiv:2302.04867), UniPC of order 2
        "unipc": Recipe("UniPCMultistepScheduler"),
    }
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run of a method over one sample. Schedulers have state: every run needs its own."""

    scheduler: Any
    times: torch.Tensor
    """What each evaluation of the model is asked for, latest first."""
    extras: Mapping[str, Any]
    """What the scheduler's step takes besides: eta, generator."""


def schedule(
    folder: Model,
    method: str,
    steps: int,
    strength: float,
    eta: float,
    generator: torch.Generator,
    device: str,
) -> Schedule:
    """Set up a run: the last `strength` of `steps` steps.

    Raises StepError for steps that the method cannot do, or that leave nothing to do.
    """
    scheduler = create(folder, method)
    first = steps - min(int(steps * strength), steps)
    if first == steps:
        raise StepError(
            f"strength {strength:g} of {steps} steps is less than one step",
            hint=f"The smallest strength that works is {smallest_strength(steps)}, or use more steps.",
        )
    _set_steps(scheduler, method, steps, device)
    begin = first * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        # Also at 0: Karras' spacing may repeat the first time, and searching for it then starts one step late.
        scheduler.set_begin_index(begin)
    takes = inspect.signature(scheduler.step).parameters
    extras = {name: value for name, value in (("eta", eta), ("generator", generator)) if name in takes}
    return Schedule(scheduler, scheduler.timesteps[begin:], extras)


def create(folder: Model, method: str) -> Any:
    """A fresh scheduler for a method, with the model's own schedule and the repairs that pipelines make.

    Raises MissingError for a config that no scheduler can be made of.
    """
    config, recipe = folder.json(*CONFIG), METHODS[method]
    own = str(config.get("_class_name"))
    predicts, trained = config.get("prediction_type", "epsilon"), config.get("num_train_timesteps", 1000)
    if predicts not in PREDICTIONS:
        raise folder.wrong("/".join(CONFIG), f"says that the model predicts {predicts!r:.40}, which is not known")
    if not isinstance(trained, int) or not 1 <= trained <= MOST_LEVELS:
        raise folder.wrong("/".join(CONFIG), f"names {trained!r:.40} levels of noise")
    if not own.endswith("Scheduler") or not hasattr(diffusers, own):
        raise folder.wrong("/".join(CONFIG), f'names no scheduler that is known: "{own}"')
    try:
        model = _models_config(own, json.dumps(config))
        # Options as keywords: merged into the config, they would be ignored where the config took a default.
        return _repaired(getattr(diffusers, recipe.scheduler).from_config(model, **recipe.options))
    except Exception as error:  # whatever a constructor makes of senseless numbers
        raise folder.wrong("/".join(CONFIG), f"does not describe a {recipe.scheduler}: {error}") from error


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


def _set_steps(scheduler: Any, method: str, steps: int, device: str) -> None:
    trained = scheduler.config.num_train_timesteps
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


def _repeats_a_level(scheduler: Any) -> bool:
    """Whether a step would lead nowhere; multistep solvers divide by its length."""
    levels = getattr(scheduler, "sigmas", None)
    return scheduler.order == 1 and levels is not None and bool((levels[1:] == levels[:-1]).any())
