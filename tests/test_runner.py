"""The command line as a user has it: what each command prints, where, and the code it ends with."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import runner

ROOT = Path(runner.__file__).parent
WORKFLOW = """\
darkroom: 1
name: marks
params: {factor: 2.0, text: "007", wide: 64, big: true, source: {type: path, default: a.png}}
nodes:
  photo: {use: load_image, path: $source}
  small: {use: resize, image: $photo, width: $wide}
  large: {use: upscale, when: $big, image: $small, factor: $factor, method: nearest}
  signed: {use: grid, images: [$small], labels: $text}
  last: {use: grid, images: [{first: [$large, $signed]}]}
outputs: {print: $last, label: $signed}
"""
GREYSCALE = '''\
"""One node."""

from darkroom import Context, Node, Picture


class Greyscale(Node, kind="greyscale", version=1):
    """Drop the colour."""

    def run(self, ctx: Context, image: Picture) -> Picture:
        return Picture(image.pixels.convert("L").convert("RGB"))
'''
TWO_NODES = """\
darkroom: 1
nodes:
  photo: {use: load_image, path: a.png}
  grey: {use: greyscale, image: $photo}
"""
Said = tuple[int, str, str]


class Shell:
    """Types commands in a folder with a workflow and a picture."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str) -> Said:
        """Exit code, standard output, standard error."""
        code = runner.main(words)
        return code, *self.capsys.readouterr()

    def events(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*words, "--json")[1].splitlines()]

    def actions(self, *words: str) -> dict[str, str]:
        return {event["node"]: event["action"] for event in self.events(*words) if event["event"] == "node_finished"}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    gradient = Image.linear_gradient("L").resize((96, 80))
    Image.merge("RGB", [gradient, gradient.rotate(180), gradient]).save("a.png")
    Path("marks.yaml").write_text(WORKFLOW)
    return Shell(capsys)


def grey(body: str, top: str = "") -> tuple[str, str, str]:
    """Give the greyscale node another body. The words for a workflow with it."""
    node = GREYSCALE.replace('return Picture(image.pixels.convert("L").convert("RGB"))', body)
    Path("mine").mkdir()
    Path("mine/grey.py").write_text(top + node)
    Path("grey.yaml").write_text(TWO_NODES)
    return "grey.yaml", "--nodes", str(Path("mine").absolute())


def from_a_shell(*words: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(ROOT / "runner.py"), *words]
    return subprocess.run(command, input=stdin, capture_output=True, env=os.environ | settings, timeout=60, check=False)


# run


def test_run_says_each_node_and_where_the_pictures_are(shell: Shell) -> None:
    code, out, _ = shell("run", "marks.yaml")

    assert 0 == code
    assert all(name in out for name in ("photo", "small", "large", "signed", "last", "outputs/marks-print-00001.png"))
    with Image.open("outputs/marks-print-00001.png") as saved:
        assert 2 * 64 < saved.width


def test_a_file_alone_is_run(shell: Shell) -> None:
    assert 0 == shell("marks.yaml", "--quiet")[0]
    assert Path("outputs/marks-print-00001.png").is_file()


def test_quiet_prints_the_paths_and_nothing_else(shell: Shell) -> None:
    _, out, err = shell("run", "marks.yaml", "--quiet")

    assert (["outputs/marks-print-00001.png", "outputs/marks-label-00001.png"], "") == (out.splitlines(), err)


def test_the_second_run_takes_all_from_the_cache_and_keeps_the_files(shell: Shell) -> None:
    shell("run", "marks.yaml")
    events = shell.events("run", "marks.yaml")

    assert {"hit"} == {event["action"] for event in events if event["event"] == "node_finished"}
    assert 2 == len(list(Path("outputs").iterdir()))


def test_a_lost_output_is_made_again(shell: Shell) -> None:
    (first,) = [event["outputs"][0] for event in shell.events("run", "marks.yaml") if "outputs" in event]
    Path(first["path"]).unlink()
    (again,) = [event["outputs"][0] for event in shell.events("run", "marks.yaml") if "outputs" in event]

    assert first["digest"] == again["digest"]
    assert Path(again["path"]).is_file()


def test_the_file_may_be_standard_input(shell: Shell) -> None:
    done = from_a_shell("-", "--quiet", stdin=WORKFLOW.encode())

    assert (0, b"outputs/marks-print-00001.png") == (done.returncode, done.stdout.splitlines()[0])


def test_an_output_that_was_saved_is_told_with_its_path(shell: Shell) -> None:
    Path("parts.yaml").write_text(
        "darkroom: 1\nnodes:\n  photo: {use: load_image, path: a.png}\noutputs: {p: $photo, mask: $photo.mask}\n"
    )
    _, out, _ = shell("run", "parts.yaml")

    assert [True, True] == [f"outputs/parts-{name}-00001.png" in out for name in ("p", "mask")]


def test_out_and_cache_are_where_the_user_says(shell: Shell) -> None:
    assert 0 == shell("run", "marks.yaml", "--out", "here/there", "--cache", "kept")[0]
    assert Path("here/there/marks-print-00001.png").is_file()
    assert any(Path("kept").iterdir())
    assert not Path(os.environ["DARKROOM_CACHE"]).exists()


def test_without_a_cache_everything_runs_again(shell: Shell) -> None:
    shell("run", "marks.yaml", "--cache", "none")

    assert {"run"} == set(shell.actions("run", "marks.yaml", "--cache", "none").values())
    assert not Path("none").exists()


def test_only_goes_no_further_than_a_node(shell: Shell) -> None:
    assert {"photo", "small"} == shell.actions("run", "marks.yaml", "--only", "small").keys()
    assert Path("outputs/marks-00001.png").is_file()


def test_force_runs_a_node_whatever_is_cached(shell: Shell) -> None:
    shell("run", "marks.yaml")
    actions = shell.actions("run", "marks.yaml", "--force", "large")

    assert {"photo": "hit", "small": "hit", "large": "run", "signed": "hit", "last": "hit"} == actions


@pytest.mark.parametrize(("option", "code"), [("--only", 2), ("--force", 2)])
def test_an_unknown_node_is_told_with_the_near_one(shell: Shell, option: str, code: int) -> None:
    found, out, err = shell("run", "marks.yaml", option, "smal")

    assert (code, "") == (found, out)
    assert 'there is no node "smal"' in err
    assert 'Did you mean "small"?' in err


# --set


@pytest.mark.parametrize(
    ("setting", "node", "shown"),
    [
        ("factor=3", "large", "factor was 2.0, is now 3.0"),
        ("factor=1e0", "large", "factor was 2.0, is now 1.0"),
        ("wide=0x20", "small", "width was 64, is now 32"),
        ("text=008", "signed", 'labels was "007", is now "008"'),
        ("text=$factor", "signed", 'labels was "007", is now "$factor"'),
        ("text=a=b", "signed", 'labels was "007", is now "a=b"'),
        ("text=true", "signed", 'labels was "007", is now "true"'),
    ],
)
def test_a_setting_has_the_type_of_its_param(shell: Shell, setting: str, node: str, shown: str) -> None:
    shell("run", "marks.yaml", "--quiet")
    events = shell.events("run", "marks.yaml", "--set", setting)

    assert [shown] == [event["why"] for event in events if event.get("node") == node]


def test_a_flag_switches_a_node_off(shell: Shell) -> None:
    assert "skipped" == shell.actions("run", "marks.yaml", "--set", "big=false")["large"]


def test_a_path_that_is_set_starts_where_the_user_is(shell: Shell) -> None:
    Path("below").mkdir()
    Path("marks.yaml").rename("below/marks.yaml")

    assert 3 == shell("check", "below/marks.yaml")[0]
    assert 0 == shell("check", "below/marks.yaml", "--set", "source=a.png")[0]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("factor=much", 'factor takes a number, but got "much"'),
        ("wide=1.5", 'wide takes an integer, but got "1.5"'),
        ("big=yes", 'big takes true or false, but got "yes"'),
        ("fator=2", 'there is no param "fator"'),
        ("factor", '--set takes name=value, not "factor"'),
        ("factor=17", "large.factor takes a number from 1 to 16"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_runs(shell: Shell, setting: str, said: str) -> None:
    code, out, err = shell("run", "marks.yaml", "--set", setting)

    assert (2, "") == (code, out)
    assert said in err


def test_every_wrong_setting_is_told_at_once(shell: Shell) -> None:
    _, _, err = shell("run", "marks.yaml", "--set", "factor=a", "--set", "wide=b", "--set", "no=c")

    assert [True] * 3 == [word in err for word in ("factor takes", "wide takes", '"no"')]


# --json


def test_json_lines_are_as_promised(shell: Shell) -> None:
    started, *finished, ended = shell.events("run", "marks.yaml", "--set", "big=false")

    assert {"event": "run_started", "workflow": "marks", "nodes": 5, "cells": 1} == started
    for event in finished:
        assert {"event", "cell", "node", "kind", "action", "seconds", "device", "key"} <= event.keys()
    assert ["node_finished"] * 5 == [event["event"] for event in finished]
    assert {"run", "skipped"} == {event["action"] for event in finished}
    assert ("run_finished", True, 4, 0) == tuple(ended[name] for name in ("event", "ok", "ran", "hits"))
    assert ["print", "label"] == [output["name"] for output in ended["outputs"]]
    assert all(output["digest"].startswith("sha256:") and output["cell"] == {} for output in ended["outputs"])


def test_with_json_people_are_told_on_standard_error(shell: Shell) -> None:
    _, _, err = shell("run", "marks.yaml", "--json")

    assert "outputs/marks-print-00001.png" in err


def test_the_digest_is_of_the_pixels_and_not_of_the_file(shell: Shell) -> None:
    def digest(*words: str) -> str:
        return str(shell.events("run", "marks.yaml", *words)[-1]["outputs"][0]["digest"])

    Path("again.yaml").write_text(WORKFLOW.replace("name: marks", "name: other"))
    other = shell.events("run", "again.yaml", "--cache", "none")[-1]["outputs"][0]

    assert digest() == other["digest"]
    assert Path("outputs/marks-print-00001.png").read_bytes() != Path(other["path"]).read_bytes()


def test_what_nodes_print_does_not_spoil_json(shell: Shell) -> None:
    body = 'print("told"); os.write(1, b"written\\n"); return image'
    done = from_a_shell("run", *grey(body, 'import os\n\nprint("loaded")\n'), "--json")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]

    assert ["run_started", "node_finished", "node_finished", "run_finished"] == events
    assert {b"loaded", b"told", b"written"} <= set(done.stderr.splitlines())


def test_a_failed_step_is_exit_1_and_the_other_branch_goes_on(shell: Shell) -> None:
    text = WORKFLOW.replace("labels: $text", 'labels: "a|b|c"').replace("first: [$large, $signed]", "first: [$large]")
    Path("marks.yaml").write_text(text)
    code, out, err = shell("run", "marks.yaml", "--json")
    events = [json.loads(line) for line in out.splitlines()]

    assert 1 == code
    assert "signed (grid) failed:" in err
    assert {"signed": "failed", "last": "run"}.items() <= {e["node"]: e["action"] for e in events[1:-1]}.items()
    assert (False, ["print"]) == (events[-1]["ok"], [output["name"] for output in events[-1]["outputs"]])


# The other commands


def test_check_says_that_nothing_is_wrong(shell: Shell) -> None:
    assert (0, "marks.yaml: 5 nodes, nothing wrong\n", "") == shell("check", "marks.yaml")
    assert not Path("outputs").exists()


def test_check_tells_every_mistake_to_programs(shell: Shell) -> None:
    Path("bad.yaml").write_text("darkroom: 1\nnodes:\n  a: {use: rezise}\n  b: {use: upscale, factro: 3}\n")
    code, out, _ = shell("check", "bad.yaml", "--json")
    told = json.loads(out)

    assert (2, False) == (code, told["ok"])
    assert {"file", "line", "column", "code", "message", "hint"} == set().union(*told["errors"])
    assert ("bad.yaml", 3, 12, "unknown-kind") == tuple(
        told["errors"][0][key] for key in ("file", "line", "column", "code")
    )
    assert 'Did you mean "resize"?' == told["errors"][0]["hint"]
    assert {3, 4} == {error["line"] for error in told["errors"]}


def test_plan_runs_nothing_and_says_why(shell: Shell) -> None:
    plan = json.loads(shell("plan", "marks.yaml", "--json")[1])["nodes"]

    assert ("photo", "run", "never run before") == tuple(plan[0][key] for key in ("node", "action", "why"))
    assert {"node", "action", "why", "device", "key"} <= plan[0].keys()
    assert not Path("outputs").exists()

    shell("run", "marks.yaml")
    after = json.loads(shell("plan", "marks.yaml", "--set", "factor=3", "--json")[1])["nodes"]

    assert {"photo": "hit", "small": "hit", "large": "run", "signed": "hit", "last": "unknown"} == {
        node["node"]: node["action"] for node in after
    }


def test_why_says_what_changed_since_the_last_run(shell: Shell) -> None:
    shell("run", "marks.yaml")

    assert "factor was 2.0, is now 3.0" in shell("why", "marks.yaml", "large", "--set", "factor=3")[1]
    assert "cached" in shell("why", "marks.yaml", "large")[1]
    assert 2 == shell("why", "marks.yaml", "larg")[0]


def test_why_says_to_people_what_it_says_to_programs(shell: Shell) -> None:
    for factor in ("2", "3"):
        shell("run", "marks.yaml", "--quiet", "--set", f"factor={factor}")
    _, text, _ = shell("why", "marks.yaml", "large")
    (told,) = shell.events("why", "marks.yaml", "large")

    assert ("hit", ["factor"]) == (told["action"], [change["field"] for change in told["changes"]])
    assert "factor was 3.0, is now 2.0" in text


def test_nodes_lists_every_kind_and_explains_one(shell: Shell) -> None:
    listed = shell("nodes")[1]
    code, page, _ = shell("nodes", "resize")

    assert all(kind in listed for kind in ("load_model", "sampler", "save_image", "watermark"))
    assert 0 == code
    assert all(word in page for word in ("width", "stretch", "image"))


def test_an_unknown_kind_is_told_with_the_near_one(shell: Shell) -> None:
    code, _, err = shell("nodes", "rezise")

    assert 2 == code
    assert 'Did you mean "resize"?' in err


def test_the_schema_is_json(shell: Shell) -> None:
    code, out, _ = shell("schema")

    assert (0, True) == (code, "$schema" in json.loads(out))


@pytest.mark.parametrize(
    ("format", "start"), [("mermaid", "---\ntitle:"), ("dot", 'digraph "marks"'), ("svg", "<svg ")]
)
def test_graph_draws_in_three_languages(shell: Shell, format: str, start: str) -> None:
    code, out, _ = shell("graph", "marks.yaml", "--format", format)

    assert (0, True) == (code, out.lstrip().startswith(start))


@pytest.mark.parametrize("words", [(), ("--help",), ("run", "--help"), ("--version",)])
def test_help_is_no_mistake(shell: Shell, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        shell(*words)

    assert 0 == caught.value.code


@pytest.mark.parametrize(
    "words",
    [("rnu", "marks.yaml"), ("run",), ("run", "marks.yaml", "--nope"), ("graph", "marks.yaml", "--format", "x")],
)
def test_a_wrong_word_is_exit_2(shell: Shell, words: tuple[str, ...]) -> None:
    code, out, err = shell(*words)

    assert (2, "", True) == (code, out, bool(err))


@pytest.mark.parametrize("name", ["nope.yaml", ".", "marks.yaml/x", "x" * 5000, "/dev/zero"])
def test_a_file_that_is_none_is_exit_3(shell: Shell, name: str) -> None:
    code, out, err = shell("run", name)

    assert (3, "", False) == (code, out, "itself failed" in err)


# Devices


def test_a_device_that_is_not_here_is_told_in_words(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = shell("run", "marks.yaml", "--device", "xpu:7")
    monkeypatch.setenv("DARKROOM_DEVICE", "xpu:7")

    assert (2, True) == (code, 'there is no device "xpu:7" here' in err)
    assert 2 == shell("run", "marks.yaml")[0]
    assert 0 == shell("run", "marks.yaml", "--device", "cpu", "--quiet")[0]


# Pictures


def test_a_picture_is_run_again_and_compared(shell: Shell) -> None:
    shell("run", "marks.yaml", "--quiet")
    code, _, err = shell("run", "outputs/marks-print-00001.png", "--cache", "none")

    assert 0 == code
    assert "outputs/marks-print-00001.png: the same pixels again, bit for bit" in err


def test_a_picture_run_with_another_setting_says_so(shell: Shell) -> None:
    shell("run", "marks.yaml", "--quiet", "--set", "factor=3")
    picture = "outputs/marks-print-00001.png"

    assert "the same pixels again" in shell("run", picture)[2]
    assert "other pixels than in the picture; as params were changed" in shell("run", picture, "--set", "factor=4")[2]


def test_a_picture_without_a_workflow_is_exit_3(shell: Shell) -> None:
    code, out, err = shell("run", "a.png")

    assert (3, "") == (code, out)
    assert "a.png" in err


def test_a_workflow_is_told_by_its_content_and_not_by_its_name(shell: Shell) -> None:
    Path("marks.yaml").rename("picture.png")

    assert 0 == shell("run", "picture.png", "--quiet")[0]


# Nodes of one's own


def test_a_folder_of_nodes_is_used(shell: Shell) -> None:
    Path("mine").mkdir()
    Path("mine/grey.py").write_text(GREYSCALE)
    Path("grey.yaml").write_text(TWO_NODES)

    assert 2 == shell("check", "grey.yaml")[0]
    assert {"photo": "run", "grey": "run"} == shell.actions("run", "grey.yaml", "--nodes", str(Path("mine").absolute()))
    assert "Drop the colour." in shell("nodes", "greyscale", "--nodes", str(Path("mine").absolute()))[1]


def test_a_kind_declared_twice_names_both_files(shell: Shell) -> None:
    Path("mine").mkdir()
    Path("mine/one.py").write_text(GREYSCALE)
    Path("mine/two.py").write_text(GREYSCALE)
    code, _, err = shell("nodes", "--nodes", str(Path("mine").absolute()))

    assert 2 == code
    assert all(name in err for name in ('"greyscale" is declared twice', "one.py", "two.py"))


@pytest.mark.parametrize(
    "text",
    ["def (", "import nothing_of_that_name", "raise ValueError('x')", "1/0", GREYSCALE.replace("Picture:", "X:")],
)
def test_a_broken_file_of_nodes_is_named(shell: Shell, text: str) -> None:
    Path("mine").mkdir()
    Path("mine/broken.py").write_text(text)
    code, out, err = shell("check", "marks.yaml", "--nodes", str(Path("mine").absolute()))

    assert (2, "") == (code, out)
    assert "broken.py" in err
    assert "itself failed" not in err


def test_a_folder_of_nodes_that_is_not_there_is_told(shell: Shell) -> None:
    assert 'nope" with nodes' in shell("check", "marks.yaml", "--nodes", "nope")[2]


def test_a_folder_of_nodes_has_a_name(shell: Shell) -> None:
    code, out, err = shell("nodes", "--nodes", "")

    assert (2, "", True) == (code, out, "a folder with nodes has an empty name" in err)


def test_a_relative_folder_of_nodes_is_read_where_the_user_is(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    grey("return image")
    Path("elsewhere/mine").mkdir(parents=True)
    assert 0 == shell("nodes", "greyscale", "--nodes", "mine")[0]

    monkeypatch.chdir("elsewhere")
    assert 2 == shell("nodes", "greyscale", "--nodes", "mine")[0]


def test_a_parameter_cannot_be_a_word_of_the_language(shell: Shell) -> None:
    words = grey("return image")
    Path("mine/grey.py").write_text(GREYSCALE.replace("    def run", "    when: int = 1\n\n    def run"))
    code, _, err = shell("check", *words)

    assert 2 == code
    assert 'grey.py: "when" is a word of the language' in err


@pytest.mark.parametrize("text", ["import sys; sys.exit(7)", "raise SystemExit", "raise BaseException('x')"])
def test_a_file_of_nodes_that_leaves_is_named(shell: Shell, text: str) -> None:
    code, out, err = shell("check", *grey("return image", f"{text}\n"))

    assert (2, "") == (code, out)
    assert "grey.py:1 cannot be loaded" in err


@pytest.mark.parametrize("body", ["raise SystemExit(5)", "raise BaseException('x')"])
def test_a_node_that_leaves_is_a_failed_step(shell: Shell, body: str) -> None:
    code, out, err = shell("run", *grey(body), "--json")

    assert (1, "run_finished") == (code, json.loads(out.splitlines()[-1])["event"])
    assert "grey (greyscale) failed" in err


def test_a_node_that_gives_nothing_is_named(shell: Shell) -> None:
    code, _, err = shell("run", *grey("return None"))

    assert 1 == code
    assert "grey (greyscale) failed: a greyscale gave NoneType" in err
    assert "itself failed" not in err


def test_a_node_with_a_bug_is_named_with_its_line(shell: Shell) -> None:
    Path("mine").mkdir()
    Path("mine/grey.py").write_text(GREYSCALE.replace("return Picture", "return 1 / 0 and Picture"))
    Path("grey.yaml").write_text(TWO_NODES)
    code, _, err = shell("run", "grey.yaml", "--nodes", str(Path("mine").absolute()))

    assert 1 == code
    assert "grey (greyscale) failed: ZeroDivisionError" in err
    assert "grey.py:10" in err


def test_a_node_that_is_not_deterministic_is_named_beside_the_events(shell: Shell) -> None:
    words = grey("return Picture(image.pixels.convert('L').point(lambda _: os.urandom(1)[0]))", "import os\n")
    shell("run", *words)
    code, out, err = shell("run", *words, "--force", "grey", "--json")

    assert (0, True) == (code, all(json.loads(line) for line in out.splitlines()))
    assert "warning: grey: a greyscale gave other values for the same inputs than before" in err


# The world around


def test_any_folder_and_any_letters_go(shell: Shell) -> None:
    folder = Path("mit Leerzeichen é😀")
    folder.mkdir()
    Path("a.png").rename(folder / "a.png")
    (folder / "bïld.yaml").write_text(WORKFLOW.replace("name: marks", "name: bïld 😀"))
    done = from_a_shell("run", str(folder / "bïld.yaml"), "--json", LC_ALL="C")
    ended = json.loads(done.stdout.splitlines()[-1])

    assert (0, True) == (done.returncode, Path(ended["outputs"][0]["path"]).is_file())


def test_standard_output_may_end_early(shell: Shell) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "runner.py"), "run", "marks.yaml", "--json"]
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, timeout=60, check=False)

    assert b"Traceback" not in done.stderr
    assert b"itself failed" not in done.stderr
    assert Path("outputs/marks-print-00001.png").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ("check", "é.yaml"),
        ("plan", "é.yaml"),
        ("why", "é.yaml", "photo"),
        ("graph", "é.yaml"),
        ("nodes",),
        ("nodes", "watermark"),
        ("schema",),
    ],
)
def test_letters_that_standard_output_lacks_stop_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    Path("é.yaml").write_text(WORKFLOW.replace("name: marks", "name: é😀").replace('text: "007"', "text: é😀"))
    buffer = io.BytesIO()
    with io.TextIOWrapper(buffer, encoding="ascii") as ascii_alone:
        monkeypatch.setattr(sys, "stdout", ascii_alone)
        code, _, err = shell(*words)
        said = buffer.getvalue()

    assert (0, "") == (code, err)
    assert said.isascii()
    assert said


@pytest.mark.parametrize(
    ("words", "redirection", "code", "said"),
    [
        ("run marks.yaml", ">&-", 0, b""),
        ("run marks.yaml", "<&-", 0, b""),
        ("run -", "<&-", 2, b"<stdin>:1:1: there is no workflow in this file"),
        ("check marks.yaml", ">&-", 0, b""),
        ("check marks.yaml", ">/dev/full", 1, b"the system says: No space left on device"),
    ],
)
def test_closed_and_full_streams_are_no_fault_of_darkroom(
    shell: Shell, words: str, redirection: str, code: int, said: bytes
) -> None:
    command = f"{shlex.join([sys.executable, str(ROOT / 'runner.py')])} {words} {redirection}"
    done = subprocess.run(command, shell=True, input=b"", capture_output=True, timeout=60, check=False)

    assert code == done.returncode, done.stderr
    assert said in done.stderr
    assert b"itself failed" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_vanished_current_folder_is_told(shell: Shell) -> None:
    python, script = shlex.quote(sys.executable), shlex.quote(str(ROOT / "runner.py"))
    command = f"mkdir gone && cd gone && rmdir ../gone && {python} {script} check ../marks.yaml"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60, check=False)

    assert (2, b"the current folder is gone") == (done.returncode, done.stderr.splitlines()[0])


def test_a_name_that_the_file_system_cannot_spell_is_saved_or_told(shell: Shell) -> None:
    Path("named.yaml").write_text(WORKFLOW.replace("name: marks", "name: é"), encoding="utf-8")
    done = from_a_shell("run", "named.yaml", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")

    assert b"itself failed" not in done.stderr
    assert done.returncode == 0 or b"print could not be saved" in done.stderr
