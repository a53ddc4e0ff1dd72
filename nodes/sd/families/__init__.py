"""The families of models: how each encodes, is prepared, denoises and decodes.

A family is one file of this folder with an object `FAMILY`; nodes and engine never ask which family it is. Light at
import, because `check` asks which family a folder is of: torch is imported inside the five methods.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from graph.errors import MissingError, suggest
from graph.values import Guide
from nodes.sd.models import Model
from nodes.sd.prompts import Paragraphs

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Part(NamedTuple):
    """The class of a component."""

    library: str
    """diffusers or transformers."""
    name: str


class Passage(NamedTuple):
    """What a text encoder is to read."""

    paragraphs: Paragraphs
    chunks: int
    """How many it may take at most."""
    learned: Mapping[str, Mapping[str, Tensor]] = MappingProxyType({})
    """Vectors that stand for words: by component, by word, (count, width)."""


class Prompt(NamedTuple):
    """What a prompt became."""

    embeddings: Tensor
    """Float, (1, tokens, width)."""
    pooled: Tensor | None
    lost: str
    """The words that did not fit in."""
    micro: Mapping[str, float] = MappingProxyType({})
    """See `Conditioning.micro`."""
    filler: Tensor | None = None
    """See `Conditioning.filler`."""


class Floors(NamedTuple):
    """What must be in memory at one time, whatever computes it: numbers (2 or 4 bytes each) a pixel of the latents."""

    step: float
    """To denoise one sample, without guidance; with it, twice as much."""
    encode: float
    decode: float


class Steering(Protocol):
    """What a ControlNet adds to a U-Net."""

    def __call__(
        self, latents: Tensor, time: Tensor, embeddings: Tensor, added: Mapping[str, Tensor] | None
    ) -> tuple[Sequence[Tensor], Tensor]:
        """The residuals of the way down, and that of the middle, for scaled latents (batch, channels, ...)."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a sampler is asked for, the same at every step. Tensors are on the denoiser's device, in its dtype."""

    positive: Prompt
    negative: Prompt
    cfg: float
    width: int
    """Of the picture, in pixels."""
    height: int
    rescale: float = 0.0
    guide: Guide | None = None
    masked: Tensor | None = None
    """Of an Inpainting guide: the latents of the masked picture, drawn and scaled."""


class Family(Protocol):
    """One way of building a diffusion model. `Inputs` of `prepare` are the family's own affair."""

    @property
    def name(self) -> str:
        """The word on the handles: "sd1" ..."""

    @property
    def network(self) -> str:
        """The word for what is trained on top of its networks (LoRA, ControlNet)."""

    @property
    def conditioning(self) -> str:
        """The word for the prompts that it understands."""

    @property
    def latents(self) -> str:
        """The word for its latent space."""

    @property
    def pipelines(self) -> frozenset[str]:
        """The classes in model_index.json whose models this family may run."""

    @property
    def components(self) -> Mapping[str, Part]:
        """The folders with weights, and the class of each."""

    @property
    def encoders(self) -> tuple[str, ...]:
        """The components that read prompts, in order."""

    @property
    def guides(self) -> tuple[type[Guide], ...]:
        """What its denoiser cannot do without, one of them."""

    def recognises(self, model: Model) -> bool:
        """Whether a model of one of `pipelines` is of this family, by its configs."""

    def cannot(self, model: Model) -> str:
        """What of this model the family cannot do, as the end of a sentence; empty if it can all."""

    def encode(
        self, model: Model, digest: str, encoders: Mapping[str, Module], passage: Passage, clip_skip: int
    ) -> Prompt:
        """Turn a text into embeddings. Raises StepError."""

    def latent_shape(self, model: Model, width: int | None, height: int | None) -> tuple[int, int, int]:
        """Channels, rows and columns for a picture of this size (pixels); None means the size trained at."""

    def factor(self, model: Model) -> int:
        """How many pixels of a picture, along a side, are one of the latents."""

    def floors(self, model: Model) -> Floors:
        """The least that a model takes, from its configs."""

    def prepare(self, model: Model, denoiser: Module, task: Task) -> Any:
        """Make once what every step needs besides latents and time. Raises StepError for what does not fit."""

    def denoise_step(
        self, denoiser: Module, inputs: Any, scheduler: Any, latents: Tensor, time: Tensor, steering: Sequence[Steering]
    ) -> Tensor:
        """Predict for latents (1, channels, rows, columns) at a time what the scheduler's step takes."""

    def decode(self, vae: Module, latents: Tensor) -> Tensor:
        """Turn latents (1, channels, rows, columns) into a picture, float (1, 3, height, width), about -1 to 1."""


def tokenizer_of(encoder: str) -> str:
    """The folder of the tokenizer that goes with a text encoder."""
    return encoder.replace("text_encoder", "tokenizer")


@cache
def families() -> tuple[Family, ...]:
    """All families, by the files of this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(import_module(f"{__name__}.{name}").FAMILY for name in names)


def named(name: str) -> Family:
    """The family of a handle. Raises KeyError."""
    return {family.name: family for family in families()}[name]


def recognise(model: Model) -> Family:
    """Tell a model's family from its configs.

    Raises MissingError for a model of a family, or with a component, that cannot be run.
    """
    index = model.index
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        raise model.code("model_index.json", f"names the custom pipeline {pipeline!r:.80}, which")
    for family in families():
        if pipeline in family.pipelines and family.recognises(model):
            _check_parts(model, family, index)
            return family
    known = sorted({name for family in families() for name in family.pipelines})
    if pipeline in known:
        channels = f"a U-Net that takes {model.config('unet').get('in_channels')!r:.40} channels"
        raise MissingError(f'model "{model.path.name}" is for "{pipeline}" with {channels}, which is not known')
    raise MissingError(
        f'model "{model.path.name}" is for "{pipeline:.80}", which this version cannot run',
        hint=suggest(pipeline, known),
    )


def _check_parts(model: Model, family: Family, index: Mapping[str, Any]) -> None:
    for component, part in family.components.items():
        said = index.get(component)
        if said != list(part):
            raise MissingError(
                f'model "{model.path.name}" says that its "{component}" is {said!r:.80}, which this version cannot run',
                hint=f"It runs {part.name} of {part.library}.",
            )
        model.config(component)
    if reason := family.cannot(model):
        raise MissingError(f'model "{model.path.name}" {reason}, which this version cannot run')
