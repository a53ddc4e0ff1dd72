"""Say a scene in words: forget some of it, then phrase the rest, as people type prompts.

`forget` and `phrase` are apart so that training knows which slots a caption speaks of: the forgotten ones
are gone from the table that `phrase` gets.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from random import Random

from training.scenes import PLACES

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "circle": ("circle", "circle", "disc", "ball", "round shape"),
    "square": ("square", "square", "box"),
    "star": ("star", "star", "five-pointed star"),
    "cross": ("cross", "cross", "plus sign"),
    "grey": ("grey", "grey", "gray"),
    "small": ("small", "little", "tiny"),
    "medium": ("medium sized", "medium"),
    "large": ("large", "big", "huge"),
    "plain": ("plain", "flat"),
    "gradient": ("gradient", "shaded"),
    "striped": ("striped", "stripy"),
    "checkered": ("checkered", "checkerboard"),
    "background": ("background", "background", "background", "ground", "backdrop"),
    "sea": ("the sea", "the sea", "the ocean", "water", "sea"),
    "grass": ("grass", "a meadow", "green hills", "a green field", "grassland"),
    "desert": ("a desert", "the desert", "sand dunes", "desert"),
    "snow": ("snow", "a snowy field", "a winter landscape", "snowy hills"),
    "mountains": ("mountains", "mountains", "snowy peaks", "a mountain range"),
    "moon": ("the moon", "a moon", "a full moon"),
    "sun": ("the sun", "a sun", "a yellow sun", "the shining sun"),
    "stars": ("stars", "a starry sky", "many stars"),
    "boat": ("a boat", "a boat", "a sailing boat", "a ship", "a sailboat"),
    "house": ("a house", "a house", "a small house", "a cottage"),
    "tree": ("a tree", "a tree", "a green tree"),
}
_HOURS: Mapping[str, tuple[str, ...]] = {
    "day": ("a sunny day over {}", "{} at day", "{} by day", "{} under a blue sky", "{} in daylight"),
    "sunset": ("a sunset over {}", "a sunset over {}", "{} at sunset", "{} at dusk", "an evening over {}"),
    "night": ("a night over {}", "{} at night", "{} by night", "{} under a night sky"),
    "cloudy": ("a cloudy day over {}", "{} under a cloudy sky", "{} under clouds", "{} on a grey day"),
}
_PLACE_WORDS: Mapping[str, tuple[str, ...]] = {
    place: (f"in the {place} corner", f"at the {place}") if " " in place else (f"at the {place}", f"on the {place}")
    for place in PLACES
} | {"middle": ("in the middle", "in the center", "in the centre")}
_OPENINGS = (
    "a picture of", "a painting of", "a drawing of", "an image of", "a photo of", "a beautiful painting of",
    "an illustration of", "oil painting of", "digital art of",
)  # fmt: skip
_FILLERS = (
    "trending on artstation", "4k", "8k", "highly detailed", "masterpiece", "best quality", "sharp focus",
    "beautiful", "concept art", "oil on canvas", "watercolor", "soft light", "simple", "minimalist", "hd",
    "vivid colors", "by a great artist", "award winning", "cinematic lighting", "high resolution",
)  # fmt: skip
_THINGS = ("sun", "moon", "stars", "mountains", "house", "tree", "boat")
_BARE_SHARE = 0.07
"""Share of captions that are one bare word, so that one-word negative prompts mean something."""


def vocabulary() -> list[str]:
    """List every word a caption can hold, sorted; each of them becomes one token."""
    phrases = [
        *(word for words in _SYNONYMS.values() for word in words),
        *(word for words in (*_HOURS.values(), *_PLACE_WORDS.values()) for word in words),
        *_OPENINGS, *_FILLERS, *_GLUE,
    ]  # fmt: skip
    words = {word.strip(",") for phrase in phrases for word in phrase.replace("{}", "").replace("-", " ").split()}
    return sorted(words | set(_COLOUR_WORDS) | set(_BARE_WORDS))


_COLOUR_WORDS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "white", "black")
_BARE_WORDS = ("sunset", "night", "day", "cloudy", "clouds", "triangle", "dark", "sunny", "sunrise", "blue", "sky")
_GLUE = ("on a with and in front of left right above below next to is it its of over under, shape view place",)


def caption(words: Mapping[str, str], rng: Random) -> tuple[str, Mapping[str, str]]:
    """Make a caption for a scene's words, and say which of the words it tells (all of them or fewer)."""
    if rng.random() < _BARE_SHARE:
        return _bare(words, rng)
    told = forget(words, rng)
    return decorate(phrase(told, rng), rng), told


def forget(words: Mapping[str, str], rng: Random) -> dict[str, str]:
    """Leave some of a scene unsaid; a place or a side more often than a colour or a shape."""
    told = dict(words)
    for slot in words:
        if slot in _OFTEN_LEFT_OUT and rng.random() < _OFTEN_LEFT_OUT[slot]:
            del told[slot]
    for thing in ("sun", "moon", "house", "tree", "boat"):
        if thing in told and rng.random() < 0.5:
            told[thing] = "somewhere"
    if "ground" not in told:
        told.pop("pattern", None)
    return told


_OFTEN_LEFT_OUT: Mapping[str, float] = {
    "size": 0.5, "place": 0.5, "relation": 0.35, "pattern": 0.3, "ground": 0.08, "colour1": 0.04,
    "time": 0.08, "land": 0.06, "sun": 0.25, "moon": 0.2, "stars": 0.25, "mountains": 0.06,
    "house": 0.06, "tree": 0.06, "boat": 0.05,
}  # fmt: skip


def phrase(told: Mapping[str, str], rng: Random) -> str:
    """Put what is told into one plain phrase; the same `rng` state gives the same phrase."""
    return _landscape(told, rng) if told["kind"] == "landscape" else _figures(told, rng)


def decorate(text: str, rng: Random) -> str:
    """Add what people type around a prompt: openings, fillers, commas, stray letters."""
    if rng.random() < 0.35:
        text = f"{rng.choice(_OPENINGS)} {text}"
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        text = f"{text}, {rng.choice(_FILLERS)}"
    if rng.random() < 0.06:
        stray = "".join(rng.choice(string.ascii_letters + "0123456789äéж日") for _ in range(rng.randint(2, 8)))
        text = rng.choice((f"{stray} {text}", f"{text} {stray}", f"{text}, {stray}"))
    return text


def _bare(words: Mapping[str, str], rng: Random) -> tuple[str, Mapping[str, str]]:
    # A bare word cannot tell the first shape from the second, so it always speaks of the first.
    slot = rng.choice([slot for slot in words if slot not in ("kind", "relation", "colour2", "shape2")])
    word = words[slot] if slot not in _THINGS else slot
    told = {slot: words[slot] if slot not in _THINGS else "somewhere"}
    text = _say(word, rng) if rng.random() < 0.3 else word
    return (f"{text} background" if slot == "ground" else text), told


def _say(word: str, rng: Random) -> str:
    return rng.choice(_SYNONYMS.get(word, (word,)))


def _figures(told: Mapping[str, str], rng: Random) -> str:
    background = _background(told, rng)
    if told["kind"] == "single":
        size = [_say(told["size"], rng)] if "size" in told else []
        text = _noun(told, "1", size, rng)
        where = rng.choice(_PLACE_WORDS[told["place"]]) if "place" in told else ""
        if rng.random() < 0.3:
            return _join((text, where, background), rng)
        return _join((text, background, where), rng) if rng.random() < 0.3 else _join((text, where, background), rng)
    return _join((_two(told, rng), background), rng)


def _two(told: Mapping[str, str], rng: Random) -> str:
    """Name two shapes; unless the relation says otherwise, the first is the left or the upper one."""
    first, second = _noun(told, "1", [], rng), _noun(told, "2", [], rng)
    forward = {"left": ("left of", "to the left of", "next to"), "above": ("above", "on top of", "over")}
    backward = {"left": ("right of", "to the right of"), "above": ("below", "under")}
    if "relation" not in told:
        return f"{first} and {second}"
    if rng.random() < 0.35:
        return f"{second} {rng.choice(backward[told['relation']])} {first}"
    return f"{first} {rng.choice(forward[told['relation']])} {second}"


def _noun(told: Mapping[str, str], number: str, before: Sequence[str], rng: Random) -> str:
    colour = [_say(told[f"colour{number}"], rng)] if f"colour{number}" in told else []
    words = [*before, *colour, _say(told[f"shape{number}"], rng)]
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words] if rng.random() < 0.9 else words)


def _background(told: Mapping[str, str], rng: Random) -> str:
    if "ground" not in told:
        return ""
    pattern = [_say(told["pattern"], rng)] if "pattern" in told else []
    words = " ".join([*pattern, _say(told["ground"], rng), _say("background", rng)])
    if rng.random() < 0.12:
        return f", {words}"
    article = "an" if words[0] in "aeiou" else "a"
    return f"{rng.choice(('on', 'on', 'on', 'in front of', 'with'))} {article} {words}"


def _landscape(told: Mapping[str, str], rng: Random) -> str:
    land = _say(told["land"], rng) if "land" in told else rng.choice(("a landscape", "a view", "a place"))
    text = rng.choice(_HOURS[told["time"]]).format(land) if "time" in told else land
    things = [_thing(name, told[name], rng) for name in _THINGS if name in told]
    rng.shuffle(things)
    if not things:
        return text
    if rng.random() < 0.15:
        return ", ".join([text, *things])
    return f"{text} with {' and '.join(things)}"


def _thing(name: str, side: str, rng: Random) -> str:
    text = _say(name, rng)
    return text if side == "somewhere" else f"{text} {rng.choice(_PLACE_WORDS[side])}"


def _join(parts: Sequence[str], rng: Random) -> str:
    return " ".join(part for part in parts if part).replace(" ,", ",")
