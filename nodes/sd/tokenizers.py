"""Finding a CLIP tokenizer for a checkpoint, none of which brings one. Light: nothing of it is read here.

All of Stable Diffusion's text encoders read by one vocabulary of 49,408 tokens, so any of them will do; only what a
short prompt is filled up with differs, and that is said by the checkpoint's family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from graph.errors import MissingError
from nodes.sd.shelves import hub, roots, shelves, snapshot

FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
         "added_tokens.json")  # fmt: skip
"""What a tokenizer is made of. Needed: the first, or the second and third."""
CLIP = "openai/clip-vit-large-patch14"
COMFYUI = "comfy/sd1_tokenizer"
"""Where ComfyUI has its own, which it reads for every Stable Diffusion."""
OPEN_CLIP = "bpe_simple_vocab_16e6.txt.gz"


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Where a tokenizer lies."""

    files: tuple[Path, ...]
    """All that it is read from: a folder's, or OpenCLIP's one."""
    says: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What counts instead of what its own config says."""

    @property
    def place(self) -> Path:
        """The folder, or OpenCLIP's file."""
        return self.files[0] if self.files[0].name == OPEN_CLIP else self.files[0].parent

    @classmethod
    def in_folder(cls, folder: Path, model: str) -> Self:
        """The tokenizer of a model's own folder. Raises MissingError."""
        if not is_tokenizer(folder):
            raise MissingError(
                f'model "{model}" has no {folder.name}',
                hint=f'Looked for "{FILES[0]}", or "{FILES[1]}" and "{FILES[2]}", in {folder}',
            )
        return cls(_files(folder))

    @classmethod
    def for_file(cls, checkpoint: Path, said: Path | None, says: Mapping[str, Any]) -> Self:
        """A tokenizer for a single file: the one that its sidecar names, or the next best.

        Looked for beside the checkpoint (as files, in `tokenizer/`, or in a folder called like it), in the folders of
        the search path, in a ComfyUI that it names, in the Hugging Face cache, in an installed open_clip_torch.
        Raises MissingError.
        """
        places = [said] if said else _places(checkpoint)
        for place in places:
            if is_tokenizer(place):
                return cls(_files(place), says)
            if place.name == OPEN_CLIP and place.is_file():
                return cls((place,), says)
        raise MissingError(
            f'checkpoint "{checkpoint.name}" has no tokenizer, as no checkpoint has, and none was found',
            hint=f'Put vocab.json and merges.txt of "{CLIP}" (or of any Stable Diffusion\'s folder "tokenizer") '
            f'into {checkpoint.parent / "tokenizer"}, or into a folder "tokenizer" in DARKROOM_MODELS; or name there '
            "the folder of a ComfyUI, which has one; or install open_clip_torch. Darkroom downloads nothing.",
        )


def is_tokenizer(folder: Path) -> bool:
    """Whether a folder holds one."""
    return (folder / FILES[0]).is_file() or all((folder / name).is_file() for name in FILES[1:3])


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(path for name in FILES if (path := folder / name).is_file())


def _places(checkpoint: Path) -> Iterator[Path]:
    beside = checkpoint.parent
    yield from (beside / checkpoint.stem / "tokenizer", beside / "tokenizer", beside)
    folders = [*roots(), *(shelf.folder for shelf in shelves("checkpoint"))]
    yield from (folder / "tokenizer" for folder in folders)
    yield from (root / COMFYUI for root in roots())
    models = (index.parent / "tokenizer" for folder in folders for index in sorted(folder.glob("*/model_index.json")))
    yield from filter(_is_clip, models)
    fetched = [snapshot(repository) for repository in (hub() / _repository(CLIP), *sorted(hub().glob("models--*--*")))]
    yield from (place for root in fetched if root for place in (root, root / "tokenizer") if _is_clip(place))
    spec = find_spec("open_clip")
    yield from (Path(place) / OPEN_CLIP for place in (spec.submodule_search_locations or [] if spec else []))


def _repository(name: str) -> str:
    """What the Hugging Face cache calls the folder of one."""
    return "models--" + name.replace("/", "--")


def _is_clip(folder: Path) -> bool:
    try:
        return "CLIPTokenizer" in (folder / "tokenizer_config.json").read_text("utf-8")
    except (OSError, ValueError):
        return False
