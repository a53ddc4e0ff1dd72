"""The tokenizer: one token a word, and no letter of any language ends the text."""

from pathlib import Path

import pytest

from training.captions import vocabulary
from training.tokenizer import END, learn_merges, write_tokenizer

FOREIGN = ("ein Füchslein 🦊 im Schnee", "日本 red circle", "żółw", "مرحبا", "🏳️‍🌈 x", "é")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]  # transformers is Any
    from training.text import load_tokenizer

    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(vocabulary(), folder)
    return load_tokenizer(folder)


def test_every_word_of_the_world_is_one_token(tokenizer) -> None:  # type: ignore[no-untyped-def]
    words = [word for word in vocabulary() if word.isalpha()]

    assert {3} == {len(tokenizer(word)["input_ids"]) for word in words}


@pytest.mark.parametrize("prompt", FOREIGN)
def test_foreign_letters_come_back_and_end_no_text(tokenizer, prompt: str) -> None:  # type: ignore[no-untyped-def]
    numbers = tokenizer(prompt)["input_ids"]

    assert 1 == tokenizer.convert_ids_to_tokens(numbers).count(END)
    assert prompt.casefold() == tokenizer.decode(numbers, skip_special_tokens=True).strip()


def test_merging_goes_on_until_each_word_is_whole() -> None:
    assert [("a", "b</w>"), ("b", "ab</w>")] == learn_merges(["ab", "bab"])
