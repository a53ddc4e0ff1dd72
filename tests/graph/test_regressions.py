"""Faults that were found by trying, each with the test that shows it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Self

import pytest
from PIL import Image
from pydantic import model_validator

from graph.codec import Blob
from graph.errors import Stopped, UsageError
from graph.events import Event, NodeFinished, NodeProgress
from graph.execute import execute
from graph.node import Context, Node
from graph.plan import plan
from graph.registry import Registry, find_nodes
from graph.rerun import workflow_of
from graph.values import ModelHandle, Picture
from tests.graph.lab import NODES, REGISTRY, Heard, Lab

_THROWN = itertools.count()
BROKEN: list[str] = []


class Fragile(Node, kind="fragile", version=1):
    """A large picture, unless it is broken."""

    def run(self, ctx: Context, text: str) -> Picture:
        if BROKEN:
            raise ZeroDivisionError(BROKEN[0])
        return Picture(Image.new("RGB", (128, 128), "red"))


class Widths(Node, kind="widths", version=1):
    """How wide a picture is, with a text behind."""

    def run(self, ctx: Context, image: Picture, text: str = "") -> str:
        return f"{image.width}{text}"


class LongDice(Node, kind="long_dice", version=1):
    """Another long text each time."""

    def run(self, ctx: Context) -> str:
        return str(next(_THROWN)) * 9000


class Half(Node, kind="half", version=1):
    """Half of a number."""

    def run(self, ctx: Context, number: float) -> float:
        return number / 2


class Even(Node, kind="even", version=1):
    """Two numbers that must be equal."""

    a: int = 0
    b: int = 0

    @model_validator(mode="after")
    def agree(self) -> Self:
        if self.a != self.b:
            raise ValueError("a and b must be equal")
        return self

    def run(self, ctx: Context) -> int:
        return self.a


class Folder(Node, kind="folder", version=1):
    """A parameter that no key can hold."""

    where: Path = Path("x")

    def run(self, ctx: Context) -> str:
        return str(self.where)


class Flag(Node, kind="flag", version=1):
    """Yes."""

    def run(self, ctx: Context) -> bool:
        return True


class Pair(Node, kind="pair", version=1):
    """Two pictures."""

    def run(self, ctx: Context) -> list[Picture]:
        return [Picture(Image.new("RGB", (8, 8), colour)) for colour in ("red", "blue")]


MORE = (Fragile, Widths, LongDice, Half, Even, Folder, Flag, Pair)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, Registry(MappingProxyType({node.kind: node for node in (*NODES, *MORE)})))


@pytest.fixture
def broken() -> Callable[[], None]:
    BROKEN.clear()
    return lambda: BROKEN.append("broken")


class Meanwhile(Heard):
    """Does something when a node is finished."""

    def __init__(self, node: str, do: Callable[[], object]) -> None:
        super().__init__()
        self._node, self._do = node, do

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, NodeFinished) and event.node == self._node:
            self._do()


def lose_all_blobs(lab: Lab) -> None:
    for path in lab.cache_folder.rglob("blobs/*/*"):
        path.unlink()
    with contextlib.closing(sqlite3.connect(lab.cache_folder / "v2" / "index")) as index:
        index.execute("DELETE FROM blobs")
        index.commit()


def test_a_condition_on_a_value_that_was_evicted_makes_it_again(lab: Lab) -> None:
    text = """
    nodes: {words: {use: split, text: a b c}, long: {use: say, when: $words.number > 2, text: long}}
    outputs: {long: $long}
    """
    lab.run(text)
    lose_all_blobs(lab)

    assert {"long": "long"} == lab.run(text).outputs


@pytest.mark.parametrize("long", ["times: $words.number", "when: $words.number == x", "text: $words.words.20"])
def test_what_another_node_gives_fails_a_node_and_not_the_plan(lab: Lab, long: str) -> None:
    text = f"""
    nodes:
      words: {{use: split, text: a b c d e f g h i j k}}
      long:  {{use: {"trim" if "words.20" in long else "say"}, {long}}}
      good:  {{use: say, text: fine}}
    """
    first = lab.run(text)
    second = lab.run(text)

    assert {"words": "run", "long": "failed", "good": "run"} == first.actions
    assert {"words": "hit", "long": "failed", "good": "hit"} == second.actions


def test_equal_steps_are_computed_once(lab: Lab) -> None:
    heard = Heard()
    text = "nodes: {a: {use: say, text: x}, b: {use: say, text: x}}"

    assert {"a": "run", "b": "hit"} == lab.run(text, heard).actions
    assert ["a"] == heard.started
    assert {"a": "run", "b": "run"} == lab.run(text, force=["a", "b"]).actions


def test_a_value_made_again_otherwise_enters_the_keys_of_all_its_takers(lab: Lab) -> None:
    lab.run("nodes: {dice: {use: long_dice}}")
    lose_all_blobs(lab)
    text = "nodes: {dice: {use: long_dice}, a: {use: trim, text: $dice}, b: {use: join, a: $dice, b: x}}"
    planned = {part.step.name: part.key for part in lab.plan(text).steps}
    heard = Heard()
    lab.run(text, heard)
    ran = {event.node: event.key for event in heard.events if isinstance(event, NodeFinished)}

    assert planned["dice"] == ran["dice"]
    assert planned["a"] != ran["a"]
    assert planned["b"] != ran["b"]


def test_a_file_that_changes_after_planning_is_not_remembered_as_what_it_was(lab: Lab) -> None:
    text = "nodes: {begin: {use: say}, note: {use: open, path: note.txt}}"
    note = lab.folder / "note.txt"
    note.write_text("old")
    lab.run(text, Meanwhile("begin", lambda: note.write_text("new")))
    note.write_text("old")

    assert "old" == lab.run(text).outputs["note"]


def test_what_fails_when_made_again_is_told_as_its_own_failure_and_once(lab: Lab, broken: Callable[[], None]) -> None:
    lab.run("nodes: {picture: {use: fragile, text: x}}")
    lose_all_blobs(lab)
    broken()
    result = lab.run("""
    nodes:
      picture: {use: fragile, text: x}
      one: {use: widths, image: $picture}
      two: {use: widths, image: $picture, text: t}
    """)

    assert {"picture": "failed", "one": "skipped", "two": "skipped"} == result.actions
    assert ["picture"] == [failure.node for failure in result.failures]


def test_what_fails_when_an_output_is_made_again_leaves_the_others(lab: Lab, broken: Callable[[], None]) -> None:
    text = "nodes: {picture: {use: fragile, text: x}, word: {use: say, text: w}}"
    lab.run(text)
    lose_all_blobs(lab)
    (lab.folder / "out" / "lab-00001.png").unlink()
    broken()
    result = lab.run(text)

    assert not result.ok
    assert {"word": "w"} == result.outputs


def test_values_made_again_for_a_long_chain_are_let_go(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from graph import execute as execution

    links = "\n".join(f"      n{at}: {{use: join, a: $n{at - 1}, b: link {at}}}" for at in range(1, 40))
    text = f"""
    nodes:
      n0: {{use: say, text: {"x" * 9000}}}
{links}
    """
    lab.run(text)
    lose_all_blobs(lab)
    held: list[int] = []
    compute = execution._Run._compute

    def counted(run: execution._Run, *arguments: object) -> float:
        seconds = compute(run, *arguments)  # type: ignore[arg-type]  # handed on as they came
        held.append(len(run.held.given))
        return seconds

    monkeypatch.setattr(execution._Run, "_compute", counted)
    lab.run(text)

    assert 40 == len(held)
    assert 2 == max(held)


def test_a_stop_while_an_output_is_made_again_is_a_stop(lab: Lab) -> None:
    text = "nodes: {slow: {use: slow, text: x}}"
    lab.run(text)
    lose_all_blobs(lab)

    with pytest.raises(Stopped):
        lab.run(text, Heard(stop_at=NodeProgress))


def test_two_nodes_that_write_under_their_own_names_both_write(lab: Lab) -> None:
    text = "nodes: {p: {use: paint}, one: {use: write, image: $p}, two: {use: write, image: $p}}"
    lab.run(text)

    assert ["one.png", "two.png"] == sorted(path.name for path in (lab.folder / "out").iterdir())


def test_a_seed_in_the_name_of_a_file_is_a_number(lab: Lab) -> None:
    lab.run("""
    params: {seed: 42}
    nodes: {p: {use: paint}, w: {use: write, image: $p, path: "s{seed:06}.png"}}
    """)

    assert (lab.folder / "out" / "s000042.png").exists()


def test_a_source_file_that_went_away_keeps_no_picture_back(lab: Lab) -> None:
    note = lab.folder / "note.txt"
    note.write_text("x")
    text = "nodes: {note: {use: open, path: note.txt}, p: {use: paint}}"
    result = lab.run(text, Meanwhile("note", note.unlink))

    assert result.ok
    assert (lab.folder / "out" / "lab-00001.png").exists()


def test_an_output_may_be_one_item_of_a_list(lab: Lab) -> None:
    text = """
    nodes: {words: {use: split, text: a b}, pair: {use: pair}}
    outputs: {word: $words.words.1, blue: $pair.image.1}
    """
    result = lab.run(text)

    assert "b" == result.outputs["word"]
    assert (0, 0, 255) == result.outputs["blue"].pixels.getpixel((0, 0))
    assert ["word", "blue"] == [output.name for output in result.saved]
    assert ["saved", "kept"] == [output.action for output in lab.run(text).saved]


def test_an_item_that_is_not_there_fails_its_output_alone(lab: Lab) -> None:
    text = """
    nodes: {words: {use: split, text: a b}}
    outputs: {gone: $words.words.7, there: $words.words.0}
    """
    result = lab.run(text)

    assert {"there": "a"} == result.outputs
    assert "there are 2" in str(result.failures[0].error)


def test_outputs_of_unlike_types_are_told(lab: Lab) -> None:
    text = """
    params: {painted: false}
    nodes: {p: {use: paint, when: $painted}, t: {use: say}}
    outputs: {it: {first: [$p, $t]}}
    """
    assert ["wrong-type"] == [mistake.code for mistake in lab.mistakes(text)]


def test_a_param_among_the_first_of_several_is_told(lab: Lab) -> None:
    text = """
    params: {who: x}
    nodes: {a: {use: say}, b: {use: trim, text: {first: [$a, $who]}}}
    """
    assert "$who is a param" in str(lab.mistakes(text)[0])


def test_a_text_with_references_goes_into_a_port(lab: Lab) -> None:
    text = """
    params: {who: you}
    nodes:
      words: {use: split, text: a b}
      one: {use: trim, text: "hello ${who} "}
      two: {use: join_all, texts: ["${words.number} words", "for ${who}"]}
    outputs: {one: $one, two: $two}
    """
    assert {"one": "hello you", "two": "2 words for you"} == lab.run(text).outputs
    assert ["wrong-type"] == [mistake.code for mistake in lab.mistakes(text.replace("trim, text", "frame, image"))][:1]


def test_booleans_inside_texts_are_written_as_yaml_has_them(lab: Lab) -> None:
    assert "true" == lab.run("nodes: {f: {use: flag}, a: {use: trim, text: ' ${f}'}}").outputs["a"]


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_numbers_that_are_not_finite_reach_no_port(lab: Lab, number: str) -> None:
    plain = f"nodes: {{a: {{use: half, number: {number}}}}}"
    linked = f"""
    params: {{n: {{type: number, default: {number}}}}}
    nodes: {{a: {{use: half, number: $n}}}}
    """
    for text in (plain, linked):
        assert "takes a finite number" in str(lab.mistakes(text)[0])


def test_a_check_of_a_whole_node_is_told_in_its_own_words(lab: Lab) -> None:
    assert "a: a and b must be equal" == lab.mistakes("nodes: {a: {use: even, a: 1}}")[0].message
    linked = "nodes: {w: {use: split, text: x}, a: {use: even, a: $w.number}}"
    assert "a: a and b must be equal" in str(lab.run(linked).failures[0].error)


def test_a_parameter_that_no_key_can_hold_fails_its_node_alone(lab: Lab) -> None:
    result = lab.run("nodes: {a: {use: folder}, b: {use: say, text: fine}}")

    assert {"a": "failed", "b": "run"} == result.actions
    assert "a key cannot hold" in str(result.failures[0].error)


def test_the_home_of_nobody_is_a_missing_file(lab: Lab) -> None:
    found = lab.mistakes("nodes: {a: {use: open, path: ~nobody-has-this-name/x}}")

    assert [True] == [mistake.missing for mistake in found]


def test_many_mistakes_are_told_in_time_that_grows_with_their_number(lab: Lab) -> None:
    text = "\nnodes:\n" + "\n".join(f"  n{at}: {{use: trim, text: $m{at}}}" for at in range(3000)) + "\n"

    assert 3000 == len(lab.mistakes(text))


def test_many_values_lost_by_one_taker_are_made_again_in_turn(lab: Lab) -> None:
    many = ", ".join(f"$n{at}" for at in range(300))
    nodes = "\n".join(f"      n{at}: {{use: say, text: w{at}}}" for at in range(300))
    text = f"""
    params: {{who: x}}
    nodes:
{nodes}
      all: {{use: join_all, texts: [{many}, $who]}}
    outputs: {{all: $all}}
    """
    lab.run(text)
    lose_all_blobs(lab)
    heard = Heard()

    assert lab.run(text, heard, who="y").outputs["all"].endswith("w299 y")
    assert 301 == len(heard.started)


def test_a_plan_made_before_a_value_was_lost_is_carried_out(lab: Lab) -> None:
    text = "params: {end: '!'}\nnodes: {a: {use: long_dice}, b: {use: join, a: $a, b: $end}}"
    lab.run(text)
    cache = lab.open()
    decided = plan(lab.graph(text, end="?"), cache, lab.world(cache))
    cache.close()
    lose_all_blobs(lab)
    cache = lab.open()
    results = execute(decided, cache, Heard(), lab.world(cache), keep_values=True)
    cache.close()

    assert {"a": "run", "b": "run"} == results.actions


def test_a_path_that_a_node_gives_starts_at_the_workflows_folder(lab: Lab) -> None:
    (lab.folder / "note.txt").write_text("hello")

    assert {"o": "hello"} == lab.run("nodes: {n: {use: say, text: note.txt}, o: {use: open, path: $n}}").outputs


@pytest.mark.parametrize(
    ("argument", "result"),
    [("x: str", "tuple[str, int]"), ("x: str", "Nothing"), ("x: typing.List", "str"), ("x: 'typing.nope'", "str")],
    ids=["a tuple of unlike values", "no outputs", "a list of anything", "a name that is not there"],
)
def test_an_annotation_that_says_nothing_is_told_with_its_file(tmp_path: Path, argument: str, result: str) -> None:
    (tmp_path / "odd.py").write_text(f"""
import typing
from darkroom import Context, Node

class Nothing(typing.NamedTuple):
    pass

class Odd(Node, kind="odd", version=1):
    def run(self, ctx: Context, {argument}) -> {result}:
        return "x"
""")
    with pytest.raises(UsageError, match=r"odd\.py: the node odd cannot be used"):
        find_nodes("nodes", [tmp_path], plugins=False)


def test_weights_stay_while_a_step_to_come_takes_an_equal_handle(lab: Lab) -> None:
    text = """
    nodes:
      m1: {use: handle}
      m2: {use: handle}
      a: {use: borrow, model: $m1}
      b: {use: borrow, model: $m2, text: $a}
      c: {use: trim, text: $b}
    outputs: {c: $c}
    """
    told: list[str] = []
    cache = lab.open()
    registry = Registry(MappingProxyType({**REGISTRY.kinds, "handle": Handle, "borrow": Borrow}))
    decided = plan(Lab(lab.folder, registry).graph(text), cache, lab.world(cache))
    heard = Heard()
    execute(decided, cache, heard, lab.world(cache), release=lambda handle: told.append(",".join(heard.started)))
    cache.close()

    assert ["m1,a,b"] == told


def test_bytes_that_are_no_value_any_more_are_made_again(lab: Lab) -> None:
    text = "nodes: {a: {use: say, text: x}, b: {use: trim, text: $a}}"
    lab.run("nodes: {a: {use: say, text: x}}")
    cache = lab.open()
    result = next(iter(cache.results(cache.latest("lab").values()).values()))
    blob = Blob(hashlib.sha256(b"of another time").hexdigest(), b"of another time")
    cache.remember(result._replace(outputs=(blob.digest,)), [blob])
    cache.close()

    assert "x" == lab.run(text).outputs["b"]


def test_a_picture_that_others_only_wait_for_is_still_an_output(lab: Lab) -> None:
    text = "nodes: {p: {use: paint}, b: {use: say, text: x, after: [$p]}}"

    assert {"p", "b"} == set(lab.run(text).outputs)


def test_a_node_that_is_not_needed_cannot_be_forced(lab: Lab) -> None:
    text = "nodes: {a: {use: say}, b: {use: say, text: y}}\noutputs: {a: $a}"
    with pytest.raises(UsageError, match='the node "b" is not needed here'):
        lab.run(text, force=["b"])


class Handle(Node, kind="handle", version=1):
    """A model."""

    def run(self, ctx: Context) -> ModelHandle:
        return ModelHandle("digest", "unet", "toy")


class Borrow(Node, kind="borrow", version=1):
    """Use a model."""

    def run(self, ctx: Context, model: ModelHandle, text: str = "") -> str:
        return text + model.family


def test_a_picture_run_again_keeps_the_name_of_its_workflow(lab: Lab) -> None:
    lab.run("nodes: {a: {use: paint}}")
    workflow, _ = workflow_of(lab.folder / "out" / "lab-00001.png")

    assert "lab" == workflow.name


def test_a_node_without_ctx_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from darkroom import Node, Picture\n\n\nclass Odd(Node, kind='odd', version=1):\n"
        "    def run(self, image: Picture) -> Picture:\n        return image\n"
    )
    with pytest.raises(UsageError, match="the first argument of run must be ctx: Context"):
        find_nodes("nodes", [tmp_path], plugins=False)


def test_a_node_that_fails_when_it_is_made_again_keeps_its_last_key(lab: Lab, broken: Callable[[], None]) -> None:
    text = "nodes: {q: {use: fragile, text: x}, w: {use: widths, image: $q, text: one}}"
    lab.run(text)
    with contextlib.closing(lab.open()) as cache:
        before = cache.latest("lab")
    lose_all_blobs(lab)
    broken()

    actions = lab.run(text.replace("one", "two")).actions

    assert {"q": "failed", "w": "skipped"} == actions
    with contextlib.closing(lab.open()) as cache:
        assert before["q"] == cache.latest("lab").get("q")
