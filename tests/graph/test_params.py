"""What may be set from outside: typed as the param is, or told with its place."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import WorkflowError
from graph.workflow import Workflow, parse, set_params, set_values

SKETCH = """\
darkroom: 1
name: sketch
doc: Repaint a sketch.
params:
  prompt: a bird
  sketch: {type: path, default: bird.png}
  strength: {default: 0.8, min: 0, max: 1, doc: how much may change}
  method: {default: plms, choices: [plms, ddim]}
  seed: 42
  steps: {default: 20, min: 1, max: 100}
  enlarge: true
  label: {type: text, default: 017}
nodes:
  model: {use: load_model}
"""


def sound(text: str = SKETCH) -> Workflow:
    found = parse(text.encode(), "w.yaml", Path("/folder"))
    assert () == found.mistakes
    return found


def refusals(settings_: dict[str, str]) -> list[tuple[str, int, str]]:
    with pytest.raises(WorkflowError) as caught:
        set_params(sound(), settings_, Path("/here"))
    return [(m.message, m.place.column, m.hint) for m in caught.value.mistakes if m.place]


def test_set_types_each_text_as_its_param_is() -> None:
    given = {"seed": "0x10", "strength": "1", "enlarge": "false", "prompt": "42 $5", "sketch": "a.png"}

    found = set_params(sound(), given, Path("/here")).params

    assert [16, 1.0, False, "42 $5", "a.png"] == [found[name].value.value for name in given]
    assert (float, Path("/here"), "seed=0x10") == (
        type(found["strength"].value.value),
        found["sketch"].base,
        found["seed"].value.place.text,
    )


def test_set_leaves_the_given_workflow_as_it_was() -> None:
    before = sound()
    set_params(before, {"seed": "1"}, Path("/here"))

    assert sound() == before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seed", "1.5", 'seed takes an integer, but got "1.5"'),
        ("seed", "", 'seed takes an integer, but got ""'),
        ("seed", "true", 'seed takes an integer, but got "true"'),
        ("seed", "1e3", 'seed takes an integer, but got "1e3"'),
        ("strength", "half", 'strength takes a number, but got "half"'),
        ("strength", "1.01", "strength must be at least 0.0 and at most 1.0, but got 1.01"),
        ("strength", ".nan", "strength must be at least 0.0 and at most 1.0, but got nan"),
        ("strength", "9" * 400, f'strength takes a number, but got "{"9" * 57}..."'),
        ("steps", "1000000000", "steps must be at least 1 and at most 100, but got 1000000000"),
        ("enlarge", "yes", 'enlarge takes true or false, but got "yes"'),
        ("method", "dim", 'method has no choice "dim"'),
        ("prompt", "a\udcff", "U+DCFF is half of a surrogate pair, no text"),
    ],
)
def test_set_refuses_what_a_param_does_not_take(name: str, text: str, message: str) -> None:
    assert [(message, len(name) + 2)] == [told[:2] for told in refusals({name: text})]


def test_set_tells_all_mistakes_at_once() -> None:
    told = refusals({"sed": "1", "steps": "0", "enlarge": "1"})

    assert 3 == len(told)
    assert ('there is no param "sed"', 1, 'Did you mean "seed"?') in told


def test_random_draws_within_the_range_and_records_the_number() -> None:
    drawn = [set_params(sound(), {"steps": "random"}, Path()).params["steps"].value for _ in range(20)]

    assert all(isinstance(one.value, int) and 1 <= one.value <= 100 for one in drawn)
    assert [str(one.value) for one in drawn] == [one.text for one in drawn]


def test_random_draws_other_seeds() -> None:
    drawn = {set_params(sound(), {"seed": "random"}, Path()).params["seed"].value.value for _ in range(4)}

    assert 4 == len(drawn)


@pytest.mark.parametrize("bounds", ["min: -9, max: -5", "max: -5", "min: 9999999999", "choices: [-7, 9999999999]"])
def test_random_stays_in_any_range(bounds: str) -> None:
    default = 9999999999 if "min: 9" in bounds else -7
    found = sound(f"darkroom: 1\nparams: {{s: {{default: {default}, {bounds}}}}}\nnodes: {{n: {{use: k}}}}")

    drawn = set_params(found, {"s": "random"}, Path()).params["s"]

    assert isinstance(set_values(found, {"s": drawn.value.value}), Workflow)


def test_values_from_python_are_typed_as_the_params_are() -> None:
    given = {
        "seed": 7,
        "strength": 1,
        "enlarge": False,
        "prompt": "x",
        "sketch": Path("a.png"),
        "steps": "30",
    }

    found = set_values(sound(), given).params

    assert [7, 1.0, False, "x", "a.png", 30] == [found[name].value.value for name in given]
    assert Path.cwd() == found["sketch"].base


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("seed", True),
        ("seed", 1.0),
        ("seed", None),
        pytest.param("seed", 10**5000, id="a huge seed"),
        ("strength", float("nan")),
        ("strength", True),
        ("enlarge", 1),
        ("prompt", 42),
        ("prompt", b"x"),
        ("sketch", 1),
        ("steps", 0),
        ("seeed", 1),
    ],
)
def test_values_from_python_of_another_type_are_refused(name: str, given: object) -> None:
    with pytest.raises(WorkflowError) as caught:
        set_values(sound(), {name: given})

    assert ["bad-setting"] == [mistake.code for mistake in caught.value.mistakes]


@given(st.dictionaries(st.sampled_from(["seed", "strength", "enlarge", "method", "x"]), st.text(max_size=8)))
@settings(max_examples=100, deadline=None)
def test_any_setting_is_taken_or_told_of(given_: dict[str, str]) -> None:
    with contextlib.suppress(WorkflowError):
        set_params(sound(), given_, Path())
