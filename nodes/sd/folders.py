"""What a model's folder says of itself. Light: no torch; nothing of the folder is ever imported."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from graph.errors import MissingError
from nodes.sd.headers import Weight
from nodes.sd.pickles import read_entries
from nodes.sd.sidecar import sidecar

CODE = frozenset({".py", ".pyc", ".pyd", ".so", ".dll"})
FOREIGN = ("auto_map", "custom_pipeline", "trust_remote_code")
"""Keys of a config by which a library would import code that comes with a model."""
ATTENTION = ("attn_implementation", "_attn_implementation")
"""Keys by which transformers fetches and imports a kernel from the hub, unless they name its own attention."""
SCHEDULER = ("scheduler", "scheduler_config.json")
LARGEST_CONFIG = 1 << 20
"""In bytes; real ones have a few thousand."""
STEMS = ("diffusion_pytorch_model", "model")
"""How diffusers and transformers call the file of a component's weights."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder as diffusers saves a pipeline."""

    path: Path

    @property
    def index(self) -> dict[str, Any]:
        """model_index.json: the pipeline's class, and [library, class] of every component."""
        return self.json("model_index.json")

    def part(self, name: str) -> Path:
        """The folder of a component or tokenizer, or what the sidecar names instead."""
        said = sidecar(self.path)
        return {"tokenizer": said.tokenizer, "vae": said.vae}.get(name) or self.path / name

    def config(self, component: str) -> dict[str, Any]:
        """A component's config.json."""
        return self.json(component, "config.json")

    def json(self, *name: str) -> dict[str, Any]:
        """Read a JSON object. Raises MissingError naming the file, also where it asks for code to be imported."""
        path = self.part(name[0]).joinpath(*name[1:])
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
        said = sidecar(self.path).prediction if name == SCHEDULER else ""
        return tree | ({"prediction_type": said} if said else {})

    def weights(self, component: str) -> Iterator[tuple[str, Weight]]:
        """Where the weights of a component lie, by the names that they have in their files. None is read."""
        return weights_in(self.part(component))

    def refuse_code(self) -> None:
        """Raise MissingError if the folder, or a folder in it, holds a file that Python could import."""
        if not self.path.is_dir():
            raise MissingError(f'model "{self.path.name}" is not a folder', hint=f"Looked at {self.path}")
        for path in sorted((*self.path.glob("*"), *self.path.glob("*/*"))):
            if path.suffix.lower() in CODE:
                raise self.code(path.relative_to(self.path).as_posix(), "is code")

    def wrong(self, name: str, reason: str) -> MissingError:
        return MissingError(f'"{name}" of model "{self.path.name}" {reason}', hint="Fetch the model again.")

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
    """Where the weights in a folder lie, by the names in their files. None is read. Raises MissingError."""
    for path in weight_files(folder):
        if path.suffix != ".json":
            yield from ((name, Weight(path, entry)) for name, entry in read_entries(path).items())


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files of a component's weights: the safetensors file, or the index of several and what it lists.

    Full precision is preferred where there is an fp16 variant too. Raises MissingError if there are none,
    or only pickles.
    """
    for stem in STEMS:
        for variant in ("", ".fp16"):
            single = folder / f"{stem}{variant}.safetensors"
            index = folder / f"{stem}.safetensors.index{variant}.json"
            if single.is_file():
                return (single,)
            if index.is_file():
                return (index, *_shards(index))
    pickles = [path.name for pattern in ("*.bin", "*.ckpt", "*.pt") for path in sorted(folder.glob(pattern))]
    if pickles:
        raise MissingError(
            f'the weights of "{folder.name}" are a pickle ("{pickles[0]}"), which could run code and is never opened',
            hint="Save them as safetensors.",
        )
    raise MissingError(
        f'model "{folder.parent.name}" has no weights of "{folder.name}"',
        hint=f'Looked for "{STEMS[0]}.safetensors" and "{STEMS[1]}.safetensors" in {folder}',
    )


def _shards(index: Path) -> list[Path]:
    parts = ModelFolder(index.parent).json(index.name).get("weight_map")
    listed = list(parts.values()) if isinstance(parts, dict) else []
    for name in listed:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelFolder(index.parent).wrong(index.name, f"lists {name!r:.80}, which is no file of weights")
    names = sorted(set(listed))
    for name in names:
        if not (index.parent / name).is_file():
            raise MissingError(f'weights "{index.parent.name}/{name}" are not there', hint=f"Listed in {index}")
    return [index.parent / name for name in names]
