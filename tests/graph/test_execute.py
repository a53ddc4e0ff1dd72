"""Runs: what is computed, what is not, what survives a failure, a stop, a lost blob."""

from __future__ import annotations

import pytest
from PIL import Image

from graph.errors import Stopped
from graph.events import NodeFinished, NodeProgress, NodeStarted, RunFinished
from graph.execute import execute
from graph.plan import plan
from graph.values import Picture
from tests.graph.lab import Heard, Lab

GREETING = """
params: {who: world}
nodes:
  word:  {use: say, text: $who}
  clean: {use: trim, text: $word}
  both:  {use: join, a: hello, b: $clean}
"""


def test_a_second_run_computes_nothing(lab: Lab) -> None:
    lab.run(GREETING)
    heard = Heard()
    result = lab.run(GREETING, heard)

    assert {"word": "hit", "clean": "hit", "both": "hit"} == result.actions
    assert [] == heard.started
    assert {"both": "hello-world"} == result.outputs


def test_equal_bytes_end_a_rerun_early(lab: Lab) -> None:
    lab.run(GREETING)

    assert {"word": "run", "clean": "run", "both": "hit"} == lab.actions(GREETING, who=" world ")


@pytest.mark.parametrize(
    "edited",
    [
        GREETING.replace("word", "noun"),
        GREETING.replace("nodes:", "nodes: # a comment"),
        GREETING.replace("text: $who}", "text: $who, times: 1, upper: false}"),
        "\nparams: {who: world}\nnodes:\n"
        "  both:  {use: join, b: $clean, a: hello}\n"
        "  clean: {text: $word, use: trim}\n"
        "  word:  {use: say, text: $who}\n",
        GREETING.replace("nodes:", "defaults: {say: {times: 1}}\nnodes:"),
    ],
    ids=["a node's name", "a comment", "defaults written out", "the order of the file", "a default moved"],
)
def test_what_changes_no_value_runs_nothing(lab: Lab, edited: str) -> None:
    lab.run(GREETING)

    assert {"hit"} == set(lab.actions(edited).values())


def test_a_change_runs_what_follows_from_it_and_nothing_else(lab: Lab) -> None:
    text = """
    params: {a: x, b: y}
    nodes:
      one: {use: say, text: $a}
      two: {use: say, text: $b}
      three: {use: join, a: $one, b: $two}
      four: {use: trim, text: $two}
    """
    lab.run(text)

    assert {"one": "run", "two": "hit", "three": "run", "four": "hit"} == lab.actions(text, a="z")


def test_going_back_to_an_earlier_value_computes_nothing(lab: Lab) -> None:
    lab.run(GREETING, who="a")
    lab.run(GREETING, who="b")

    assert {"hit"} == set(lab.actions(GREETING, who="a").values())


def test_a_number_a_float_and_a_boolean_share_no_key(lab: Lab) -> None:
    keys = []
    for text in ("size: 4", "ratio: 1", "size: 4, ratio: 1.5"):
        heard = Heard()
        lab.run(f"nodes: {{a: {{use: paint, {text}}}}}", heard)
        keys += [event.key for event in heard.events if isinstance(event, NodeFinished)]

    assert 3 == len(set(keys)) + (keys[1] == keys[0])


def test_a_changed_file_is_noticed_by_its_content_alone(lab: Lab) -> None:
    text = "nodes: {a: {use: open, path: note.txt}}"
    note = lab.folder / "note.txt"
    note.write_text("one")
    lab.run(text)
    note.write_text("two")
    assert "two" == lab.run(text).outputs["a"]
    note.rename(lab.folder / "other.txt")

    assert {"a": "hit"} == lab.actions(text.replace("note", "other"))


def test_a_failure_stops_what_needs_it_and_nothing_else(lab: Lab) -> None:
    text = """
    nodes:
      bad:   {use: fail, text: x}
      next:  {use: trim, text: $bad}
      last:  {use: trim, text: $next}
      good:  {use: say, text: fine}
    """
    result = lab.run(text)

    assert {"bad": "failed", "next": "skipped", "last": "skipped", "good": "run"} == result.actions
    assert not result.ok
    assert {"good": "fine"} == result.outputs
    assert ["bad"] == [failure.node for failure in result.failures]


def test_the_reason_of_a_skip_is_its_first_cause(lab: Lab) -> None:
    heard = Heard()
    lab.run("nodes: {a: {use: fail, text: x}, b: {use: trim, text: $a}, c: {use: trim, text: $b}}", heard)
    reasons = [event.why for event in heard.events if isinstance(event, NodeFinished) and event.action == "skipped"]

    assert ["a failed", "a failed"] == reasons


def test_a_bug_in_a_node_names_its_line_and_not_a_traceback(lab: Lab) -> None:
    heard = Heard()
    lab.run("nodes: {a: {use: fail, text: x, bug: true}}", heard)
    why = next(event.why for event in heard.events if isinstance(event, NodeFinished))

    assert "ZeroDivisionError: a bug (" in why
    assert "lab.py:" in why


def test_a_stop_ends_within_a_step_and_keeps_what_is_finished(lab: Lab) -> None:
    text = "nodes: {a: {use: say, text: x}, b: {use: slow, text: $a}, c: {use: trim, text: $b}}"
    heard = Heard(stop_at=NodeProgress)
    with pytest.raises(Stopped) as caught:
        lab.run(text, heard)

    assert 130 == caught.value.exit_code
    assert 1 == len([event for event in heard.events if isinstance(event, NodeProgress)])
    assert [False] == [event.ok for event in heard.events if isinstance(event, RunFinished)]
    assert {"a": "hit", "b": "run", "c": "run"} == lab.actions(text)


def test_a_skipped_branch_skips_its_consumers_unless_they_take_the_first_of_several(lab: Lab) -> None:
    text = """
    params: {big: false, n: 3}
    nodes:
      small: {use: say, text: s}
      large: {use: say, when: $big, text: l}
      next:  {use: trim, text: $large}
      one:   {use: trim, text: {first: [$large, $small]}}
      many:  {use: say, when: $n > 2 and not $big, text: m}
    """
    result = lab.run(text)

    assert {"small": "run", "large": "skipped", "next": "skipped", "one": "run", "many": "run"} == result.actions
    assert "s" == result.outputs["one"]
    assert "l" == lab.run(text, big="true").outputs["one"]


def test_a_condition_may_ask_for_what_a_node_gives(lab: Lab) -> None:
    text = """
    params: {text: a b c}
    nodes:
      words: {use: split, text: $text}
      long:  {use: say, when: $words.number > 2, text: long}
    outputs: {long: $long}
    """
    assert {"long": "long"} == lab.run(text).outputs
    assert {} == lab.run(text, text="a").outputs


def test_a_parameter_may_come_from_a_node_and_is_checked_then(lab: Lab) -> None:
    text = """
    params: {text: a b c}
    nodes:
      words: {use: split, text: $text}
      again: {use: say, text: "${words.number} of x", times: $words.number}
    """
    assert "3 of x3 of x3 of x" == lab.run(text).outputs["again"]
    result = lab.run(text, text=" ".join("abcdefghijkl"))
    assert "takes a whole number from 1 to 9, not 12" in str(result.failures[0].error)


def test_a_node_that_writes_into_its_input_changes_nobody_elses(lab: Lab) -> None:
    text = "nodes: {a: {use: paint}, b: {use: frame, image: $a}, c: {use: frame, image: $a}}"
    outputs = lab.run(f"{text}\noutputs: {{a: $a, b: $b}}").outputs

    assert Picture(Image.new("RGB", (8, 8), "red")) == outputs["a"]
    assert (1, 2, 3) == outputs["b"].pixels.getpixel((0, 0))


def test_a_lost_blob_is_made_again_only_where_it_is_taken(lab: Lab) -> None:
    text = """
    params: {between: "-"}
    nodes:
      a: {use: paint, size: 256}
      b: {use: frame, image: $a}
      c: {use: encode, image: $b}
    outputs: {c: $c}
    """
    lab.run(text)
    lose_blobs(lab)
    heard = Heard()
    result = lab.run(text, heard)

    assert ["a", "b", "c"] == heard.started
    assert {"a": "run", "b": "run", "c": "run"} == result.actions


def test_lost_blobs_that_nobody_takes_stay_lost(lab: Lab) -> None:
    text = """
    params: {word: x}
    nodes: {a: {use: paint, size: 256}, b: {use: frame, image: $a}, c: {use: say, text: $word}}
    outputs: {c: $c}
    """
    lab.run(text + "    # all\n")
    lose_blobs(lab)

    assert {"c": "run"} == lab.actions(text, word="y")


def test_a_chain_of_ten_thousand_lost_blobs_is_made_again(lab: Lab) -> None:
    lines = "\n".join(f"  n{at}: {{use: trim, text: $n{at - 1}}}" for at in range(1, 3000))
    text = f"\nnodes:\n  n0: {{use: say, text: x}}\n{lines}\n"

    assert {"n2999": "x"} == lab.run(text).outputs


def test_outputs_are_kept_while_they_stand_and_made_again_when_not(lab: Lab) -> None:
    text = "nodes: {a: {use: paint}, b: {use: frame, image: $a}}"
    first = lab.run(text).saved
    second = lab.run(text).saved
    (lab.folder / "out" / "lab-00001.png").unlink()
    third = lab.run(text)

    assert ["saved", "kept", "saved"] == [first[0].action, second[0].action, third.saved[0].action]
    assert {"hit"} == set(third.actions.values())
    assert (lab.folder / "out" / "lab-00001.png").exists()


def test_an_altered_output_is_made_again_beside_the_altered_one(lab: Lab) -> None:
    text = "nodes: {a: {use: paint}}"
    lab.run(text)
    altered = lab.folder / "out" / "lab-00001.png"
    altered.write_bytes(b"mine")
    lab.run(text)

    assert b"mine" == altered.read_bytes()
    assert (lab.folder / "out" / "lab-00002.png").exists()


def test_a_node_that_writes_runs_again_when_its_file_is_gone(lab: Lab) -> None:
    text = "nodes: {a: {use: paint}, w: {use: write, image: $a}}"
    lab.run(text)
    assert {"a": "hit", "w": "hit"} == lab.actions(text)
    (lab.folder / "out" / "w.png").unlink()

    assert {"a": "hit", "w": "run"} == lab.actions(text)
    assert (lab.folder / "out" / "w.png").exists()


def test_force_runs_a_node_and_stops_at_equal_bytes(lab: Lab) -> None:
    lab.run(GREETING)

    assert {"word": "run", "clean": "hit", "both": "hit"} == lab.run(GREETING, force=["word"]).actions


def test_a_node_that_is_not_to_be_cached_runs_every_time(lab: Lab) -> None:
    text = "nodes: {a: {use: say, text: x, cache: false}, b: {use: trim, text: $a}}"
    lab.run(text)

    assert {"a": "run", "b": "hit"} == lab.actions(text)


def test_other_values_for_the_same_key_are_reported(lab: Lab) -> None:
    text = "nodes: {a: {use: dice}}"
    lab.run(text)
    heard = Heard()
    lab.run(text, heard, force=["a"])

    assert ["a dice gave other values for the same inputs than before: it is not deterministic"] == heard.warnings


def test_a_plan_that_waits_is_carried_out(lab: Lab) -> None:
    decided = lab.plan(GREETING)
    assert ["run", "unknown", "unknown"] == [part.action for part in decided.steps]
    cache = lab.open()
    results = execute(decided, cache, Heard(), lab.world(cache), keep_values=True)
    cache.close()

    assert {"both": "hello-world"} == results.outputs


def test_values_are_let_go_after_their_last_taker(lab: Lab) -> None:
    text = "nodes: {a: {use: say}, b: {use: trim, text: $a}, c: {use: trim, text: $b}, d: {use: join, a: $a, b: $c}}"

    assert {"c": (("b", 0),), "d": (("a", 0), ("c", 0))} == lab.plan(text).releases


def test_each_output_of_a_step_is_let_go_by_itself(lab: Lab) -> None:
    text = """
    nodes:
      a: {use: split, text: x y}
      b: {use: join_all, texts: $a.words}
      c: {use: join, a: $b, b: "${a.number}"}
    """
    assert ("a", 0) in lab.plan(text).releases["b"]
    assert ("a", 1) not in lab.plan(text).releases["b"]


def test_a_plan_says_why(lab: Lab) -> None:
    lab.run(GREETING)
    why = {part.step.name: part.why for part in lab.plan(GREETING, who="you").steps}

    assert 'text was "world", is now "you"' == why["word"]
    assert "waits for word" == why["clean"]
    assert "computed just now" == {part.step.name: part.why for part in lab.plan(GREETING).steps}["word"]
    cache = lab.open()
    assert (
        "never run before"
        == plan(lab.graph(GREETING.replace("word", "noun"), who="z"), cache, lab.world(cache)).steps[0].why
    )
    cache.close()


def test_a_started_node_says_why(lab: Lab) -> None:
    lab.run(GREETING)
    heard = Heard()
    lab.run(GREETING, heard, who="you")

    assert [
        'text was "world", is now "you"',
        'word.text was "world", is now "you"',
        'word.text was "world", is now "you"',
    ] == [event.why for event in heard.events if isinstance(event, NodeStarted)]


def lose_blobs(lab: Lab) -> None:
    """Evict every large blob, as a collector would."""
    for path in (lab.cache_folder).rglob("blobs/*/*"):
        path.unlink()
