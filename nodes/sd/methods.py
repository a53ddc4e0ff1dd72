"""The sampling methods and schedules by name: what each is in diffusers, and what others call it.

Light, because `check` resolves and refuses names before anything loads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

Method = Literal[
    "ddim", "ddpm", "deis", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_2s", "dpmpp_3m", "dpmpp_3m_sde",
    "dpmpp_sde", "euler", "euler_a", "heun", "kdpm2", "kdpm2_a", "lcm", "lms", "plms", "sa_solver", "tcd", "unipc",
]  # fmt: skip
ScheduleName = Literal["normal", "karras", "exponential", "beta", "lu", "linspace", "leading", "sgm_uniform"]

_ANY: tuple[ScheduleName, ...] = get_args(ScheduleName)
_SPACED: tuple[ScheduleName, ...] = ("normal", "linspace", "leading", "sgm_uniform")
SHAPED: tuple[ScheduleName, ...] = ("karras", "exponential", "beta")
"""Schedules that shape the noise levels, rather than choose among those trained at."""
_BOTH = tuple(name for name in _ANY if name != "lu")


class Recipe(NamedTuple):
    """A method as diffusers has it."""

    scheduler: str
    options: Mapping[str, Any] = MappingProxyType({})
    schedules: tuple[ScheduleName, ...] = _BOTH
    """What it takes. Each of them is an option of its scheduler, or a lender's."""
    one_step: bool = False
    """A step knows nothing of those before it: a run in two parts gives the bits of one."""
    adds: bool = False
    """Adds noise on top of the picture, as Karras et al. write it, rather than mixing the two."""
    package: str = ""
    """What it needs besides what Darkroom needs."""
    lender: str = ""
    """The scheduler whose noise levels it takes for what its own cannot make."""


_SDE = MappingProxyType({"algorithm_type": "sde-dpmsolver++"})
_LOWERED = MappingProxyType({"lower_order_final": True})
"""What the scheduler sets itself to, each time saying so on the standard error."""
_MULTISTEP = "DPMSolverMultistepScheduler"

METHODS: Mapping[str, Recipe] = MappingProxyType(
    {
        # Song et al. 2020 (arXiv:2010.02502), equation 12
        "ddim": Recipe("DDIMScheduler", schedules=_SPACED, one_step=True),
        # Ho et al. 2020 (arXiv:2006.11239), algorithm 2
        "ddpm": Recipe("DDPMScheduler", schedules=_SPACED, one_step=True),
        # Zhang and Chen 2022 (arXiv:2204.13902), tAB
        "deis": Recipe("DEISMultistepScheduler"),
        # Lu et al. 2022 (arXiv:2211.01095), algorithm 2
        "dpmpp_2m": Recipe(_MULTISTEP, schedules=_ANY),
        # the same, section 5: the solver of the diffusion's own stochastic equation
        "dpmpp_2m_sde": Recipe(_MULTISTEP, _SDE, _ANY),
        "dpmpp_2m_sde_heun": Recipe(_MULTISTEP, _SDE | {"solver_type": "heun"}, _ANY),
        # the same, algorithm 1
        "dpmpp_2s": Recipe("DPMSolverSinglestepScheduler", _LOWERED, schedules=("normal", *SHAPED)),
        # the multistep solvers with one more term of the expansion
        "dpmpp_3m": Recipe(_MULTISTEP, {"solver_order": 3}, _ANY),
        "dpmpp_3m_sde": Recipe(_MULTISTEP, _SDE | {"solver_order": 3}, _ANY),
        # the stochastic equation in steps of two evaluations (k-diffusion, sample_dpmpp_sde)
        "dpmpp_sde": Recipe("DPMSolverSDEScheduler", one_step=True, adds=True, package="torchsde"),
        # Karras et al. 2022 (arXiv:2206.00364), algorithm 2 without its noise, of first order
        "euler": Recipe("EulerDiscreteScheduler", one_step=True, adds=True),
        # the same with the noise of an ancestral step (k-diffusion, sample_euler_ancestral)
        "euler_a": Recipe("EulerAncestralDiscreteScheduler", one_step=True, adds=True, lender="EulerDiscreteScheduler"),
        # Karras et al. 2022, algorithm 2 without its noise
        "heun": Recipe("HeunDiscreteScheduler", one_step=True, adds=True),
        # Karras et al. 2022, algorithm 2 with the midpoint of Dormand and Prince (k-diffusion, sample_dpm_2)
        "kdpm2": Recipe("KDPM2DiscreteScheduler", one_step=True, adds=True),
        "kdpm2_a": Recipe("KDPM2AncestralDiscreteScheduler", one_step=True, adds=True),
        # Luo et al. 2023 (arXiv:2310.04378), algorithm 3; for models distilled that way
        "lcm": Recipe("LCMScheduler", schedules=("normal",), one_step=True),
        # Adams and Bashforth's multistep method on noise levels (k-diffusion, sample_lms)
        "lms": Recipe("LMSDiscreteScheduler", adds=True, package="scipy"),
        # Liu et al. 2022 (arXiv:2202.09778), without the Runge-Kutta steps at the start: what CompVis calls PLMS
        "plms": Recipe("PNDMScheduler", {"skip_prk_steps": True}, _SPACED),
        # Xue et al. 2023 (arXiv:2309.05019)
        "sa_solver": Recipe("SASolverScheduler"),
        # Zheng et al. 2024 (arXiv:2402.19159); for models distilled that way
        "tcd": Recipe("TCDScheduler", schedules=("normal",), one_step=True),
        # Zhao et al. 2023 (arXiv:2302.04867), UniPC of order 2, B2(h)
        "unipc": Recipe("UniPCMultistepScheduler"),
    }
)
"""Every one of them takes every task: from noise, and from a picture with a strength."""

_OFF = dict.fromkeys(("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"), False)
_WHOLE = _OFF | {"timestep_spacing": "linspace"}
"""Some schedulers shape no more than the part that they would step over."""

SCHEDULES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "normal": {},
        # Karras et al. 2022 (arXiv:2206.00364), equation 5
        "karras": _WHOLE | {"use_karras_sigmas": True},
        # evenly spaced logarithms of the noise levels
        "exponential": _WHOLE | {"use_exponential_sigmas": True},
        # Lee et al. 2024 (arXiv:2407.12173)
        "beta": _WHOLE | {"use_beta_sigmas": True},
        # Lu et al. 2022 (arXiv:2206.00927), section 3.4: evenly spaced logarithms of the signal-to-noise ratio
        "lu": _WHOLE | {"use_lu_lambdas": True},
        # Lin et al. 2023 (arXiv:2305.08891), table 2
        "linspace": _WHOLE,
        "leading": _OFF | {"timestep_spacing": "leading"},
        "sgm_uniform": _OFF | {"timestep_spacing": "trailing"},
    }
)

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "dpm2": "kdpm2", "dpm_2": "kdpm2", "k_dpm_2": "kdpm2",
        "dpm2_a": "kdpm2_a", "dpm_2_a": "kdpm2_a", "k_dpm_2_a": "kdpm2_a", "dpm_2_ancestral": "kdpm2_a",
        "euler_ancestral": "euler_a", "k_euler": "euler", "k_euler_a": "euler_a", "k_euler_ancestral": "euler_a",
        "k_heun": "heun", "k_lms": "lms", "k_dpmpp_2m": "dpmpp_2m", "dpm_solver": "dpmpp_2m", "pndm": "plms",
        "dpmpp_2m_sde_gpu": "dpmpp_2m_sde", "dpmpp_2m_sde_heun_gpu": "dpmpp_2m_sde_heun",
        "dpmpp_3m_sde_gpu": "dpmpp_3m_sde", "dpmpp_sde_gpu": "dpmpp_sde", "uni_pc": "unipc", "uni_pc_bh2": "unipc",
    }
)  # fmt: skip
"""What other programs call the methods, as `_plain` writes it."""
SCHEDULE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "automatic": "normal", "uniform": "linspace", "trailing": "sgm_uniform", "simple": "sgm_uniform",
        "ddim_uniform": "leading", "ddim": "leading",
    }
)  # fmt: skip


def resolved(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the names that Darkroom has for their `method` and `schedule`; unknown names stay.

    Raises ValueError for a method whose name carries another schedule than is given ("DPM++ 2M Karras").
    """
    values = dict(given)
    if isinstance(values.get("schedule"), str):
        values["schedule"] = schedule_named(values["schedule"])
    if isinstance(values.get("method"), str):
        method, schedule = method_named(values["method"])
        if schedule and values.setdefault("schedule", schedule) != schedule:
            raise ValueError(
                f'method "{values["method"]}" carries the schedule "{schedule}", but schedule is '
                f'"{values["schedule"]}"\nWrite method: {method}, and the schedule that you mean.'
            )
        values["method"] = method
    return values


def method_named(name: str) -> tuple[str, str]:
    """The method that people mean by a name, and the schedule that the name carries ("" for none)."""
    word = _plain(name)
    if word in METHODS or word in ALIASES:
        return ALIASES.get(word, word), ""
    for tail in (*SCHEDULES, *SCHEDULE_ALIASES):
        base = word.removesuffix(f"_{tail}")
        if base != word and (base in METHODS or base in ALIASES):
            return ALIASES.get(base, base), SCHEDULE_ALIASES.get(tail, tail)
    return name, ""


def schedule_named(name: str) -> str:
    """The schedule that people mean by a name."""
    word = SCHEDULE_ALIASES.get(_plain(name), _plain(name))
    return word if word in SCHEDULES else name


def taking(schedule: str) -> tuple[str, ...]:
    """The methods that take a schedule."""
    return tuple(name for name, recipe in METHODS.items() if schedule in recipe.schedules)


def _plain(name: str) -> str:
    """ "DPM++ 2M Karras" -> "dpmpp_2m_karras"."""
    return re.sub(r"[\s_-]+", "_", name.strip().lower().replace("++", "pp"))


def method_schema() -> dict[str, Any]:
    """What an editor takes for a method: the names, and a pattern for every spelling of the others'."""
    base, tail = _spellings((*METHODS, *ALIASES)), _spellings((*SCHEDULES, *SCHEDULE_ALIASES))
    return _schema(METHODS, rf"^\s*({base})([\s_-]+({tail}))?\s*$")


def schedule_schema() -> dict[str, Any]:
    """The same for a schedule."""
    return _schema(SCHEDULES, rf"^\s*({_spellings((*SCHEDULES, *SCHEDULE_ALIASES))})\s*$")


def _schema(names: Iterable[str], pattern: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "enum": [*names]}, {"type": "string", "pattern": pattern}]}


def _spellings(words: Iterable[str]) -> str:
    """A pattern in every dialect of regular expressions, hence without a flag for the case."""
    spelled = ("".join(_spelling(letter) for letter in word) for word in words)
    return "|".join(spelled).replace("[Dd][Pp][Mm][Pp][Pp]", r"[Dd][Pp][Mm]([Pp][Pp]|\+\+)")


def _spelling(letter: str) -> str:
    if letter == "_":
        return r"[\s_-]+"
    return f"[{letter.upper()}{letter}]" if letter.isalpha() else letter
