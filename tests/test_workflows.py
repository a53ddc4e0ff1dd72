"""The shipped workflows, run for real on the built-in model: each works, and computes nothing twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from darkroom import Picture, Results, load, run
from graph.workflow import set_values

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "workflows").glob("**/*.yaml"))
AT_HAND = [path for path in FILES if path.stem not in ("7-depth2img", "8-upscale-4x")]
"""Those that run on the built-in model; tests/test_article.py runs the others."""
WHOLE = ROOT / "workflows" / "img2img_upscale.yaml"
QUICK: Mapping[str, object] = {"steps": 3}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the module: a workflow that another test ran is not sampled again."""
    return tmp_path_factory.mktemp("cache")


def run_file(path: Path, cache: Path, out: Path | None = None, **params: object) -> Results:
    workflow = load(path)
    quick = {name: value for name, value in QUICK.items() if name in workflow.params}
    return run(set_values(workflow, {**quick, **params}), cache=cache, out=out)


def run_text(text: str, cache: Path, folder: Path, **params: object) -> Results:
    """Run an edited workflow that lies beside the shipped ones."""
    path = folder / "edited.yaml"
    path.write_text(text.replace("pictures/", f"{ROOT / 'workflows' / 'pictures'}/"))
    return run(set_values(load(path), {**QUICK, **params}), cache=cache)


@pytest.mark.parametrize("path", AT_HAND, ids=lambda path: path.stem)
def test_a_shipped_workflow_runs_and_its_second_run_computes_nothing(path: Path, cache: Path, tmp_path: Path) -> None:
    first = run_file(path, cache, tmp_path)
    second = run_file(path, cache, tmp_path)

    assert {"hit"} == set(second.actions.values()) - {"skipped"}
    pictures = [output for output in first.saved if output.path]
    assert ["kept"] * len(pictures) == [output.action for output in second.saved if output.path]
    for output in pictures:
        with Image.open(output.path) as image:
            assert Picture(image).digest == output.digest


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_workflow_begins_by_saying_what_one_gets_needs_and_tries(path: Path) -> None:
    prose = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))

    assert "You need" in prose
    assert 2 <= len(re.findall(r"--set \w+=", prose))


def test_an_edited_prompt_runs_what_follows_from_it_and_nothing_else(cache: Path) -> None:
    run_file(WHOLE, cache)
    actions = run_file(WHOLE, cache, prompt="a painting that no workflow here asks for").actions

    assert {"positive", "painted", "decoded", "enlarged", "signed"} == {
        name for name, action in actions.items() if action == "run"
    }
    assert "skipped" not in actions.values()


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        ("painted", "canvas"),
        ("# Try", "# Do try"),
        ("factor: 4", "factor: 4.0, method: lanczos"),
        (r"(?s)(  enlarged:.*?\n)(  signed:.*?\n)", r"\2\1"),
        ("nodes:", "defaults: {sampler: {eta: 0}}\nnodes:"),
    ],
    ids=["renamed node", "comment", "default written out", "reordered", "default moved"],
)
def test_what_changes_no_pixel_runs_nothing(pattern: str, replacement: str, cache: Path, tmp_path: Path) -> None:
    run_file(WHOLE, cache)
    edited = re.sub(pattern, replacement, WHOLE.read_text())

    assert {"hit"} == set(run_text(edited, cache, tmp_path).actions.values())


def test_the_watermark_reads_back(cache: Path, tmp_path: Path) -> None:
    reading = "  reading: {use: read_watermark, image: $signed, expect: $mark}\n"
    text = WHOLE.read_text().replace("outputs:", f"{reading}outputs:") + "  text: $reading\n  found: $reading.found\n"
    outputs = run_text(text, cache, tmp_path).outputs

    assert ("darkroom", True) == (outputs["text"], outputs["found"])


def test_without_enlarging_the_picture_is_given_unsigned(cache: Path) -> None:
    result = run_file(WHOLE, cache, enlarge=False)

    assert ("skipped", "skipped") == (result.actions["enlarged"], result.actions["signed"])
    assert (128, 128) == (result.outputs["print"].width, result.outputs["print"].height)


@pytest.mark.parametrize("latents", [False, True])
def test_a_second_pass_paints_a_draft_larger_by_pixels_or_by_latents(latents: bool, cache: Path) -> None:
    result = run_file(ROOT / "workflows" / "hires_fix.yaml", cache, latents=latents)
    way, other = (("sketch", "enlarged", "encoded"), ("grown",))[:: -1 if latents else 1]

    assert (256, 256) == (result.outputs["picture"].width, result.outputs["picture"].height)
    assert {"skipped"} == {result.actions[name] for name in other}
    assert "skipped" not in {result.actions[name] for name in way}


def test_a_net_enlarges_in_a_workflow_and_is_remembered(cache: Path, tmp_path: Path) -> None:
    text = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "upscaling.md").read_text(), re.M | re.S)[0]
    first = _enlarged(text, cache, tmp_path)
    filtered = _enlarged(text.replace("model: $net, ", ""), cache, tmp_path)

    assert (1024, 1024) == first.outputs["large"].pixels.size
    assert first.outputs["large"] != filtered.outputs["large"]
    assert {"hit"} == set(_enlarged(text, cache, tmp_path).actions.values())


def _enlarged(text: str, cache: Path, folder: Path) -> Results:
    path = folder / "enlarge.yaml"
    path.write_text(text.replace("pictures/", f"{ROOT / 'workflows' / 'pictures'}/"))
    return run(load(path), cache=cache)


def test_a_picture_of_a_batch_is_the_one_made_alone_with_its_seed(cache: Path, tmp_path: Path) -> None:
    text = (ROOT / "workflows" / "variations.yaml").read_text().replace("sheet: $sheet", "all: $decoded.images")
    batch = run_text(text, cache, tmp_path, seed=7, count=3).outputs["all"]
    alone = [run_file(ROOT / "workflows" / "txt2img.yaml", cache, seed=seed).outputs["picture"] for seed in (7, 8, 9)]

    assert alone == batch


def test_the_built_in_model_paints_as_the_diffusers_pipeline_does(cache: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    ours = run_file(ROOT / "workflows" / "txt2img.yaml", cache, prompt="a red star", negative="blue", seed=3)
    pipeline = StableDiffusionPipeline.from_pretrained(
        ROOT / "nodes" / "sd" / "tiny", local_files_only=True, low_cpu_mem_usage=False,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        for weight in part.parameters():  # from a mapped file they are unaligned, which changes bits
            weight.data = weight.data.clone()
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    settings = {"negative_prompt": "blue", "num_inference_steps": 3, "guidance_scale": 4.0}
    theirs = pipeline("a red star", generator=generator, **settings).images[0]

    assert Picture(theirs) == ours.outputs["picture"]
