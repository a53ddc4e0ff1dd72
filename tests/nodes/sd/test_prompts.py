"""The syntax of prompts, without a model: weights, breaks, subprompts, and what is said of slips."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import StepError
from nodes.sd.prompts import DEEPEST, LARGEST_WEIGHT, Piece, meaning, subprompts, troubles, weighted
from nodes.sd.scripts import scripted


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a cat", [("a cat", 1)]),
        ("a (cat:1.2) sat", [("a ", 1), ("cat", 1.2), (" sat", 1)]),
        ("(a)((b))[c][[d]]", [("a", 1.1), ("b", 1.1**2), ("c", 1 / 1.1), ("d", 1.1**-2)]),
        ("((a:1.2) b)", [("a", 1.2 * 1.1), (" b", 1.1)]),
        ("(a:.5)(b: +2. )", [("a", 0.5), ("b", 2)]),
        ("(a)(b)", [("ab", 1.1)]),
        (r"\(a\) \[b\] \\ c\:d", [(r"(a) [b] \ c:d", 1)]),
        ("style: oil (10:15)", [("style: oil ", 1), ("10", 15)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.1 / 1.1), (" c", 1 / 1.1)]),
        # No wrong texts: these are slips, and read like this.
        ("((a:1.2)", [("a", 1.2 * 1.1)]),
        ("a) b] :1.2)", [("a) b] :1.2)", 1)]),
        ("(a:nan)", [("a:nan", 1.1)]),
        ("(a:1e9)", [("a:1e9", 1.1)]),
        ("(a:-1)", [("a", -1)]),
        ("(a:1000000000)", [("a", LARGEST_WEIGHT)]),
        ("[a", [("a", 1 / 1.1)]),
        ("a\\", [("a", 1)]),
        ("()[] (:1.3)", [(" ", 1)]),
        ("", []),
    ],
)  # fmt: skip
def test_weights_are_those_of_the_web_ui(text: str, pieces: list[tuple[str, float]]) -> None:
    (read,) = weighted(text)

    assert [words for words, _ in pieces] == [piece.text for piece in read]
    assert [weight for _, weight in pieces] == pytest.approx([piece.weight for piece in read])


def test_a_break_parts_paragraphs_also_inside_of_brackets() -> None:
    read = weighted("a BREAK (b BREAK c:1.5) BREAKFAST BREAK")

    assert ["a", "b", "c BREAKFAST", ""] == ["".join(piece.text for piece in pieces).strip() for pieces in read]
    assert [1.5, 1.5] == [read[1][-1].weight, read[2][0].weight]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a cat (b:1.2) [c:d:0.5] style: oil", []),
        ("((a:1.2)", ['character 1 of the prompt: "(" is never closed and counts up to the end']),
        ("a (b", ['character 3 of the prompt: "(" is never closed and counts up to the end']),
        ("a)) b", ['character 2 (and 1 more) of the prompt: ")" closes nothing and is read as a letter']),
        ("a:1.2)", ['character 6 of the prompt: ")" closes nothing and is read as a letter']),
        ("(a:nan)", ['character 4 of the prompt: "nan" is no weight and is read as words']),
        ("(a:1e9)", ['character 4 of the prompt: "1e9" is no weight and is read as words']),
        ("(a:1,5)", ['character 4 of the prompt: "1,5" is no weight and is read as words']),
        ("(a:999)", ["character 4 of the prompt: a weight beyond 100 is taken as that"]),
        ("a star <lora:ink:0.8>, <LyCO: b:1>",
         ["character 8 (and 1 more) of the prompt: a tag such as <lora:name:1> is read as words; "
          "a lora node behind load_model does what it says"]),
        ("(a:-1)", ["character 4 of the prompt: a weight below 0 gives no opposites; "
                     "what is unwanted goes into a negative prompt"]),
        ("(" * 60 + "a" + ")" * 60,
         [f"character 51 (and 9 more) of the prompt: brackets inside {DEEPEST} others do not count",
          "character 61 of the prompt: a weight beyond 100 is taken as that"]),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_its_place(text: str, said: list[str]) -> None:
    assert said == list(troubles(text))


@given(st.text(st.sampled_from("()[]:|\\ a1.,-B"), max_size=30))
def test_every_text_has_a_meaning(text: str) -> None:
    (paragraphs, share), *_ = meaning(text, "a1111").variants[0]

    assert 1 == share
    assert all(abs(piece.weight) <= LARGEST_WEIGHT for pieces in paragraphs for piece in pieces)


SIGNS = ["(", ")", "[", "]", ":", "|", "\\", "a", "2", ":1.2)", "[a:b:1]", "BREAK"]


@given(st.lists(st.sampled_from(SIGNS), max_size=12).map("".join))
def test_a_prompt_means_what_each_of_its_texts_means(text: str) -> None:
    meant = meaning(text, "a1111")

    assert tuple(((weighted(each), 1.0),) for each in scripted(text)[0]) == meant.variants
    assert tuple(troubles(text)) == meant.troubles


@pytest.mark.parametrize("unit", ["(", "(a", "[a:", ":", ":)", "\\", " "])
def test_no_text_takes_long(unit: str) -> None:
    start = time.process_time()
    meaning(unit * 10_000, "a1111")

    assert time.process_time() - start < 3  # about 0.3 s; what is quadratic takes minutes


def test_subprompts_are_those_of_the_fork() -> None:
    assert [("tabby cat", 0.25), ("white duck", 0.75), ("hybrid", 1)] == [
        (prompt.text, prompt.weight) for prompt in subprompts("tabby cat:0.25 white duck:0.75 hybrid")
    ]
    (mix,) = meaning("a:1 b:3", "subprompts").variants
    assert ((((Piece("a", 1),),), 0.25), (((Piece("b", 1),),), 0.75)) == mix


def test_a_subprompt_without_a_number_weighs_1() -> None:
    meant = meaning("style: oil:2", "subprompts")

    assert ('character 7 of the prompt: "" is no weight, 1 is taken',) == meant.troubles
    assert [1 / 3, 2 / 3] == [share for _, share in meant.variants[0]]


@pytest.mark.parametrize(("text", "said"), [("a:1 b:-1", "are 0 in all"), ("a:1 " * 101, "has 101 subprompts")])
def test_subprompts_that_cannot_be_mixed_are_refused(text: str, said: str) -> None:
    with pytest.raises(StepError, match=said):
        meaning(text, "subprompts")


@pytest.mark.parametrize(
    "text", ["x " * 20_000, "a:1" + "1" * 20_000 + "x", ":" * 20_000, "a:1 " * 100], ids=lambda t: t[:4]
)
def test_no_subprompts_take_long(text: str) -> None:
    start = time.process_time()
    subprompts(text)

    assert time.process_time() - start < 0.5  # milliseconds


@pytest.mark.parametrize("text", ["(a:{0} x", "[a:b:{0}x]", "(a:{0}.{0} x"])
def test_long_numbers_that_are_none_are_read_at_once(text: str) -> None:
    start = time.process_time()
    meaning(text.format("1" * 20_000), "a1111")

    assert time.process_time() - start < 0.5  # milliseconds
