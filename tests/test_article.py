"""The scripts of Stable Diffusion, flag by flag, and the workflows that do what they did."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import darkroom
from graph import words
from graph.errors import WorkflowError
from graph.node import parameters, ports
from graph.workflow import set_values
from tests.nodes.sd.layouts import build

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "from-the-scripts.md").read_text(encoding="utf-8")

# Written down from the scripts' own `--help`, not from the page.
CALLED: dict[str, str] = {
    "txt2img.py (CompVis)": """prompt outdir skip_grid skip_save ddim_steps plms laion400m fixed_code ddim_eta n_iter
        H W C f n_samples n_rows scale from-file config ckpt seed precision""",
    "img2img.py (CompVis)": """prompt init-img outdir skip_grid skip_save ddim_steps plms fixed_code ddim_eta n_iter C f
        n_samples n_rows scale strength from-file config ckpt seed precision""",
    "inpaint.py (CompVis)": "indir outdir steps",
    "txt2img.py (Stability, version 2)": """prompt outdir steps plms dpm fixed_code ddim_eta n_iter H W C f n_samples
        n_rows scale from-file config ckpt seed precision repeat device torchscript ipex bf16""",
}


def rows(title: str) -> dict[str, str]:
    """A table of the page: what each flag is here."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(?:--)?([^`]+)` \|[^|]*\| `([^`]+)` \|", section, re.MULTILINE)
    return dict(found)


def everywhere() -> Iterator[str]:
    for title in re.findall("^## (.*)$", PAGE, re.MULTILINE):
        yield from rows(title).values()


@pytest.mark.parametrize("title", CALLED)
def test_every_flag_of_a_script_has_a_row(title: str) -> None:
    assert set(CALLED[title].split()) == set(rows(title))


@pytest.mark.parametrize("key", sorted(set(everywhere())))
def test_every_key_of_the_page_is_there(key: str) -> None:
    if key.startswith("--"):
        assert key in options()
    else:
        kind, name = key.split(".")
        node = darkroom.kinds()[kind]
        assert name in {**parameters(node), **ports(node)}


def options() -> set[str]:
    """The options of `darkroom run`."""
    parser = argparse.ArgumentParser()
    for add in words.OPTIONS["run"]:
        add(parser)
    return {option for action in parser._actions for option in action.option_strings}


ARTICLE = sorted((ROOT / "workflows" / "article").glob("*.yaml"))
LAYOUT = {
    "5-negative-prompt-512": "sd2", "6-negative-prompt-768": "sd2-768-v",
    "7-depth2img": "sd2-depth", "8-upscale-4x": "x4",
}  # fmt: skip
"""What the article ran with another model than Stable Diffusion 1."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    "path", [path for path in ARTICLE if "watermarks" not in path.stem], ids=lambda path: path.stem
)
def test_a_workflow_of_the_article_runs_on_a_real_layout_by_one_setting(
    path: Path, cache: Path, tmp_path: Path
) -> None:
    build(LAYOUT.get(path.stem, "sd1"), tmp_path / "model")
    quick = {"steps": 2} | ({"longest": 16} if path.stem == "8-upscale-4x" else {})

    result = darkroom.run(set_values(darkroom.load(path), {"model": str(tmp_path / "model"), **quick}), cache=cache)

    (made,) = result.outputs.values()
    assert ((200, 134) if path.stem == "3-eight-gigabytes" else (64, 64)) == (made.width, made.height)


@pytest.mark.parametrize("name", ["7-depth2img", "8-upscale-4x"])
def test_a_workflow_whose_model_nobody_has_says_where_it_is_looked_for(name: str) -> None:
    with pytest.raises(WorkflowError, match=r"stabilityai/stable-diffusion.*is not there"):
        darkroom.check(darkroom.load(ROOT / "workflows" / "article" / f"{name}.yaml"))
