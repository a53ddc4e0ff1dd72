"""text_encode takes any text, and says what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from graph.codec import encode
from graph.errors import MissingError, StepError
from nodes.load_model import LoadModel, Parts
from nodes.sd.files import ModelFile
from nodes.text_encode import TextEncode


@pytest.fixture
def parts(whole: Any, ctx: Any) -> Parts:
    return LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx)


@pytest.mark.parametrize(
    "text", ["", "a cat", "  ", "a\0b", "🐈‍⬛ and 犬", "\u202e<|endoftext|> <|startoftext|>", "(" * 10_000 + "cat"]
)
@pytest.mark.parametrize("syntax", ["a1111", "plain", "subprompts"])
def test_any_text_is_encoded(text: str, syntax: Any, parts: Parts, ctx: Any) -> None:
    encoded = TextEncode(text=text, syntax=syntax, long="truncate").run(ctx, parts.text_encoder)

    assert (1, 77, 32) == encoded.embeddings.shape


def test_a_text_takes_no_more_than_50_chunks(parts: Parts, ctx: Any) -> None:
    encoded = TextEncode(text="cat " * 10_000).run(ctx, parts.text_encoder)

    assert (1, 50 * 77, 32) == encoded.embeddings.shape
    assert ctx.warnings[0].startswith('the prompt is too long for the model, these words are lost: "cat cat')


def test_the_lost_words_are_named_as_they_were_written(parts: Parts, ctx: Any) -> None:
    text = "cat " * 75 + "Dog AND\n dog"

    long = TextEncode(text=text, long="truncate").run(ctx, parts.text_encoder)
    short = TextEncode(text="cat " * 75).run(ctx, parts.text_encoder)

    assert ['the prompt is too long for the model, these words are lost: "Dog AND\n dog"'] == ctx.warnings
    assert encode(long) == encode(short)


def test_a_prompt_that_just_fits_gives_no_warning(parts: Parts, ctx: Any) -> None:
    TextEncode(text="cat " * 75).run(ctx, parts.text_encoder)

    assert [] == ctx.warnings


def test_a_very_long_prompt_has_its_warning_cut(parts: Parts, ctx: Any) -> None:
    TextEncode(text="cat " * 10_000).run(ctx, parts.text_encoder)

    assert len(ctx.warnings[0]) < 400


def test_half_a_character_is_refused_with_its_place(parts: Parts, ctx: Any) -> None:
    with pytest.raises(StepError, match=r"character 5 of the prompt is half of one \(U\+D83D\)"):
        TextEncode(text="cat \ud83d").run(ctx, parts.text_encoder)


def test_a_clip_skip_that_leaves_no_layer_is_refused(parts: Parts, ctx: Any) -> None:
    with pytest.raises(StepError, match="clip_skip 3 leaves none of the text encoder's 3 layers"):
        TextEncode(text="cat", clip_skip=3).run(ctx, parts.text_encoder)


def test_a_damaged_tokenizer_is_named(spoiled: Any, ctx: Any) -> None:
    (spoiled / "tokenizer" / "vocab.json").write_text('{"a": 0}')
    (spoiled / "tokenizer" / "merges.txt").write_text("#version: 0.2\nx y z\n")
    parts = LoadModel(path=ModelFile.find(str(spoiled), spoiled)).run(ctx)

    with pytest.raises(MissingError, match='cannot read the tokenizer of model "spoiled"'):
        TextEncode(text="cat").run(ctx, parts.text_encoder)


@pytest.mark.parametrize(
    "text", ["BREAK " * 60 + "dog", "cat " * 3_750 + "dog" + " cat" * 10_000, "BREAK " * 20_000 + "dog"]
)
def test_what_is_lost_is_named_from_its_first_word(text: str, parts: Parts, ctx: Any) -> None:
    TextEncode(text=text).run(ctx, parts.text_encoder)

    assert 'these words are lost: "dog' in ctx.warnings[0]
