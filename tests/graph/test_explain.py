"""Why a node runs: the field, file or version that began it, old and new, and the run it is compared with."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from graph.contrast import contrast
from graph.events import NodeStarted
from graph.inquiry import Told, inquire
from graph.node import Node
from graph.plan import plan
from graph.registry import Registry
from graph.views import why_json, why_text
from tests.graph.lab import REGISTRY, Heard, Lab, Say

CHAIN = """
    params: {who: world, loud: false}
    nodes:
      word:  {use: say, text: $who, upper: $loud}
      clean: {use: trim, text: $word}
      twice: {use: join, a: $clean, b: $clean}
      other: {use: say, text: fixed}
      both:  {use: join, a: $other, b: $twice}
    """


def told(lab: Lab, text: str, node: str, /, **settings: str) -> Told:
    cache = lab.open()
    try:
        return inquire(plan(lab.graph(text, **settings), cache, lab.world(cache)), node, cache)
    finally:
        cache.close()


def why(lab: Lab, text: str, node: str, /, **settings: str) -> str:
    """What is told to people, without its times."""
    shown = why_text(told(lab, text, node, **settings))
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", shown)


def reasons(lab: Lab, text: str, /, **settings: str) -> Mapping[str, str]:
    """The one line that a plan has for each node."""
    return {part.step.name: part.why for part in lab.plan(text, **settings).steps}


def said(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


# What changed in the node itself


def test_a_field_is_told_with_both_values(lab: Lab) -> None:
    lab.run(CHAIN)

    assert 'text was "world", is now "you"' == reasons(lab, CHAIN, who="you")["word"]
    assert said("""
        word runs, because since the run of lab at TIME:
          text was "world", is now "you"
        """) == why(lab, CHAIN, "word", who="you")


def test_several_fields_are_all_told(lab: Lab) -> None:
    lab.run(CHAIN)

    assert (
        'text was "world", is now "you"; upper was false, is now true'
        == (reasons(lab, CHAIN, who="you", loud="true")["word"])
    )


def test_a_plan_names_three_changes_and_counts_the_rest(lab: Lab) -> None:
    lab.run("nodes: {p: {use: paint}}")
    changed = "nodes: {p: {use: paint, colour: blue, size: 4, fit: contain, ratio: 0.5}}"

    assert (
        'colour was "red", is now "blue"; fit was "cover", is now "contain"; ratio was 1.0, is now 0.5; and 1 more'
        == reasons(lab, changed)["p"]
    )
    assert 5 == len(why(lab, changed, "p").splitlines())


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (1, 2, "was 1, is now 2"),
        (None, "x", 'was nothing, is now "x"'),
        ("red", "blue", 'was "red", is now "blue"'),
        (
            "a painting of a sunset over the sea with a boat on the left",
            "a painting of a sunset over the sea with a boat on the right",
            'is "… boat on the [left -> right]"',
        ),
        (
            "a painting of a sunset over the sea with a boat on the left",
            "an etching of a sunset over the sea with a small boat on the left",
            'is "[a painting -> an etching] of a sunset … sea with a [+ small] boat on the left"',
        ),
        (
            "one two three four five six seven eight nine ten eleven",
            "one two three four five six seven eight nine ten",
            'is "… eight nine ten [- eleven]"',
        ),
        (
            "a  painting of a sunset over the sea, with a boat",
            "a painting of a sunset over the sea, with a boat",
            "differs in white space alone",
        ),
        (
            "a painting of a sunset over the sea with a boat",
            "three grey cats",
            'was "a painting of a sunset over the sea with a boat", is now "three grey cats"',
        ),
        ("x" * 100, "y" * 100, f'was "{"x" * 57}…", is now "{"y" * 57}…"'),
    ],
    ids=["number", "absent", "short", "last-word", "two-places", "less", "white-space", "nothing-shared", "one-word"],
)
def test_values_are_told_by_where_they_differ(before: object, now: object, expected: str) -> None:
    assert expected == contrast(before, now)


def test_long_differences_are_told_in_a_line(lab: Lab) -> None:
    before = " ".join(f"a{at}" for at in range(3000))
    now = " ".join([*(f"b{at}" for at in range(1000)), *(f"a{at}" for at in range(1000, 3000))])

    assert 200 > len(contrast(before, now))


def test_a_file_is_told_by_its_names(lab: Lab) -> None:
    (lab.folder / "one.txt").write_text("one")
    (lab.folder / "two.txt").write_text("two")
    text = "params: {file: {type: path, default: one.txt}}\nnodes: {a: {use: open, path: $file}}"
    lab.run(text)

    assert "path was one.txt, is now two.txt" == reasons(lab, text, file=str(lab.folder / "two.txt"))["a"].replace(
        f"{lab.folder}/", ""
    )


def test_a_file_that_holds_something_else_is_told_by_that(lab: Lab) -> None:
    (lab.folder / "one.txt").write_text("one")
    text = "nodes: {a: {use: open, path: one.txt}, b: {use: trim, text: $a}}"
    lab.run(text)
    (lab.folder / "one.txt").write_text("two")

    assert "path: the content of one.txt changed (sha256 7692c3ad3540…, now 3fc4ccfe7458…)" == reasons(lab, text)["a"]


def test_the_same_file_under_another_name_is_no_change(lab: Lab) -> None:
    for name in ("one.txt", "two.txt"):
        (lab.folder / name).write_text("one")
    lab.run("nodes: {a: {use: open, path: one.txt}}")

    assert "computed just now" == reasons(lab, "nodes: {a: {use: open, path: two.txt}}")["a"]


def changed_lab(lab: Lab, node: type[Node]) -> Lab:
    """The laboratory with another class for one kind."""
    return replace(lab, registry=Registry(MappingProxyType({**REGISTRY.kinds, node.kind: node})))


class NewSay(Say, kind="say", version=2):
    """Give a text, otherwise."""


def test_a_version_is_told_with_the_kind(lab: Lab) -> None:
    lab.run(CHAIN)

    told = reasons(changed_lab(lab, NewSay), CHAIN)["word"]

    assert "version of say was 1, is now 2; its code changed (tests/graph/test_explain.py)" == told


def test_another_kind_is_told_and_nothing_else(lab: Lab) -> None:
    lab.run("nodes: {a: {use: say, text: x}}")

    assert "it was a say, is now a dice" == reasons(lab, "nodes: {a: {use: dice}}")["a"]


def test_another_output_folder_is_told(lab: Lab) -> None:
    text = "nodes: {a: {use: paint}, b: {use: write, image: $a}}"
    lab.run(text)
    cache = lab.open()
    moved = plan(lab.graph(text), cache, replace(lab.world(cache), folder=Path("/elsewhere")))
    cache.close()

    assert f"the output folder was {lab.folder / 'out'}, is now /elsewhere" == moved.steps[1].why


# What changed before it


def test_a_changed_input_is_followed_to_where_it_began(lab: Lab) -> None:
    lab.run(CHAIN)
    lab.run(CHAIN, only="clean", who="you")

    assert said("""
        twice runs, because since the run of lab at TIME:
          a brings another value ($clean)
            word.text was "world", is now "you"
          b brings another value ($clean)
            word.text was "world", is now "you"
        """) == why(lab, CHAIN, "twice", who="you")


def test_a_node_that_waits_is_told_the_first_causes(lab: Lab) -> None:
    lab.run(CHAIN)

    assert "waits for twice" == reasons(lab, CHAIN, who="you")["both"]
    assert said("""
        both waits for twice
          word runs, because since the run of lab at TIME:
            text was "world", is now "you"
        """) == why(lab, CHAIN, "both", who="you")


def test_an_input_of_another_node_is_told_with_both(lab: Lab) -> None:
    lab.run(CHAIN)
    changed = CHAIN.replace("b: $twice", "b: $clean")

    assert "b came from $twice, comes from $clean now" == reasons(lab, changed)["both"]


def test_a_choice_that_falls_otherwise_is_told(lab: Lab) -> None:
    text = """
        params: {loud: false}
        nodes:
          a: {use: say, text: x}
          b: {use: say, text: y, when: $loud}
          c: {use: trim, text: {first: [$b, $a]}}
        """
    lab.run(text)
    lab.run(text, only="b", loud="true")

    assert "text came from $a, comes from $b now" == reasons(lab, text, loud="true")["c"]


def test_inputs_that_come_and_go_are_told(lab: Lab) -> None:
    more = "nodes: {a: {use: say, text: x}, b: {use: join, a: $a, b: $a}}"
    less = "nodes: {a: {use: say, text: x}, b: {use: join, a: $a}}"

    lab.run(more)
    assert "b is no longer given" == reasons(lab, less)["b"]
    lab.run(less, force=["b"])
    assert "computed just now" == reasons(lab, more)["b"]
    assert "b was not given, and is now ($a)" in why(lab, more, "b")


def test_of_a_list_the_item_that_changed_is_followed(lab: Lab) -> None:
    text = """
        params: {two: b}
        nodes:
          a: {use: say, text: a}
          b: {use: say, text: $two}
          all: {use: join_all, texts: [$a, $b]}
        """
    lab.run(text)
    lab.run(text, only="b", two="c")

    assert said("""
        all runs, because since the run of lab at TIME:
          texts brings another value ($a, $b)
            b.text was "b", is now "c"
        """) == why(lab, text, "all", two="c")
    assert "texts had 2 values, has 1 now ($a)" == reasons(lab, text.replace("[$a, $b]", "[$a]"))["all"]


def test_what_is_computed_at_every_run_is_a_cause(lab: Lab) -> None:
    text = "nodes: {a: {use: dice, cache: false}, b: {use: join, a: '${a}', b: x}, c: {use: trim, text: $b}}"
    lab.run(text)

    assert "cache: false" == reasons(lab, text)["a"]
    assert said("""
        c waits for b
          a runs: cache: false
        """) == why(lab, text, "c")


def test_a_chain_of_any_length_is_followed(lab: Lab) -> None:
    links = "\n".join(f"  n{at}: {{use: join, a: $n{at - 1}, between: '{at}'}}" for at in range(1, 900))
    text = f"params: {{w: x}}\nnodes:\n  n0: {{use: say, text: $w}}\n{links}"
    lab.run(text)
    heard = Heard()
    lab.run(text, heard, only="n898", w="y")

    started = [event.why for event in heard.events if isinstance(event, NodeStarted)]
    assert ['text was "x", is now "y"', *['n0.text was "x", is now "y"'] * 898] == started
    assert 'a brings another value ($n898)\n    n0.text was "x", is now "y"' in why(lab, text, "n899", w="y")


# When nothing changed


def test_a_node_that_never_ran_is_told_what_it_is_most_like(lab: Lab) -> None:
    lab.run(CHAIN)
    renamed = CHAIN.replace("other: {use: say, text: fixed}", "title: {use: say, text: fixed, times: 2}").replace(
        "$other", "$title"
    )

    assert "never run before" == reasons(lab, renamed)["title"]
    assert said("""
        title runs: never run before
          it is most like other of lab, computed at TIME, but:
            times was 1, is now 2
        """) == why(lab, renamed, "title")


def test_a_node_that_is_like_nothing_says_no_more(lab: Lab) -> None:
    assert "word runs: never run before" == why(lab, CHAIN, "word")


def test_a_renamed_node_is_told_what_it_was_computed_as(lab: Lab) -> None:
    lab.run(CHAIN)
    renamed = CHAIN.replace("other:", "title:").replace("$other", "$title")

    assert "title is cached: computed just now, as other of lab" == why(lab, renamed, "title")


def test_a_forced_node_says_so(lab: Lab) -> None:
    lab.run(CHAIN)

    assert "forced" == lab.plan(CHAIN, ["word"]).steps[0].why


def test_a_file_that_is_gone_or_changed_is_named(lab: Lab) -> None:
    text = "nodes: {a: {use: paint}, b: {use: write, image: $a}}"
    lab.run(text)
    file = lab.folder / "out" / "b.png"

    file.write_bytes(b"not this")
    assert "its file b.png was changed" == reasons(lab, text)["b"]
    file.unlink()
    assert "its file b.png is gone" == reasons(lab, text)["b"]


def test_a_result_that_was_removed_is_told(lab: Lab) -> None:
    lab.run("nodes: {a: {use: say, text: x}}")
    cache = lab.open()
    with cache._store.transaction() as index:  # type: ignore[attr-defined]  # as gc does after a year
        index.execute("DELETE FROM results")
    cache.close()

    assert "its result is no longer in the cache" == reasons(lab, "nodes: {a: {use: say, text: x}}")["a"]
    assert "what it was made from before is no longer known" == reasons(lab, "nodes: {a: {use: say, text: y}}")["a"]


def test_an_evicted_value_is_told(lab: Lab) -> None:
    text = "nodes: {a: {use: paint, size: 400}, b: {use: frame, image: $a}}"
    lab.run(text)
    for blob in lab.cache_folder.rglob("blobs/*/*"):
        blob.unlink()

    assert said("""
        a is cached: computed just now
          a value of it was evicted, and is made again if a node that runs takes it
        """) == why(lab, text, "a")


def test_a_hit_is_told_what_is_another_than_in_the_last_run(lab: Lab) -> None:
    lab.run(CHAIN)
    lab.run(CHAIN, who="you")

    assert said("""
        word is cached: computed just now
          unlike the run of lab at TIME:
            text was "you", is now "world"
        """) == why(lab, CHAIN, "word")


def test_programs_are_told_the_causes_as_fields(lab: Lab) -> None:
    lab.run(CHAIN)
    lab.run(CHAIN, only="clean", who="you")
    found = why_json(told(lab, CHAIN, "twice", who="you"))

    assert ["a", "b"] == [change["field"] for change in found["changes"]]
    assert [("word", "text", "world", "you")] * 2 == [
        tuple(cause[name] for name in ("node", "field", "before", "now")) for cause in found["causes"]
    ]
    assert ("lab", "twice") == (found["since"]["workflow"], found["since"]["node"])


def test_a_terminal_is_not_told_control_characters(lab: Lab) -> None:
    lab.run("nodes: {a: {use: say, text: one two three four five six seven eight nine ten}}")
    text = "nodes: {a: {use: say, text: one two three four five six seven eight nine \N{RIGHT-TO-LEFT OVERRIDE}ten}}"

    assert "[ten -> ·ten]" in why(lab, text, "a")


def test_one_list_in_place_of_a_list_of_values_is_told(lab: Lab) -> None:
    nodes = "nodes: {a: {use: say, text: x}, words: {use: split, text: x y}, all: {use: join_all, texts: %s}}"
    lab.run(nodes % "[$a, $a]")

    assert "texts" in why(lab, nodes % "$words", "all")
