"""Faults under real workflows: a damaged or crowded cache, a full disk, signals. What was right stays right."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from PIL import Image

import runner

ROOT = Path(runner.__file__).parent
WORKFLOW = """\
darkroom: 1
params: {label: one}
nodes:
  photo: {use: load_image, path: a.png}
  large: {use: upscale, image: $photo, factor: 2}
  sheet: {use: grid, images: [$photo, $large], labels: "${label}|two"}
"""
SLOW = '''\
"""One node."""

import os
import sys
import threading
from pathlib import Path

from darkroom import Context, Node, Picture


class Slow(Node, kind="slow", version=1):
    """Take a thousand steps, and say so in a file."""

    def run(self, ctx: Context, image: Picture) -> Picture:
        if os.environ.get("AT_ONCE"):
            return image
        for step in range(1000):
            with Path("steps").open("a") as file:
                file.write(f"{step}\\n")
            if not os.environ.get("DEAF"):
                ctx.progress(step + 1, 1000)
            print("step", flush=True, file=sys.stderr)
            threading.Event().wait(0.02)
        return image
'''
SLOW_WORKFLOW = """\
darkroom: 1
nodes:
  photo: {use: load_image, path: a.png}
  large: {use: upscale, image: $photo, factor: 2}
  slow: {use: slow, image: $large}
  last: {use: upscale, image: $slow, factor: 2}
"""
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a folder with a workflow and a picture."""
    monkeypatch.chdir(tmp_path)
    gradient = Image.linear_gradient("L").resize((96, 80))
    Image.merge("RGB", [gradient, gradient.rotate(180), gradient]).save("a.png")
    Path("sheet.yaml").write_text(WORKFLOW)
    return tmp_path / "cache"


def run(capsys: Capture, *words: str) -> tuple[dict[str, list[str]], str, str]:
    """What happened to each node, the digest of the output, and what was told to people."""
    assert 0 == runner.main(["run", *words, "--json"])
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    actions: dict[str, list[str]] = {}
    for event in events:
        if event["event"] == "node_finished":
            actions.setdefault(event["node"], []).append(event["action"])
    return actions, events[-1]["outputs"][0]["digest"], err


def process(*words: str, **settings: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "runner.py"), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | settings)


# A damaged cache


def _flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def _blobs(cache: Path) -> list[Path]:
    return sorted(path for path in cache.glob("v*/blobs/*/*") if path.is_file())


def _swap(paths: list[Path]) -> None:
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, [*contents[1:], contents[0]], strict=True):
        path.write_bytes(content)


def _each(change: Callable[[bytes], bytes]) -> Callable[[list[Path]], None]:
    def damage(paths: list[Path]) -> None:
        for path in paths:
            path.write_bytes(change(path.read_bytes()))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _each(_flip),
        _each(lambda data: data[:-7]),
        _each(lambda data: b""),
        _each(lambda data: bytes(len(data))),
        _each(lambda data: data + b"x"),
        _swap,
    ],
    ids=["flipped", "truncated", "empty", "zeroed", "grown", "swapped"],
)
def test_damaged_values_are_found_and_made_again(
    cache: Path, capsys: Capture, damage: Callable[[list[Path]], None]
) -> None:
    _, expected, _ = run(capsys, "sheet.yaml", "--cache", "none", "--set", "label=three")
    run(capsys, "sheet.yaml")
    damage(_blobs(cache))
    actions, digest, err = run(capsys, "sheet.yaml", "--set", "label=three")

    assert expected == digest
    assert "dropped a damaged value of the cache" in err
    assert ["run", "run", "run"] == [ended[-1] for ended in actions.values()]
    assert "dropped" not in run(capsys, "sheet.yaml", "--set", "label=four")[2]


def test_values_that_are_gone_are_made_again_without_a_word(cache: Path, capsys: Capture) -> None:
    run(capsys, "sheet.yaml")
    for path in _blobs(cache):
        path.unlink()

    assert "warning" not in run(capsys, "sheet.yaml", "--set", "label=three")[2]


def test_a_damaged_value_that_nobody_needs_costs_nothing(cache: Path, capsys: Capture) -> None:
    run(capsys, "sheet.yaml")
    _each(_flip)(_blobs(cache))

    assert [["hit"]] * 3 == list(run(capsys, "sheet.yaml")[0].values())


@pytest.mark.parametrize(
    ("damage", "warned"),
    [
        (lambda index: index.unlink(), False),
        (lambda index: index.write_bytes(b""), False),
        (lambda index: index.write_bytes(bytes(index.stat().st_size)), True),
        (lambda index: index.write_bytes(index.read_bytes()[:5000]), True),
        (lambda index: index.write_bytes(b"no database" * 1000), True),
    ],
    ids=["deleted", "empty", "zeroed", "truncated", "text"],
)
def test_a_damaged_index_is_begun_anew(
    cache: Path, capsys: Capture, damage: Callable[[Path], Any], warned: bool
) -> None:
    _, expected, _ = run(capsys, "sheet.yaml")
    (index,) = cache.glob("v*/index")
    damage(index)
    actions, digest, err = run(capsys, "sheet.yaml")

    assert (expected, [["run"]] * 3) == (digest, list(actions.values()))
    assert int(warned) == err.count("warning:")
    assert [["hit"]] * 3 == list(run(capsys, "sheet.yaml")[0].values())


# A cache that cannot be written


@pytest.mark.parametrize("place", ["a.png", "a.png/below", "/proc/nothing"])
def test_without_a_place_for_the_cache_the_run_completes(cache: Path, capsys: Capture, place: str) -> None:
    _, expected, _ = run(capsys, "sheet.yaml", "--cache", "none")
    actions, digest, err = run(capsys, "sheet.yaml", "--cache", place)

    assert (expected, [["run"]] * 3) == (digest, list(actions.values()))
    assert 1 == err.count("warning:")


def test_a_cache_that_vanishes_is_begun_anew(cache: Path, capsys: Capture) -> None:
    _, expected, _ = run(capsys, "sheet.yaml")
    shutil.rmtree(cache)

    assert expected == run(capsys, "sheet.yaml")[1]


@pytest.mark.parametrize("words", [(), ("--json",), ("--quiet",)], ids=lambda words: "".join(words) or "people")
def test_why_an_output_could_not_be_saved_is_told(cache: Path, capsys: Capture, words: tuple[str, ...]) -> None:
    code = runner.main(["run", "sheet.yaml", "--out", "a.png/x", *words])

    assert (1, True) == (code, "sheet could not be saved: cannot write" in capsys.readouterr().err)


def _limited(file_bytes: int) -> Callable[[], None]:
    """For a child: no file may grow larger, and trying is an error, as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    return limit


@pytest.mark.parametrize("most", [0, 4096])
def test_on_a_full_disk_no_output_is_half_written(cache: Path, most: int) -> None:
    command = [sys.executable, str(ROOT / "runner.py"), "run", "sheet.yaml", "--json"]
    done = subprocess.run(command, capture_output=True, preexec_fn=_limited(most), timeout=60, check=False)
    ended = json.loads(done.stdout.splitlines()[-1])

    assert (1, False) == (done.returncode, ended["ok"])
    assert b"Traceback" not in done.stderr
    assert b"itself failed" not in done.stderr
    assert [] == [path for path in Path("outputs").glob("*") if path.is_file()]
    assert [] == list(cache.glob("v*/writing/*"))


def test_a_full_cache_does_not_stop_a_run(cache: Path) -> None:
    small = 40_000  # bytes: above the PNG of one colour, below its 196,608 bytes of pixels in the cache
    command = [sys.executable, str(ROOT / "runner.py"), "run", "sheet.yaml", "--json", "--only", "photo"]
    Image.new("RGB", (256, 256), "red").save("a.png")
    done = subprocess.run(command, capture_output=True, preexec_fn=_limited(small), timeout=60, check=False)

    assert 0 == done.returncode, done.stderr
    assert 1 == done.stderr.count(b"warning:")
    assert Path("outputs/sheet-00001.png").is_file()


# Several processes


def test_eight_processes_on_one_cache_give_equal_outputs(cache: Path) -> None:
    running = [process("run", "sheet.yaml", "--json", "--out", f"out{n}") for n in range(8)]
    ended = [one.communicate(timeout=120) for one in running]
    digests = {json.loads(out.splitlines()[-1])["outputs"][0]["digest"] for out, _ in ended}

    assert [0] * 8 == [one.returncode for one in running]
    assert 1 == len(digests)
    assert 1 == len({Path(f"out{n}/sheet-00001.png").read_bytes() for n in range(8)})
    assert [b""] * 8 == [b"".join(line for line in err.splitlines() if b"warning" in line) for _, err in ended]


def test_eight_processes_in_one_output_folder_write_over_nothing(cache: Path) -> None:
    labels = [f"label=n{n // 2}" for n in range(8)]
    running = [process("run", "sheet.yaml", "--quiet", "--cache", "none", "--set", label) for label in labels]
    paths = [one.communicate(timeout=120)[0].strip() for one in running]

    assert 4 == len(set(paths)) == len(list(Path("outputs").iterdir()))
    assert paths[::2] == paths[1::2]


# Signals


@pytest.fixture
def slow(cache: Path) -> Path:
    Path("mine").mkdir()
    Path("mine/slow.py").write_text(SLOW)
    Path("slow.yaml").write_text(SLOW_WORKFLOW)
    return cache


def started(**settings: str) -> subprocess.Popen[bytes]:
    """A run that has begun its slow node."""
    running = process("run", "slow.yaml", "--nodes", "mine", **settings)
    stream: IO[bytes] | None = running.stderr
    assert stream
    for line in stream:
        if line == b"step\n":
            return running
    raise AssertionError(f"the slow node never began: {running.wait()}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_run_within_a_step_and_keeps_what_is_finished(
    slow: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    running = started()
    before = len(Path("steps").read_text().split())
    running.send_signal(number)
    _, err = running.communicate(timeout=60)

    assert code == running.returncode
    assert b"Traceback" not in err
    assert len(Path("steps").read_text().split()) < before + 100, "it went on for many steps"
    assert not list(Path().glob("outputs/*"))
    assert not [*slow.glob("v*/writing/*"), *slow.glob("v*/living/*")]

    monkeypatch.setenv("AT_ONCE", "1")
    assert {"photo": ["hit"], "large": ["hit"], "slow": ["run"], "last": ["run"]} == run(
        capsys, "slow.yaml", "--nodes", "mine"
    )[0]


def test_who_waits_for_another_process_says_so_and_stops_at_once(slow: Path) -> None:
    holder = started()
    waits = process("run", "slow.yaml", "--nodes", "mine")
    assert waits.stdout
    assert any(f"waits for process {holder.pid}".encode() in line for line in waits.stdout)
    waits.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = waits.communicate(timeout=60)

    assert 130 == waits.returncode
    assert b"Traceback" not in err
    assert time.monotonic() - began < 3, "a fraction of a second, and what Python takes to end on a busy machine"
    holder.kill()
    holder.communicate()


def test_a_second_signal_kills(slow: Path) -> None:
    running = started(DEAF="1")
    running.send_signal(signal.SIGINT)
    assert running.stderr
    for line in running.stderr:
        if b"once more stops at once" in line:
            break
    running.send_signal(signal.SIGINT)

    assert -signal.SIGINT == running.wait(timeout=30)
    running.communicate()


def test_a_killed_run_leaves_no_litter_for_the_next(slow: Path, capsys: Capture) -> None:
    running = started()
    running.kill()
    running.communicate()
    actions, _, err = run(capsys, "sheet.yaml")

    assert ["hit"] == actions["photo"]
    assert "warning" not in err
    assert [] == list(slow.glob("v*/writing/*"))
