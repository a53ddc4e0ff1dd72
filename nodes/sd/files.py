"""Finding a model on disk, and checking it before anything is loaded. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from graph.errors import MissingError, suggest
from graph.filerefs import Default, FileRef
from nodes.sd.families import recognise, tokenizer_of
from nodes.sd.folders import SCHEDULER, ModelFolder
from nodes.sd.models import Model, opened
from nodes.sd.search import find
from nodes.sd.sidecar import place_of, sidecar
from nodes.sd.single_file import SingleFile

TINY = "builtin:tiny"


class ModelFile(FileRef):
    """A model: a folder as diffusers saves it, or a checkpoint in one file."""

    what = "model"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a model and check that it can be loaded: `builtin:tiny`, a path, or a name on the search path.

        Raises MissingError: nothing there; a component, a tokenizer or weights lacking; weights that are damaged;
        a file that is no checkpoint; code in the folder; a family that cannot be run.
        """
        path = _builtin(written) if written.startswith("builtin:") else find("checkpoint", written, folder)
        if path.is_dir():
            ModelFolder(path).refuse_code()
        elif not path.is_file():
            raise MissingError(f'model "{written}" is neither a file nor a folder', hint=f"Looked at {path}")
        check(opened(path))
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
        return recognise(opened(self.path)).name

    def traits(self) -> Mapping[str, str]:
        """What goes together with this model: networks, prompts and latents, by the words of its family."""
        family = recognise(opened(self.path))
        return {"network": family.network, "conditioning": family.conditioning, "latents": family.latents}

    @property
    def text_encoder(self) -> str:
        """The component that stands for all its text encoders."""
        return recognise(opened(self.path)).encoders[0]

    def defaults(self) -> tuple[Default, ...]:
        """What the file beside the model proposes for the nodes that take its parts."""
        return sidecar(self.path).defaults

    def members(self) -> tuple[tuple[str, Path], ...]:
        """The files that decide what the model does: configs, tokenizer, weights. No model card, no previews.

        A checkpoint enters by its kind and what it predicts, which may stand in its name or beside it.
        """
        model = opened(self.path)
        family = recognise(model)
        tokenizers = {name: model.tokenizer(name) for name in map(tokenizer_of, family.encoders)}
        found = [(f"{name}/{path.name}", path) for name, tokenizer in tokenizers.items() for path in tokenizer.files]
        if isinstance(model, SingleFile):
            return (f"{model.layout.name} {model.predicts()}", self.path), *found, *model.other_vae
        return (
            *_configs(self.path),
            *found,
            *(
                (f"{part}/{path.name}", path)
                for part in family.components
                for path in ModelFolder(self.path).files(part)
            ),
        )


def _configs(folder: Path) -> list[tuple[str, Path]]:
    """The configs of the whole pipeline. What a sidecar says of the schedule enters by its name."""
    found = [("model_index.json", folder / "model_index.json")]
    for path in folder.glob("*scheduler/scheduler_config.json"):
        predicts = sidecar(folder).prediction if path.parent.name == SCHEDULER[0] else ""
        found += [(f"{path.parent.name}/{path.name} {predicts}".rstrip(), path)] if path.is_file() else []
    return found


def check(model: Model) -> None:
    """Make sure that a model is whole, and of a known family. Raises MissingError.

    Reads configs and the headers of the weights only.
    """
    family = recognise(model)
    for component in family.components:
        model.config(component)
        for _ in model.weights(component):
            pass
    model.json(*SCHEDULER)
    for encoder in family.encoders:
        model.tokenizer(tokenizer_of(encoder))


def _builtin(written: str) -> Path:
    tiny = Path(__file__).parent / "tiny"
    if written != TINY:
        raise MissingError(f'no model "{written}" comes with Darkroom', hint=suggest(written, [TINY]))
    if not tiny.is_dir():
        raise MissingError(f'model "{written}" is missing in this installation', hint="Install Darkroom again.")
    return tiny
