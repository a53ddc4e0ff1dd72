"""Components that come without a model: an autoencoder, a ControlNet. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graph.errors import MissingError
from nodes.sd.folders import ModelFolder, weights_in
from nodes.sd.headers import FETCH_FILE, Weight
from nodes.sd.looks import looks_like
from nodes.sd.pickles import read_entries
from nodes.sd.single_file import HINT, UNET, Network, controlnet_file, vae_file
from nodes.sd.tokenizers import Tokenizer

SD1_WIDTH = 768
"""Of the prompts of Stable Diffusion 1."""
XL = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}
COMPONENTS = {"AutoencoderKL": "vae", "ControlNetModel": "controlnet"}
"""By the class in a config."""
KINDS = {
    "AutoencoderKL": ("a VAE", "The node load_vae takes it."),
    "ControlNetModel": ("a ControlNet", "The node load_controlnet takes it."),
}
"""The same, in words, and what takes them."""


@dataclass(frozen=True, slots=True)
class AloneFolder:
    """One component as diffusers saves it: a config and weights. Of other components it says nothing."""

    path: Path

    @property
    def index(self) -> dict[str, Any]:
        what, way = KINDS.get(str(self.json("config.json").get("_class_name")), ("", ""))
        if not what:
            return self.json("model_index.json")
        raise MissingError(f'"{self.path.name}" is {what}, not a model', hint=way)

    def config(self, component: str) -> dict[str, Any]:
        said = self.json("config.json")
        return said if COMPONENTS.get(str(said.get("_class_name"))) == component else {}

    def json(self, *name: str) -> dict[str, Any]:
        return ModelFolder(self.path).json(*name)

    def weights(self, component: str) -> Iterator[tuple[str, Weight]]:
        return weights_in(self.path)

    def wrong(self, name: str, reason: str) -> MissingError:
        return ModelFolder(self.path).wrong(name.rpartition("/")[2], reason)

    def code(self, name: str, reason: str) -> MissingError:
        return ModelFolder(self.path).code(name.rpartition("/")[2], reason)

    def refuse_code(self) -> None:
        """Raise MissingError if the folder holds a file that Python could import."""
        ModelFolder(self.path).refuse_code()

    def tokenizer(self, name: str) -> Tokenizer:
        raise self.wrong(name, "is not there: it is no model")


@dataclass(frozen=True, slots=True)
class AloneFile:
    """One component in a file by itself. Of other components it says nothing."""

    path: Path
    component: str
    network: Network

    @property
    def index(self) -> dict[str, Any]:
        what, way = looks_like(read_entries(self.path))
        raise MissingError(f'"{self.path.name}" is {what}, not a checkpoint of Stable Diffusion', hint=way)

    def config(self, component: str) -> dict[str, Any]:
        return dict(self.network.config) if component == self.component else {}

    def json(self, *name: str) -> dict[str, Any]:
        return {}

    def weights(self, component: str) -> Iterator[tuple[str, Weight]]:
        return iter(self.network.weights.items())

    def tokenizer(self, name: str) -> Tokenizer:
        raise self.wrong(name, "is not there: it is no model")

    def wrong(self, name: str, reason: str) -> MissingError:
        return MissingError(f'"{self.path.name}" {reason}', hint=FETCH_FILE)

    def code(self, name: str, reason: str) -> MissingError:
        return self.wrong(name, reason)


def alone(path: Path) -> AloneFolder | AloneFile | None:
    """The one component that is at a place; None where there is a model, or nothing that is known."""
    if path.is_dir():
        is_alone = not (path / "model_index.json").is_file() and (path / "config.json").is_file()
        return AloneFolder(path) if is_alone else None
    names = read_entries(path)
    if any(name.startswith(UNET) for name in names):
        return None
    if any("input_hint_block." in name or HINT in name for name in names):
        return AloneFile(path, "controlnet", _controlnet(path))
    if any("decoder.mid" in name for name in names):
        return AloneFile(path, "vae", vae_file(path))
    return None


def _controlnet(path: Path) -> Network:
    """What its shapes do not tell: how wide heads are, and that XL's embeds the picture's size."""
    found = controlnet_file(path)
    if found.config["cross_attention_dim"] == SD1_WIDTH:
        return found
    found = controlnet_file(path, heads=0)
    is_xl = "projection_class_embeddings_input_dim" in found.config
    return replace(found, config={**found.config, **XL}) if is_xl else found
