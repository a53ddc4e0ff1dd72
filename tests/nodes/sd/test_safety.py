"""The safety checker against diffusers' own, on random weights, and what becomes of a picture that it flags."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor

import darkroom
from graph.errors import MissingError, StepError
from graph.metadata import read_metadata
from graph.values import ModelHandle, Picture
from graph.workflow import parse
from nodes.safety_check import SafetyCheck
from nodes.sd.residency import Weights
from nodes.sd.safety import SafetyFile
from nodes.sd.safety_net import load_safety, prepared

SIDE = 32


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.manual_seed(5)
    eyes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(projection_dim=16, text_config={}, vision_config={**eyes, "image_size": SIDE, "patch_size": 8})
    theirs = StableDiffusionSafetyChecker(config).eval()
    for embeds in (theirs.concept_embeds, theirs.special_care_embeds):
        embeds.data.normal_()
    theirs.concept_embeds_weights.data.fill_(0.3)
    theirs.special_care_embeds_weights.data.fill_(0.3)
    folder = tmp_path_factory.mktemp("models") / "safety_checker"
    theirs.save_pretrained(folder)
    return theirs, folder


@pytest.fixture
def picture() -> Picture:
    pixels = np.random.default_rng(3).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    return Picture(Image.fromarray(pixels))


def _limit(folder: Path, over: float, to: Path) -> Path:
    """A copy of a checker that flags everything, or nothing."""
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, to)
    weights = load_file(copy / "model.safetensors")
    weights["concept_embeds_weights"].fill_(-over)
    save_file(weights, copy / "model.safetensors")
    return copy


def test_scores_are_those_of_diffusers(checker: tuple[Any, Path], picture: Picture) -> None:
    theirs, folder = checker
    looked = prepared(picture, SIDE)
    embeds = theirs.visual_projection(theirs.vision_model(looked)[1])
    cosines = [
        torch.nn.functional.normalize(embeds) @ torch.nn.functional.normalize(one).t()
        for one in (theirs.concept_embeds, theirs.special_care_embeds)
    ]

    concepts, cares = load_safety(folder, torch.float32)(looked)

    assert torch.equal(cosines[0][0] - theirs.concept_embeds_weights, concepts)
    assert torch.equal(cosines[1][0] - theirs.special_care_embeds_weights, cares)


@pytest.mark.parametrize("seed", range(8))
def test_the_verdict_is_that_of_diffusers(checker: tuple[Any, Path], ctx: Any, seed: int) -> None:
    theirs, folder = checker
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    picture = Picture(Image.fromarray(pixels))
    _, (flagged,) = theirs(prepared(picture, SIDE), [np.ones((1, 1, 3))])

    assert flagged == SafetyCheck(path=_file(folder, ctx), action="flag").run(ctx, picture).flagged


def test_the_eyes_see_what_clip_s_processor_shows_them(picture: Picture) -> None:
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    theirs = processor(picture.pixels, return_tensors="pt").pixel_values

    assert torch.allclose(theirs, prepared(picture, SIDE), atol=1e-6)  # it scales in another order


def test_weights_under_their_older_names_are_read(checker: tuple[Any, Path], picture: Picture, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(checker[1], tmp_path / "old")
    weights = {
        name.replace("vision_model.", "vision_model.vision_model.", 1): weight
        for name, weight in load_file(copy / "model.safetensors").items()
    }
    weights["vision_model.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(weights, copy / "model.safetensors")
    old, new = (load_safety(path, torch.float32)(prepared(picture, SIDE)) for path in (copy, checker[1]))

    assert torch.equal(new[0], old[0])


def _file(folder: Path, ctx: Any) -> SafetyFile:
    file = SafetyFile.find(str(folder), Path.cwd())
    ctx.digest(file)
    return file


@pytest.mark.parametrize("action", ["flag", "blur", "black", "fail"])
def test_a_flagged_picture(checker: tuple[Any, Path], ctx: Any, picture: Picture, tmp_path: Path, action: Any) -> None:
    node = SafetyCheck(path=_file(_limit(checker[1], 2, tmp_path / "all"), ctx), action=action)
    if action == "fail":
        with pytest.raises(StepError, match="flags this picture: concept 0 by"):
            node.run(ctx, picture)
        return
    shown = node.run(ctx, picture)
    spread = {"flag": np.asarray(picture.pixels).std(), "blur": 20, "black": 0}[action]

    assert shown.flagged
    assert shown.found.startswith("concept 0 by ")
    assert spread >= np.asarray(shown.image.pixels).std()


def test_what_is_not_flagged_and_what_is_not_looked_at_stay(
    checker: tuple[Any, Path], ctx: Any, picture: Picture, tmp_path: Path
) -> None:
    strict = SafetyCheck(path=_file(_limit(checker[1], -2, tmp_path / "none"), ctx))

    assert (picture, False, "") == strict.run(ctx, picture)
    assert (picture, False, "") == SafetyCheck().run(ctx, picture)


def test_alpha_stays_where_the_picture_is_hidden(checker: tuple[Any, Path], ctx: Any, tmp_path: Path) -> None:
    picture = Picture(Image.new("RGBA", (40, 40), (200, 10, 10, 77)))
    node = SafetyCheck(path=_file(_limit(checker[1], 2, tmp_path / "all"), ctx), action="black")

    assert (0, 0, 0, 77) == node.run(ctx, picture).image.pixels.getpixel((3, 3))


def test_a_folder_that_is_no_checker_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))

    with pytest.raises(MissingError, match="is no safety checker"):
        SafetyFile.find(str(tmp_path), tmp_path)


def test_a_senseless_config_is_named(checker: tuple[Any, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(checker[1], tmp_path / "odd")
    config = json.loads((copy / "config.json").read_text())
    config["vision_config"]["patch_size"] = None
    (copy / "config.json").write_text(json.dumps(config))

    with pytest.raises(MissingError, match=r'"config\.json" .* a safety checker: "patch_size" is None'):
        load_safety(copy, torch.float32)


def test_its_weights_stay_until_others_are_read(checker: tuple[Any, Path], ctx: Any, picture: Picture) -> None:
    weights = Weights()
    first, other = (ModelHandle(digest, "safety_checker", "clip") for digest in "ab")
    ctx.locate = lambda digest: checker[1]
    for handle in (first, first, other):
        with weights.use(handle, ctx):
            pass

    assert 2 == weights.loads
    assert ["b"] == [digest for digest, *_ in weights._held]


def test_a_run_leaves_none_of_its_weights_behind(
    checker: tuple[Any, Path], picture: Picture, fresh: Weights, tmp_path: Path
) -> None:
    picture.save(tmp_path / "photo.png")
    text = f"""
        darkroom: 1
        nodes:
          photo: {{use: load_image, path: photo.png}}
          other: {{use: resize, image: $photo, width: 64, height: 64}}
          one: {{use: safety_check, image: $photo, path: {json.dumps(str(checker[1]))}}}
          two: {{use: safety_check, image: $other, path: {json.dumps(str(checker[1]))}}}
        outputs: {{one: $one, two: $two}}
    """
    darkroom.run(parse(textwrap.dedent(text).encode(), "a.yaml", tmp_path), cache=tmp_path / "cache", out=None)

    assert 1 == fresh.loads
    assert [] == list(fresh._held)


def test_what_was_found_is_in_the_picture_s_file(checker: tuple[Any, Path], tmp_path: Path) -> None:
    folder = _limit(checker[1], 2, tmp_path / "all")
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "photo.png")
    (tmp_path / "check.yaml").write_text(
        "darkroom: 1\nnodes:\n  photo: {use: load_image, path: photo.png}\n"
        f"  checked: {{use: safety_check, image: $photo, path: {json.dumps(str(folder))}, action: black}}\n"
        "  kept: {use: save_image, image: $checked}\n"
        "outputs: {picture: $checked, flagged: $checked.flagged, file: $kept}\n"
    )
    results = darkroom.run(darkroom.load(tmp_path / "check.yaml"), cache=tmp_path / "cache", out=tmp_path / "out")
    told = [json.loads(read_metadata(path)["darkroom"])["found"] for path in (tmp_path / "out").glob("*.png")]

    assert results.outputs["flagged"]
    assert [True, True] == [one["checked"]["flagged"] for one in told]
    assert all(one["checked"]["found"].startswith("concept 0") for one in told)
