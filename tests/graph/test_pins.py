"""What is pinned stays, whatever gc is asked for, until it is let go of."""

from __future__ import annotations

import sqlite3

import pytest

from graph.errors import UsageError
from graph.gathered import gather
from graph.pins import is_key, pin_result, pin_workflow, pins, unpin
from graph.upkeep import clear, gc, size
from tests.graph.lab import Lab

WORKFLOW = """
nodes:
  a: {use: say, text: one}
  b: {use: paint, size: 64}
  c: {use: frame, image: $b}
outputs: {said: $a, painted: $c}
"""


@pytest.fixture
def after(lab: Lab) -> Lab:
    """Hours after a run."""
    lab.run(WORKFLOW)
    hours_pass(lab)
    return lab


def hours_pass(lab: Lab) -> None:
    index = sqlite3.connect(lab.cache_folder / "v2" / "index")
    with index:
        index.execute("UPDATE blobs SET used = used - 7200")
    index.close()


def pin(lab: Lab, name: str = "") -> int:
    return pin_workflow(lab.cache_folder, pytest.fail, gather(lab.plan(WORKFLOW)), name).pin.blobs


def evict_all(lab: Lab) -> int:
    """How many values gc leaves."""
    hours_pass(lab)
    return gc(lab.cache_folder, pytest.fail, most_bytes=0, most_age=0).kept_blobs


def test_what_is_pinned_is_never_evicted(after: Lab) -> None:
    pin(after)

    assert 3 == evict_all(after)
    assert {"hit"} == set(after.actions(WORKFLOW).values())


def test_what_is_let_go_of_is_evicted(after: Lab) -> None:
    pin(after)
    unpin(after.cache_folder, pytest.fail, "lab")

    assert 0 == evict_all(after)


def test_a_value_stays_as_long_as_one_pin_has_it(after: Lab) -> None:
    pin(after)
    pin(after, "again")
    unpin(after.cache_folder, pytest.fail, "lab")

    assert 3 == evict_all(after)


def test_to_pin_again_pins_the_workflow_as_it_is_now(after: Lab) -> None:
    pin(after)
    after.run(WORKFLOW.replace("one", "two"))
    now = gather(after.plan(WORKFLOW.replace("one", "two")))
    pin_workflow(after.cache_folder, pytest.fail, now)
    evict_all(after)

    assert [3] == [pin.blobs for pin in pins(after.cache_folder, pytest.fail).pins]
    assert now.digests == {row[0] for row in rows(after)}


def rows(lab: Lab) -> list[tuple[str]]:
    index = sqlite3.connect(lab.cache_folder / "v2" / "index")
    found = index.execute("SELECT digest FROM blobs").fetchall()
    index.close()
    return found


def test_one_result_is_pinned_by_the_beginning_of_its_key(after: Lab) -> None:
    key = next(part.key for part in after.plan(WORKFLOW).steps if part.step.name == "c")
    pinned = pin_result(after.cache_folder, pytest.fail, key[:8])

    assert (key[:12], 1, 1) == (pinned.pin.name, pinned.pin.blobs, evict_all(after))


def test_a_key_that_is_not_there_is_told(after: Lab) -> None:
    with pytest.raises(UsageError, match='no result has a key that begins with "000000"'):
        pin_result(after.cache_folder, pytest.fail, "000000")


def test_a_workflow_that_never_ran_cannot_be_pinned(after: Lab) -> None:
    with pytest.raises(UsageError, match="Run it first"):
        gather(after.plan("nodes: {x: {use: say, text: never}}"))


def test_nodes_that_are_not_computed_are_named(after: Lab) -> None:
    gathered = gather(after.plan(WORKFLOW.replace("size: 64", "size: 32")))

    assert ("b", "c") == gathered.missing


def test_what_was_evicted_before_is_pinned_for_when_it_is_made_again(after: Lab) -> None:
    evict_all(after)

    assert 0 == pin(after)
    after.run(WORKFLOW, force=["a", "b", "c"])
    assert 3 == evict_all(after)


def test_a_name_that_is_not_pinned_is_told_with_one_that_is(after: Lab) -> None:
    pin(after, "print")
    with pytest.raises(UsageError, match=r'nothing is pinned as "prnt"(.|\n)*"print"'):
        unpin(after.cache_folder, pytest.fail, "prnt")


def test_size_tells_what_pins_keep(after: Lab) -> None:
    pin(after)
    pin(after, "again")
    measured = size(after.cache_folder, pytest.fail)

    assert (2, 3, measured.blob_bytes) == (measured.pins, measured.pinned_blobs, measured.pinned_bytes)


def test_clear_takes_pins_too_and_says_so(after: Lab) -> None:
    pin(after)

    assert 1 == clear(after.cache_folder, pytest.fail).pins
    assert () == pins(after.cache_folder, pytest.fail).pins


@pytest.mark.parametrize("name", ["", "w.yaml", "ABCDEF", "abcde", "a" * 65, "g" * 8])
def test_what_does_not_look_like_a_key_is_a_file(name: str) -> None:
    assert not is_key(name)


@pytest.mark.parametrize(("name", "listed"), [("Bild für Oma 🐦", "Bild für Oma 🐦"), ("no\udcfftext", "no?text")])
def test_names_may_have_any_letters(after: Lab, name: str, listed: str) -> None:
    pin(after, name)

    assert [listed] == [pin.name for pin in pins(after.cache_folder, pytest.fail).pins]
    assert listed == unpin(after.cache_folder, pytest.fail, name).pin.name
