"""The commands that look back: what was run, what differs between two pictures, what a lock holds."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import darkroom
import runner

WORKFLOW = """\
darkroom: 1
name: print
params: {factor: 2.0, source: {type: path, default: a.png}, method: nearest}
nodes:
  photo: {use: load_image, path: $source}
  large: {use: upscale, image: $photo, factor: $factor, method: $method}
outputs: {large: $large}
"""


class Prompt:
    """Where commands are typed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        code = runner.main(words)
        return code, *self.capsys.readouterr()

    def run(self, *words: str) -> str:
        """The path of the picture that a run gives."""
        code, out, err = self("run", "w.yaml", "--quiet", *words)
        assert 0 == code, err
        return out.strip()

    def told(self, *words: str) -> Any:
        """What programs are told."""
        return json.loads(self(*words, "--json")[1])


@pytest.fixture
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Prompt:
    """In a folder with a workflow and a picture."""
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((16, 16)).save("a.png")
    Image.new("RGB", (16, 16), "red").save("b.png")
    Path("w.yaml").write_text(WORKFLOW)
    return Prompt(capsys)


def timeless(text: str) -> str:
    """With times and durations of one kind."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-03-01 12:00:00", text)
    text = re.sub(r" +\d\.\d\d? s  ", "   0.1 s  ", text)
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


# history


def test_the_newest_run_is_told_first_with_what_it_changed(prompt: Prompt) -> None:
    for factor in ("2", "3", "3", "3"):
        prompt.run("--set", f"factor={factor}")
    runs = prompt.told("history")["runs"]

    assert [(2, 2, 1), (1, 0, 2)] == [(run["number"], run["times"], run["ran"]) for run in runs]
    assert [{"factor": 2.0}, {}] == [run["changed"] for run in runs]
    assert [1, 0] == [run["before"] for run in runs]


def test_the_list_for_people(prompt: Prompt) -> None:
    first = prompt.run()
    prompt.run("--set", "factor=3")
    Path(first).unlink()
    lines = prompt("history")[1].splitlines()
    cells = [re.split(r" {2,}", line.strip()) for line in lines]

    assert "run when workflow state ran cached computed saved again outputs params" == " ".join(cells[0])
    assert ["outputs/print-00002.png", "factor=3.0 (was 2.0), source=a.png, method=nearest"] == cells[1][-2:]
    assert ["outputs/print-00001.png (gone)", "factor=2.0, source=a.png, method=nearest"] == cells[2][-2:]


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (200, "run when workflow state ran cached computed saved again outputs params"),
        (105, "run when workflow state ran cached computed outputs params"),
        (70, "run when workflow state outputs"),
    ],
)
def test_a_narrow_list_has_fewer_columns_not_narrower_ones(
    prompt: Prompt, monkeypatch: pytest.MonkeyPatch, width: int, header: str
) -> None:
    prompt.run()
    monkeypatch.setattr(runner, "_terminal", lambda: (width, False))

    assert header.split() == prompt("history")[1].splitlines()[0].split()


def test_an_altered_output_is_told(prompt: Prompt) -> None:
    Path(prompt.run()).write_bytes(b"altered")

    assert ["altered"] == [one["state"] for one in prompt.told("history", "1")["outputs"]]
    assert "outputs/print-00001.png (altered)" in prompt("history")[1]


def test_of_a_cache_that_cannot_be_opened_no_history_is_told(prompt: Prompt, tmp_path: Path) -> None:
    (tmp_path / "broken/v2").mkdir(parents=True)
    (tmp_path / "broken/v2/living").touch()
    code, out, err = prompt("history", "--cache", "broken")

    assert (3, "") == (code, out)
    assert 'the cache in "broken" cannot be used' in err


@pytest.mark.parametrize("what", ["print", "w.yaml", "outputs/print-00001.png"])
def test_runs_of_one_workflow_are_found_by_its_name_its_file_or_a_picture(prompt: Prompt, what: str) -> None:
    prompt.run()
    Path("other.yaml").write_text(WORKFLOW.replace("name: print", "name: other"))
    prompt("run", "other.yaml")

    assert [1] == [run["number"] for run in prompt.told("history", what)["runs"]]
    assert [2, 1] == [run["number"] for run in prompt.told("history")["runs"]]
    assert [2] == [run["number"] for run in prompt.told("history", "--most", "1")["runs"]]


def test_runs_of_a_file_that_is_broken_now_are_found_by_its_name(prompt: Prompt) -> None:
    Path("w.yaml").write_text(WORKFLOW.replace("name: print\n", ""))
    prompt.run()
    Path("w.yaml").write_text("[")

    assert 1 == len(prompt.told("history", "w.yaml")["runs"])


def test_all_of_one_run_is_told(prompt: Prompt) -> None:
    prompt.run()
    prompt.run("--set", "factor=3")
    prompt.run("--set", "factor=3")
    _, out, _ = prompt("history", "2")
    digest = prompt.told("history", "2")["outputs"][0]["digest"]

    assert re.fullmatch(
        rf"""run 2 of print: done
when +2026-03-01 12:00:00
took .*; computed .*, the cache saved .*
again +1 x, all of it cached; last 2026-03-01 12:00:00
workflow +w.yaml
command +darkroom run w.yaml --set factor=3.0

param +value
factor +3.0 +was 2.0 in run 1
source +a.png
method +nearest

node +kind +action +seconds +device +key +why
photo +load_image +hit +[\d.]+ +[0-9a-f]{{12}}
large +upscale +run +[\d.]+ +[0-9a-f]{{12}} +factor was 2.0, is now 3.0

output +path +state +digest
large +outputs/print-00002.png +there +{digest}

file +sha256
a.png +[0-9a-f]{{64}}

kind +version
load_image +1
upscale +1

package +version
(\w+ +\S+\n)+""",
        timeless(out),
    )


def test_a_workflow_that_was_changed_or_is_gone_is_told(prompt: Prompt) -> None:
    prompt.run()
    Path("w.yaml").write_text(WORKFLOW + "# nice\n")
    changed = prompt("history", "1")[1]
    Path("w.yaml").unlink()

    assert "w.yaml (changed since; a picture that is there holds it as it was)" in changed
    assert "w.yaml (gone)" in prompt("history", "1")[1]


def test_the_command_gives_the_same_again(prompt: Prompt) -> None:
    Path("a folder").mkdir()
    Path("a.png").rename("a folder/it's.png")
    saved = prompt.run("--set", "source=a folder/it's.png", "--set", "factor=3", "--out", "my pictures")
    command = next(line for line in prompt("history", "1")[1].splitlines() if line.startswith("command"))
    words = shlex.split(command.removeprefix("command"))
    Path(saved).unlink()

    assert "darkroom" == words[0]
    assert 0 == prompt(*words[1:])[0]
    (past,) = prompt.told("history")["runs"]
    assert (1, words, str(Path.cwd() / saved)) == (past["times"], past["command"], past["outputs"][0]["path"])
    assert Path(saved).exists()


def test_a_picture_that_is_run_again_is_asked_for_as_a_picture(prompt: Prompt) -> None:
    picture = prompt.run()
    prompt("run", picture, "--set", "factor=3")

    assert ["darkroom", "run", picture, "--set", "factor=3.0"] == prompt.told("history", "2")["command"]


def test_a_failed_run_is_in_the_list(prompt: Prompt) -> None:
    Path("w.yaml").write_text(
        WORKFLOW.replace(
            "use: upscale, image: $photo, factor: $factor, method: $method", "use: watermark, image: $photo, text: hi"
        )
    )
    assert 1 == prompt("run", "w.yaml")[0]

    assert "failed 1" in prompt("history")[1]
    assert "a watermark needs" in prompt("history", "1")[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("7",), 2, "there is no run 7 in the history\n  The last one is 1."),
        (("9" * 5000,), 2, "there is no run 9"),
        (("prin",), 2, 'no run of "prin" is in the history\n  Did you mean "print"?'),
        (("a.png",), 3, "a.png does not hold a workflow"),
        (("--most", "0"), 2, "--most takes a number from 1, not 0"),
        (("--cache", "none"), 2, "--cache none keeps no history"),
        (("--cache", "nowhere"), 2, 'there is no cache in "nowhere"'),
    ],
)
def test_what_is_not_in_the_history_is_told(prompt: Prompt, words: tuple[str, ...], code: int, said: str) -> None:
    prompt.run()
    found, out, err = prompt("history", *words)

    assert (code, "", True) == (found, out, said in err)


def test_before_the_first_run_there_is_no_history(prompt: Prompt) -> None:
    assert (2, "") == prompt("history")[:2]
    assert not Path("cache").exists()


# diff


def test_two_pictures_of_a_run_are_told_apart_by_what_made_them(prompt: Prompt) -> None:
    first, second = prompt.run(), prompt.run("--set", "method=lanczos")
    code, out, err = prompt("diff", first, second)

    assert (1, "") == (code, err)
    assert [
        "outputs/print-00001.png: 32x32, large of the workflow print",
        "outputs/print-00002.png: 32x32, large of the workflow print",
        "",
        "                         outputs/print-00001.png  outputs/print-00002.png",
        'param      method        "nearest"                "lanczos"',
        'parameter  large.method  "nearest"                "lanczos"',
        "",
    ] == out.splitlines()[:7]
    assert "outputs/difference-00001.png" == out.splitlines()[-1]


def test_programs_are_told_the_same(prompt: Prompt) -> None:
    told = prompt.told("diff", prompt.run(), prompt.run("--set", "method=lanczos"))

    assert (False, "outputs/difference-00001.png", 32) == (told["same"], told["picture"], told["pixels"]["width"])
    assert {"what": "param", "name": "method", "a": "nearest", "b": "lanczos"} in told["differences"]
    assert ("print", "large", False) == tuple(told["a"][name] for name in ("workflow", "output", "altered"))


def test_the_same_pixels_are_exit_0_and_no_picture(prompt: Prompt) -> None:
    first = prompt.run()
    second = prompt.run("--out", "elsewhere")

    assert 0 == (found := prompt("diff", first, second))[0]
    assert ["made from the same, with the same versions", "", "the same pixels"] == found[1].splitlines()[-3:]
    assert not list(Path("outputs").glob("difference*"))


def test_what_is_shown_is_a_picture_of_both_and_of_the_difference(prompt: Prompt) -> None:
    prompt("diff", "a.png", "b.png", "--out", "shown.png")
    with Image.open("shown.png") as shown:
        assert (255, 0, 0) == shown.getpixel((12 + 256 + 12 + 128, 150))


def test_no_file_is_written_over(prompt: Prompt) -> None:
    Path("shown.png").write_bytes(b"mine")
    _, out, _ = prompt("diff", "a.png", "b.png", "--out", "shown.png")

    assert ("shown-2.png", b"mine") == (out.splitlines()[-1], Path("shown.png").read_bytes())


def test_the_same_difference_is_shown_once(prompt: Prompt) -> None:
    for _ in range(3):
        prompt("diff", "a.png", "b.png")

    assert ["difference-00001.png"] == [path.name for path in Path("outputs").iterdir()]


def test_pictures_of_others_are_compared_by_their_pixels_alone(prompt: Prompt) -> None:
    _, out, _ = prompt("diff", "a.png", "b.png")

    assert "a.png: 16x16, nothing in it says how it was made" in out
    assert "only the pixels can be compared" in out


def test_a_picture_that_was_altered_since_is_told(prompt: Prompt) -> None:
    first = prompt.run()
    with Image.open(first) as image:
        image.load()
        altered = image.copy()
        altered.putpixel((0, 0), (255, 0, 255))
        altered.save("altered.png", pnginfo=_chunks(image))
    told = prompt.told("diff", first, "altered.png")

    assert (False, True, 1) == (told["a"]["altered"], told["b"]["altered"], told["pixels"]["differing"])
    assert "altered.png: its pixels are not those that Darkroom saved" in prompt("diff", first, "altered.png")[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"workflow": "nodes: {a: {use: {}}}\noutputs: {large: {}}"},
        {"files": {"a.png": 3, "b": None}},
        {"nodes": {"large": {"factor": {}, "x": [1]}}, "kinds": [], "versions": 3, "params": {"factor": {}}},
    ],
)
def test_a_picture_that_somebody_tampered_with_is_compared_all_the_same(
    prompt: Prompt, changed: dict[str, object]
) -> None:
    first = prompt.run()
    with Image.open(first) as image:
        told = json.loads(image.info["darkroom"]) | changed
        image.info["darkroom"] = json.dumps(told)
        image.save("tampered.png", pnginfo=_chunks(image))
    code, out, err = prompt("diff", first, "tampered.png")

    assert (0, True, "") == (code, "the same pixels" in out, err)


def _chunks(image: Image.Image) -> Any:
    from graph.metadata import text_chunks

    return text_chunks({"darkroom": image.info["darkroom"]})


def test_two_sizes_are_compared_and_it_is_said(prompt: Prompt) -> None:
    Image.new("RGB", (32, 32), "blue").save("large.png")
    code, out, _ = prompt("diff", "b.png", "large.png")

    assert (1, True) == (code, "their sizes differ; compared at 32x32, with the smaller one enlarged:" in out)


def test_two_shapes_are_shown_side_by_side(prompt: Prompt) -> None:
    Image.new("RGB", (32, 16), "blue").save("wide.png")
    code, out, _ = prompt("diff", "b.png", "wide.png")

    assert (1, True) == (code, "their shapes differ, so the pixels are not compared" in out)
    assert prompt.told("diff", "b.png", "wide.png")["pixels"] is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("a.png", "nope.png"), 3, 'picture "nope.png" is not there'),
        (("a.png", "w.yaml"), 3, 'picture "w.yaml" is not a picture'),
        (("a.png", "b.png", "--out", "x.gif"), 2, "is no format for pictures here"),
        (("a.png",), 2, "the following arguments are required"),
    ],
)
def test_what_cannot_be_compared_is_told(prompt: Prompt, words: tuple[str, ...], code: int, said: str) -> None:
    found, out, err = prompt("diff", *words)

    assert (code, "", True) == (found, out, said in err)


# lock


def test_a_locked_workflow_is_run_until_it_drifts(prompt: Prompt) -> None:
    assert (0, "darkroom.lock: w.yaml with 2 kinds and 1 file\n", "") == prompt("lock", "w.yaml")
    assert 0 == prompt("run", "w.yaml", "--locked")[0]
    Path("b.png").replace("a.png")

    for command in ("run", "check", "plan"):
        code, out, err = prompt(command, "w.yaml")
        assert (2, "", True) == (code, out, 'w.yaml:5:34: photo.path: the picture "a.png" is sha256 ' in err)
        assert 0 == prompt(command, "w.yaml", "--no-lock")[0]


def test_a_drift_is_told_to_programs(prompt: Prompt) -> None:
    prompt("lock", "w.yaml")
    Path("b.png").replace("a.png")

    assert [("lock-drift", 5, 34)] == [
        (mistake["code"], mistake["line"], mistake["column"]) for mistake in prompt.told("check", "w.yaml")["errors"]
    ]


def test_a_drift_is_refused_from_python(prompt: Prompt) -> None:
    darkroom.lock(darkroom.load("w.yaml"))
    Path("b.png").replace("a.png")

    with pytest.raises(darkroom.WorkflowError, match=r"darkroom\.lock has"):
        darkroom.run(darkroom.load("w.yaml"))


def test_locking_anew_accepts_and_tells_what_changed(prompt: Prompt) -> None:
    prompt("lock", "w.yaml")
    Path("b.png").replace("a.png")
    told = prompt.told("lock", "w.yaml")

    assert [("files", "a.png")] == [(change["what"], change["name"]) for change in told["changes"]]
    assert 0 == prompt("check", "w.yaml")[0]
    Path("w.yaml").write_text(WORKFLOW.replace("a.png", "c.png"))
    Path("a.png").replace("c.png")
    assert re.fullmatch(
        "darkroom.lock: w.yaml with 2 kinds and 1 file\n  a.png: was sha256 .{12}…, is gone\n  c.png: new\n",
        prompt("lock", "w.yaml")[1],
    )


def test_a_lock_that_is_required_and_not_there_is_exit_2(prompt: Prompt) -> None:
    code, out, err = prompt("check", "w.yaml", "--locked")

    assert (2, "", True) == (code, out, "darkroom lock w.yaml" in err)
    assert ["no-lock"] == [mistake["code"] for mistake in prompt.told("check", "w.yaml", "--locked")["errors"]]


def test_a_missing_file_of_a_locked_workflow_is_exit_3(prompt: Prompt) -> None:
    prompt("lock", "w.yaml")
    Path("a.png").unlink()

    assert [3, 3] == [prompt(command, "w.yaml")[0] for command in ("check", "run")]


def test_standard_input_and_pictures_cannot_be_locked(prompt: Prompt) -> None:
    code, _, err = prompt("lock", prompt.run())

    assert (2, True) == (code, "only a workflow that is a file of its own can be locked" in err)
    assert not Path("darkroom.lock").exists()


def test_a_picture_is_run_again_whatever_is_locked(prompt: Prompt) -> None:
    picture = prompt.run()
    prompt("lock", "w.yaml")
    Path("b.png").replace("a.png")

    assert 0 == prompt("run", picture)[0]


def test_a_lock_is_found_beside_the_workflow_and_not_in_the_current_folder(
    prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt("lock", "w.yaml")
    Path("b.png").replace("a.png")
    Path("below").mkdir()
    monkeypatch.chdir("below")

    assert 2 == prompt("check", "../w.yaml")[0]
