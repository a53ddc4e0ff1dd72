"""What its user says of a model, in a file beside it: model.yaml in its folder, or x.model.yaml beside x.safetensors.

    darkroom: 1
    defaults:                          # by kind of node, as in a workflow; what a workflow says comes first
      sampler: {steps: 20, cfg: 4}
    tokenizer: ../tokenizer            # paths start at this file's folder
    vae: vae-ft-mse.safetensors
    family: sd2                        # a model of another one is refused
    prediction: v_prediction           # what the U-Net gives, for models that do not tell it

Light: no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from graph.document import MAX_BYTES, Branch, Scalar, Table, read
from graph.errors import MissingError, Mistake, Place, WorkflowError, suggest
from graph.filerefs import Default, absolute

NAME = "model.yaml"
VERSION = 1
KEYS = ("darkroom", "defaults", "tokenizer", "vae", "family", "prediction")
PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is said of a model; empty where nothing is."""

    defaults: tuple[Default, ...] = ()
    tokenizer: Path | None = None
    vae: Path | None = None
    family: str = ""
    prediction: str = ""


def place_of(model: Path) -> Path:
    """Where the sidecar of a model lies, if it has one.

    Not x.yaml: that is where other programs keep the config of a network.
    """
    return model / NAME if model.is_dir() else model.with_name(f"{model.stem}.{NAME}")


def sidecar(model: Path) -> Sidecar:
    """Read what is said of a model.

    Raises WorkflowError with every mistake of the sidecar; MissingError for one that cannot be read.
    """
    file = place_of(model)
    try:
        state = os.stat(file)
    except OSError:
        return Sidecar()
    if not os.path.isfile(file):
        raise MissingError(f'"{file}" is not a file', hint="It should say what is to be known of the model beside it.")
    return _read(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _read(file: Path, size: int, mtime_ns: int) -> Sidecar:
    """Once for a file that stays as it is."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise MissingError(f'"{file}" cannot be read: {error.strerror}') from error
    tree, mistakes, _ = read(data, str(file))
    reader = _Reader(tree, file.parent, list(mistakes))
    found = reader.sidecar()
    if reader.mistakes:
        raise WorkflowError(reader.mistakes)
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads a tree, and collects its mistakes."""

    tree: Table
    folder: Path
    mistakes: list[Mistake]

    def sidecar(self) -> Sidecar:
        from nodes.sd.families import families

        for key, _ in self.tree.entries:
            if key.text not in KEYS:
                self._tell("unknown-key", f'unknown key "{key.text:.60}"', key.place, suggest(key.text, KEYS))
        version = self._value("darkroom")
        if not (isinstance(version, Scalar) and version.value == VERSION and type(version.value) is int):
            place = version.place if version else self.tree.place
            self._tell("version", "the version is missing, or unknown", place, f"Begin with: darkroom: {VERSION}")
        return Sidecar(
            tuple(self._defaults()),
            self._path("tokenizer"),
            self._path("vae"),
            self._word("family", [family.name for family in families()]),
            self._word("prediction", PREDICTIONS),
        )

    def _tell(self, code: str, message: str, place: Place, hint: str = "", *, missing: bool = False) -> None:
        self.mistakes.append(Mistake(code, message, place, hint, missing))

    def _value(self, name: str) -> Branch | None:
        return next((value for key, value in self.tree.entries if key.text == name), None)

    def _scalar(self, name: str) -> Scalar | None:
        value = self._value(name)
        if value is None or isinstance(value, Scalar):
            return value
        self._tell("bad-value", f"{name} takes one value", value.place)
        return None

    def _word(self, name: str, known: Sequence[str]) -> str:
        value = self._scalar(name)
        if value and value.text not in known:
            what = f'{name} takes one of {", ".join(known)}, not "{value.text:.60}"'
            self._tell("bad-value", what, value.place, suggest(value.text, known))
        return value.text if value else ""

    def _path(self, name: str) -> Path | None:
        value = self._scalar(name)
        if value is None:
            return None
        try:
            path = absolute(value.text, self.folder, name)
        except MissingError as error:
            self._tell(error.code, error.message, value.place, error.hint, missing=True)
            return None
        if not os.path.exists(path):
            self._tell("missing-file", f'{name} "{value.text:.200}" is not there', value.place, missing=True)
        return path

    def _defaults(self) -> Iterator[Default]:
        branch = self._value("defaults")
        for kind, table in self._table("defaults", branch):
            for key, value in self._table(kind.text, table):
                if isinstance(value, Scalar):
                    yield Default(
                        kind.text, key.text, value.value, value.text, value.quoted, value.place, kind.place, self.folder
                    )
                else:
                    self._tell("bad-value", f"{kind.text}.{key.text} takes one value", value.place)

    def _table(self, name: str, branch: Branch | None) -> tuple[tuple[Scalar, Branch], ...]:
        if isinstance(branch, Table):
            return branch.entries
        if branch is not None:
            self._tell("syntax", f"{name} takes a table", branch.place, "Write defaults: {sampler: {steps: 20}}.")
        return ()
