"""Prompts that change by step: what is encoded, and which of it a step sees."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import StepError
from nodes.sd import scripts
from nodes.sd.scripts import MOST_STEPS, MOST_VARIANTS, scripted, variant_at


def text_at(text: str, step: int, steps: int) -> str:
    texts, script = scripted(text)
    return texts[variant_at(script, step, steps)]


@pytest.mark.parametrize(
    ("text", "steps", "by_step"),
    [
        ("a [b:c:2]", 4, ["a b", "a b", "a c", "a c"]),
        ("[b:c:0.5]", 4, ["b", "b", "c", "c"]),
        ("[b:c:0.5]", 5, ["b", "b", "c", "c", "c"]),
        ("[c:3]d", 4, ["d", "d", "d", "cd"]),
        ("[c::1]d", 3, ["cd", "d", "d"]),
        ("[a|b|c]", 4, ["a", "b", "c", "a"]),
        ("[a|]", 2, ["a", ""]),
        ("[a:[b:c:3]:1]", 4, ["a", "b", "b", "c"]),
        ("[[a|b]:c:2]", 3, ["a", "b", "c"]),
        ("[(a:1.2):b:1]", 2, ["(a:1.2)", "b"]),
        ("([a:b:1]:1.2)", 2, ["(a:1.2)", "(b:1.2)"]),
        ("[a\\:b:c:1]", 2, ["a\\:b", "c"]),
        ("[a:b: 1e0 ]", 2, ["a", "b"]),
        # Never, and always:
        ("[a:b:0]", 2, ["b", "b"]),
        ("[a:b:-3]", 2, ["b", "b"]),
        ("[a:b:1e400]", 2, ["a", "a"]),
        # No changes, but weights or words:
        ("[a] [a:b] [a:b:c] [a|b:1] a|b :) [(a:1]", 1, ["[a] [a:b] [a:b:c] [a|b:1] a|b :) [(a:1]"]),
        ("[a [b:c:1]", 2, ["[a b", "[a c"]),
    ],
)
def test_a_prompt_is_what_its_step_says(text: str, steps: int, by_step: list[str]) -> None:
    assert by_step == [text_at(text, step, steps) for step in range(steps)]


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a (cat:1.2)", ("a (cat:1.2)",)),
        ("[a:b:0.1][c:d:0.2][e:f:0.3]", ("ace", "bce", "bde", "bdf")),
        ("[[a:b:5]:c:3]", ("a", "c")),
        ("[a|b][c:d:1]", ("ac", "ad", "bd")),
        ("[a|a]", ("a",)),
    ],
)
def test_only_texts_that_can_occur_are_encoded(text: str, texts: tuple[str, ...]) -> None:
    assert texts == scripted(text)[0]


@pytest.mark.parametrize(
    "text", ["[a|b|c][d|e|f|g|h][i|j|k|l|m|n|o]", "[a|b]" * 5 + "[c:d:0.001]" + "|".join(["[x"] + ["y"] * 200) + "]"]
)
def test_too_many_changes_are_refused_with_their_limit(text: str) -> None:
    with pytest.raises(StepError, match=f"changes in more than {MOST_VARIANTS} ways"):
        scripted(text)


def test_no_text_is_made_of_a_prompt_that_changes_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "_text", None)  # each is as long as the prompt, and there would be thousands

    with pytest.raises(StepError, match="changes in more than"):
        scripted("".join(f"[a:b:{at / 100}][c:d:{at * 10}]" for at in range(1, 45)))


@given(st.text(st.sampled_from("()[]\\ a1")))
def test_brackets_alone_change_nothing(text: str) -> None:
    assert ((text,), "") == scripted(text)


@dataclass(frozen=True)
class Swapped:
    before: Tree
    after: Tree
    when: float


@dataclass(frozen=True)
class Turned:
    options: tuple[Tree, ...]


@dataclass(frozen=True)
class Weighed:
    inside: Tree


Tree = str | Swapped | Turned | Weighed | tuple["Tree", ...]

WORDS = st.sampled_from(["cat", "dog ", " a, b", "\\[x\\]", "red", ""])
WHEN = st.one_of(st.sampled_from([0.25, 0.5, 0.6, 0.99]), st.integers(1, 12).map(float))
TREES: st.SearchStrategy[Tree] = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.builds(Swapped, inner, inner, WHEN),
        st.builds(Turned, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Weighed, inner),
        st.tuples(inner, inner),
    ),
    max_leaves=6,
)


def written(tree: Tree) -> str:
    match tree:
        case Swapped(before, after, when):
            return f"[{written(before)}:{written(after)}:{when:g}]"
        case Turned(options):
            return f"[{'|'.join(map(written, options))}]"
        case Weighed(inside):
            return f"({written(inside)}:1.2)"
        case str():
            return tree
    return "".join(map(written, tree))


def evaluated(tree: Tree, step: int, steps: int) -> str:
    match tree:
        case Swapped(before, after, when):
            until = int(when * steps) if when < 1 else int(when)
            return evaluated(before if step < until else after, step, steps)
        case Turned(options):
            return evaluated(options[step % len(options)], step, steps)
        case Weighed(inside):
            return f"({evaluated(inside, step, steps)}:1.2)"
        case str():
            return tree
    return "".join(evaluated(part, step, steps) for part in tree)


@given(TREES, st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_every_step_sees_what_its_prompt_says(tree: Tree, steps: int) -> None:
    texts, script = scripted(written(tree))

    seen = [texts[variant_at(script, step, steps)] for step in range(steps)]
    assert [evaluated(tree, step, steps) for step in range(steps)] == seen
    assert len(texts) == len(set(texts))


def test_the_longest_run_has_a_text_for_each_step() -> None:
    texts, script = scripted("[a:b:1000][c:d:5000][e:f:0.9999]")

    assert {"ace", "bce", "acf", "bcf"} >= set(texts)
    assert "bcf" == texts[variant_at(script, MOST_STEPS - 1, MOST_STEPS)]
