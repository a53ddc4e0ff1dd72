"""Files for the user: whole or not there, never over another one, never outside, readable back."""

from __future__ import annotations

import datetime
import itertools
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from graph import outputs
from graph.errors import MissingError, StepError
from graph.metadata import read_metadata
from graph.outputs import still_there, write_picture
from graph.values import Picture, SavedFile

RED = Picture(Image.new("RGB", (9, 7), "red"))
_MARKS = itertools.count()
FIELDS = {"name": "city", "node": "print", "seed": 42, "strength": 0.5, "date": datetime.date(2026, 3, 1)}
TEXTS = {"darkroom": 'prompt: "grüße 🎨\n\ttwo lines"', "darkroom.seed": "42"}


def _write(folder: Path, pattern: str, **options: Any) -> SavedFile:
    return write_picture(RED, folder, pattern, FIELDS, {}, **options)


def _write_another(folder: Path, pattern: str) -> SavedFile:
    """A picture whose file is like no other."""
    return write_picture(RED, folder, pattern, FIELDS, {"mark": f"{os.getpid()} {next(_MARKS)}"})


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{name}-{n:05}.png", "city-00001.png"),
        ("{name}/{node}_{seed}.webp", "city/print_42.webp"),
        ("{date:%Y-%m}/{strength:.2f}.jpg", "2026-03/0.50.jpg"),
        ("{name}", "city.png"),
        ("v1.5", "v1.5.png"),
        ("{{{name}}}.PNG", "{city}.PNG"),
        ("a//./b.jpeg", "a/b.jpeg"),
        ("CON.png", "_CON.png"),
        ("aux.1.png", "_aux.1.png"),
        ("what? a|b.png", "what_ a_b.png"),
        ("dir./x.png", "dir/x.png"),
    ],
)
def test_a_pattern_is_filled_in(tmp_path: Path, pattern: str, name: str) -> None:
    file = _write(tmp_path, pattern)

    assert ([name], str(tmp_path / name)) == (_files(tmp_path), file.path)
    assert still_there(file)


@pytest.mark.parametrize("pattern", ["x.png", "{n}.png"])
def test_a_file_with_these_very_bytes_is_not_written_again(tmp_path: Path, pattern: str) -> None:
    _write_another(tmp_path, pattern)
    first = _write(tmp_path, pattern)

    assert first == _write(tmp_path, pattern)
    assert 2 == len(_files(tmp_path))


def test_numbers_go_on_at_the_first_free_one(tmp_path: Path) -> None:
    (tmp_path / "2.png").write_bytes(b"mine")
    for pattern in ("{n}.png", "{n}.png", "x.png", "x.png", "x.png"):
        _write_another(tmp_path, pattern)

    assert ["1.png", "2.png", "3.png", "x-2.png", "x-3.png", "x.png"] == _files(tmp_path)
    assert b"mine" == (tmp_path / "2.png").read_bytes()


@pytest.mark.parametrize(
    "pattern",
    [
        "../../x.png", "a/../../x.png", "..\\x.png", "/x.png", "\\x.png", "C:/x.png", "C:x.png", "a\0b.png",
        "", ".", "sub/", ".png", "x" * 300, "{name.__class__}", "{name[0]}", "{name!r}", "{", "}", "{}", "{0}",
        "{missing}", "{nmae}", "{n:0999999999}", "{seed:{n}}", "{name:d}", "{date:%}", "x.tiff", "x.gif",
    ],
)  # fmt: skip
def test_other_patterns_are_refused_and_write_nothing(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(StepError) as caught:
        _write(tmp_path / "out", pattern)

    assert caught.value.hint
    assert [] == _files(tmp_path)


@settings(max_examples=200, deadline=None)
@given(value=st.text(max_size=300), pattern=st.sampled_from(["{name}.png", "{name}/x.png", "a{name}/{name}.webp"]))
def test_no_value_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, value: str, pattern: str) -> None:
    root = tmp_path_factory.getbasetemp() / "values"
    try:
        file = write_picture(RED, root / "out", pattern, {"name": value}, {})
    except StepError:
        return
    assert (root / "out").resolve() in Path(file.path).resolve().parents
    assert pattern.count("/") == len(Path(file.path).relative_to(root / "out").parts) - 1
    os.unlink(file.path)


def test_a_near_name_is_offered(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r'asks for \{nmae\}.*\n.*"name"'):
        _write(tmp_path, "{nmae}.png")


def test_links_that_point_out_are_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "sub").symlink_to(elsewhere)
    (out / "x.png").symlink_to(elsewhere / "new.png")

    with pytest.raises(StepError, match="is a link to elsewhere"):
        _write(out, "sub/x.png")
    assert str(out / "x-2.png") == _write(out, "x.png").path
    assert [] == _files(elsewhere)


@pytest.mark.parametrize("place", [outputs._place, outputs._place_beside])
def test_a_race_gives_every_picture_its_own_file(tmp_path: Path, place: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(outputs, "_place", place)
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda _: _write_another(tmp_path, "{n}.png"), range(40)))

    assert 40 == len({file.path for file in files})
    assert sorted(f"{n}.png" for n in range(1, 41)) == _files(tmp_path)


def test_processes_race_too(tmp_path: Path) -> None:
    children = []
    for _ in range(4):
        if not (child := os.fork()):
            try:
                for _ in range(10):
                    _write_another(tmp_path, "{n}.png")
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)

    assert sorted(f"{n}.png" for n in range(1, 41)) == _files(tmp_path)
    assert 40 == len({path.read_bytes() for path in tmp_path.iterdir()})


def test_without_links_a_name_is_reserved(tmp_path: Path, monkeypatch: Any) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    files = [_write_another(tmp_path, "x.png") for _ in range(2)]

    assert ["x-2.png", "x.png"] == _files(tmp_path)
    assert all(still_there(file) for file in files)


@pytest.mark.parametrize("place", [outputs._place, outputs._place_beside])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, place: Any, monkeypatch: Any) -> None:
    def full(stream: Any, data: bytes) -> None:
        stream.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "_place", place)
    monkeypatch.setattr(outputs, "_write", full)
    with pytest.raises(StepError, match=r'cannot write ".*x\.png": No space left on device'):
        _write(tmp_path, "x.png")
    assert [] == _files(tmp_path)


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "sub").write_text("")
    with pytest.raises(StepError, match=r'cannot write ".*sub/x\.png"'):
        _write(tmp_path, "sub/x.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_texts_come_back_and_bytes_are_the_same_each_time(tmp_path: Path, suffix: str) -> None:
    one, other = (write_picture(RED, tmp_path, f"x.{suffix}", FIELDS, TEXTS) for _ in range(2))

    assert TEXTS == read_metadata(Path(one.path))
    assert (one.digest, one.size) == (other.digest, other.size)
    assert {} == read_metadata(Path(_write(tmp_path, f"plain.{suffix}").path))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_long_texts_come_back(tmp_path: Path, suffix: str) -> None:
    texts = {"darkroom": "a workflow 🎨 of many lines\n" * 9000}

    assert texts == read_metadata(Path(write_picture(RED, tmp_path, f"x.{suffix}", FIELDS, texts).path))


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])), suffix=st.sampled_from(["png", "jpg", "webp"]))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str, suffix: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "texts"
    file = write_picture(RED, folder, f"x.{suffix}", FIELDS, {"darkroom": text})

    assert {"darkroom": text} == read_metadata(Path(file.path))
    os.unlink(file.path)


def _png_with(kind: bytes, body: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(body)) + kind + body + bytes(4)


def test_a_text_bomb_is_left_out(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(1 << 28), 9)
    for number, data in enumerate((b"darkroom\0\0" + bomb, b"darkroom\0\1\0\0\0" + bomb)):
        path = tmp_path / f"{number}.png"
        path.write_bytes(_png_with((b"zTXt", b"iTXt")[number], data))
        assert "" == read_metadata(path)["darkroom"]


@settings(max_examples=150, deadline=None)
@given(suffix=st.sampled_from(["png", "jpg", "webp"]), end=st.floats(0, 1), place=st.floats(0, 1), bits=st.integers(0))
def test_damaged_files_give_texts_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, end: float, place: float, bits: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    file = write_picture(RED, folder, f"x.{suffix}", FIELDS, TEXTS)
    data = bytearray(Path(file.path).read_bytes()[: 1 + int(end * file.size)])
    data[int(place * (len(data) - 1))] ^= bits % 256
    os.unlink(file.path)
    (folder / "damaged").write_bytes(data)
    try:
        assert isinstance(read_metadata(folder / "damaged"), dict)
    except MissingError as error:
        assert "damaged" in error.message  # noqa: PT017  # both ends are right


def test_other_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    for name in ("note.txt", "gone.png"):
        with pytest.raises(MissingError, match=name):
            read_metadata(tmp_path / name)


def test_formats_hold_what_they_can(tmp_path: Path) -> None:
    clear = Picture(Image.new("RGBA", (3, 3), (10, 20, 30, 0)))
    wide = Picture(Image.new("L", (16384, 1)))
    file = write_picture(clear, tmp_path, "c.webp", {}, {}, quality=100)

    assert clear.data == Image.open(file.path).tobytes()
    for picture, suffix in ((clear, "jpg"), (wide, "webp")):
        with pytest.raises(StepError, match="PNG"):
            write_picture(picture, tmp_path, f"x.{suffix}", {}, {})
    with pytest.raises(StepError, match="names a PNG file, and format says jpeg"):
        _write(tmp_path, "x.png", format="jpeg")
    assert _write(tmp_path, "y", format="jpeg").path.endswith("y.jpg")


def test_a_changed_or_deleted_file_is_not_there(tmp_path: Path) -> None:
    file = _write(tmp_path, "x.png")
    data = Path(file.path).read_bytes()
    for other in (data[:-1], data[:-1] + b"x", data + b"x"):
        Path(file.path).write_bytes(other)
        assert not still_there(file)
    Path(file.path).unlink()
    assert not still_there(file)
