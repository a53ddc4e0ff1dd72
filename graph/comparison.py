"""What `darkroom diff` says: how two pictures were made, and how their pixels differ."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graph.contrast import words
from graph.errors import MissingError, StepError, UsageError
from graph.likeness import Figures, draw, measure, told
from graph.lineage import Contrast, contrasts, other_contrasts
from graph.metadata import read_metadata
from graph.outputs import write_picture
from graph.provenance import CHUNK, Origin, read_origin
from graph.signatures import PNG
from graph.standing import as_typed
from graph.tables import render
from graph.values import Picture

_PATTERN = "difference-{n:05}.png"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two pictures."""

    name: str
    picture: Picture
    texts: Mapping[str, str]
    """The texts in its file."""
    origin: Origin | None
    """How it was made, if Darkroom tells."""

    @property
    def is_altered(self) -> bool:
        """Whether other pixels are in the file than Darkroom wrote; only of a PNG can that be told."""
        if self.origin is None or not Path(self.name).read_bytes().startswith(PNG):
            return False
        pixels = self.picture.pixels
        forms = (self.picture, *(Picture(pixels.convert(mode)) for mode in Picture.modes))
        return self.origin.digest not in [form.digest for form in forms]


def compare(request: argparse.Namespace, a: Picture, b: Picture, width: int | None, colour: bool) -> tuple[bool, str]:
    """Tell whether two pictures have the same pixels, and what differs; write the difference as a picture.

    `a` and `b` are what is in the files `request.a` and `request.b`. Raises UsageError where `request.out` cannot be
    written; nothing is written over.
    """
    sides = _side(request.a, a), _side(request.b, b)
    found = _contrasts(*sides)
    figures = measure(a, b)
    same = a == b
    shown = "" if same else _shown(sides, figures, Path(request.out))
    altered = [] if same else [side.name for side in sides if side.is_altered]
    if request.json:
        return same, json.dumps(_as_json(same, sides, found, figures, shown, altered), ensure_ascii=False)
    lines = [_described(side) for side in sides]
    lines += ["", *_table(sides, found, width, colour), ""]
    lines += [f"{name}: its pixels are not those that Darkroom saved" for name in altered]
    if figures and a.width != b.width:
        lines += [f"their sizes differ; compared at {figures.width}x{figures.height}, with the smaller one enlarged:"]
    lines += told(figures)
    return same, "\n".join([*lines, *([shown] if shown else [])])


def _side(name: str, picture: Picture) -> Side:
    texts = read_metadata(Path(name))
    try:
        origin = read_origin(texts, name) if CHUNK in texts else None
    except MissingError:
        origin = None
    return Side(name, picture, texts, origin)


def _contrasts(a: Side, b: Side) -> tuple[Contrast, ...]:
    if a.origin and b.origin:
        return contrasts(a.origin, b.origin)
    return other_contrasts(a.texts, b.texts) if not (a.origin or b.origin) else ()


def _shown(sides: tuple[Side, Side], figures: Figures | None, out: Path) -> str:
    """Write the difference as a picture; gives its path."""
    if out.is_dir() or not out.suffix:
        folder, pattern = out, _PATTERN
    else:
        folder, pattern = out.parent, out.name.replace("{", "{{").replace("}", "}}")
    names = tuple(Path(side.name).name for side in sides)
    picture = draw(sides[0].picture, sides[1].picture, (names[0], names[1]), figures)
    try:
        return as_typed(write_picture(picture, folder, pattern, {}, {}).path)
    except StepError as error:  # whose exit code would say that the pixels differ
        raise UsageError(error.message, hint=error.hint) from error


def _described(side: Side) -> str:
    picture = side.picture
    size = f"{picture.width}x{picture.height}" + (", with alpha" if picture.mode == "RGBA" else "")
    return f"{side.name}: {size}, {_maker(side)}"


def _maker(side: Side) -> str:
    if side.origin:
        return f"{side.origin.output} of the workflow {side.origin.name}"
    return "by another program" if side.texts else "nothing in it says how it was made"


def _table(sides: tuple[Side, Side], found: Sequence[Contrast], width: int | None, colour: bool) -> list[str]:
    if found:
        rows = [(change.what, change.name, _value(change, change.a), _value(change, change.b)) for change in found]
        return [render(rows, ("", "", *(side.name for side in sides)), width, colour)]
    if all(side.origin for side in sides):
        return ["made from the same, with the same versions"]
    return ["only the pixels can be compared"]


def _value(change: Contrast, value: Any) -> str:
    if change.what == "file" and value:
        return words({"content": str(value)})
    return words(list(value.items()) if isinstance(value, Mapping) else value)


def _as_json(
    same: bool, sides: tuple[Side, Side], found: Sequence[Contrast], figures: Figures | None, shown: str,
    altered: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    a, b = (
        {
            "path": side.name,
            "width": side.picture.width,
            "height": side.picture.height,
            "mode": side.picture.mode,
            "workflow": side.origin.name if side.origin else "",
            "output": side.origin.output if side.origin else "",
            "altered": side.name in altered,
        }
        for side in sides
    )
    changes = [asdict(change) for change in found]
    pixels = asdict(figures) if figures else None
    return {"same": same, "a": a, "b": b, "differences": changes, "pixels": pixels, "picture": shown}
