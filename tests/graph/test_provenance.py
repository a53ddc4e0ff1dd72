"""A picture holds what made it, and can be made again from that alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from graph.errors import MissingError
from graph.metadata import read_metadata
from graph.provenance import CHUNK, read_origin
from graph.rerun import compare, workflow_of
from tests.graph.lab import Lab

TEXT = """
params: {colour: red, note: {type: path, default: note.txt}}
nodes:
  a: {use: paint, colour: $colour}
  b: {use: open, path: $note}
outputs: {it: $a, said: $b}
"""


@pytest.fixture
def picture(lab: Lab) -> Path:
    (lab.folder / "note.txt").write_text("hello")
    lab.run(TEXT, colour="blue")
    return lab.folder / "out" / "lab-00001.png"


def test_a_picture_holds_workflow_params_files_and_versions(lab: Lab, picture: Path) -> None:
    origin = read_origin(read_metadata(picture), "p")

    assert TEXT in origin.workflow
    assert {"colour": "blue", "note": "note.txt"} == origin.params
    assert ["note.txt"] == list(origin.files)
    assert "pillow" in origin.versions
    assert str(lab.folder) not in json.dumps(read_metadata(picture))


def test_a_picture_names_its_own_pixels(picture: Path) -> None:
    from graph.values import Picture

    with Image.open(picture) as image:
        assert Picture(image).digest == read_origin(read_metadata(picture), "p").digest


def test_the_workflow_inside_a_picture_comes_back_with_its_params(lab: Lab, picture: Path) -> None:
    workflow, _ = workflow_of(picture)

    assert "blue" == workflow.params["colour"].value.value
    assert lab.folder == workflow.params["note"].base


def test_the_same_pixels_are_recognised_and_others_too(lab: Lab, picture: Path) -> None:
    _, origin = workflow_of(picture)

    assert "bit for bit" in compare(picture, origin, lab.run(TEXT, colour="blue").saved, changed=False)
    assert "other pixels" in compare(picture, origin, lab.run(TEXT, colour="red").saved, changed=True)


@pytest.mark.parametrize(
    "chunk", ["", "{}", "[]", "null", '{"format": 1}', '{"format": 2}', "{" * 5000, '{"format": 1, "workflow": 3}']
)
def test_what_another_program_wrote_is_refused_by_name(chunk: str) -> None:
    with pytest.raises(MissingError, match=r"photo\.png"):
        read_origin({CHUNK: chunk}, "photo.png")
