"""Files that parameters name: found when a workflow is checked, and part of keys by their content."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from graph.errors import MissingError, Place
from graph.signatures import HEAD, is_picture, what_else


@dataclass(frozen=True, slots=True)
class Default:
    """A value that a file proposes for a parameter of the nodes that what is in it goes to."""

    kind: str
    """Of these nodes."""
    name: str
    value: str | int | float | bool | None
    text: str
    """The value in the words of who wrote it."""
    quoted: bool
    place: Place
    kind_place: Place
    folder: Path
    """What a relative path starts from."""


@dataclass(frozen=True)
class FileRef:
    """A file that a parameter names: a parameter of this type enters keys by the file's content, not its name."""

    what: ClassVar[str] = "file"

    written: str
    """As the user wrote it."""
    path: Path
    """Where it was found, absolute."""

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a file. `folder` is what a relative path is relative to.

        Raises MissingError, naming the file and where it was looked for.
        """
        path = absolute(written, folder, cls.what)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            raise MissingError(f'{cls.what} "{written:.200}" {_state(error)}', hint=_way_to(written, path)) from error
        if not stat.S_ISREG(mode):
            state = "is a folder" if stat.S_ISDIR(mode) else "is not a file"
            raise MissingError(f'{cls.what} "{written:.200}" {state}', hint=f"Looked at {path}")
        return cls(written, path)

    def members(self) -> tuple[tuple[str, Path], ...]:
        """The files whose bytes are the content, each with the name under which it enters the digest."""
        return (("", self.path),)

    def traits(self) -> Mapping[str, str]:
        """What the file says of the values that are made from it, by the words in their `carries`."""
        return {}

    def defaults(self) -> tuple[Default, ...]:
        """What the file proposes for parameters to which the workflow gives no value."""
        return ()


class PictureFile(FileRef):
    """A PNG, JPEG or WEBP file; what it holds is read when its node runs."""

    what = "picture"

    @classmethod
    def find(cls, written: str, folder: Path) -> Self:
        """Locate a picture, and see by its first bytes that it is one. Raises MissingError."""
        found = super().find(written, folder)
        try:
            with found.path.open("rb") as file:
                head = file.read(HEAD)
        except OSError as error:
            raise MissingError(f'picture "{written}" cannot be read: {error.strerror}') from error
        if not is_picture(head):
            hint = "Save the picture as PNG." if head else "Make or fetch the file anew."
            raise MissingError(f'picture "{written}" {what_else(head)}; PNG, JPEG and WEBP are read', hint=hint)
        return found


def _state(error: OSError | ValueError) -> str:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "is not there"
    return f"cannot be looked for: {getattr(error, 'strerror', None) or error}"


def _way_to(written: str, path: Path) -> str:
    if "://" in written:
        return "Darkroom reads files alone: save it first, and name the file."
    return f"Looked for {path!s:.300}"


def absolute(written: str, folder: Path, what: str = "file") -> Path:
    """Make a user's path absolute, or raise MissingError where no file can have such a name."""
    if not written or "\0" in written:
        raise MissingError(f"{what} {json.dumps(written)} cannot be the name of a file", hint="Name a file.")
    try:
        return (folder / Path(written).expanduser()).absolute()
    except RuntimeError as error:
        raise MissingError(f'{what} "{written:.200}" is in the home of nobody here', hint="Name a file.") from error
