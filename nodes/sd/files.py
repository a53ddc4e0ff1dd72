"""Finding a model on disk, and checking its folder before anything is loaded. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Self

from graph.errors import MissingError, suggest
from graph.filerefs import Default, FileRef
from nodes.sd.families import recognise, tokenizer_of
from nodes.sd.folders import SCHEDULER, ModelFolder, weight_files
from nodes.sd.headers import read_header
from nodes.sd.search import find
from nodes.sd.sidecar import place_of, sidecar

TINY = "builtin:tiny"
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
             "added_tokens.json")  # fmt: skip
"""What a tokenizer is made of. Needed: the first, or the second and third."""


class ModelFile(FileRef):
    """A model as diffusers saves it: a folder with model_index.json, and one folder a component."""

    what = "model"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a model and check that it can be loaded: `builtin:tiny`, a path, or a name on the search path.

        Raises MissingError: nothing there; a component, a tokenizer or weights lacking; weights that are damaged
        or pickled; code in the folder; a family that cannot be run.
        """
        path = _builtin(written) if written.startswith("builtin:") else find("checkpoint", written, folder)
        if path.is_file():
            raise _single_file(written, path)
        check(ModelFolder(path))
        found, said = cls(written, path), sidecar(path).family
        if said and said != found.family:
            raise MissingError(
                f'model "{written}" is of the family "{found.family}", but "{place_of(path)}" says "{said}"',
                hint="Is it the sidecar of another model?",
            )
        return found

    @property
    def family(self) -> str:
        """The word for how this model is used: "sd1" ..."""
        return recognise(ModelFolder(self.path)).name

    def traits(self) -> Mapping[str, str]:
        """What goes together with this model: networks, prompts and latents, by the words of its family."""
        family = recognise(ModelFolder(self.path))
        return {"network": family.network, "conditioning": family.conditioning, "latents": family.latents}

    @property
    def text_encoder(self) -> str:
        """The component that stands for all its text encoders."""
        return recognise(ModelFolder(self.path)).encoders[0]

    def defaults(self) -> tuple[Default, ...]:
        """What the file beside the model proposes for the nodes that take its parts."""
        return sidecar(self.path).defaults

    def members(self) -> tuple[tuple[str, Path], ...]:
        """The files that decide what the model does: configs, tokenizer, weights. No model card, no previews."""
        folder, said = ModelFolder(self.path), sidecar(self.path)
        family = recognise(folder)
        found = [("model_index.json", folder.path / "model_index.json")]
        for path in folder.path.glob("*scheduler/scheduler_config.json"):
            predicts = said.prediction if path.parent.name == SCHEDULER[0] else ""
            found += [(f"{path.parent.name}/{path.name} {predicts}".rstrip(), path)] if path.is_file() else []
        for part in map(tokenizer_of, family.encoders):
            paths = ((name, folder.part(part) / name) for name in TOKENIZER)
            found += [(f"{part}/{name}", path) for name, path in paths if path.is_file()]
        for part in family.components:
            weights = weight_files(folder.part(part))
            found += [(f"{part}/{path.name}", path) for path in (folder.part(part) / "config.json", *weights)]
        return tuple(found)


def check(folder: ModelFolder) -> None:
    """Make sure that a folder holds a whole model of a known family, and nothing that would run as code.

    Reads configs and the headers of the weights only. Raises MissingError.
    """
    folder.refuse_code()
    family = recognise(folder)
    for component in family.components:
        folder.config(component)
        for path in weight_files(folder.part(component)):
            if path.suffix == ".safetensors":
                stat = path.stat()
                _check_header(path, stat.st_size, stat.st_mtime_ns)
    folder.json(*SCHEDULER)
    for encoder in family.encoders:
        _check_tokenizer(folder.part(tokenizer_of(encoder)), folder.path.name)


@lru_cache(maxsize=256)
def _check_header(path: Path, size: int, mtime_ns: int) -> None:
    """Once for a file that stays as it is: it takes a millisecond, and a program may run a workflow many times."""
    read_header(path)


def _check_tokenizer(folder: Path, model: str) -> None:
    if not (folder / TOKENIZER[0]).is_file() and not all((folder / name).is_file() for name in TOKENIZER[1:3]):
        raise MissingError(
            f'model "{model}" has no {folder.name}',
            hint=f'Looked for "{TOKENIZER[0]}", or "{TOKENIZER[1]}" and "{TOKENIZER[2]}", in {folder}',
        )


def _builtin(written: str) -> Path:
    tiny = Path(__file__).parent / "tiny"
    if written != TINY:
        raise MissingError(f'no model "{written}" comes with Darkroom', hint=suggest(written, [TINY]))
    if not tiny.is_dir():
        raise MissingError(f'model "{written}" is missing in this installation', hint="Install Darkroom again.")
    return tiny


def _single_file(written: str, path: Path) -> MissingError:
    if path.suffix.lower() in SINGLE_FILES:
        return MissingError(
            f'model "{written}" is a single file, which this version cannot load yet',
            hint="Convert it to a diffusers folder, and name the folder.",
        )
    return MissingError(f'model "{written}" is a file, not a folder with a model_index.json', hint=f"Looked at {path}")
