"""Giving back what a run is wanted for: pictures as files, texts and numbers as they are.

A picture that an earlier run saved is not saved again while its file is still there with the same bytes; a file
that was deleted or altered is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graph.cache import Cache
from graph.codec import decode, encode
from graph.errors import DarkroomError
from graph.events import SavedOutput
from graph.findings import Findings
from graph.node import SCALARS
from graph.outputs import still_there
from graph.provenance import write_with_origin
from graph.ready import Done, Outcome, World, chosen, picked
from graph.sources import From
from graph.standing import as_typed
from graph.steps import Graph, Wanted, is_picture
from graph.values import Picture, Raster, SavedFile

Obtain = Callable[[From], bytes]
"""Gives the bytes of an output, made again if they are lost."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was given back."""

    saved: tuple[SavedOutput, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[tuple[str, DarkroomError], ...] = ()
    """Outputs that could not be saved."""


@dataclass(frozen=True, slots=True)
class Courier:
    """Knows where things go."""

    graph: Graph
    cache: Cache
    world: World
    obtain: Obtain
    found: Callable[[str], Findings]
    """What a step and those before it told, for the picture's file."""

    def deliver(self, outcomes: Mapping[str, Outcome], *, keep_values: bool, save: bool) -> Delivery:
        """Give back all that is wanted and there. One that cannot be saved does not keep the others back."""
        saved: list[SavedOutput] = []
        failures: list[tuple[str, DarkroomError]] = []
        values: dict[str, Any] = {}
        for wanted, origin, digest in self._there(outcomes):
            try:
                if save:
                    saved += self._save(wanted, origin, digest)
                if keep_values:
                    values[wanted.name] = self._value(origin)
            except DarkroomError as error:
                failures.append((wanted.name, error))
        return Delivery(tuple(saved), values, tuple(failures))

    def _value(self, origin: From) -> Any:
        return picked(decode(self.obtain(origin)), origin)

    def _there(self, outcomes: Mapping[str, Outcome]) -> Iterator[tuple[Wanted, From, str]]:
        for wanted in self.graph.wanted:
            options = [origin for origin in _options(wanted) if origin.step in outcomes]
            if len(options) < len(_options(wanted)):
                continue
            origin = chosen(wanted.source, outcomes)
            outcome = outcomes[origin.step] if origin else None
            if origin and isinstance(outcome, Done):
                yield wanted, origin, outcome.digests[origin.output] if origin.item is None else ""

    def _save(self, wanted: Wanted, origin: From, digest: str) -> list[SavedOutput]:
        if is_picture(wanted.type):
            return self._save_pictures(wanted, origin, digest)
        if wanted.type in SCALARS:
            value = self._value(origin)
            return [SavedOutput(wanted.name, value=value)] if not isinstance(value, list) else []
        if wanted.type is SavedFile:
            file: SavedFile = self._value(origin)
            return [_told(wanted, file, file.pixels)]
        return []

    def _save_pictures(self, wanted: Wanted, origin: From, digest: str) -> list[SavedOutput]:
        kept = self._kept(wanted, digest) if digest else None
        if kept:
            return [kept]
        value = self._value(origin)
        pictures = value if isinstance(value, list) else [value]
        single = not isinstance(value, list)
        found = self.found(origin.step)
        return [self._save_picture(wanted, picture, digest if single else "", found) for picture in pictures]

    def _save_picture(self, wanted: Wanted, picture: Raster, digest: str, found: Findings) -> SavedOutput:
        digest = digest or encode(picture).digest
        kept = self._kept(wanted, digest)
        if kept:
            return kept
        shown = picture if isinstance(picture, Picture) else Picture(picture.pixels)
        memo, folder = self.world.files, self.world.folder
        origin = f"sha256:{digest}"
        file = write_with_origin(shown, self.graph, wanted.name, origin, memo, folder, self._pattern(), found)
        self.cache.note_saved(self._saved_key(wanted, digest), file)
        return _told(wanted, file, file.pixels)

    def _kept(self, wanted: Wanted, digest: str) -> SavedOutput | None:
        file = self.cache.saved(self._saved_key(wanted, digest))
        if file is None or not still_there(file):
            return None
        return replace(_told(wanted, file, f"sha256:{digest}"), action="kept")

    def _saved_key(self, wanted: Wanted, digest: str) -> str:
        place = [digest, str(self.world.folder), self.world.workflow, wanted.name]
        return hashlib.sha256(json.dumps(place).encode()).hexdigest()

    def _pattern(self) -> str:
        pictures = sum(is_picture(wanted.type) for wanted in self.graph.wanted)
        return "{name}-{n:05}.png" if pictures == 1 else "{name}-{output}-{n:05}.png"


def _told(wanted: Wanted, file: SavedFile, pixels: str) -> SavedOutput:
    return SavedOutput(wanted.name, as_typed(file.path), pixels, file=f"sha256:{file.digest}")


def _options(wanted: Wanted) -> tuple[From, ...]:
    return (wanted.source,) if isinstance(wanted.source, From) else wanted.source.options
