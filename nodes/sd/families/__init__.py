"""The families of models: how each encodes, is prepared, denoises and decodes.

A family is one file of this folder with an object `FAMILY`; nodes and engine never ask which family it is. Light at
import, because `check` asks which family a folder is of: torch is imported inside the five methods.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from graph.errors import MissingError, suggest
from nodes.sd.folders import ModelFolder

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Part(NamedTuple):
    """The class of a component."""

    library: str
    """diffusers or transformers."""
    name: str


class Prompt(NamedTuple):
    """What a prompt became."""

    embeddings: Tensor
    """Float, (1, tokens, width)."""
    pooled: Tensor | None
    lost: str
    """The words that did not fit in."""


class Floors(NamedTuple):
    """What must be in memory at one time, whatever computes it: numbers (2 or 4 bytes each) a pixel of the latents."""

    step: float
    """To denoise one sample, without guidance; with it, twice as much."""
    encode: float
    decode: float


class Family(Protocol):
    """One way of building a diffusion model. `Inputs` of `prepare` are the family's own affair."""

    @property
    def name(self) -> str:
        """The word on the handles: "sd1" ..."""

    @property
    def pipelines(self) -> frozenset[str]:
        """The classes in model_index.json whose models this family runs."""

    @property
    def components(self) -> Mapping[str, Part]:
        """The folders with weights, and the class of each."""

    def cannot(self, folder: ModelFolder) -> str:
        """What of this model the family cannot do, as the end of a sentence; empty if it can all."""

    def encode(self, folder: ModelFolder, digest: str, encoder: Module, text: str, clip_skip: int) -> Prompt:
        """Turn a prompt into embeddings. Raises StepError."""

    def latent_shape(self, folder: ModelFolder, width: int | None, height: int | None) -> tuple[int, int, int]:
        """Channels, rows and columns for a picture of this size (pixels); None means the size trained at."""

    def factor(self, folder: ModelFolder) -> int:
        """How many pixels of a picture, along a side, are one of the latents."""

    def floors(self, folder: ModelFolder) -> Floors:
        """The least that a model takes, from its configs."""

    def prepare(self, denoiser: Module, positive: Prompt, negative: Prompt, cfg: float) -> Any:
        """Make once what every step needs besides latents and time."""

    def denoise_step(self, denoiser: Module, inputs: Any, scheduler: Any, latents: Tensor, time: Tensor) -> Tensor:
        """Predict for latents (1, channels, rows, columns) at a time what the scheduler's step takes."""

    def decode(self, vae: Module, latents: Tensor) -> Tensor:
        """Turn latents (1, channels, rows, columns) into a picture, float (1, 3, height, width), about -1 to 1."""


@cache
def families() -> tuple[Family, ...]:
    """All families, by the files of this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(import_module(f"{__name__}.{name}").FAMILY for name in names)


def named(name: str) -> Family:
    """The family of a handle. Raises KeyError."""
    return {family.name: family for family in families()}[name]


def recognise(folder: ModelFolder) -> Family:
    """Tell a model's family from its configs.

    Raises MissingError for a model of a family, or with a component, that cannot be run.
    """
    index = folder.index
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        raise folder.code("model_index.json", f"names the custom pipeline {pipeline!r}, which")
    for family in families():
        if pipeline in family.pipelines:
            _check_parts(folder, family, index)
            return family
    known = sorted(name for family in families() for name in family.pipelines)
    raise MissingError(
        f'model "{folder.path.name}" is for "{pipeline}", which this version cannot run', hint=suggest(pipeline, known)
    )


def _check_parts(folder: ModelFolder, family: Family, index: Mapping[str, Any]) -> None:
    for component, part in family.components.items():
        said = index.get(component)
        if said != list(part):
            raise MissingError(
                f'model "{folder.path.name}" says that its "{component}" is {said!r}, which this version cannot run',
                hint=f"It runs {part.name} of {part.library}.",
            )
        folder.config(component)
    if reason := family.cannot(folder):
        raise MissingError(f'model "{folder.path.name}" {reason}, which this version cannot run')
