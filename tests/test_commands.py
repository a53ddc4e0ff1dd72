"""The commands around a run: the cache looked after, workflows drawn, planned and explained, marks read."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

import runner

WORKFLOW = """\
darkroom: 1
name: "prints <&> more"
params: {factor: 2.0, mark: Hello}
defaults: {upscale: {method: nearest}}
nodes:
  photo: {use: load_image, path: a.png}
  large: {use: upscale, image: $photo, factor: $factor}
  signed: {use: watermark, image: $photo, text: $mark}
  sheet: {use: grid, images: [$large, $signed]}
outputs: {sheet: $sheet, signed: $signed}
"""


class Prompt:
    """Where commands are typed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        code = runner.main(words)
        return code, *self.capsys.readouterr()

    def told(self, *words: str) -> Any:
        """What programs are told."""
        return json.loads(self(*words, "--json")[1])

    def digests(self) -> dict[str, str]:
        """The outputs of a run of the workflow."""
        ended = json.loads(self("run", "w.yaml", "--json")[1].splitlines()[-1])
        return {output["name"]: output["digest"] for output in ended["outputs"]}


@pytest.fixture
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Prompt:
    """In a folder with a workflow and a picture that can be signed."""
    monkeypatch.chdir(tmp_path)
    gradient = Image.linear_gradient("L")
    Image.merge("RGB", [gradient, gradient.rotate(180), gradient.rotate(90)]).save("a.png")
    Path("w.yaml").write_text(WORKFLOW)
    return Prompt(capsys)


@pytest.fixture
def after(prompt: Prompt) -> Prompt:
    """After a run of the workflow, and some hours: what was used lately is never evicted."""
    prompt("run", "w.yaml", "--quiet")
    two_hours_pass()
    return prompt


def two_hours_pass() -> None:
    index = sqlite3.connect(next(Path("cache").glob("v*/index")))
    with index:
        index.execute("UPDATE blobs SET used = used - 7200")
    index.close()


def signed_picture() -> str:
    return str(next(Path("outputs").glob("*-signed-*.png")))


def typed(monkeypatch: pytest.MonkeyPatch, text: str, *, terminal: bool) -> None:
    stream = io.StringIO(text)
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdin", stream)


def large_blob() -> Path:
    return max(Path("cache").glob("v*/blobs/*/*"), key=lambda path: path.stat().st_size)


# cache


def test_ls_names_the_kind_of_every_result(after: Prompt) -> None:
    code, out, err = after("cache", "ls")

    assert (0, "") == (code, err)
    assert {"load_image", "upscale", "watermark", "grid"} == {line.split()[0] for line in out.splitlines()[1:5]}
    assert out.splitlines()[-1].startswith("4 of 4 results in ")


def test_ls_shows_the_newest_and_no_more_than_it_is_asked_for(after: Prompt) -> None:
    listed = after.told("cache", "ls", "--most", "1")

    assert (["grid"], 4) == ([entry["kind"] for entry in listed["entries"]], listed["results"])


def test_size_says_the_same_to_people_and_to_programs(after: Prompt) -> None:
    measured = after.told("cache", "size")
    _, out, _ = after("cache", "size")

    assert 4 == measured["results"]
    assert sum(path.stat().st_size for path in Path("cache").glob("v*/blobs/*/*")) <= measured["blob_bytes"]
    assert f"{measured['blobs']} values" in out


def test_a_cache_may_be_anywhere(prompt: Prompt) -> None:
    prompt("run", "w.yaml", "--quiet", "--cache", "kept")

    assert 4 == prompt.told("cache", "size", "--cache", "kept")["results"]
    assert 2 == prompt("cache", "size")[0]


def test_verify_names_what_it_dropped(after: Prompt) -> None:
    before, damaged = after.digests(), large_blob()
    damaged.write_bytes(bytes(damaged.stat().st_size))
    code, out, _ = after("cache", "verify")

    assert 0 == code
    assert "dropped 1 that were damaged" in out
    assert damaged.name[:12] in out
    assert ([], 0) == ((again := after.told("cache", "verify"))["dropped"], again["damaged"])
    assert before == after.digests()


def test_verify_tells_programs_the_whole_digest(after: Prompt) -> None:
    damaged = large_blob()
    damaged.write_bytes(b"")

    assert [damaged.name] == after.told("cache", "verify")["dropped"]


def test_gc_evicts_everything_and_the_next_run_gives_the_same(after: Prompt) -> None:
    before = after.digests()
    two_hours_pass()
    Path("outputs").rename("gone")
    evicted = after.told("cache", "gc", "--max-size", "0")

    assert (True, 0, 0) == (evicted["blobs"] >= 4, evicted["kept_blobs"], evicted["kept_bytes"])
    assert [] == list(Path("cache").glob("v*/blobs/*/*"))
    assert before == after.digests()


def test_gc_evicts_no_more_than_it_is_asked_to(after: Prompt) -> None:
    assert after("cache", "gc", "--older-than", "3h")[1].startswith("evicted 0 values (0 B); kept ")
    assert after("cache", "gc", "--max-size", "1 GiB")[1].startswith("evicted 0 values (0 B); kept ")
    assert "; kept 0 values (0 B)" in after("cache", "gc", "--older-than", "1.5h")[1]


def test_gc_keeps_what_was_used_lately_and_says_so(prompt: Prompt) -> None:
    prompt("run", "w.yaml", "--quiet")

    assert "more than --max-size is kept" in prompt("cache", "gc", "--max-size", "0")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gc", "--max-size", "lots"), '--max-size takes a size, not "lots"\n  For example 10GB, 1.5GiB or 500M.'),
        (("gc", "--max-size=-1GB"), '--max-size takes a size, not "-1GB"\n  For example'),
        (("gc", "--older-than", "5m"), '--older-than takes an age, not "5m"\n  For example 30d, 12h, 2w or 45min.'),
        (("gc", "--older-than", "30"), '--older-than takes an age, not "30"\n  For example'),
        (("ls", "--max-size", "1GB"), "--max-size goes with cache gc, not with cache ls"),
        (("clear", "--older-than", "1d"), "--older-than goes with cache gc, not with cache clear"),
        (("ls", "--most", "0"), "--most takes a number from 1, not 0"),
        (("ls", "--most", "few"), "invalid int value: 'few'"),
        (("wash",), "'wash'"),
        (("pin",), "cache pin takes one workflow, or the beginning of one key, not 0 words"),
        (("pin", "abcdef0123"), 'no result has a key that begins with "abcdef0123"'),
        (("unpin", "mine"), 'nothing is pinned as "mine"'),
        (("export",), "cache export takes a workflow, and the file to write, not 0 words"),
        (("import", "a", "b"), "cache import takes one file, not 2 words"),
        (("size", "w.yaml"), "cache size takes nothing, not 1 word"),
        (("gc", "--name", "x"), "--name goes with cache pin, not with cache gc"),
        (("unpin", "x", "--set", "a=1"), "--set goes with cache pin and export, not with cache unpin"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_word_after_cache_is_told_and_nothing_is_done(after: Prompt, words: tuple[str, ...], said: str) -> None:
    before = after.told("cache", "size")
    code, out, err = after("cache", *words)

    assert (2, "", True) == (code, out, said in err)
    assert before == after.told("cache", "size")


def test_a_pinned_workflow_outlives_a_gc_of_everything(after: Prompt) -> None:
    pinned = after.told("cache", "pin", "w.yaml", "--name", "mine")
    two_hours_pass()
    after("cache", "gc", "--max-size", "0")

    assert ("mine", []) == (pinned["pin"]["name"], pinned["missing"])
    assert pinned["pin"]["blobs"] == after.told("cache", "size")["blobs"] == after.told("cache", "size")["pinned_blobs"]
    assert ["mine"] == [pin["name"] for pin in after.told("cache", "pins")["pins"]]


def test_what_is_pinned_is_told_to_people(after: Prompt) -> None:
    key = after.told("cache", "ls")["entries"][0]["key"]

    assert after("cache", "pin", "w.yaml")[1].startswith("pinned ")
    assert f'as "{key[:12]}"' in after("cache", "pin", key[:9])[1]
    assert {"name", "prints", key[:12]} == {line.split()[0] for line in after("cache", "pins")[1].splitlines()}
    assert "by 2 pins" in after("cache", "size")[1]
    assert after("cache", "unpin", "prints <&> more")[1].startswith('let go of "prints <&> more": ')
    assert after("cache", "clear", "--yes")[1].endswith("; 1 pin went too\n")
    assert not Path("cache").exists() or "nothing is pinned\n" == after("cache", "pins")[1]


def test_a_workflow_with_another_setting_is_another_workflow_to_pin(after: Prompt) -> None:
    code, out, _ = after("cache", "pin", "w.yaml", "--set", "factor=3")

    assert (0, "not computed yet: large, sheet") == (code, out.splitlines()[-1])


def test_what_is_exported_here_is_a_hit_elsewhere(after: Prompt) -> None:
    told = after.told("cache", "export", "w.yaml")
    read = after.told("cache", "import", told["path"], "--cache", "elsewhere")

    assert (4, "prints-----more.tar") == (told["results"], Path(told["path"]).name)
    assert (4, told["blobs"], 0) == (read["results"], read["blobs"], read["kept"])
    assert {"hit"} == {node["action"] for node in after.told("plan", "w.yaml", "--cache", "elsewhere")["nodes"]}


def test_an_export_is_told_to_people_and_overwrites_nothing(after: Prompt) -> None:
    assert after("cache", "export", "w.yaml", "out.tar")[1].startswith("wrote 4 results and ")
    code, _, err = after("cache", "export", "w.yaml", "out.tar")

    assert (2, True) == (code, "there is a file" in err)
    assert after("cache", "import", "out.tar")[1].startswith("read 4 results and ")
    Path("out.tar").write_bytes(b"x")
    assert 3 == after("cache", "import", "out.tar")[0]


def test_machines_share_by_a_remote(after: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_REMOTE", Path("share").absolute().as_uri())
    after("run", "w.yaml", "--quiet", "--cache", "one")
    assert {"hit"} == {node["action"] for node in after.told("plan", "w.yaml", "--cache", "two")["nodes"]}
    assert {"run", "unknown"} == {
        node["action"] for node in after.told("plan", "w.yaml", "--cache", "three", "--remote", "none")["nodes"]
    }


def test_a_remote_that_fails_fails_no_run(after: Prompt) -> None:
    Path("file").touch()
    code, _, err = after("run", "w.yaml", "--cache", "one", "--remote", Path("file/below").absolute().as_uri())

    assert (0, 1) == (code, err.count("warning: the remote cache is left alone"))


def test_a_run_makes_room_and_takes_nothing_that_it_used(after: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_CACHE_SIZE", "1")
    after("run", "w.yaml", "--quiet", "--set", "factor=3")
    evicted = [entry["kind"] for entry in after.told("cache", "ls")["entries"] if not entry["is_whole"]]

    assert ["grid", "upscale"] == sorted(evicted)  # those of the run before


@pytest.mark.parametrize("action", ["ls", "size", "verify", "gc", "clear"])
def test_without_a_cache_there_is_nothing_to_do(prompt: Prompt, action: str) -> None:
    code, out, err = prompt("cache", action)

    assert (2, "", True) == (code, out, "there is no cache in" in err)
    assert not Path("cache").exists()


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["people", "programs"])
def test_clear_is_refused_without_a_terminal_to_ask_on(
    after: Prompt, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    typed(monkeypatch, "y\n", terminal=False)
    code, out, err = after("cache", "clear", *words)

    assert (2, "", True) == (code, out, "Say --yes if that is meant." in err)
    assert 4 == after.told("cache", "size")["results"]


def test_clear_asks_on_a_terminal_and_takes_no_for_an_answer(after: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "n\n", terminal=True)
    code, out, err = after("cache", "clear")

    assert (2, "", True) == (code, out, err.startswith("Remove 4 results ("))
    assert 4 == after.told("cache", "size")["results"]


def test_clear_removes_everything_with_yes(after: Prompt) -> None:
    there = after.told("cache", "size")
    cleared = after.told("cache", "clear", "--yes")

    assert (4, there["blobs"], there["blob_bytes"]) == tuple(cleared[name] for name in ("results", "blobs", "bytes"))
    assert (0, 0) == ((left := after.told("cache", "size"))["results"], left["blobs"])


# doctor


def test_doctor_looks_at_everything_in_one_json_object(prompt: Prompt) -> None:
    code, out, err = prompt("doctor", "--json")
    report = json.loads(out)
    findings = {finding["topic"]: finding for finding in report["findings"]}

    assert (code == 0, "") == (report["ok"], err)
    assert {"python", "torch", "device cpu", "memory", "cache", "models", "builtin:tiny"} <= findings.keys()
    assert {"topic", "state", "found", "way_out"} == set().union(*report["findings"])
    assert {"ok", "warning", "problem"} >= {finding["state"] for finding in report["findings"]}
    assert [] == [topic for topic, found in findings.items() if found["state"] == "problem" and not found["way_out"]]


# graph, schema, nodes


def test_an_svg_is_xml_that_names_every_node(prompt: Prompt) -> None:
    drawing = ElementTree.fromstring(prompt("graph", "w.yaml", "--format", "svg")[1])

    assert {"photo", "large", "signed", "sheet", "load_image", "upscale"} <= set(drawing.itertext())
    assert "prints <&> more" in set(drawing.itertext())


@pytest.mark.parametrize(
    ("format", "edges"),
    [
        ("dot", ['"node photo" -> "node large" [label="image"]', '"node sheet" -> "output sheet"']),
        ("mermaid", ['n0 -->|"image"| n1', "n3 --> n4", 'n0["photo<br/>']),
    ],
)
def test_a_drawing_has_every_edge_with_its_port(prompt: Prompt, format: str, edges: list[str]) -> None:
    code, out, _ = prompt("graph", "w.yaml", "--format", format)

    assert 0 == code
    assert [] == [edge for edge in edges if edge not in out]


def test_mermaid_is_drawn_unless_another_is_asked_for(prompt: Prompt) -> None:
    assert prompt("graph", "w.yaml", "--format", "mermaid") == prompt("graph", "w.yaml")


def test_a_workflow_with_a_mistake_is_not_drawn(prompt: Prompt) -> None:
    Path("w.yaml").write_text(WORKFLOW.replace("use: grid", "use: gird"))
    code, out, err = prompt("graph", "w.yaml", "--format", "svg")

    assert (2, "", True) == (code, out, err.startswith("w.yaml:9:"))


def test_the_schema_knows_every_kind_that_is_listed(prompt: Prompt) -> None:
    listed = [line.split()[0] for line in prompt("nodes")[1].partition("\n\n")[0].splitlines()[1:]]
    text = prompt("schema")[1]

    assert {"grid", "sampler", "watermark"} <= set(listed)
    assert [] == [kind for kind in listed if json.dumps(kind) not in text]


def test_a_page_of_a_kind_tells_what_it_takes_and_gives(prompt: Prompt) -> None:
    code, page, err = prompt("nodes", "upscale")

    assert (0, "") == (code, err)
    assert [] == [
        part for part in ("ports", "parameters", "outputs", "example", "from 1 to 16", "lanczos") if part not in page
    ]


# plan, why


def test_plan_tells_each_parameter_and_who_set_it(prompt: Prompt) -> None:
    _, out, _ = prompt("plan", "w.yaml", "--defaults", "--set", "factor=3")
    rows = {tuple(line.split(maxsplit=3)) for line in out.splitlines()}

    assert {
        ("photo", "path", '"a.png"', "the node"),
        ("large", "factor", "3.0", "the node"),
        ("large", "method", '"nearest"', "defaults:"),
        ("signed", "method", '"dwt_dct_svd"', "the kind"),
    } <= rows


def test_plan_of_defaults_runs_nothing(prompt: Prompt) -> None:
    assert 0 == prompt("plan", "w.yaml", "--defaults")[0]
    assert not Path("outputs").exists()


def test_why_tells_programs_each_change(after: Prompt) -> None:
    told = after.told("why", "w.yaml", "large", "--set", "factor=3")

    assert ("large", "run", "factor was 2.0, is now 3.0") == (told["node"], told["action"], told["why"])
    (change,) = told["changes"]
    assert {"field": "factor", "before": 2.0, "now": 3.0, "origin": ""}.items() <= change.items()
    assert ("prints <&> more", "large") == (told["since"]["workflow"], told["since"]["node"])


def test_why_tells_people_the_same(after: Prompt) -> None:
    first, second = after("why", "w.yaml", "large", "--set", "factor=3")[1].splitlines()

    assert first.startswith("large runs, because since the run of ")
    assert "  factor was 2.0, is now 3.0" == second


def test_why_follows_a_file_that_was_changed(after: Prompt) -> None:
    Image.new("RGB", (300, 300), "red").save("a.png")
    (change,) = after.told("why", "w.yaml", "photo")["changes"]

    assert "path" == change["field"]
    assert "waits for photo" in after("why", "w.yaml", "large")[1]


def test_why_of_a_node_that_never_ran_says_so(prompt: Prompt) -> None:
    assert ("run", "never run before", []) == tuple(
        prompt.told("why", "w.yaml", "photo")[name] for name in ("action", "why", "changes")
    )


# watermark


@pytest.mark.parametrize(
    "words", [("--expect", "Hello"), ("--length", "5"), ()], ids=["expected", "measured", "sought"]
)
def test_a_mark_is_read(after: Prompt, words: tuple[str, ...]) -> None:
    assert (0, "Hello\n", "") == after("watermark", "read", signed_picture(), *words)


def test_programs_are_told_whether_there_is_a_mark(after: Prompt) -> None:
    told = after.told("watermark", "read", signed_picture(), "--expect", "Hello")

    assert ("Hello", True) == (told["text"], told["found"])


def test_another_text_than_expected_is_no_find(after: Prompt) -> None:
    code, out, _ = after("watermark", "read", signed_picture(), "--expect", "Adieu", "--json")

    assert (1, False) == (code, json.loads(out)["found"])


@pytest.mark.parametrize("words", [("--expect", "Hello"), ()], ids=["expected", "sought"])
def test_a_picture_that_nobody_signed_has_no_mark(prompt: Prompt, words: tuple[str, ...]) -> None:
    Image.effect_noise((300, 300), 60).convert("RGB").save("noise.png")

    assert [1, 1] == [prompt("watermark", "read", name, *words)[0] for name in ("a.png", "noise.png")]


@pytest.mark.parametrize(
    ("picture", "words", "code", "said"),
    [
        ("nope.png", (), 3, 'picture "nope.png" is not there'),
        ("w.yaml", (), 3, 'picture "w.yaml" is not a picture'),
        ("small.png", (), 1, "a watermark needs 65,536 pixels"),
        ("a.png", ("--length", "-1"), 2, "length takes a whole number from 1 to 16384"),
        ("a.png", ("--length", "5000"), 1, "a picture of 256x256 holds 128"),
        ("a.png", ("--method", "magic"), 2, "'magic'"),
    ],
)
def test_what_cannot_be_read_is_told(
    prompt: Prompt, picture: str, words: tuple[str, ...], code: int, said: str
) -> None:
    Image.new("RGB", (9, 9)).save("small.png")
    found, out, err = prompt("watermark", "read", picture, *words)

    assert (code, "", True) == (found, out, said in err)
