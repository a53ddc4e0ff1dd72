"""Every mistake of a workflow is found at once, with its place and a way out, before anything runs."""

from __future__ import annotations

import time

import pytest

from graph.errors import WorkflowError
from graph.order import Cycle, ancestors, dependency_order
from graph.sources import Choice, Constant, From, Gather
from tests.graph.lab import Lab

ONE = """
nodes:
  a: {{use: {entry}}}
"""


def codes(lab: Lab, text: str) -> list[str]:
    return [mistake.code for mistake in lab.mistakes(text)]


def test_every_mistake_is_told_in_the_order_of_the_file(lab: Lab) -> None:
    text = """
    nodes:
      a: {use: sya, text: x}
      b: {use: trim, txet: $c}
      c: {use: say, times: 10}
      d: {use: frame, image: $c}
    """
    found = lab.mistakes(text)

    assert ["unknown-kind", "unknown-parameter", "bad-value", "wrong-type"] == [mistake.code for mistake in found]
    assert [(5, 12), (6, 18), (7, 24), (8, 26)] == [
        (mistake.place.line, mistake.place.column) for mistake in found if mistake.place
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("sya", 'Did you mean "say"?'),
        ("say, txet: hello", 'Did you mean "text"?'),
        ("say, times: 0", "The nearest valid value is 1."),
        ("say, times: 1.5", "not 1.5"),
        ('say, times: "2"', "Write it without quotes."),
        ("say, times: true", "takes a whole number from 1 to 9, not true"),
        ("say, upper: 1", "takes true or false, not 1"),
        ("paint, size: 13", "The nearest valid values are 12 and 16."),
        ("paint, size: 1000000000", "The nearest valid value is 4096."),
        ("paint, ratio: .nan", "Give a finite number."),
        ("paint, ratio: .inf", "Give a finite number."),
        ("paint, ratio: 0", "a number above 0 to 2, not 0"),
        ("paint, fit: stretch", "takes one of cover, contain"),
        ("open, path: nothing.txt", 'file "nothing.txt" is not there'),
        ("open", 'a open needs "path"'),
        ("say, device: cdua", 'Did you mean "cuda"?'),
    ],
)
def test_a_wrong_value_names_what_would_be_right(lab: Lab, entry: str, words: str) -> None:
    told = "\n".join(map(str, lab.mistakes(ONE.format(entry=entry))))

    assert words in told


def test_a_default_that_is_wrong_is_told_once(lab: Lab) -> None:
    text = """
    defaults: {say: {times: 0}}
    nodes: {a: {use: say}, b: {use: say}}
    """
    assert ["bad-value"] == codes(lab, text)


def test_defaults_name_kinds_and_parameters_that_exist(lab: Lab) -> None:
    text = """
    defaults: {sya: {text: x}, say: {txet: y}}
    nodes: {a: {use: say}}
    """
    assert ["unknown-kind", "unknown-parameter"] == codes(lab, text)


def test_a_missing_file_alone_exits_with_3(lab: Lab) -> None:
    with pytest.raises(WorkflowError) as caught:
        lab.graph("nodes: {a: {use: open, path: nothing.txt}}")

    assert 3 == caught.value.exit_code


def test_types_that_do_not_fit_name_both_ends_and_the_bridge(lab: Lab) -> None:
    text = """
    nodes:
      photo: {use: paint}
      latents: {use: encode, image: $photo}
      framed: {use: frame, image: $latents}
      again: {use: encode, image: $latents}
    """
    first = str(lab.mistakes(text)[0])

    assert "framed.image takes Picture, but $latents gives Latents" in first
    text = "nodes: {a: {use: say}, b: {use: encode, image: $a}}"
    assert "takes Picture, but $a gives text" in str(lab.mistakes(text)[0])


def test_a_list_into_one_port_says_how_to_take_one(lab: Lab) -> None:
    text = """
    nodes:
      a: {use: split, text: a b}
      b: {use: trim, text: $a}
    """
    assert "Take one of them: $a.0" in str(lab.mistakes(text)[0])


def test_one_value_into_a_list_port_says_to_make_a_list(lab: Lab) -> None:
    text = """
    nodes:
      a: {use: say}
      b: {use: join_all, texts: $a}
    """
    assert "Make a list of it: [$a]." in str(lab.mistakes(text)[0])


def test_references_that_lead_nowhere_are_named(lab: Lab) -> None:
    text = """
    params: {size: 8}
    nodes:
      a: {use: split, text: $b.words}
      b: {use: trim, text: $a.nubmer}
      c: {use: trim, text: $nobody}
      d: {use: trim, text: $size.big}
      e: {use: trim, text: $a.number.0}
    """
    assert ["unknown-output", "unknown-output", "unknown-reference", "bad-reference", "bad-reference"] == codes(
        lab, text
    )


def test_a_cycle_is_named_by_its_path(lab: Lab) -> None:
    text = """
    nodes:
      a: {use: trim, text: $c}
      b: {use: trim, text: $a}
      c: {use: trim, text: $b}
    """
    assert "a cycle: a -> c -> b -> a" == lab.mistakes(text)[0].message
    assert "a cycle: a -> a" == lab.mistakes("nodes: {a: {use: trim, text: $a}}")[0].message


def test_a_param_reaches_parameters_texts_and_ports(lab: Lab) -> None:
    text = """
    params: {who: world, times: 2}
    nodes:
      a: {use: say, text: "hello ${who} ${times}", times: $times}
      b: {use: trim, text: $who}
    """
    graph = lab.graph(text, times="3")

    assert {"text": "hello world 3", "times": 3} == graph.steps["a"].fixed
    assert Constant("world") == graph.steps["b"].inputs["text"]


def test_a_text_with_references_goes_into_text_ports_and_lists(lab: Lab) -> None:
    text = """
    params: {who: world}
    nodes:
      a: {use: trim, text: "hello ${who} "}
      b: {use: join_all, texts: ["${who}", "${a}!"]}
    """
    assert "world hello world!" == lab.run(text).outputs["b"]


def test_a_text_parameter_takes_the_source_text_of_a_scalar(lab: Lab) -> None:
    assert "1e3" == lab.graph("nodes: {a: {use: say, text: 1e3}}").steps["a"].fixed["text"]


def test_a_whole_number_serves_where_a_number_is_wanted(lab: Lab) -> None:
    ratio = lab.graph("nodes: {a: {use: paint, ratio: 2}}").steps["a"].fixed["ratio"]

    assert (2.0, float) == (ratio, type(ratio))


def test_sources_are_choices_lists_and_items(lab: Lab) -> None:
    text = """
    nodes:
      a: {use: split, text: a b c}
      b: {use: join_all, texts: [$a.words.2, {first: [$a.words.0, $a.words.1]}, plain]}
    """
    items = lab.graph(text).steps["b"].inputs["texts"]

    assert isinstance(items, Gather)
    assert [From, Choice, Constant] == [type(item) for item in items.items]


def test_nodes_that_no_output_needs_are_left_out_and_told(lab: Lab) -> None:
    text = """
    nodes: {a: {use: say}, b: {use: say, text: b}}
    outputs: {it: $a}
    """
    graph = lab.graph(text)

    assert ["a"] == list(graph.steps)
    assert ["b is not run: no output needs it"] == [warning.message for warning in graph.warnings]


def test_nodes_that_write_files_run_though_no_output_names_them(lab: Lab) -> None:
    text = """
    nodes: {a: {use: say}, p: {use: paint}, w: {use: write, image: $p}}
    outputs: {it: $a}
    """
    assert {"a", "p", "w"} == set(lab.graph(text).steps)


def test_only_keeps_what_a_node_needs(lab: Lab) -> None:
    text = "nodes: {a: {use: say}, b: {use: trim, text: $a}, c: {use: trim, text: $b}}"

    assert ["a", "b"] == list(lab.graph(text, "b").steps)


def test_a_chain_of_ten_thousand_is_wired_in_linear_time(lab: Lab) -> None:
    def chain(length: int) -> float:
        lines = "\n".join(f"  n{at}: {{use: trim, text: $n{at - 1}}}" for at in range(1, length))
        start = time.process_time()
        assert length == len(lab.graph(f"\nnodes:\n  n0: {{use: say}}\n{lines}\n").steps)
        return time.process_time() - start

    chain(100)
    assert chain(10_000) < 40 * chain(1_000)


def test_order_puts_needs_first_and_names_cycles() -> None:
    needs = {"c": ["b"], "b": ["a"], "a": []}

    assert ["a", "b", "c"] == dependency_order(needs)
    assert {"a", "b"} == ancestors(needs, ["b"])
    with pytest.raises(Cycle, match="x -> y -> x"):
        dependency_order({"x": ["y"], "y": ["x"]})
