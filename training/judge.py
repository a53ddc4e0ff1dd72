"""Ask the finished model for pictures and count what is as asked: scores.json and contact sheets.

Everything goes through the exported folder and the diffusers pipelines, as a user would load it: DDIM,
20 steps, guidance 4, computed in float32.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image

from training import score
from training.drawing import draw
from training.scenes import COLOURS, LANDS, RELATIONS, SHAPES, TIMES, Scene, held_out
from training.score import Pixels

STEPS, GUIDANCE = 20, 4.0
Words = dict[str, str]
Asked = tuple[str, Words]
"""A prompt and the words it must give."""

_LAND_PHRASES: Mapping[str, str] = {"grass": "a meadow", "sea": "the sea", "desert": "the desert", "snow": "snow"}
_TIME_PHRASES: Mapping[str, str] = {
    "day": "a sunny day over {}",
    "sunset": "a sunset over {}",
    "night": "{} at night",
    "cloudy": "{} under a cloudy sky",
}
NEGATIVES = ("red", "blue", "green", "night", "sunset", "sea", "snow")


def asked_singles() -> list[Asked]:
    """Ask for 20 held-out combinations of colour, shape and ground, the shapes in turn."""
    rng, asked = Random(11), []
    for number in range(20):
        shape = SHAPES[number % len(SHAPES)]
        left = [(c, g) for c in COLOURS for g in COLOURS if c != g and held_out(c, shape, g)]
        colour, ground = rng.choice(left)
        words = {"kind": "single", "colour1": colour, "shape1": shape, "ground": ground}
        asked.append((f"{_a(colour)} {shape} on {_a(ground)} background", words))
    return asked


def asked_pairs() -> list[Asked]:
    """Ask for 14 pairs, half side by side, half one above the other."""
    rng, asked = Random(12), []
    for number in range(14):
        first, second, ground = rng.sample(list(COLOURS), 3)
        one, two, relation = rng.choice(SHAPES), rng.choice(SHAPES), RELATIONS[number % 2]
        words = {"kind": "pair", "colour1": first, "shape1": one, "colour2": second, "shape2": two}
        between = "left of" if relation == "left" else "above"
        prompt = f"{_a(first)} {one} {between} {_a(second)} {two} on {_a(ground)} background"
        asked.append((prompt, words | {"ground": ground, "relation": relation}))
    return asked


def asked_landscapes() -> list[Asked]:
    """Ask for each time over each land: 16."""
    return [
        (f"a painting of {_TIME_PHRASES[t].format(_LAND_PHRASES[g])}", {"kind": "landscape", "time": t, "land": g})
        for t in TIMES
        for g in LANDS
    ]


class Judge:
    """The model under test and where the evidence goes."""

    def __init__(self, model: Path, work: Path) -> None:
        self.work = work
        self.pipe = StableDiffusionPipeline.from_pretrained(
            model,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            local_files_only=True,
        )
        self.pipe.set_progress_bar_config(disable=True)
        self.again = StableDiffusionImg2ImgPipeline(**self.pipe.components, requires_safety_checker=False)
        self.again.set_progress_bar_config(disable=True)

    def all_scores(self) -> dict[str, float]:
        """Run every test; each value is a share of 1, or a count of pictures where the name says so."""
        return {
            **self.followed(asked_singles(), "single"),
            **self.followed(asked_pairs(), "pair"),
            **self.followed(asked_landscapes(), "landscape"),
            **self.repainted(),
            **self.avoided(),
        }

    def paint(self, prompts: Sequence[str], negative: str = "", seed: int = 0) -> list[Pixels]:
        """Paint one picture for each prompt; picture i has the seed `seed + i`."""
        generators = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
        made = self.pipe(
            list(prompts),
            negative_prompt=[negative] * len(prompts),
            height=128,
            width=128,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=generators,
        ).images
        return [np.asarray(image) for image in made]

    def followed(self, asked: Sequence[Asked], name: str) -> dict[str, float]:
        """Count how often each word of a prompt is followed."""
        made = self.paint([prompt for prompt, _ in asked])
        contact_sheet(made, self.work / f"sheet-{name}.png")
        return _shares(name, (judged(picture, words) for picture, (_, words) in zip(made, asked, strict=True)))

    def repainted(self) -> dict[str, float]:
        """Repaint drawn shapes in another colour at strength 0.6: is the outline kept, the colour taken?"""
        rng, before, prompts, colours = Random(13), [], [], []
        for number in range(20):
            old, new, ground = rng.sample(list(COLOURS), 3)
            shape = SHAPES[number % len(SHAPES)]
            words = {"kind": "single", "colour1": old, "shape1": shape, "ground": ground, "pattern": "plain"}
            words |= {"size": "large", "place": rng.choice(("left", "middle", "right"))}
            before.append(draw(Scene(words, rng.getrandbits(32))))
            prompts.append(f"{_a(new)} {shape} on {_a(ground)} background")
            colours.append(new)
        made = self._paint_over(before, prompts, strength=0.6)
        contact_sheet([p for pair in zip(before, made, strict=True) for p in pair], self.work / "sheet-repaint.png")
        return _repaint_scores(before, made, colours)

    def _paint_over(self, before: Sequence[Pixels], prompts: Sequence[str], strength: float) -> list[Pixels]:
        made = self.again(
            list(prompts),
            image=[Image.fromarray(picture) for picture in before],
            strength=strength,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(i) for i in range(len(before))],
        ).images
        return [np.asarray(image) for image in made]

    def avoided(self) -> dict[str, float]:
        """Compare how often a word shows in pictures of a vague prompt, without and with it as a negative."""
        scores: dict[str, float] = {}
        for word in NEGATIVES:
            prompt = "a circle on a white background" if word in COLOURS else "a landscape with mountains"
            if word in (*TIMES, *LANDS):
                prompt = "a landscape"
            plain = self.paint([prompt] * 16)
            told = self.paint([prompt] * 16, negative=word)
            for case, made in (("without", plain), ("with", told)):
                scores[f"negative {word}: shown {case} it, of 16"] = sum(shows(p, word) for p in made)
        return scores


def judged(picture: Pixels, words: Words) -> dict[str, bool]:
    """Tell which of a prompt's words a picture follows."""
    if words["kind"] == "landscape":
        return score.judge_landscape(picture, words)
    found = score.judge_figures(picture, words)
    if words["kind"] == "pair":
        found["both colours"] = found["colour1"] and found["colour2"]
        found["both shapes"] = found["shape1"] and found["shape2"]
    return found


def shows(picture: Pixels, word: str) -> bool:
    """Tell whether a picture shows a word: the colour of its figure, its time or its land."""
    if word in COLOURS:
        return score.figure_colour(picture, score.figure_mask(picture)) == word
    return word in score.landscape_of(picture)


def true_scores() -> dict[str, float]:
    """Score true renderings of the same requests; everything but 1 is a fault of the scorer."""
    shares: dict[str, float] = {}
    rng = Random(14)
    for name, asked in (("single", asked_singles()), ("pair", asked_pairs()), ("landscape", asked_landscapes())):
        extra = {"size": "medium", "place": "middle", "pattern": "plain"} if name != "landscape" else {}
        results = (judged(draw(Scene({**extra, **words}, rng.getrandbits(32))), words) for _, words in asked)
        shares |= _shares(name, results)
    return shares


def contact_sheet(pictures: Sequence[Pixels], path: Path, columns: int = 8) -> None:
    """Write pictures side by side into one PNG."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * 130, rows * 130), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (number % columns * 130, number // columns * 130))
    sheet.save(path)


def write_scores(model: Path, work: Path) -> None:
    """Judge the model in this folder; write scores.json and the contact sheets into the work folder."""
    torch.set_num_threads(1)  # twenty small pictures at a time gain nothing from a second thread
    wrong = {name: share for name, share in true_scores().items() if share < 1}
    if wrong:
        raise ValueError(f"the scorer misjudges true renderings: {wrong}")
    scores = Judge(model, work).all_scores()
    (work / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", "utf-8")


def _repaint_scores(before: Sequence[Pixels], made: Sequence[Pixels], colours: Sequence[str]) -> dict[str, float]:
    masks = [score.figure_mask(picture) for picture in made]
    kept = [score.overlap(score.figure_mask(old), new) for old, new in zip(before, masks, strict=True)]
    taken = [score.figure_colour(p, m) == c for p, m, c in zip(made, masks, colours, strict=True)]
    return {"img2img 0.6: overlap with the old outline": float(np.mean(kept)),
            "img2img 0.6: colour taken": float(np.mean(taken))}  # fmt: skip


def _shares(name: str, results: Iterable[Mapping[str, bool]]) -> dict[str, float]:
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for result in results:
        for word, right in result.items():
            found[word].append(right)
    return {f"{name}: {word}": float(np.mean(rights)) for word, rights in found.items()}


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
