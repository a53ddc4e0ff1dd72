"""Nodes are found by listing folders; a mistake in one names its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph.errors import UsageError
from graph.registry import find_nodes
from graph.values import Latents, Picture

GRAYSCALE = '''
from darkroom import Context, Node, Picture


class Grayscale(Node, kind="{kind}", version=1):
    """Drop the colour."""

    def run(self, ctx: Context, image: Picture) -> Picture:
        return image
'''


def test_every_core_kind_is_found() -> None:
    core = {
        "load_model", "text_encode", "noise", "load_image", "vae_encode", "sampler", "vae_decode", "resize", "upscale",
        "watermark", "read_watermark", "grid", "save_image",
    }  # fmt: skip

    assert core <= set(find_nodes("nodes", plugins=False).kinds)


def test_a_folder_adds_its_nodes(tmp_path: Path) -> None:
    (tmp_path / "grayscale.py").write_text(GRAYSCALE.format(kind="grayscale"))
    (tmp_path / "_shared.py").write_text("raise RuntimeError")

    assert "grayscale" in find_nodes("nodes", [tmp_path], plugins=False)


def test_a_node_imports_what_lies_beside_it(tmp_path: Path) -> None:
    """In two folders, with other content under the same name."""
    for number, folder in enumerate((tmp_path / "one", tmp_path / "other")):
        (folder / "more").mkdir(parents=True)
        (folder / "_names.py").write_text(f"KIND = 'gray_{number}'")
        (folder / "more" / "deep.py").write_text("from .._names import KIND")
        head = "from . import _names\nfrom .more.deep import KIND\nassert KIND is _names.KIND\n"
        (folder / "mine.py").write_text(head + GRAYSCALE.replace('"{kind}"', "KIND"))

    kinds = find_nodes("nodes", [tmp_path / "one", tmp_path / "other"], plugins=False).kinds

    assert {"gray_0", "gray_1"} <= kinds.keys()


@pytest.mark.parametrize("line", ["import beside_it", "from beside_it import x", "import beside_it.x"])
def test_who_forgets_the_dot_is_shown_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "beside_it.py").write_text("x = 1")
    (tmp_path / "mine.py").write_text(f"{line}\n")
    with pytest.raises(UsageError) as caught:
        find_nodes("nodes", [tmp_path], plugins=False)

    assert "mine.py:1 cannot be loaded" in str(caught.value)
    assert "from .beside_it import ..." in str(caught.value)


def test_a_kind_declared_twice_names_both_files(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GRAYSCALE.format(kind="resize"))
    with pytest.raises(UsageError) as caught:
        find_nodes("nodes", [tmp_path], plugins=False)

    assert 'the kind "resize" is declared twice' in str(caught.value)
    assert "resize.py" in str(caught.value)
    assert str(tmp_path / "mine.py") in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def broken(:\n", "broken.py:1 cannot be loaded"),
        ("import nothing_of_this_name\n", "broken.py:1 cannot be loaded"),
        (GRAYSCALE.format(kind="Gray-Scale"), 'the kind "Gray-Scale" must be lower-case'),
        (GRAYSCALE.format(kind="gray").replace("image: Picture", "image: object"), "cannot travel on a link"),
        (GRAYSCALE.format(kind="gray").replace("image: Picture", "when: Picture"), '"when" cannot be a port'),
        (GRAYSCALE.format(kind="gray").replace("def run", "def go"), 'has no method "run"'),
    ],
)
def test_a_broken_node_names_its_file_and_what_is_wrong(tmp_path: Path, source: str, words: str) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(UsageError) as caught:
        find_nodes("nodes", [tmp_path], plugins=False)

    assert words in str(caught.value)
    assert "broken.py" in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        find_nodes("nodes", [tmp_path / "nothing"], plugins=False)


def test_a_bridge_between_two_types_is_known() -> None:
    registry = find_nodes("nodes", plugins=False)

    assert ["vae_encode"] == registry.bridges(Picture, Latents)
    assert ["vae_decode"] == registry.bridges(Latents, Picture)
