"""What somebody who comes from A1111 or ComfyUI gets wrong first, and what Darkroom says to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import darkroom
import runner
from graph.node import outputs, parameters, ports

PAGE = (Path(runner.__file__).parent / "docs" / "from-web-uis.md").read_text(encoding="utf-8")
WORKFLOW = """\
darkroom: 1
nodes:
  model:    {use: load_model, path: "builtin:tiny"}
  words:    {use: text_encode, text_encoder: $model.text_encoder, text: a red star}
  start:    {use: noise, model: $model}
  painted:  {use: sampler, model: $model, positive: $words, negative: $words, latents: $start}
  decoded:  {use: vae_decode, vae: $model.vae, latents: $painted}
"""
COMFYUI = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 8566257, "sampler_name": "euler", "model": ["4", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
}
CANVAS = {
    "last_node_id": 9,
    "nodes": [{"id": 7, "type": "KSampler"}],
    "links": [[1, 4, 0, 3, 0]],
    "version": 0.4,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What a command says to people, after it has refused to go on, without the lines of the file and the carets."""
    assert runner.main(words) in (2, 3)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return [line.strip() for line in re.sub(r".*\n +\^\n", "", said).splitlines()]


@pytest.mark.parametrize(
    ("written", "instead_of", "hint"),
    [
        ("use: ksampler", "use: sampler", 'Did you mean "sampler"?'),
        ("use: KSamplerAdvanced", "use: sampler", 'Did you mean "sampler"?'),
        ("use: CheckpointLoaderSimple", "use: load_model", 'Did you mean "load_model"?'),
        ("use: CLIPTextEncode", "use: text_encode", 'Did you mean "text_encode"?'),
        ("use: EmptyLatentImage", "use: noise", 'Did you mean "noise"?'),
        ("use: VAEDecode", "use: vae_decode", 'Did you mean "vae_decode"?'),
        ("latents: $start, denoise: 0.5", "latents: $start", 'Did you mean "strength"?'),
        ("latents: $start, cfg_scale: 7", "latents: $start", 'Did you mean "cfg"?'),
        ("latents: $start, sampler_name: euler", "latents: $start", 'Did you mean "method"?'),
        ("latent_image: $start", "latents: $start", 'Did you mean "latents"?'),
        ("latents: $start, seed: 7", "latents: $start", 'start (noise) can take "seed".'),
        ("latents: $start, width: 512", "latents: $start", 'start (noise) can take "width".'),
        ("$model.clip", "$model.text_encoder", 'Did you mean "text_encoder"?'),
        ("noise, model: $model, batch_size: 4", "noise, model: $model", 'Did you mean "count"?'),
        ("noise, model: $model, width: 500", "noise, model: $model", "The nearest valid values are 496 and 504."),
        ("noise, model: $model, seed: -1", "noise, model: $model", "run with --set seed=random."),
        ("noise, model: $model, seed: random", "noise, model: $model", "run with --set seed=random."),
        ("latents: $start, method: DPM++ 2M Karass", "latents: $start", 'Did you mean "dpmpp_2m"?'),
        ("text: blurry, deformed, bad hands, texture", "text: a red star", "a text with a comma needs quotes."),
    ],
)
def test_a_word_of_another_program_is_answered_with_ours(
    capsys: pytest.CaptureFixture[str], written: str, instead_of: str, hint: str
) -> None:
    """One mistake is told once."""
    Path("w.yaml").write_text(WORKFLOW.replace(instead_of, written))
    message, way_out = told(capsys, "check", "w.yaml")

    assert message.startswith("w.yaml:")
    assert hint in way_out


def test_a_param_that_nothing_refers_to_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    """As where its dollar sign was forgotten: the text would be painted as it stands."""
    text = WORKFLOW.replace("nodes:", "params: {prompt: a red star}\nnodes:", 1).replace(
        "text: a red star", "text: prompt"
    )
    Path("w.yaml").write_text(text)

    assert 0 == runner.main(["check", "w.yaml"])
    assert "w.yaml:2:10: the param prompt changes nothing: no $prompt stands anywhere" in capsys.readouterr().err


def test_choices_are_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("w.yaml").write_text(WORKFLOW.replace("latents: $start", "latents: $start, method: Restart"))
    (message,) = told(capsys, "check", "w.yaml")

    assert 1 == message.count("plms")
    assert message.endswith('not the text "Restart"')


@pytest.mark.parametrize("document", [COMFYUI, CANVAS])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_workflow_of_comfyui_is_called_one(
    capsys: pytest.CaptureFixture[str], document: dict[str, object], indent: int | None
) -> None:
    Path("workflow.json").write_text(json.dumps(document, indent=indent))
    message, hint = told(capsys, "run", "workflow.json")

    assert "workflow.json:1:1: this is a workflow of ComfyUI" == message
    assert "docs/from-web-uis.md" in hint


@pytest.mark.parametrize(
    ("texts", "maker"),
    [
        ({"parameters": "a star\nSteps: 20, Sampler: Euler a"}, "A1111's web UI"),
        ({"prompt": "{}", "workflow": "{}"}, "ComfyUI"),
    ],
)
def test_a_picture_of_another_program_is_called_one(
    capsys: pytest.CaptureFixture[str], texts: dict[str, str], maker: str
) -> None:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (64, 64)).save("theirs.png", pnginfo=info)
    message, hint = told(capsys, "run", "theirs.png")

    assert "theirs.png does not hold a workflow that Darkroom wrote" == message
    assert hint.startswith(f"It comes from {maker}: ")


def rows(title: str) -> list[tuple[str, str]]:
    """A table of the page: what stands there, and what it is here."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| ([^|]*) \| (`[^|]*) \|", section, re.MULTILINE)


def test_the_page_and_the_hints_say_the_same_of_nodes() -> None:
    on_page = {
        word: ours.strip("`") for theirs, ours in rows("Nodes of ComfyUI") for word in re.findall(r"\w+", theirs)
    }
    kinds = darkroom.kinds().kinds
    hinted = {word: kind for kind, node in kinds.items() for word, ours in node.elsewhere.items() if ours == kind}

    assert hinted.keys() == on_page.keys()
    assert on_page == {word: hinted[word] for word in on_page}


def test_every_key_of_the_page_is_there() -> None:
    keys = [key for _, ours in rows("Settings of A1111") for key in re.findall(r"`(\w+)\.(\w+)`", ours)]
    kinds = darkroom.kinds()

    assert len(keys) > 15
    assert [] == [(kind, name) for kind, name in keys if name not in parameters(kinds[kind])]


@pytest.mark.parametrize("kind", sorted(darkroom.kinds().kinds))
def test_words_from_elsewhere_lead_to_what_is_here(kind: str) -> None:
    node = darkroom.kinds()[kind]
    ours = {kind, *parameters(node), *ports(node), *outputs(node)}

    assert set() == set(node.elsewhere.values()) - ours
    assert set() == node.elsewhere.keys() & {*parameters(node), *ports(node)}
