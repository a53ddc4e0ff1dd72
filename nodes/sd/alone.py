"""Components that come without a model: an autoencoder, a ControlNet. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from graph.errors import MissingError
from graph.filerefs import FileRef
from nodes.sd.folders import ModelFolder, weight_files, weights_in
from nodes.sd.headers import Weight
from nodes.sd.search import find
from nodes.sd.shelves import Kind
from nodes.sd.tokenizers import Tokenizer

LATENTS = {0.18215: "sd", 0.13025: "sdxl", 0.08333: "x4"}
"""Whose latents an autoencoder gives, by the scaling factor in its config."""
NETWORKS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Families by the width of the prompts that their U-Nets attend to."""


TINY = Path(__file__).parent / "tiny"


@dataclass(frozen=True, slots=True)
class AloneFolder:
    """One component as diffusers saves it: a config and weights. Of other components it says nothing."""

    path: Path

    @property
    def index(self) -> dict[str, Any]:
        return {}

    def config(self, component: str) -> dict[str, Any]:
        said = self.json("config.json")
        return said if COMPONENTS.get(str(said.get("_class_name"))) == component else {}

    def json(self, *name: str) -> dict[str, Any]:
        return ModelFolder(self.path).json(*name)

    def tokenizer(self, name: str) -> Tokenizer:
        return Tokenizer.in_folder(self.path / name, self.path.name)

    def weights(self, component: str) -> Iterator[tuple[str, Weight]]:
        return weights_in(self.path)

    def wrong(self, name: str, reason: str) -> MissingError:
        return ModelFolder(self.path).wrong(name.rpartition("/")[2], reason)

    def code(self, name: str, reason: str) -> MissingError:
        return ModelFolder(self.path).code(name.rpartition("/")[2], reason)


class AloneFile(FileRef):
    """A component, by path or by name."""

    kind: ClassVar[Kind]
    component: ClassVar[str]
    built: ClassVar[str]
    """The class that diffusers has for it."""

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a component: a folder as diffusers saves it, or that of a model with one in it.

        Raises MissingError: nothing there, damaged, another kind of thing, code in the folder.
        """
        path = TINY if written == "builtin:tiny" else find(cls.kind, written, folder)
        if (path / "model_index.json").is_file():
            path /= cls.component
        if path.is_file():
            raise MissingError(f'{cls.what} "{written}" is a single file, which this version cannot load yet')
        ModelFolder(path).refuse_code()
        said = AloneFolder(path).json("config.json").get("_class_name")
        if said != cls.built:
            raise MissingError(f'{cls.what} "{written}" is a {said!r:.60}, but {cls.built} is what can be run')
        weight_files(path)
        return cls(written, path)

    @property
    def says(self) -> Mapping[str, Any]:
        """Its config."""
        return AloneFolder(self.path).config(self.component)

    def members(self) -> tuple[tuple[str, Path], ...]:
        """The config and the weights."""
        paths = [self.path / "config.json", *weight_files(self.path)]
        return tuple((path.name, path) for path in sorted(paths))


class VaeFile(AloneFile):
    """An autoencoder without a model."""

    what, kind, component, built = "VAE", "vae", "vae", "AutoencoderKL"

    @property
    def latents(self) -> str:
        """The word for its latent space; "" where it does not say."""
        return LATENTS.get(self.says.get("scaling_factor", 0.18215), "")

    def traits(self) -> Mapping[str, str]:
        return {"latents": self.latents} if self.latents else {}


class ControlNetFile(AloneFile):
    """A ControlNet."""

    what, kind, component, built = "ControlNet", "controlnet", "controlnet", "ControlNetModel"

    @property
    def network(self) -> str:
        """The family whose U-Nets it steers; "" where the width of the prompts does not tell."""
        return NETWORKS.get(self.says.get("cross_attention_dim", 1280), "")

    def traits(self) -> Mapping[str, str]:
        return {"network": self.network} if self.network else {}


COMPONENTS = {part.built: part.component for part in (VaeFile, ControlNetFile)}
