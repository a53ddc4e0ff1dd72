"""Textual inversion: files of vectors that stand for a word in prompts. Light: no torch.

Source: Gal et al. 2022, "An Image is Worth One Word" (arXiv:2208.01618); layouts as the web UI, diffusers and trainers
for Stable Diffusion XL write them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

from graph.errors import MissingError, StepError
from graph.filerefs import FileRef
from graph.node import Context
from graph.values import TextEncoder
from nodes.sd import families
from nodes.sd.headers import Entry
from nodes.sd.models import Model, opened
from nodes.sd.pickles import read_entries
from nodes.sd.search import find

NAMELESS = "learned_embeds"
"""What diffusers' training script calls every file: there, the word stands inside."""
MOST_VECTORS = 75
"""They stay together, in one chunk of a prompt."""
WEB_UI, BY_ENCODER = ("string_to_param.", "emb_params"), {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
FRACTIONS = ("F16", "BF16", "F32", "F64")
NETWORKS = {768: "sd1", 1024: "sd2", 1280: "sdxl"}
"""Families by the width of a file with one tensor."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """What a file holds."""

    word: str
    """What it was trained as, if the file says so."""
    tensors: Mapping[str, Entry]
    """By component; "" where the file does not say for which of them: (count, width), or (width,)."""


class EmbeddingFile(FileRef):
    """A textual inversion, whatever program trained it."""

    what = "embedding"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate an embedding, by path or by name, and see that it is one. Raises MissingError."""
        path = find("embedding", written, folder)
        read_embedding(path)
        return cls(written, path)

    @property
    def word(self) -> str:
        """What it is called in prompts, if its user does not say otherwise."""
        return self.path.stem if self.path.stem != NAMELESS else read_embedding(self.path).word

    def members(self) -> tuple[tuple[str, Path], ...]:
        """The word is a part of the content: a file by another name gives another text encoder."""
        return ((self.word, self.path),)

    def traits(self) -> Mapping[str, str]:
        """The family whose text encoders it is for, where the width tells it."""
        tensors = read_embedding(self.path).tensors
        if "" not in tensors:
            return {"network": "sdxl"}
        network = NETWORKS.get(tensors[""].shape[-1])
        return {"network": network} if network else {}


def read_embedding(path: Path) -> Embedding:
    """Tell what vectors a file holds; none is read.

    Raises MissingError for a file that is damaged, or holds something else.
    """
    if not path.is_file():
        raise MissingError(f'embedding "{path.name}" is a folder', hint=f"Name a file in {path}")
    state = path.stat()
    return _read(path, state.st_size, state.st_mtime_ns)


def add_embedding(ctx: Context, text_encoder: TextEncoder, file: EmbeddingFile, word: str) -> TextEncoder:
    """Let prompts for a text encoder name an embedding.

    Raises StepError for one of another width, and for a word that is taken, or no word.
    """
    word = (word or file.word).strip().removeprefix("<").removesuffix(">")
    taken = [json.loads(text)["word"] for text in text_encoder.embeddings]
    if not word or word.casefold() in (other.casefold() for other in taken):
        state = f'"{word}" is taken by another embedding' if word else "an embedding needs a word"
        raise StepError(state, hint="Set token to what prompts are to call it.")
    _check_widths(text_encoder, file, opened(ctx.locate(text_encoder.digest)))
    said = json.dumps({"digest": ctx.digest(file), "word": word}, separators=(",", ":"), sort_keys=True)
    return replace(text_encoder, embeddings=(*text_encoder.embeddings, said))


def parts(embedding: Embedding, family: families.Family) -> Mapping[str, str]:
    """Which of the file's tensors goes to which text encoder of a family; empty if it is for other ones."""
    if embedding.tensors.keys() == {""}:
        return {family.encoders[0]: ""} if len(family.encoders) == 1 else {}
    return {name: name for name in family.encoders} if set(family.encoders) <= embedding.tensors.keys() else {}


@lru_cache(maxsize=64)
def _read(path: Path, size: int, mtime_ns: int) -> Embedding:
    """Once for a file that stays as it is."""
    entries = read_entries(path)
    embedding = _recognised(entries)
    if embedding is None or not all(_is_vectors(entry) for entry in embedding.tensors.values()):
        names = ", ".join(f'"{name[:60]}" {list(entry.shape)}' for name, entry in list(entries.items())[:3])
        raise MissingError(
            f'"{path.name}" is no textual inversion: it holds {names or "nothing"}',
            hint=f"A textual inversion holds 1 to {MOST_VECTORS} vectors.",
        )
    return embedding


def _recognised(entries: Mapping[str, Entry]) -> Embedding | None:
    if entries.keys() == BY_ENCODER.keys():
        return Embedding("", {component: entries[name] for name, component in BY_ENCODER.items()})
    params = {name: entry for name, entry in entries.items() if name.startswith(WEB_UI)} or entries
    if len(params) != 1:
        return None
    ((name, entry),) = params.items()
    return Embedding("" if name.startswith(WEB_UI) else name, {"": entry})


def _is_vectors(entry: Entry) -> bool:
    if len(entry.shape) not in (1, 2) or entry.dtype not in FRACTIONS:
        return False
    count, width = (1, *entry.shape)[-2:]
    return 1 <= count <= MOST_VECTORS and width >= 1


def _check_widths(text_encoder: TextEncoder, file: EmbeddingFile, model: Model) -> None:
    family, embedding = families.named(text_encoder.family), read_embedding(file.path)
    wanted = {name: model.config(name).get("hidden_size") for name in family.encoders}
    has = {name: embedding.tensors[label].shape[-1] for name, label in parts(embedding, family).items()}
    if has != wanted:
        widths = " and ".join(str(entry.shape[-1]) for entry in embedding.tensors.values())
        raise StepError(
            f'embedding "{file.written}" has vectors {widths} wide, but the text encoder of family "{family.name}" '
            f"takes {' and '.join(map(str, wanted.values()))}",
            hint="Use an embedding that was trained for this model.",
        )
