"""Scenes, drawings, captions and the scorer: the same seed gives the same, and true pictures score full marks."""

from random import Random

import numpy as np
import pytest

from training.captions import caption, vocabulary
from training.drawing import draw
from training.judge import asked_landscapes, asked_pairs, asked_singles, true_scores
from training.scenes import COLOURS, LANDS, SHAPES, SLOTS, TIMES, Scene, draw_scene, held_out, single
from training.score import figure_colour, figure_mask, landscape_of


def test_true_renderings_of_the_scored_prompts_score_full_marks() -> None:
    assert {} == {name: share for name, share in true_scores().items() if share < 1}


def test_the_scorer_sees_a_wrong_colour() -> None:
    words = {"kind": "single", "colour1": "red", "shape1": "star", "size": "large", "place": "middle"}
    picture = draw(Scene({**words, "ground": "white", "pattern": "plain"}, seed=1))

    assert "red" == figure_colour(picture, figure_mask(picture))
    assert "none" == figure_colour(picture, np.zeros((128, 128), bool))


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("land", LANDS)
def test_the_scorer_names_a_landscape_it_has_not_seen(time: str, land: str) -> None:
    words = {"kind": "landscape", "time": time, "land": land, "mountains": "somewhere"}

    assert (time, land) == landscape_of(draw(Scene(words, seed=2026)))


def test_the_same_scene_is_always_drawn_the_same() -> None:
    for seed in range(12):
        first, again = draw_scene(Random(seed)), draw_scene(Random(seed))

        assert first == again
        assert np.array_equal(draw(first), draw(again))


def test_a_picture_is_128_pixels_square_rgb() -> None:
    shapes = {draw(draw_scene(Random(seed))).shape for seed in range(12)}

    assert {(128, 128, 3)} == shapes


def test_captions_are_the_same_for_the_same_seed() -> None:
    words = draw_scene(Random(5)).words

    assert [caption(words, Random(s)) for s in range(20)] == [caption(words, Random(s)) for s in range(20)]
    assert len({caption(words, Random(s))[0] for s in range(20)}) > 10


def test_a_caption_tells_only_what_the_scene_holds() -> None:
    for seed in range(300):
        rng = Random(seed)
        words = draw_scene(rng).words
        told = caption(words, rng)[1]

        assert all(word in (words[slot], "somewhere") for slot, word in told.items())
        assert all(word in SLOTS[slot] for slot, word in told.items())


def test_held_out_combinations_are_never_drawn_for_training() -> None:
    rng = Random(0)
    drawn = [single(rng) for _ in range(2000)]

    assert not any(held_out(s["colour1"], s["shape1"], s["ground"]) for s in drawn)
    assert all(held_out(w["colour1"], w["shape1"], w["ground"]) for _, w in asked_singles())


def test_fifty_prompts_are_scored_and_the_vocabulary_holds_their_words() -> None:
    prompts = [prompt for prompt, _ in (*asked_singles(), *asked_pairs(), *asked_landscapes())]

    assert 50 == len(prompts)
    assert set() == {word for prompt in prompts for word in prompt.split()} - set(vocabulary())


def test_every_shape_has_held_out_prompts_in_many_colours() -> None:
    left = {(c, s) for c in COLOURS for s in SHAPES for g in COLOURS if c != g and held_out(c, s, g)}

    assert len(left) > 30
