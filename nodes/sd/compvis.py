"""The schedule of CompVis' scripts of 2022, without their crashes.

They take S steps as every (1000 // S)-th time from 1 on, which are more than S for many S (31 for 30); the last one
may lie behind the model's last time, where they crash: it is left out here. A picture is given the noise of one step
before the first one that is run. Their DPM-Solver spaces steps evenly in continuous time.
Source: ddim.py, plms.py and dpm_solver.py as published with Stable Diffusion 1 and 2, told in own words.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, PNDMScheduler

from graph.errors import StepError
from nodes.sd.settings import Settings

OPTIONS = MappingProxyType(
    {
        "timestep_spacing": "leading",
        "set_alpha_to_one": False,
        "clip_sample": False,
        "final_sigmas_type": "sigma_min",
        "use_karras_sigmas": False,
    }
)


def times(steps: int, trained: int) -> list[int]:
    """The times of so many steps, latest first."""
    return [time + 1 for time in range(0, trained, trained // steps) if time + 1 < trained][::-1]


def set_steps(scheduler: Any, steps: int, device: str) -> None:
    """Give a scheduler the times that the scripts would take. Raises StepError for more than the model's levels."""
    trained = scheduler.config.num_train_timesteps
    if steps > trained:
        raise StepError(f"{steps} steps are more than the model's {trained} levels of noise")
    scheduler.set_timesteps(steps, device=device)
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        _space_continuously(scheduler, steps, device)
        return
    chosen = times(steps, trained)
    if isinstance(scheduler, PNDMScheduler):
        chosen[1:1] = chosen[1:2]  # the second is evaluated twice
    scheduler.timesteps = torch.tensor(chosen, device=device)


def span(times: torch.Tensor, settings: Settings, doing: int) -> tuple[int, torch.Tensor, torch.Tensor]:
    """For a picture: the first evaluation, the times of all, and that of the noise.

    doing: how many steps are run. Raises StepError for a method that the scripts cannot repaint with.
    """
    if settings.method != "ddim":
        raise StepError(
            f"compat: compvis repaints pictures with ddim alone, not {settings.method}", hint="Write method: ddim."
        )
    first = max(len(times) - doing, 0)
    before = max(first - 1, 0)
    return first, times[first:], times[before : before + 1]


def _space_continuously(scheduler: Any, steps: int, device: str) -> None:
    """Source: Lu et al. 2022 (arXiv:2206.00927), the uniform spacing of section 3.4 and appendix D.1."""
    alphas = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
    places = np.linspace(len(alphas) - 1, 0, steps + 1)
    logs = np.interp(places, np.arange(len(alphas)), 0.5 * np.log(alphas))
    levels = np.sqrt(np.expm1(-2 * logs))
    scheduler.sigmas = torch.from_numpy(levels.astype(np.float32))
    scheduler.timesteps = torch.from_numpy(places[:-1].astype(np.float32)).to(device)
