"""How a sampler is set, and which settings do not go together. Light: `check` asks it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from graph.node import Misfit
from nodes.sd.methods import METHODS, taking

Compat = Literal["diffusers", "compvis"]
COMPVIS = ("ddim", "plms", "dpmpp_2m")
"""The methods of CompVis' scripts: --plms, --dpm_solver, and without either."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of the sampler node."""

    method: str
    schedule: str
    steps: int
    start_step: int
    end_step: int | None
    cfg: float
    rescale: float
    strength: float
    eta: float
    compat: Compat

    @property
    def last(self) -> int:
        """The step before which a run ends."""
        return self.steps if self.end_step is None else self.end_step

    @property
    def is_part(self) -> bool:
        """Whether another sampler comes before or after."""
        return self.start_step > 0 or self.last < self.steps


def check(settings: Settings) -> None:
    """Raise ValueError, a message and a way out in two lines, for settings that do not go together."""
    for message, way_out in (*_names(settings), *_steps(settings), *_compvis(settings)):
        raise ValueError(f"{message}\n{way_out}")


def keeping(settings: Settings, noisy: Collection[str]) -> Iterator[Misfit]:
    """What would keep a part of latents that are noise. noisy: the ports that noise arrives at."""
    if "latents" not in noisy:
        return
    if settings.strength < 1:
        yield Misfit(
            "strength",
            f"strength {settings.strength:g} would keep a part of the latents, but they are noise",
            "Leave strength at 1, or give the latents of a picture (vae_encode).",
        )
    if "noise" in noisy:
        yield Misfit("noise", "latents and noise are both noise", "Give the noise to latents alone.")
    if settings.start_step:
        yield Misfit(
            "start_step",
            f"start_step {settings.start_step} would keep a part of the latents, but they are noise",
            "Leave start_step out, or give the latents of a picture (vae_encode) or of a sampler with end_step.",
        )


def _names(settings: Settings) -> Iterator[tuple[str, str]]:
    method, schedule = settings.method, settings.schedule
    recipe = METHODS[method]
    if schedule not in recipe.schedules:
        yield (
            f'{method} cannot take the schedule "{schedule}", only {", ".join(recipe.schedules)}',
            f"Methods that take {schedule}: {', '.join(taking(schedule))}.",
        )
    for what, package in ((method, recipe.package), (f"schedule: {schedule}", "scipy" if schedule == "beta" else "")):
        if package and find_spec(package) is None:
            yield f"{what} needs the package {package}, which is not installed", "Run: pip install darkroom[samplers]"


def _steps(settings: Settings) -> Iterator[tuple[str, str]]:
    steps, start, end = settings.steps, settings.start_step, settings.end_step
    if end is not None and end > steps:
        yield f"end_step {end} is behind the last of {steps} steps", "Leave end_step out to go to the end."
    if start >= settings.last:
        yield f"start_step {start} leaves nothing to do of the steps up to {settings.last}", "Begin earlier."
    if start and settings.strength != 1:
        yield (
            f"strength {settings.strength:g} and start_step {start} both say where to begin",
            "Leave one of them out.",
        )


def _compvis(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.compat != "compvis":
        return
    if settings.method not in COMPVIS:
        yield f"compat: compvis knows {', '.join(COMPVIS)}, not {settings.method}", "Leave compat out."
    if settings.schedule != "normal":
        yield f"compat: compvis has no schedule {settings.schedule}", "Leave one of them out."
    if settings.start_step or settings.end_step is not None:
        yield "compat: compvis runs all steps, it has no start_step and end_step", "Leave them out, or compat."
    if settings.strength < 1 and settings.method != "ddim":
        yield f"compat: compvis repaints pictures with ddim alone, not {settings.method}", "Write method: ddim."
    if settings.method == "plms" and settings.steps == 1:
        yield "compat: compvis cannot do plms in 1 step", "Use at least 2 steps."
