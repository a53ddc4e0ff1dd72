"""What can be in a picture: the words of a scene, before any pixel or sentence.

A scene is a table from slots to words ("colour1" -> "red") and a seed that decides whatever the words
leave open: exact places, tints, clouds. `drawing` turns it into pixels, `captions` into sentences.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

Rgb = tuple[int, int, int]

COLOURS: Mapping[str, Rgb] = {
    "red": (214, 36, 40),
    "orange": (245, 134, 28),
    "yellow": (250, 214, 40),
    "green": (44, 150, 62),
    "cyan": (64, 204, 214),
    "blue": (38, 74, 204),
    "purple": (128, 48, 166),
    "pink": (246, 140, 188),
    "brown": (120, 74, 38),
    "white": (246, 246, 242),
    "grey": (138, 140, 144),
    "black": (22, 22, 26),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
PATTERNS = ("plain", "gradient", "striped", "checkered")
SIZES = ("small", "medium", "large")
SIDES = ("left", "middle", "right")
PLACES = (
    "top left", "top", "top right",
    "left", "middle", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
RELATIONS = ("left", "above")
TIMES = ("day", "sunset", "night", "cloudy")
LANDS = ("grass", "sea", "desert", "snow")
THINGS = ("sun", "moon", "stars", "mountains", "house", "tree", "boat")

_SOMEWHERE = ("somewhere", *SIDES)
SLOTS: Mapping[str, tuple[str, ...]] = {
    "kind": ("single", "pair", "landscape"),
    "colour1": tuple(COLOURS),
    "shape1": SHAPES,
    "size": SIZES,
    "place": PLACES,
    "colour2": tuple(COLOURS),
    "shape2": SHAPES,
    "relation": RELATIONS,
    "ground": tuple(COLOURS),
    "pattern": PATTERNS,
    "time": TIMES,
    "land": LANDS,
    "stars": ("somewhere",),
    "mountains": ("somewhere",),
    "sun": _SOMEWHERE,
    "moon": _SOMEWHERE,
    "house": _SOMEWHERE,
    "tree": _SOMEWHERE,
    "boat": _SOMEWHERE,
}
"""Every slot and the words it may hold. "somewhere" stands for a thing whose side is left open."""


@dataclass(frozen=True)
class Scene:
    """One picture, said completely."""

    words: Mapping[str, str]
    """Slot -> word. Always holds "kind"; the other slots depend on it."""
    seed: int
    """Decides what the words leave open; the same scene is always drawn the same."""


def held_out(colour: str, shape: str, ground: str) -> bool:
    """Tell whether this combination is kept from training, to be asked for in scoring (one in ten)."""
    return zlib.crc32(f"{colour} {shape} {ground}".encode()) % 10 == 0


def draw_scene(rng: Random) -> Scene:
    """Choose a scene: 4 in 10 one shape, 2 in 10 two shapes, 4 in 10 a landscape."""
    chance = rng.random()
    make = single if chance < 0.4 else pair if chance < 0.6 else landscape
    return Scene(make(rng), rng.getrandbits(32))


def single(rng: Random) -> dict[str, str]:
    """Choose one shape on a ground; no held-out combination."""
    while True:
        colour, ground = rng.sample(list(COLOURS), 2)
        shape = rng.choice(SHAPES)
        if not held_out(colour, shape, ground):
            break
    return {
        "kind": "single",
        "colour1": colour,
        "shape1": shape,
        "size": rng.choice(SIZES),
        "place": rng.choice((*PLACES, "middle", "middle", "middle")),
        **_ground(ground, rng),
    }


def pair(rng: Random) -> dict[str, str]:
    """Choose two shapes of different colours on a ground of a third."""
    first, second, ground = rng.sample(list(COLOURS), 3)
    return {
        "kind": "pair",
        "colour1": first,
        "shape1": rng.choice(SHAPES),
        "colour2": second,
        "shape2": rng.choice(SHAPES),
        "relation": rng.choice(RELATIONS),
        **_ground(ground, rng),
    }


def landscape(rng: Random) -> dict[str, str]:
    """Choose time, land and the things in it; sun and moon keep to their hours, boats to the sea."""
    time, land = rng.choice(TIMES), rng.choice(LANDS)
    words = {"kind": "landscape", "time": time, "land": land}
    if time != "cloudy" and rng.random() < 0.75:
        words["moon" if time == "night" else "sun"] = rng.choice(SIDES)
    if time == "night" and rng.random() < 0.6:
        words["stars"] = "somewhere"
    if rng.random() < 0.4:
        words["mountains"] = "somewhere"
    sides = rng.sample(SIDES, 3)
    for thing in _standing_on(land):
        if rng.random() < (0.65 if thing == "boat" else 0.45):
            words[thing] = sides.pop()
    return words


def _standing_on(land: str) -> tuple[str, ...]:
    return {"sea": ("boat",), "desert": ("house",)}.get(land, ("house", "tree"))


def _ground(colour: str, rng: Random) -> dict[str, str]:
    pattern = rng.choices(PATTERNS, (60, 14, 13, 13))[0]
    return {"ground": colour, "pattern": pattern}
