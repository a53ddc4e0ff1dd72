"""The results of a workflow taken to another machine in a file, and files that are not what they seem."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from graph import parcel
from graph.errors import MissingError, UsageError
from graph.gathered import Gathered, gather_shared
from graph.letters import sealed
from graph.parcel import Imported, export, import_
from graph.store import Result, Store
from graph.upkeep import gc, ls, verify
from tests.graph.lab import Lab

WORKFLOW = """
nodes:
  words: {use: open, path: words.txt}
  said:  {use: say, text: hello, times: 3}
  all:   {use: join, a: $words, b: $said}
  b:     {use: paint, size: 64}
  c:     {use: frame, image: $b}
outputs: {told: $all, painted: $c}
"""
BLOCK = 512


@pytest.fixture
def sent(lab: Lab) -> Path:
    """A parcel."""
    (lab.folder / "words.txt").write_text("some words")
    lab.run(WORKFLOW)
    return pack(lab)


@pytest.fixture
def other(tmp_path: Path) -> Lab:
    """Another machine: the same files elsewhere, nothing in the cache."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "words.txt").write_text("some words")
    return Lab(tmp_path / "elsewhere")


def pack(lab: Lab, name: str = "lab.tar", text: str = WORKFLOW) -> Path:
    return export(lab.cache_folder, pytest.fail, gather_shared(lab.plan(text)), lab.folder / name).path


def unpack(lab: Lab, path: Path) -> Imported:
    return import_(lab.cache_folder, pytest.fail, path)


def test_what_one_machine_computed_another_finds_in_its_cache(sent: Path, other: Lab) -> None:
    read = unpack(other, sent)

    assert ("lab", 5, 5) == (read.workflow, read.results, read.blobs)
    assert {"hit"} == set(other.actions(WORKFLOW).values())


def test_a_file_with_other_content_is_read_on_the_other_machine(sent: Path, other: Lab) -> None:
    (other.folder / "words.txt").write_text("other words")
    unpack(other, sent)
    actions = other.actions(WORKFLOW)

    assert {"words": "run", "all": "run", "said": "hit", "b": "hit", "c": "hit"} == actions


def test_equal_content_has_equal_bytes(sent: Path, lab: Lab, other: Lab) -> None:
    again = pack(lab, "again.tar")
    unpack(other, sent)

    assert sent.read_bytes() == again.read_bytes() == pack(other).read_bytes()


def test_any_tar_reads_it(sent: Path) -> None:
    with tarfile.open(sent) as tar:
        names = tar.getnames()

    assert ("darkroom.json", 11) == (names[0], len(names))


def test_nothing_of_this_machine_is_in_it(sent: Path, lab: Lab) -> None:
    assert str(lab.folder).encode() not in sent.read_bytes()


def test_a_file_that_is_there_is_never_overwritten(sent: Path, lab: Lab) -> None:
    sent.write_bytes(b"mine")
    with pytest.raises(UsageError, match="there is a file"):
        pack(lab)

    assert b"mine" == sent.read_bytes()
    assert [] == list(lab.folder.glob(".*.part"))


def test_a_folder_that_is_not_there_is_told(sent: Path, lab: Lab) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        pack(lab, "no/where.tar")


def test_steps_that_write_files_stay_at_home(lab: Lab, other: Lab) -> None:
    text = "nodes:\n  b: {use: paint, size: 64}\n  w: {use: write, image: $b}\noutputs: {file: $w}"
    lab.run(text)
    unpack(other, pack(lab, text=text))

    assert {"b": "hit", "w": "run"} == other.actions(text)


def test_what_was_evicted_is_left_out_and_made_again(sent: Path, lab: Lab, other: Lab) -> None:
    index = sqlite3.connect(lab.cache_folder / "v2" / "index")
    with closing(index), index:
        index.execute("UPDATE blobs SET used = 1")
    gc(lab.cache_folder, pytest.fail, most_bytes=100)
    told = export(lab.cache_folder, pytest.fail, gather_shared(lab.plan(WORKFLOW)), lab.folder / "less.tar")
    read = unpack(other, told.path)

    assert (5 - read.blobs, 5) == (told.evicted, read.results)
    assert other.run(WORKFLOW).ok


def test_nodes_that_are_not_computed_yet_are_named(sent: Path, lab: Lab) -> None:
    gathered = gather_shared(lab.plan(WORKFLOW.replace("hello", "good day")))

    assert ("said", "all") == gathered.missing


def test_a_result_that_is_known_here_stays_as_it_is(sent: Path, other: Lab) -> None:
    other.run(WORKFLOW)
    index = sqlite3.connect(other.cache_folder / "v2" / "index")
    with closing(index), index:
        index.execute("DELETE FROM blobs")
    unpack(other, sent)
    with closing(Store(other.cache_folder, pytest.fail)) as store:
        mine = Result(dice_key(), (hashlib.sha256(b"mine").hexdigest(),), DICE, 1.0, 1.0)
        store.write([mine], [], [])
    theirs = Result(dice_key(), (hashlib.sha256(b"theirs").hexdigest(),), DICE, 1.0, 1.0)
    read = unpack(other, built(other.folder, [(theirs, [b"theirs"])]))

    assert (1, 0) == (read.kept, read.blobs)
    with closing(Store(other.cache_folder, pytest.fail)) as store:
        assert mine == store.result(dice_key())
        assert store.blob(theirs.outputs[0]) is None


DICE = '{"kind":"dice"}'


def dice_key() -> str:
    return hashlib.sha256(DICE.encode()).hexdigest()


# Hostile and damaged files


def built(folder: Path, parts: list[tuple[Result, list[bytes]]], promised: int | None = None) -> Path:
    """A parcel made by hand."""
    first = {"format": 1, "results": len(parts) if promised is None else promised, "workflow": "w"}
    out = io.BytesIO()
    parcel._add(out, "darkroom.json", json.dumps(first).encode())
    for result, values in parts:
        parcel._add(out, f"results/{result.key}.json", sealed(result))
        for value in values:
            parcel._add(out, f"blobs/{hashlib.sha256(value).hexdigest()}", value)
    path = folder / "built.tar"
    path.write_bytes(out.getvalue() + bytes(2 * BLOCK))
    return path


def result_of(*values: bytes, recipe: str = DICE) -> Result:
    digests = tuple(hashlib.sha256(value).hexdigest() for value in values)
    return Result(hashlib.sha256(recipe.encode()).hexdigest(), digests, recipe, 1.0, 1.0)


def member(name: str, data: bytes = b"x", **more: object) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for field, value in more.items():
        setattr(entry, field, value)
    return entry.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)


KEY = "ab" * 32
HOSTILE: dict[str, tuple[bytes, str]] = {
    "absolute": (member("/etc/passwd"), '"/etc/passwd" is nothing that'),
    "upwards": (member("../../x"), '"../../x" is nothing that'),
    "below": (member(f"results/../{KEY}.json"), "is nothing that"),
    "link": (member(f"blobs/{KEY}", b"", type=tarfile.SYMTYPE, linkname="/etc"), "is nothing that"),
    "hard link": (member(f"blobs/{KEY}", b"", type=tarfile.LNKTYPE, linkname="x"), "is nothing that"),
    "device": (member(f"blobs/{KEY}", b"", type=tarfile.CHRTYPE), "is nothing that"),
    "folder": (member("blobs", b"", type=tarfile.DIRTYPE), "is nothing that"),
    "long name": (member("a" * 5000), "is nothing that"),
    "pax header": (member("x", b"8 a=bc\n\n", type=tarfile.XHDTYPE), "is nothing that"),
    "huge value": (parcel._header(f"blobs/{KEY}", 8**11 - 1), "is said to have 8,589,934,591 bytes"),
    "huge result": (parcel._header(f"results/{KEY}.json", 2 << 20), "is said to have 2,097,152 bytes"),
    "negative size": (b"blobs/" + KEY.encode() + bytes(30) + b"0000644\0" + bytes(16) + b"\xff" * 388, "is nothing"),
    "stranger": (member(f"blobs/{KEY}"), "is nothing that"),
    "of no result": (parcel._header(f"blobs/{KEY}", 0), "there twice, or of no result"),
    "not JSON": (parcel._header(f"results/{KEY}.json", 4) + b"{[}x" + bytes(508), "it is not a result"),
    "deep JSON": (
        parcel._header(f"results/{KEY}.json", 102400) + b"[" * 102400,
        "it is not a result",
    ),
    "other recipe": (
        parcel._header(f"results/{KEY}.json", len(sealed(result_of(b"x"))))
        + sealed(result_of(b"x")).ljust(BLOCK, b"\0"),
        "its recipe is another's",
    ),
    "first again": (parcel._header("darkroom.json", 0), "is not in its place"),
    "noise": (os.urandom(BLOCK), "is nothing that"),
    "half a header": (b"blobs/", "it is cut short"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_export_never_writes_is_refused_by_name_and_what_was_before_is_kept(name: str, other: Lab) -> None:
    member, said = HOSTILE[name]
    sound = built(other.folder, [(result_of(b"sound"), [b"sound"])])
    sound.write_bytes(sound.read_bytes()[: -2 * BLOCK] + member)
    with pytest.raises(MissingError, match=r"What was sound before it is kept: results: 1\.") as refused:
        unpack(other, sound)

    assert said in str(refused.value)
    assert 1 == ls(other.cache_folder, pytest.fail).results
    assert (1, 0) == ((found := verify(other.cache_folder, pytest.fail)).blobs, found.damaged)


def test_a_file_cut_short_anywhere_is_refused(sent: Path, other: Lab) -> None:
    whole = sent.read_bytes()
    ends = whole.rindex(b"blobs/") + BLOCK
    for length in range(0, ends, 997):
        sent.write_bytes(whole[:length])
        with pytest.raises(MissingError, match=r"cut short|not a file that"):
            unpack(other, sent)

    assert 0 == verify(other.cache_folder, pytest.fail).damaged


def test_an_end_that_comes_too_early_is_noticed(other: Lab) -> None:
    path = built(other.folder, [(result_of(b"x"), [b"x"])], promised=2)
    with pytest.raises(MissingError, match="cut short: results: 1 of 2"):
        unpack(other, path)


def test_a_flipped_byte_is_refused_wherever_it_is(sent: Path, other: Lab) -> None:
    whole = sent.read_bytes()
    used = whole.rindex(b"blobs/") + BLOCK
    for at in range(0, used, 331):
        sent.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            unpack(other, sent)
        except MissingError:
            continue
        assert whole[at] == 0 or b"results/" in whole[max(0, at - 3000) : at]  # padding, or a time in a result

    assert 0 == verify(other.cache_folder, pytest.fail).damaged


def test_a_value_that_is_not_the_one_it_is_called_is_refused(other: Lab) -> None:
    path = built(other.folder, [(result_of(b"right"), [b"right"])])
    path.write_bytes(path.read_bytes().replace(b"right\0", b"wrong\0"))
    with pytest.raises(MissingError, match="is damaged: its sha256 is another"):
        unpack(other, path)


def test_the_same_twice_is_refused(other: Lab) -> None:
    for parts in ([(result_of(b"x"), [b"x", b"x"])], [(result_of(b"x"), [b"x"])] * 2):
        with pytest.raises(MissingError, match="there twice"):
            unpack(other, built(other.folder, parts))


def test_a_result_that_names_files_of_another_machine_is_refused(other: Lab) -> None:
    placed = result_of(b"x", recipe='{"kind":"write","world":{"folder":"/home"}}')
    with pytest.raises(MissingError, match="names files of another machine"):
        unpack(other, built(other.folder, [(placed, [])]))


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told | {"outputs": []},
        lambda told: told | {"outputs": ["../x"]},
        lambda told: told | {"outputs": [KEY] * 5000},
        lambda told: told | {"seconds": float("nan")},
        lambda told: told | {"seconds": 10**400},
        lambda told: told | {"seconds": "1"},
        lambda told: told | {"made": -1},
        lambda told: told | {"memory": 2**64},
        lambda told: told | {"memory": True},
        lambda told: told | {"format": 2},
        lambda told: [told],
    ],
)
def test_a_result_of_another_shape_is_refused(change: Callable[[dict[str, object]], object], other: Lab) -> None:
    sound = result_of(b"x")
    data = json.dumps(change(json.loads(sealed(sound)))).encode()
    path = built(other.folder, [])
    path.write_bytes(
        path.read_bytes()[: -2 * BLOCK]
        + parcel._header(f"results/{sound.key}.json", len(data))
        + data
        + bytes(-len(data) % BLOCK + 2 * BLOCK)
    )
    with pytest.raises(MissingError, match="it is not a result"):
        unpack(other, path)


@pytest.mark.parametrize("data", [b"", b"x", bytes(1024), b"PK\x03\x04" * 200])
def test_what_is_no_parcel_is_refused(other: Lab, data: bytes) -> None:
    (other.folder / "x").write_bytes(data)
    with pytest.raises(MissingError, match=r"cut short|not a file that|is nothing that"):
        unpack(other, other.folder / "x")


def test_what_is_no_file_is_refused_at_once(other: Lab) -> None:
    os.mkfifo(other.folder / "pipe")
    for name in ("pipe", "", "nowhere"):
        with pytest.raises(MissingError, match="cannot be imported"):
            unpack(other, other.folder / name)


def test_a_parcel_of_any_size_is_read_and_written_in_little_memory(lab: Lab, other: Lab) -> None:
    texts = [f'{{"kind":"paint","n":{name}}}' for name in range(100)]
    values = [os.urandom(1 << 20) for _ in texts]
    results = sorted((result_of(value, recipe=text) for text, value in zip(texts, values, strict=True)),
                     key=lambda result: result.key)  # fmt: skip
    path = lab.folder / "large.tar"
    by_digest = {hashlib.sha256(value).hexdigest(): value for value in values}
    built(lab.folder, [(result, [by_digest[result.outputs[0]]]) for result in results]).rename(path)
    del values, by_digest
    tracemalloc.start()
    try:
        unpack(other, path)
        again = Gathered("w", tuple(results), ())
        export(other.cache_folder, pytest.fail, again, other.folder / "again.tar")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 24 << 20  # of 100 MiB; a batch is 16 MiB and one value more


@pytest.mark.parametrize("promised", [float("inf"), "1", None, [1], 10**400])
def test_a_promise_that_is_no_number_of_results_is_refused(other: Lab, promised: object) -> None:
    path = built(other.folder, [])
    first = json.dumps({"format": 1, "results": promised, "workflow": "w"}).encode()
    path.write_bytes(parcel._header("darkroom.json", len(first)) + first.ljust(BLOCK, b"\0") + bytes(2 * BLOCK))
    with pytest.raises(MissingError, match="cut short"):
        unpack(other, path)
