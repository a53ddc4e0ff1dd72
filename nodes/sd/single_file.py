"""A checkpoint in one file, as CompVis, Stability and everybody since has published them. Light: no torch.

What kind it is, and how its networks are built, is told from the names and shapes of its weights; see `layouts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from graph.errors import MissingError
from nodes.sd import conversion
from nodes.sd.conversion import Entries, within
from nodes.sd.headers import FETCH_FILE, Weight
from nodes.sd.layouts import LAYOUTS, Encoder, Layout, text_config, unet_config, vae_config
from nodes.sd.looks import looks_like
from nodes.sd.pickles import read_entries, read_notes
from nodes.sd.sidecar import sidecar
from nodes.sd.tokenizers import Tokenizer

UNET, VAE = "model.diffusion_model.", "first_stage_model."
HINT = "controlnet_cond_embedding."
"""How the weights of a ControlNet's first layers begin, in diffusers' names."""
LARGEST_YAML = 1 << 20
"""In bytes."""
PREDICTIONS = {"v": "v_prediction", "v_prediction": "v_prediction", "eps": "epsilon", "epsilon": "epsilon",
               "x0": "sample", "sample": "sample"}  # fmt: skip
"""What a network predicts, by the words of those who publish them."""
BASE_STEPS = "875000"
"""For how long the first model of Stable Diffusion 2 was trained that predicts the noise; its file says it."""


Built = tuple[Mapping[str, Any], Entries]


@dataclass(frozen=True, slots=True)
class Network:
    """One of the networks of a checkpoint, in diffusers' words."""

    config: Mapping[str, Any]
    weights: Mapping[str, Weight]
    """Where each lies."""


@dataclass(frozen=True, slots=True)
class SingleFile:
    """A checkpoint, seen as the folder that diffusers would make of it."""

    path: Path
    layout: Layout
    networks: Mapping[str, Network]
    prediction: str = ""
    """What its U-Net is said to predict by who uses it; "" leaves it to the file."""

    @property
    def index(self) -> dict[str, Any]:
        """What model_index.json would say."""
        kinds = {encoder.component: ["transformers", encoder.kind] for encoder in self.layout.encoders}
        absent = {"text_encoder": [None, None]} if "text_encoder" not in kinds else {}
        parts = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
        return {"_class_name": self.layout.pipeline, **absent, **kinds, **parts, **self.layout.says}

    def config(self, component: str) -> dict[str, Any]:
        """What a component's config.json would say. Raises MissingError."""
        return self.json(component, "config.json")

    def json(self, *name: str) -> dict[str, Any]:
        """What another config would say. Raises MissingError where there is none of this name."""
        match name:
            case ("model_index.json",):
                return self.index
            case (component, "config.json") if component in self.networks:
                config = dict(self.network(component).config)
                is_base = component == "unet" and self.layout.is_doubtful and self.predicts() == "epsilon"
                return {**config, "sample_size": 64} if is_base else config
            case (place, "scheduler_config.json") if place in self.layout.schedules:
                schedule = dict(self.layout.schedules[place])
                return {**schedule, "prediction_type": self.predicts()} if place == "scheduler" else schedule
        raise MissingError(f'checkpoint "{self.path.name}" has no "{"/".join(name)}"', hint=f"Looked into {self.path}")

    def weights(self, component: str) -> Iterator[tuple[str, Weight]]:
        """Where the weights of a component lie, by diffusers' names. None is read."""
        return iter(self.network(component).weights.items())

    def network(self, component: str) -> Network:
        """A network of the checkpoint; its VAE may be another, which is scaled as its own was unless it says how."""
        own, said = self.networks[component], sidecar(self.path).vae
        if component != "vae" or not said:
            return own
        if said.is_dir():
            other = _vae_folder(said)
            return replace(other, config={"scaling_factor": own.config["scaling_factor"], **other.config})
        other = vae_file(said)
        return replace(other, config={**other.config, "scaling_factor": own.config["scaling_factor"]})

    @property
    def other_vae(self) -> tuple[tuple[str, Path], ...]:
        """The files of the VAE that the sidecar names, each with what it is; nothing where it names none."""
        from nodes.sd.folders import ModelFolder

        said = sidecar(self.path).vae
        if said and said.is_dir():
            return tuple((f"vae/{path.name}", path) for path in ModelFolder(said.parent).files(said.name))
        return (("vae", said),) if said else ()

    def tokenizer(self, name: str) -> Tokenizer:
        """The nearest tokenizer, filling up as this encoder's was trained with. Raises MissingError."""
        pads = {encoder.component.replace("text_encoder", "tokenizer"): encoder.pad for encoder in self.layout.encoders}
        says = {"pad_token": pads[name], "model_max_length": 77}
        return Tokenizer.for_file(self.path, sidecar(self.path).tokenizer, says)

    def predicts(self) -> str:
        """What its U-Net predicts: by who uses it, its sidecar, itself, a config beside it, its name, or its kind."""
        return self.prediction or _said_prediction(self.path) or self._by_name() or self.layout.prediction

    def _by_name(self) -> str:
        if not self.layout.is_doubtful:
            return ""
        name = self.path.stem.lower()
        return "epsilon" if re.search("512|base|eps", name) and not re.search("768|v[-_]?pred", name) else ""

    def wrong(self, name: str, reason: str) -> MissingError:
        return MissingError(f'checkpoint "{self.path.name}" {reason} ({name})', hint=FETCH_FILE)

    def code(self, name: str, reason: str) -> MissingError:
        return self.wrong(name, reason)


def single_file(path: Path, prediction: str = "") -> SingleFile:
    """Look at a checkpoint; its weights are not read.

    Raises MissingError for a file that is no checkpoint, saying what it is; for one of an unknown kind, or without
    some of its networks.
    """
    layout, networks = _networks(path, *_stamp(path))
    return SingleFile(path, layout, networks, prediction)


def vae_file(path: Path) -> Network:
    """Look at an autoencoder that is a file of its own, or the part of a checkpoint; in CompVis' names or diffusers'.

    The config's "scaling_factor" is that of Stable Diffusion 1 and 2 (0.18215), which no autoencoder tells of itself:
    latents are scaled by who uses it. Raises MissingError for a file that holds none.
    """
    entries = read_entries(path)
    prefix = next((prefix for prefix in (VAE, "vae.") if any(name.startswith(prefix) for name in entries)), "")
    inside = within(entries, prefix)
    return _built(path, "vae", lambda: _vae(inside, 0.18215, 64))


def _vae_folder(path: Path) -> Network:
    """An autoencoder as diffusers saves it. Raises MissingError for what is none."""
    from nodes.sd.alone import AloneFolder  # which sees single files by what is here

    folder = AloneFolder(path)
    folder.refuse_code()
    config = folder.config("vae")
    if not config:
        raise folder.wrong("config.json", "is not that of an AutoencoderKL")
    return Network(config, dict(folder.weights("vae")))


def controlnet_file(path: Path, heads: int = 8) -> Network:
    """Look at a ControlNet that is a file of its own, in CompVis' names (`control_model.input_blocks.0.0.weight` ...)
    or diffusers'.

    heads: in every attention: 8 for Stable Diffusion 1; 0 where they are 64 wide. Raises MissingError for what is none.
    """
    entries = read_entries(path)
    inside = within(entries, "control_model.") or dict(entries)
    if f"{HINT}conv_in.weight" in inside:
        return _built(path, "controlnet", lambda: (_controlnet_config(conversion.published(inside), heads), inside))
    return _built(path, "controlnet", lambda: (_controlnet_config(inside, heads), dict(conversion.unet(inside))))


def _stamp(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=16)
def _networks(path: Path, inode: int, size: int, mtime_ns: int) -> tuple[Layout, Mapping[str, Network]]:
    """Once for a file that stays as it is."""
    entries = read_entries(path)
    layout = _kind(path, entries)
    unet, vae = within(entries, UNET), within(entries, VAE)
    found = {
        "unet": _built(path, "unet", lambda: (unet_config(unet, layout), dict(conversion.unet(unet)))),
        "vae": _built(path, "vae", lambda: _vae(vae, layout.scale, layout.side)),
    }
    for encoder in layout.encoders:
        read = conversion.open_clip if encoder.prefix.endswith(".model.") else conversion.clip
        weights = within(entries, encoder.prefix)
        found[encoder.component] = _built(path, encoder.component, lambda: _text(dict(read(weights)), encoder))  # noqa: B023 - it is called at once
    return layout, found


def _kind(path: Path, entries: Entries) -> Layout:
    first = entries.get(f"{UNET}input_blocks.0.0.weight")
    if first is None or len(first.shape) != 4:
        what, way = looks_like(entries)
        raise MissingError(f'"{path.name}" is {what}, not a checkpoint of Stable Diffusion', hint=way)
    for layout in LAYOUTS:
        held = all(any(name.startswith(encoder.prefix) for name in entries) for encoder in layout.encoders)
        if held and layout.channels == first.shape[1]:
            return layout
    raise MissingError(
        f'checkpoint "{path.name}" has a U-Net for {first.shape[1]} channels, and no text encoder that goes with one',
        hint="Name a checkpoint that holds all its networks.",
    )


def _built(path: Path, component: str, build: Callable[[], Built]) -> Network:
    """Put a network together, or say in words what it lacks."""
    try:
        config, entries = build()
    except (KeyError, IndexError, ValueError) as error:
        lacks = f'lacks the weight "{error.args[0]}"' if isinstance(error, KeyError) else f"is not whole: {error}"
        raise MissingError(f'the "{component}" in "{path.name}" {lacks}', hint=FETCH_FILE) from error
    return Network(config, {name: Weight(path, entry) for name, entry in entries.items()})


def _vae(inside: Entries, scale: float, side: int) -> Built:
    modern = dict(conversion.vae(inside))
    return vae_config(modern, scale, side), modern


def _text(weights: Entries, encoder: Encoder) -> Built:
    return text_config(weights, encoder), weights


def _controlnet_config(inside: Entries, heads: int) -> Mapping[str, Any]:
    config = unet_config(inside, Layout("controlnet", "", (), 4, 64, heads=heads))
    hints = [inside[f"input_hint_block.{at}.weight"].shape[0] for at in (0, 4, 8, 12)]
    for key in ("up_block_types", "sample_size"):
        config.pop(key, None)
    return {**config, "conditioning_embedding_out_channels": hints}


# What it predicts


def _said_prediction(path: Path) -> str:
    """What the sidecar, the file or a config beside it say; "" where none does."""
    if said := sidecar(path).prediction:
        return said
    notes = read_notes(path)
    said = notes.get("modelspec.prediction_type", "").lower()
    if said in PREDICTIONS:
        return PREDICTIONS[said]
    if "v_pred" in read_entries(path) or "768-v" in notes.get("modelspec.architecture", ""):
        return "v_prediction"
    return _yaml_prediction(path) or ("epsilon" if notes.get("global_step") == BASE_STEPS else "")


def _yaml_prediction(path: Path) -> str:
    """What a config in CompVis' manner says: the noise, unless it names something else."""
    file = path.with_suffix(".yaml")
    try:
        text = file.read_text("utf-8") if file.is_file() and file.stat().st_size <= LARGEST_YAML else ""
    except (OSError, UnicodeError):
        return ""
    if found := re.search(r"""^\s*parameterization:\s*["']?(\w+)""", text, re.MULTILINE):
        return PREDICTIONS.get(found[1], "")
    return "epsilon" if re.search(r"^\s*target:\s*ldm\.", text, re.MULTILINE) else ""
