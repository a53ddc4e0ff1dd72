"""What is said of a model in a file beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

import darkroom
from graph.errors import MissingError, WorkflowError
from graph.metadata import text_chunks
from graph.node import Context
from graph.rerun import workflow_of
from graph.values import Latents
from graph.workflow import parse
from nodes.load_model import LoadModel, Parts
from nodes.sd.autoencoder import to_picture
from nodes.sd.files import ModelFile
from nodes.sd.models import opened
from nodes.sd.sidecar import Sidecar, place_of, sidecar
from nodes.sd.tensors import freeze, thaw
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode
from tests.nodes.sd.conftest import Whole, vae

WORKFLOW = """\
darkroom: 1
nodes:
  model:   {use: load_model, path: MODEL}
  words:   {use: text_encode, text_encoder: $model.text_encoder}
  start:   {use: noise, model: $model}
  painted: {use: sampler, model: $model, positive: $words, negative: $words, latents: $start, cfg: 3}
  decoded: {use: vae_decode, vae: $model.vae, latents: $painted}
"""


def check(model: Path) -> darkroom.Graph:
    return darkroom.check(parse(WORKFLOW.replace("MODEL", str(model)).encode(), "w.yaml", Path()))


def mistakes(model: Path) -> list[tuple[str, str, str, str]]:
    with pytest.raises(WorkflowError) as caught:
        check(model)
    return [(one.code, str(one.place).removeprefix(str(model)), one.message, one.hint) for one in caught.value.mistakes]


def test_its_defaults_reach_the_nodes_of_the_model(spoiled: Path) -> None:
    (spoiled / "model.yaml").write_text(
        "darkroom: 1\ndefaults: {sampler: {steps: 7, cfg: 4}, noise: {width: 128}, text_encode: {clip_skip: 1}}\n"
    )
    steps = check(spoiled).steps

    assert {"steps": 7, "cfg": 3.0} == steps["painted"].fixed
    assert {"width": 128} == steps["start"].fixed
    assert {"clip_skip": 1} == steps["words"].fixed
    assert ["model", "node"] == [steps["painted"].set_by(name) for name in ("steps", "cfg")]


def test_every_mistake_has_its_place_in_the_sidecar(spoiled: Path) -> None:
    (spoiled / "model.yaml").write_text(
        "defaults: [x]\ntokeniser: t\ntokenizer: nowhere\nvae: {}\nfamily: sd7\nprediction: v\n"
    )

    assert [
        ("version", "/model.yaml:1:1", "the version is missing, or unknown", "Begin with: darkroom: 1"),
        ("syntax", "/model.yaml:1:11", "defaults takes a table", "Write defaults: {sampler: {steps: 20}}."),
        ("unknown-key", "/model.yaml:2:1", 'unknown key "tokeniser"', 'Did you mean "tokenizer"?'),
        ("missing-file", "/model.yaml:3:12", 'tokenizer "nowhere" is not there', ""),
        ("bad-value", "/model.yaml:4:6", "vae takes one value", ""),
        ("bad-value", "/model.yaml:5:9"),
        ("bad-value", "/model.yaml:6:13"),
    ] == [row if at < 5 else row[:2] for at, row in enumerate(mistakes(spoiled))]


def test_wrong_defaults_are_told_with_those_of_the_workflow(spoiled: Path) -> None:
    (spoiled / "model.yaml").write_text("darkroom: 1\ndefaults:\n  sampler: {steps: 0, stps: 1}\n  nois: {width: 1}\n")

    assert [
        ("bad-value", "/model.yaml:3:20", "The nearest valid value is 1."),
        ("unknown-parameter", "/model.yaml:3:29", 'Did you mean "steps"?'),
        ("unknown-kind", "/model.yaml:4:3", 'Did you mean "noise"?'),
    ] == [(code, place, hint) for code, place, _, hint in mistakes(spoiled)]


@pytest.mark.parametrize("content", ["", "a", "[" * 100_000, "&a [*a]", "!!python/object/apply:os.system [x]", "\0"])
def test_a_sidecar_that_is_none_is_refused_with_its_place(content: str, spoiled: Path) -> None:
    (spoiled / "model.yaml").write_text(content)

    assert mistakes(spoiled)[0][1].startswith("/model.yaml:1:")


def test_a_pipe_is_not_waited_for(spoiled: Path) -> None:
    os.mkfifo(spoiled / "model.yaml")

    with pytest.raises(MissingError, match="is not a file"):
        sidecar(spoiled)


def test_the_sidecar_of_a_file_is_not_the_config_of_a_network(tmp_path: Path) -> None:
    model = tmp_path / "v1.5.safetensors"
    model.touch()
    (tmp_path / "v1.5.yaml").write_text("model: {target: ldm.models.diffusion.ddpm.LatentDiffusion}\n")

    assert Sidecar() == sidecar(model)
    assert tmp_path / "v1.5.model.yaml" == place_of(model)


def test_an_edited_sidecar_is_read_again(spoiled: Path) -> None:
    (spoiled / "model.yaml").write_text("darkroom: 1\ndefaults: {sampler: {steps: 7}}\n")
    check(spoiled)
    (spoiled / "model.yaml").write_text("darkroom: 1\ndefaults: {sampler: {steps: 11}}\n")

    assert 11 == check(spoiled).steps["painted"].fixed["steps"]


# The parts that it names


def opened_parts(model: Path, ctx: Context) -> Parts:
    return LoadModel(path=ModelFile.find(str(model), model)).run(ctx)


@pytest.fixture
def latents(whole: Whole) -> Latents:
    torch.manual_seed(3)
    return Latents(freeze(torch.randn(1, 4, 8, 8)))


def test_another_vae_decodes_and_the_model_is_another_then(
    spoiled: Path, whole: Whole, tmp_path: Path, ctx: Context, latents: Latents
) -> None:
    torch.manual_seed(12)
    other = vae()
    other.save_pretrained(tmp_path / "other")
    before = opened_parts(spoiled, ctx).vae
    (spoiled / "model.yaml").write_text("darkroom: 1\nvae: ../other\n")
    after = opened_parts(spoiled, ctx).vae

    assert before.digest != after.digest
    with torch.inference_mode():
        expected = other.decode(thaw(latents.samples) / other.config.scaling_factor, return_dict=False)[0]
    assert to_picture(expected) == VaeDecode().run(ctx, after, latents).image


def test_another_tokenizer_reads_the_prompt_and_the_model_is_another_then(
    spoiled: Path, tmp_path: Path, ctx: Context
) -> None:
    (spoiled / "tokenizer").rename(tmp_path / "words")
    with pytest.raises(MissingError, match="has no tokenizer"):
        opened_parts(spoiled, ctx)
    (spoiled / "model.yaml").write_text(f"darkroom: 1\ntokenizer: {tmp_path / 'words'}\n")
    parts = opened_parts(spoiled, ctx)
    first = TextEncode(text="a cat and a dog").run(ctx, parts.text_encoder)

    merges = tmp_path / "words" / "merges.txt"
    merges.write_text(merges.read_text().replace("ca t</w>\n", ""))
    changed = opened_parts(spoiled, ctx)

    assert parts.text_encoder.digest != changed.text_encoder.digest
    assert first != TextEncode(text="a cat and a dog").run(ctx, changed.text_encoder)


def test_what_it_says_of_the_prediction_is_what_samplers_are_told(spoiled: Path, ctx: Context) -> None:
    before = opened_parts(spoiled, ctx).model.digest
    (spoiled / "model.yaml").write_text("darkroom: 1\nprediction: v_prediction\n")

    assert "v_prediction" == opened(spoiled).json("scheduler", "scheduler_config.json")["prediction_type"]
    assert before != opened_parts(spoiled, ctx).model.digest


def test_defaults_are_no_part_of_the_model(spoiled: Path, ctx: Context) -> None:
    before = opened_parts(spoiled, ctx).model.digest
    (spoiled / "model.yaml").write_text("darkroom: 1\ndefaults: {sampler: {steps: 7}}\n")

    assert before == opened_parts(spoiled, ctx).model.digest


def test_the_sidecar_of_another_model_is_refused(spoiled: Path, ctx: Context) -> None:
    (spoiled / "model.yaml").write_text("darkroom: 1\nfamily: sd2\n")

    with pytest.raises(MissingError, match=r'is of the family "sd1", but ".*model.yaml" says "sd2"'):
        opened_parts(spoiled, ctx)


@pytest.mark.parametrize("later", ["darkroom: 1\ndefaults: {sampler: {steps: 2, eta: 0.5}}\n", ""])
def test_a_picture_is_made_again_with_what_the_sidecar_proposed_then(later: str, spoiled: Path, tmp_path: Path) -> None:
    beside = spoiled / "model.yaml"
    beside.write_text("darkroom: 1\ndefaults: {sampler: {steps: 3, method: ddim}, noise: {width: 64, height: 64}}\n")
    workflow = parse(WORKFLOW.replace("MODEL", str(spoiled)).encode(), "w.yaml", tmp_path)
    darkroom.run(workflow, cache=tmp_path / "cache", out=tmp_path / "out", device="cpu")
    (picture,) = (tmp_path / "out").glob("*.png")

    beside.write_text(later) if later else beside.unlink()
    again, origin = workflow_of(picture)
    steps = darkroom.check(again).steps

    assert {"painted": {"steps": 3, "method": "ddim"}, "start": {"width": 64, "height": 64}} == origin.proposed
    assert {"steps": 3, "method": "ddim", "cfg": 3.0} == steps["painted"].fixed
    assert {"width": 64, "height": 64} == steps["start"].fixed


@pytest.mark.parametrize(
    "told", ['["x"]', '{"painted": 1}', '{"painted": {"steps": [1], "method": {}}}', '{"no": {"a": 1}}']
)
def test_what_no_sidecar_proposes_is_not_taken_from_a_picture(told: str, tmp_path: Path) -> None:
    chunk = {"format": 1, "workflow": WORKFLOW, "params": {}, "files": {}, "proposed": json.loads(told)}
    chunk |= dict.fromkeys(("name", "file", "folder", "output", "digest"), "x")
    write_picture(tmp_path / "a.png", {"darkroom": json.dumps(chunk)})

    inputs = workflow_of(tmp_path / "a.png")[0].nodes["painted"].inputs

    assert ["model", "positive", "negative", "latents", "cfg"] == list(inputs)


def write_picture(path: Path, texts: dict[str, str]) -> None:
    Image.new("RGB", (8, 8)).save(path, pnginfo=text_chunks(texts))
