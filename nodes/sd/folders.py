"""What a model's folder says of itself. Light: no torch; nothing of the folder is ever imported."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from graph.errors import MissingError
from nodes.sd.headers import FETCH_MODEL, Weight
from nodes.sd.pickles import read_entries
from nodes.sd.sidecar import sidecar
from nodes.sd.single_file import vae_file
from nodes.sd.tokenizers import Tokenizer

CODE = frozenset({".py", ".pyc", ".pyd", ".so", ".dll"})
FOREIGN = ("auto_map", "custom_pipeline", "trust_remote_code")
"""Keys of a config by which a library would import code that comes with a model."""
ATTENTION = ("attn_implementation", "_attn_implementation")
"""Keys by which transformers fetches and imports a kernel from the hub, unless they name its own attention."""
SCHEDULER = ("scheduler", "scheduler_config.json")
LARGEST_CONFIG = 1 << 20
"""In bytes; real ones have a few thousand."""
NAMES = (
    ("diffusion_pytorch_model", ".safetensors"),
    ("model", ".safetensors"),
    ("diffusion_pytorch_model", ".bin"),
    ("pytorch_model", ".bin"),
)
"""How diffusers and transformers call the file of a component's weights."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder as diffusers saves a pipeline."""

    path: Path
    prediction: str = ""
    """What its U-Net is said to predict by who uses it; "" leaves it to its scheduler's config."""

    @property
    def index(self) -> dict[str, Any]:
        """model_index.json: the pipeline's class, and [library, class] of every component."""
        return self.json("model_index.json")

    def part(self, name: str) -> Path:
        """The folder of a component or tokenizer, or what the sidecar names instead."""
        said = sidecar(self.path)
        return {"tokenizer": said.tokenizer, "vae": said.vae}.get(name) or self.path / name

    def config(self, component: str) -> dict[str, Any]:
        """A component's config.json; of a VAE in one file what its shapes say, with the scale of the model's own."""
        place = self.part(component)
        if not place.is_file():
            return self.json(component, "config.json")
        scale = self._read(self.path / component / "config.json", component, "config.json").get("scaling_factor")
        return {**vae_file(place).config, **({"scaling_factor": scale} if scale else {})}

    def json(self, *name: str) -> dict[str, Any]:
        """Read a JSON object. Raises MissingError naming the file, also where it asks for code to be imported."""
        tree = self._read(self.part(name[0]).joinpath(*name[1:]), *name)
        said = (self.prediction or sidecar(self.path).prediction) if name == SCHEDULER else ""
        return tree | ({"prediction_type": said} if said else {})

    def _read(self, path: Path, *name: str) -> dict[str, Any]:
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for, a device may never end
                raise self.wrong("/".join(name), "is not a file")
            if state.st_size > LARGEST_CONFIG:
                raise ValueError(f"it has {state.st_size} bytes")
            tree = _parsed(path, state.st_ino, state.st_size, state.st_mtime_ns)
        except OSError as error:
            what = f'model "{self.path.name}" has no "{"/".join(name)}"'
            raise MissingError(what, hint=f"Looked for {path}") from error
        except (ValueError, RecursionError) as error:
            raise self.wrong("/".join(name), "is no good JSON: " + (str(error) or "nested too deep")) from error
        if not isinstance(tree, dict):
            raise self.wrong("/".join(name), "is no JSON object")
        for key in FOREIGN:
            if tree.get(key):
                raise self.code("/".join(name), f'asks by "{key}" for code')
        for key in ATTENTION:
            if tree.get(key) not in (None, "eager", "sdpa"):
                raise self.code("/".join(name), f'asks by "{key}" for code ({tree[key]!r:.80})')
        return tree

    def weights(self, component: str) -> Iterator[tuple[str, Weight]]:
        """Where the weights of a component lie, by the names that they have in their files. None is read."""
        place = self.part(component)
        return iter(vae_file(place).weights.items()) if place.is_file() else weights_in(place)

    def files(self, component: str) -> tuple[Path, ...]:
        """What a component is read from."""
        place = self.part(component)
        return (place,) if place.is_file() else (place / "config.json", *weight_files(place))

    def tokenizer(self, name: str) -> Tokenizer:
        """A tokenizer of the model. Raises MissingError where its files are not there."""
        return Tokenizer.in_folder(self.part(name), self.path.name)

    def refuse_code(self) -> None:
        """Raise MissingError if the folder, or a folder in it, holds a file that Python could import."""
        if not self.path.is_dir():
            raise MissingError(f'model "{self.path.name}" is not a folder', hint=f"Looked at {self.path}")
        for path in sorted((*self.path.glob("*"), *self.path.glob("*/*"))):
            if path.suffix.lower() in CODE:
                raise self.code(path.relative_to(self.path).as_posix(), "is code")

    def wrong(self, name: str, reason: str) -> MissingError:
        return MissingError(f'"{name}" of model "{self.path.name}" {reason}', hint=FETCH_MODEL)

    def code(self, name: str, reason: str) -> MissingError:
        return MissingError(
            f'"{name}" of model "{self.path.name}" {reason}; a model must not bring code of its own',
            hint="Nothing of it was imported. Use a model without custom code.",
        )


@lru_cache(maxsize=256)
def _parsed(path: Path, inode: int, size: int, mtime_ns: int) -> Any:
    """Once for a file that stays as it is: a run asks for some configs ten times."""
    return json.loads(path.read_text("utf-8"))


def weights_in(folder: Path) -> Iterator[tuple[str, Weight]]:
    """Where the weights in a component's folder lie, by the names that they have in their files. None is read."""
    for path in weight_files(folder):
        if path.suffix != ".json":
            yield from ((name, Weight(path, entry)) for name, entry in read_entries(path).items())


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files of a component's weights: one, or the index of several and what it lists.

    Full precision is preferred where there is an fp16 variant too, and safetensors to what torch.save writes. Raises
    MissingError if there are none.
    """
    for variant in ("", ".fp16"):
        for stem, suffix in NAMES:
            single = folder / f"{stem}{variant}{suffix}"
            index = folder / f"{stem}{suffix}.index{variant}.json"
            if single.is_file():
                return (single,)
            if index.is_file():
                return (index, *_shards(index, suffix))
    raise MissingError(
        f'model "{folder.parent.name}" has no weights of "{folder.name}"',
        hint=f"Looked for {', '.join(stem + suffix for stem, suffix in NAMES)} in {folder}",
    )


def _shards(index: Path, suffix: str) -> list[Path]:
    parts = ModelFolder(index.parent).json(index.name).get("weight_map")
    listed = list(parts.values()) if isinstance(parts, dict) else []
    for name in listed:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(suffix):
            raise ModelFolder(index.parent).wrong(index.name, f"lists {name!r:.80}, which is no file of weights")
    names = sorted(set(listed))
    for name in names:
        if not os.path.isfile(index.parent / name):  # of a name that no file can have, too
            raise MissingError(f'weights "{index.parent.name}/{name:.200}" are not there', hint=f"Listed in {index}")
    return [index.parent / name for name in names]
