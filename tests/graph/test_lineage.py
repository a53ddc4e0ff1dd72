"""What differs between the ways in which two pictures were made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from graph.lineage import Contrast, contrasts, other_contrasts
from graph.metadata import read_metadata
from graph.provenance import Origin, read_origin
from tests.graph.lab import Lab

TEXT = """
params: {colour: red, note: {type: path, default: note.txt}}
nodes:
  a: {use: paint, colour: $colour}
  b: {use: frame, image: $a}
  c: {use: open, path: $note}
outputs: {it: $b, said: $c}
"""


def origin(lab: Lab, text: str = TEXT, /, **settings: str) -> Origin:
    """How the picture of a run was made, as its file tells."""
    (lab.folder / "note.txt").touch()
    path = next(one.path for one in lab.run(text, **settings).saved if one.path)
    return read_origin(read_metadata(Path(path)), path)


def told(a: Origin, b: Origin) -> list[tuple[str, str, object, object]]:
    return [(one.what, one.name, one.a, one.b) for one in contrasts(a, b)]


def test_what_was_made_from_the_same_has_no_contrast(lab: Lab) -> None:
    assert [] == told(origin(lab), origin(lab))


def test_a_param_and_the_parameters_that_it_decides_are_told(lab: Lab) -> None:
    assert [("param", "colour", "red", "blue"), ("parameter", "a.colour", "red", "blue")] == told(
        origin(lab), origin(lab, colour="blue")
    )


def test_nodes_that_only_one_has_are_told(lab: Lab) -> None:
    more = TEXT.replace("  c:", "  d: {use: paint, colour: blue}\n  c:").replace("it: $b", "it: $d")

    assert [("node", "d", None, "paint"), ("output", "it", "$b", "$d")] == told(origin(lab), origin(lab, more))


def test_what_is_written_otherwise_in_a_node_is_told_once(lab: Lab) -> None:
    linked = TEXT.replace("colour: $colour", "colour: $colour, size: 16")

    assert [("parameter", "a.size", 8, 16)] == told(origin(lab), origin(lab, linked))


def test_a_default_of_a_kind_is_told_where_it_takes_effect(lab: Lab) -> None:
    assert [("parameter", "a.size", 8, 16)] == told(origin(lab), origin(lab, "defaults: {paint: {size: 16}}" + TEXT))


def test_comments_and_order_alone_are_told_as_such(lab: Lab) -> None:
    (lab.folder / "note.txt").write_text("x")
    a = origin(lab)
    b = replace(a, workflow=a.workflow + "# nice\n")

    assert [("workflow", "text", "its comments, order or form", "are others")] == told(a, b)


def test_files_count_by_content(lab: Lab) -> None:
    a = origin(lab)
    b = replace(a, files={"note.txt": "00"})

    assert [("file", "note.txt", a.files["note.txt"], "00")] == told(a, b)


@pytest.mark.parametrize("text", ["", "[", "a: [" * 2000, "nodes: 3", "nodes: {a: 3}\noutputs: [x]"])
def test_a_text_that_is_no_workflow_spoils_nothing(lab: Lab, text: str) -> None:
    a = origin(lab)
    b = replace(a, workflow=text, nodes={"a": 3})

    assert told(a, b)


def test_versions_of_kinds_and_packages_are_told(lab: Lab) -> None:
    a = origin(lab)
    b = replace(a, kinds={**a.kinds, "paint": 9}, versions={**a.versions, "torch": "1.0"})

    assert [("kind", "paint", 1, 9), ("package", "torch", a.versions.get("torch"), "1.0")] == told(a, b)


# Of other programs

A1111 = """a cat, (red:1.2)
Negative prompt: dog
Steps: 20, Sampler: Euler a, Size: 512x512, Lora hashes: "a: 1, b: 2", Version: v1.9"""


def texts(folder: Path, **chunks: str) -> dict[str, str]:
    """As they come back from a PNG."""
    info = PngInfo()
    for name, text in chunks.items():
        info.add_text(name, text)
    Image.new("RGB", (1, 1)).save(folder / "a.png", pnginfo=info)
    return read_metadata(folder / "a.png")


def test_settings_of_a1111_are_told(tmp_path: Path) -> None:
    other = A1111.replace("20", "30").replace("dog", "dog, bird").replace("b: 2", "b: 3")

    assert (
        Contrast("setting", "negative prompt", "dog", "dog, bird"),
        Contrast("setting", "Steps", "20", "30"),
        Contrast("setting", "Lora hashes", '"a: 1, b: 2"', '"a: 1, b: 3"'),
    ) == other_contrasts(texts(tmp_path, parameters=A1111), texts(tmp_path, parameters=other))


def test_inputs_of_comfyui_are_told(tmp_path: Path) -> None:
    a, b = ({"3": {"class_type": "KSampler", "inputs": {"seed": seed, "model": ["4", 0]}}} for seed in (1, 2))

    assert (Contrast("setting", "3 KSampler.seed", 1, 2),) == other_contrasts(
        texts(tmp_path, prompt=json.dumps(a)), texts(tmp_path, prompt=json.dumps(b))
    )


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '{"3": 4}', '{"3": {"inputs": 5}}', "[" * 100_000, "{"])
def test_a_prompt_that_is_none_of_comfyui_spoils_nothing(text: str) -> None:
    assert () == other_contrasts({"prompt": text}, {})
