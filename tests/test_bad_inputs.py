"""What must never hurt: files, values, pictures and names that a hostile or unlucky user brings.

What is refused says where, what, and a way out; nothing shows a traceback, hangs, or leaves half a file.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

import runner

ROOT = Path(runner.__file__).parent
HEAD = "darkroom: 1\n"
PHOTO = "nodes:\n  photo: {use: load_image, path: a.png}\n"
MODEL = """\
nodes:
  model: {use: load_model, path: "builtin:tiny"}
  words: {use: text_encode, text_encoder: $model.text_encoder, text: a cat}
"""
NOISE = "  start: {use: noise, model: $model, %s}\n"
SAMPLER = (
    NOISE % "seed: 1"
    + "  out: {use: sampler, model: $model, positive: $words, negative: $words, latents: $start, %s}\n"
)


class Desk:
    """A folder with a picture, where commands are given."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str]:
        """Exit code, and what was told to people. No traceback, no fault of Darkroom's own, no hang."""
        start = time.monotonic()
        code = runner.main(words)
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        assert "itself failed" not in err
        assert time.monotonic() - start < 5
        return code, err + out

    def check(self, text: str | bytes) -> tuple[int, str]:
        Path("w.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return self("check", "w.yaml")

    def run(self, text: str, *words: str) -> tuple[int, str]:
        Path("w.yaml").write_text(text)
        return self("run", "w.yaml", *words)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").resize((96, 80)).convert("RGB").save("a.png")
    return Desk(capsys)


# Files


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "{a: " * 50_000, "- " * 100_000])
def test_deep_nesting_is_refused_at_once(desk: Desk, text: str) -> None:
    start = time.process_time()
    code, err = desk.check(text)

    assert (2, True) == (code, "nested more than 64 deep" in err)
    assert time.process_time() - start < 1


def test_an_alias_bomb_is_refused(desk: Desk) -> None:
    levels = [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)]
    code, err = desk.check(HEAD + "params:\n  a0: &a0 [x]\n" + "".join(levels) + PHOTO)

    assert (2, True) == (code, "1,000,000 values" in err)


def test_a_tag_is_named_and_never_obeyed(desk: Desk) -> None:
    code, err = desk.check(HEAD + 'nodes: !!python/object/apply:os.system ["touch pwned"]\n')

    assert (2, True) == (code, 'w.yaml:2:8: the tag "!!python/object/apply:os.system" is not read' in err)
    assert not Path("pwned").exists()


def test_a_name_that_is_there_twice_names_both_lines(desk: Desk) -> None:
    assert '"photo" is there twice: on line 3 and on line 4' in desk.check(HEAD + PHOTO + PHOTO.partition("\n")[2])[1]


@pytest.mark.parametrize(
    ("scalar", "kind"),
    [
        ("NO", ""),
        ("on", ""),
        ("12:30:45", ""),
        ("2001-01-01", ""),
        ("1_000", ""),
        ("1e3", "a number"),
        ("1e-4", "a number"),
        ("017", "an integer"),
        ("0o17", "an integer"),
        ("true", "true or false"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(desk: Desk, scalar: str, kind: str) -> None:
    Path("w.yaml").write_text(f"{HEAD}params: {{p: {scalar}}}\n{PHOTO}")
    code, err = desk("check", "w.yaml", "--set", "p=x")

    assert (2 if kind else 0) == code
    assert f"p takes {kind}, but got" in err or not kind


@pytest.mark.parametrize("change", [("\n", "\r\n"), ("\n", "\r"), (HEAD, "\ufeff" + HEAD), ("", "")])
def test_any_line_end_and_a_mark_are_read(desk: Desk, change: tuple[str, str]) -> None:
    assert 0 == desk.check((HEAD + PHOTO).replace(*change).encode())[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_with_a_mark_are_read(desk: Desk, encoding: str) -> None:
    assert 0 == desk.check((HEAD + PHOTO).encode(encoding))[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((HEAD + PHOTO).encode("utf-16-le"), "w.yaml:1:2: U+0000"),
        ((HEAD + PHOTO + "\0").encode(), "w.yaml:4:1: U+0000"),
        ((HEAD + PHOTO.replace("  photo", "\tphoto")).encode(), "w.yaml:3:1: a tab cannot indent"),
        (HEAD.encode() + b"# \xe9", "w.yaml:2:3: the byte 0xe9 is no UTF-8 text"),
        (HEAD.encode() + rb'name: "\uD83D"', "this escape is no character"),
        (HEAD.encode() + rb'name: "\e[31m"', "U+001B is a control character"),
        (b"", "there is no workflow in this file"),
        (b"# nothing", "there is no workflow in this file"),
        (b"hello", "a workflow is a table, but this is a single value"),
        (b"- a\n- b", "a workflow is a table, but this is a list"),
        ((HEAD + PHOTO + "---\n" + HEAD + PHOTO).encode(), "w.yaml:4:1: a second document begins here"),
        (b"# " + b"x" * 50_000_000, "larger than 8 MiB"),
        (b"\x89PNG", "no UTF-8 text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_workflow_is_refused_with_its_place(desk: Desk, data: bytes, said: str) -> None:
    code, err = desk.check(data)

    assert (2, True) == (code, said in err)
    assert err.startswith("w.yaml:")


def test_folders_pipes_and_devices_are_no_workflows(desk: Desk) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")

    for name in ("folder", "pipe", "/dev/zero", "/dev/null"):
        code, err = desk("run", name)
        assert (3, True) == (code, name in err)


# Names and wires


def test_every_mistake_is_told_at_once_with_a_way_out(desk: Desk) -> None:
    code, err = desk.check(
        HEAD
        + PHOTO
        + """\
  a: {use: rezise}
  b: {use: resize, imgae: $photo, widht: 3}
  when: {use: grid}
  c: {use: resize, image: $poto}
  d: {use: resize, image: $photo.imge}
  e: {use: upscale, image: $e}
  f: {use: vae_decode, vae: $photo, latents: $photo}
  g: {use: grid, images: $photo}
  h: {use: load_image}
"""
    )

    assert 2 == code
    for said in (
        'w.yaml:4:12: there is no kind of node "rezise"',
        'Did you mean "resize"?',
        'w.yaml:5:20: b: a resize has no port or parameter "imgae"',
        'Did you mean "width"?',
        'w.yaml:6:3: "when" is a word of the language',
        'w.yaml:7:27: nothing is called "poto"',
        'Did you mean "photo"?',
        "w.yaml:8:27: $photo.imge",
        "w.yaml:9:3: a cycle: e -> e",
        "f.latents takes Latents, but $photo gives Picture",
        "Put a vae_encode node between them.",
        "Make a list of it: [$photo].",
        'h: a load_image needs "path"',
    ):
        assert said in err


def test_a_cycle_is_told_as_a_path(desk: Desk) -> None:
    ring = "".join(f"  {a}: {{use: upscale, image: ${b}}}\n" for a, b in ("ab", "bc", "ca"))
    code, err = desk.check(HEAD + "nodes:\n" + ring)

    assert 2 == code
    assert any(path in err for path in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c", "a -> c -> b -> a"))


def test_every_cycle_is_told(desk: Desk) -> None:
    rings = "".join(f"  {a}: {{use: upscale, image: ${b}}}\n" for a, b in ("ab", "ba", "cd", "dc", "ee"))

    assert 3 == desk.check(HEAD + "nodes:\n" + rings)[1].count("a cycle")


def test_a_chain_of_two_thousand_nodes_is_checked(desk: Desk) -> None:
    chain = "".join(f"  n{n}: {{use: upscale, image: $n{n - 1}, factor: 1}}\n" for n in range(1, 2000))

    assert 0 == desk.check(HEAD + "nodes:\n  n0: {use: load_image, path: a.png}\n" + chain)[0]


@pytest.mark.parametrize("text", ["$", "${", "${}", "$.", "$1", "$photo.", "a $photo", "$(ls)", "$nope", "${photo}"])
def test_a_dollar_that_means_nothing_is_told(desk: Desk, text: str) -> None:
    code, err = desk.check(HEAD + PHOTO + f"  sheet: {{use: grid, images: [$photo], labels: '{text}'}}\n")

    assert (2, True) == (code, err.startswith("w.yaml:4:"))


@pytest.mark.parametrize("text", ["$$", "$$photo", "{{photo}}", "#{x}", "a$$"])
def test_other_signs_are_text(desk: Desk, text: str) -> None:
    assert 0 == desk.check(HEAD + PHOTO + f"  sheet: {{use: grid, images: [$photo], labels: '{text}'}}\n")[0]


# Values


@pytest.mark.parametrize("seed", ["-1", str(2**64), "1.5", '"42"', "true", ".nan", "9" * 5000, "null", "[1]"])
def test_a_seed_out_of_its_range_is_told(desk: Desk, seed: str) -> None:
    code, err = desk.check(HEAD + MODEL + NOISE % f"seed: {seed}")

    assert (2, True) == (code, "start.seed takes" in err)


@pytest.mark.parametrize("seed", ["0", str(2**64 - 1), "0x10", "-0"])
def test_every_seed_of_64_bits_is_right(desk: Desk, seed: str) -> None:
    assert "start.seed" not in desk.check(HEAD + MODEL + NOISE % f"seed: {seed}")[1]


@pytest.mark.parametrize(
    ("width", "nearest"), [("0", "64"), ("-8", "64"), ("513", "512 and 520"), (str(10**9), "16384")]
)
def test_a_wrong_width_is_told_with_the_nearest(desk: Desk, width: str, nearest: str) -> None:
    code, err = desk.check(HEAD + MODEL + NOISE % f"width: {width}")

    assert (2, True) == (code, "nearest valid value" in err and f" {nearest}." in err)


@pytest.mark.parametrize(
    "value",
    ["cfg: .nan", "cfg: .inf", "cfg: 1e308", "strength: 1.01", "strength: -0.1", "steps: 0", "steps: 1000000000"],
)
def test_a_number_out_of_its_range_is_told(desk: Desk, value: str) -> None:
    code, err = desk.check(HEAD + MODEL + SAMPLER % value)

    assert (2, True) == (code, f"out.{value.partition(':')[0]} takes a" in err)


@pytest.mark.parametrize("value", ["1_000", "nan"])
def test_a_text_without_quotes_is_not_told_to_lose_them(desk: Desk, value: str) -> None:
    code, err = desk.check(HEAD + PHOTO + f"  small: {{use: resize, image: $photo, width: {value}}}\n")

    assert (2, True, False) == (code, "small.width takes" in err, "without quotes" in err)


@pytest.mark.parametrize("value", ["strength: 0", "strength: 1", "cfg: 0", "steps: 1"])
def test_a_number_at_the_end_of_its_range_is_right(desk: Desk, value: str) -> None:
    assert "out." not in desk.check(HEAD + MODEL + SAMPLER % value)[1]


def test_a_size_that_cannot_fit_is_refused_before_it_is_allocated(desk: Desk) -> None:
    code, err = desk.run(HEAD + PHOTO + "  large: {use: resize, image: $photo, width: 16384, height: 16384}\n")

    assert (1, True) == (code, "100,000,000" in err)


# Texts


@pytest.mark.parametrize("text", ["", "😀" * 100, "a" * 100_000, "\u202e", "'"])
def test_any_text_is_a_label(desk: Desk, text: str) -> None:
    Path("w.yaml").write_text(
        HEAD + "params: {label: x}\n" + PHOTO + "  sheet: {use: grid, images: [$photo], labels: $label}\n"
    )

    assert desk("run", "w.yaml", "--set", f"label={text}")[0] in (0, 1)


def test_half_a_surrogate_is_told_with_its_place(desk: Desk) -> None:
    Path("w.yaml").write_text(HEAD + "params: {label: x}\n" + PHOTO)

    assert (2, True) == ((told := desk("run", "w.yaml", "--set", "label=a\udcff"))[0], "--set:1:7: U+DCFF" in told[1])


# Pictures


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _bomb(side: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(side // 8 + 1)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [12_000, 30_000])
def test_a_picture_bomb_is_refused_by_its_pixels(desk: Desk, side: int) -> None:
    Path("a.png").write_bytes(_bomb(side))
    code, err = desk.run(HEAD + PHOTO)

    assert (3, True) == (code, f"{side:,}x{side:,}" in err)
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"hello", "is not a picture"),
        (b"II*\0" + bytes(99), "is a TIFF file"),
        (b"8BPS" + bytes(99), "is a PSD file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is an EPS file"),
        (b"SIMPLE  =", "is a FITS file"),
        (b"\xff\xfe\0" + bytes(99), "is a GD file"),
        (b"GIF89a" + bytes(99), "is a GIF file"),
    ],
)
def test_a_file_that_is_no_picture_is_named_before_anything_runs(desk: Desk, data: bytes, said: str) -> None:
    Path("a.png").write_bytes(data)
    code, err = desk.check(HEAD + PHOTO)

    assert (3, True) == (code, f'picture "a.png" {said}' in err)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.0])
def test_a_part_of_a_picture_is_no_picture(desk: Desk, share: float) -> None:
    whole = Path("a.png").read_bytes()
    Path("a.png").write_bytes(whole[: max(8, int(len(whole) * share))])

    assert (3, True) == ((told := desk.run(HEAD + PHOTO))[0], '"a.png" is cut short' in told[1])


@pytest.mark.parametrize(
    "path",
    [
        "b.png",
        ".",
        "pipe",
        "loop",
        "/dev/zero",
        "http://nowhere/a.png",
        "data:x",
        '""',
        "~",
        "x" * 300,
        "x/" * 3000,
    ],
    ids=lambda path: path[:20],
)
def test_what_is_no_file_is_told_before_anything_runs(desk: Desk, path: str) -> None:
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    code, err = desk.check(HEAD + PHOTO + f"  other: {{use: load_image, path: {path}}}\n")

    assert (3, True) == (code, err.startswith("w.yaml:4:"))


@pytest.mark.parametrize(
    ("words", "code"), [(("check", "w.yaml", "--nodes"), 2), (("watermark", "read"), 3)], ids=["nodes", "watermark"]
)
def test_a_name_too_long_for_the_file_system_is_no_file(desk: Desk, words: tuple[str, ...], code: int) -> None:
    Path("w.yaml").write_text(HEAD + PHOTO)

    assert (code, True) == ((told := desk(*words, "x" * 300))[0], "x" * 20 in told[1])


def test_every_missing_picture_is_told_at_once(desk: Desk) -> None:
    told = desk.check(HEAD + "nodes:\n  a: {use: load_image, path: x.png}\n  b: {use: load_image, path: y.png}\n")[1]

    assert [True, True] == [name in told for name in ('"x.png" is not there', '"y.png" is not there')]


# Names of outputs


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "/x",
        "CON",
        "con.txt",
        "x" * 300,
        "é" * 150,
        "😀",
        "a/b",
        r"a\\b",
        ".hidden",
        "..",
        "",
        "{n}",
        "%s",
        "-rf",
    ],
)
def test_no_name_of_a_workflow_leaves_the_folder(desk: Desk, name: str) -> None:
    before = set(Path().iterdir())
    code, _ = desk.run(f'{HEAD}name: "{name}"\n{PHOTO}')

    assert 0 == code
    assert {"outputs", "w.yaml", "cache"} >= {path.name for path in set(Path().iterdir()) - before}
    (saved,) = Path("outputs").iterdir()
    assert (True, False) == (saved.is_file(), saved.name.startswith("."))


@pytest.mark.parametrize(
    "path", ["../../x.png", "/x.png", "a/../../x.png", r"C:\x", "x" * 300, ".", "..", "sub/", "{nope}", "{", "a.gif"]
)
def test_a_path_that_leaves_the_folder_or_is_none_is_told_by_check(desk: Desk, path: str) -> None:
    code, err = desk.check(HEAD + PHOTO + f"  saved: {{use: save_image, image: $photo, path: '{path}'}}\n")

    assert (2, True) == (code, err.startswith("w.yaml:4:"))
    assert "saved.path" in err


def test_a_link_in_the_folder_leads_no_picture_out_of_it(desk: Desk) -> None:
    Path("elsewhere").mkdir()
    Path("outputs").mkdir()
    Path("outputs/link").symlink_to(Path("elsewhere").absolute())
    code, err = desk.run(HEAD + PHOTO + "  saved: {use: save_image, image: $photo, path: link/x.png}\n")

    assert (1, True) == (code, "saved (save_image) failed: " in err)
    assert ["link"] == [entry.name for entry in Path("outputs").iterdir()]
    assert not list(Path("elsewhere").iterdir())


def test_a_file_that_is_there_is_never_written_over(desk: Desk) -> None:
    Path("outputs").mkdir()
    Path("outputs/mine.png").write_text("precious")
    code, _ = desk.run(HEAD + PHOTO + "  saved: {use: save_image, image: $photo, path: mine.png}\n")

    assert (0, "precious") == (code, Path("outputs/mine.png").read_text())
    assert Path("outputs/mine-2.png").is_file()


@pytest.mark.parametrize("name", ["a/b", "../x", "", "a b", "😀"])
def test_the_name_of_an_output_is_a_name(desk: Desk, name: str) -> None:
    code, err = desk.check(f'{HEAD}{PHOTO}outputs: {{"{name}": $photo}}\n')

    assert (2, True) == (code, "w.yaml:4:11:" in err)


# And more


@pytest.mark.parametrize(
    "section",
    [
        "params: {photo: 3}",
        "params: [a]",
        "params: {a: }",
        "params: {a: {default: 3, min: 5}}",
        "params: {a: $photo}",
        "params: {<<: {a: 1}}",
        "params: {? [a] : 1}",
        "outputs: []",
        "outputs: {a: 3}",
        "defaults: {nope: {x: 1}}",
        "defaults: {resize: {widht: 1}}",
        "defaults: {resize: {width: hello}}",
        "defaults: {resize: {width: -3}}",
        "sweep: {a: 1..2}",
        "extra: 1",
        "name: [1]",
        "doc: &x [*x]",
        "doc: *nope",
        "!foo doc: x",
        "%YAML 1.1",
        "darkroom: 2",
    ],
)
def test_odd_sections_are_mistakes_with_a_place(desk: Desk, section: str) -> None:
    code, err = desk.check(f"{HEAD}{PHOTO}{section}\n")

    assert (2, True) == (code, err.startswith("w.yaml:"))


def test_json_is_a_workflow_too(desk: Desk) -> None:
    assert 0 == desk.check('{\n\t"darkroom": 1,\n\t"nodes": {"photo": {"use": "load_image", "path": "a.png"}}\n}')[0]


def test_an_endless_standard_input_is_refused(desk: Desk) -> None:
    command = [sys.executable, str(ROOT / "runner.py"), "check", "-"]
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run(command, stdin=endless, capture_output=True, timeout=60, check=False)

    assert (2, True) == (done.returncode, done.stderr.startswith(b"<stdin>:1:1: the file is larger than 8 MiB"))


def test_names_in_a_file_do_not_command_the_terminal(desk: Desk) -> None:
    header = b'{"\\u001b[2J\\u009b31m":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    Path("a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))

    for kind in ("load_model", "load_upscaler"):
        code, err = desk.check(f"{HEAD}nodes:\n  a: {{use: {kind}, path: a.safetensors}}\n")
        assert (3, True) == (code, "·[2J·31m" in err)
        assert not {"\x1b", "\x9b"} & set(err)
