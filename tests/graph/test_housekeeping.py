"""What `darkroom cache` does to a real cache, and what it says."""

from __future__ import annotations

import argparse
import io
import json
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from graph.cache import Disk, Result
from graph.codec import encode
from graph.errors import UsageError
from graph.housekeeping import tell
from graph.quantities import age_words, parse_age, parse_size, size_words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with one small value and one large."""
    folder = tmp_path / "kept"
    cache = Disk(folder, pytest.fail)
    for kind, text in (("small", "a"), ("large", "b" * 20_000)):
        blob = encode(text)
        cache.remember(Result(blob.digest, (blob.digest,), json.dumps({"kind": kind}), 1.0, time.time()), [blob])
    cache.close()
    return folder


def request(
    most: int = 50,
    max_size: str | None = None,
    older_than: str | None = None,
    yes: bool = False,
    json: bool = False,
    names: tuple[str, ...] = (),
    name: str = "",
) -> argparse.Namespace:
    limits = {"most": most, "max_size": max_size, "older_than": older_than}
    return argparse.Namespace(**limits, yes=yes, json=json, names=names, name=name, set=[], nodes=[])


def told(action: str, folder: Path, asked: argparse.Namespace | None = None) -> str:
    return tell(action, folder, asked or request(), None, False, pytest.fail)


def large_file(folder: Path) -> Path:
    return next(path for path in folder.glob("v2/blobs/*/*"))


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Type something on a terminal."""
    typed = io.StringIO(text)
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)


def age(folder: Path, seconds: float) -> None:
    """Make everything in a cache older."""
    index = sqlite3.connect(folder / "v2" / "index")
    with index:
        index.execute("UPDATE blobs SET used = used - ?", (seconds,))
    index.close()
    os.utime(large_file(folder), (time.time() - seconds,) * 2)


def test_ls_names_the_kind_and_size_of_every_result(folder: Path) -> None:
    lines = told("ls", folder).splitlines()

    assert ["kind", "key", "size", "made", "last", "used"] == lines[0].split()
    assert {"small", "large"} == {line.split()[0] for line in lines[1:3]}
    assert f"2 of 2 results in {folder}" == lines[-1]


def test_ls_shows_no_more_than_it_is_asked_for(folder: Path) -> None:
    assert f"1 of 2 results in {folder}" == told("ls", folder, request(most=1)).splitlines()[-1]


def test_size_tells_what_there_is(folder: Path) -> None:
    assert "results  2\nvalues   2 values (20.1 kB)\n" in told("size", folder)


def test_verify_says_that_all_is_sound(folder: Path) -> None:
    assert "read 2 values (20.1 kB): all of them sound" == told("verify", folder)


def test_verify_says_what_it_dropped(folder: Path) -> None:
    damaged = large_file(folder)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    lines = told("verify", folder).splitlines()

    assert "dropped 1 that were damaged; they are computed again when needed" in lines[0]
    assert f"  {damaged.name[:12]}" == lines[1]


def test_gc_evicts_down_to_a_size(folder: Path) -> None:
    age(folder, 3600)

    assert "evicted 1 value (20.0 kB); kept 1 value (26 B)" == told("gc", folder, request(max_size="1kB"))


def test_gc_evicts_by_age_alone_if_only_that_is_said(folder: Path) -> None:
    age(folder, 3600)

    assert told("gc", folder, request(older_than="2h")).startswith("evicted 0 values (0 B); kept 2 values")
    assert told("gc", folder, request(older_than="30min")).startswith("evicted 2 values")


def test_gc_says_why_more_is_kept_than_was_asked(folder: Path) -> None:
    assert "more than --max-size is kept" in told("gc", folder, request(max_size="1kB"))


def test_clear_is_refused_without_a_terminal_to_ask_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="Say --yes if that is meant"):
        told("clear", folder)

    assert "2 of 2 results" in told("ls", folder)


def test_clear_removes_everything_after_a_yes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "y\n")

    assert "removed 2 results and 2 values (20.1 kB)" == told("clear", folder)


@pytest.mark.parametrize("text", ["n\n", "\n", ""])
def test_clear_removes_nothing_after_any_other_answer(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    answer(monkeypatch, text)
    with pytest.raises(UsageError, match="nothing was removed"):
        told("clear", folder)

    assert "2 of 2 results" in told("ls", folder)


def test_clear_does_not_ask_who_said_yes(folder: Path) -> None:
    assert "removed 2 results and 2 values (20.1 kB)" == told("clear", folder, request(yes=True))


@pytest.mark.parametrize("action", ["ls", "size", "verify", "gc"])
def test_every_report_is_one_json_object(folder: Path, action: str) -> None:
    assert [] == json.loads(told(action, folder, request(json=True)))["warnings"]


@pytest.mark.parametrize("action", ["ls", "size", "verify", "gc", "clear"])
def test_a_folder_that_is_no_cache_is_said_to_be_none_and_left_alone(tmp_path: Path, action: str) -> None:
    with pytest.raises(UsageError, match="there is no cache in"):
        told(action, tmp_path / "no" / "where", request(yes=True))

    assert [] == list(tmp_path.iterdir())


def test_the_users_own_cache_is_meant_where_none_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_CACHE", str(folder))

    assert f"2 of 2 results in {folder}" in tell("ls", None, request(), None, False, pytest.fail)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1000", 1000), ("10GB", 10**10), ("10 gb", 10**10), ("1.5GiB", 3 << 29), ("500M", 5 * 10**8), ("0", 0)],
)
def test_a_size_is_read_as_people_write_it(text: str, count: int) -> None:
    assert count == parse_size(text)


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e3", "10 bananas", "ten", "1,5GB", "nan", "9" * 400])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"--max-size takes a size, not .*\n  For example 10GB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("2 w", 1_209_600), ("45min", 2700)]
)
def test_an_age_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert seconds == parse_age(text)


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "5m", "1 fortnight", "inf"])
def test_what_is_no_age_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"--older-than takes an age, not .*\n  For example 30d"):
        parse_age(text)


def test_a_limit_of_gc_is_refused_elsewhere(folder: Path) -> None:
    with pytest.raises(UsageError, match="--max-size goes with cache gc, not with cache ls"):
        told("ls", folder, request(max_size="10GB"))


def test_less_than_one_entry_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--most takes a number from 1, not 0"):
        told("ls", folder, request(most=0))


def test_sizes_and_ages_are_told_in_the_unit_that_fits() -> None:
    assert ["0 B", "999 B", "1.0 kB", "1.2 GB"] == [size_words(count) for count in (0, 999, 1000, 1_234_567_890)]
    assert ["just now", "1 min ago", "3 h ago", "47 h ago", "12 days ago"] == [
        age_words(seconds) for seconds in (5, 60, 3 * 3600, 47 * 3600, 12 * 86400)
    ]
