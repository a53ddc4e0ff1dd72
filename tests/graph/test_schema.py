"""The JSON Schema of the language: it takes what `check` takes, and refuses the usual mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # its types are another package

import darkroom
from graph.errors import WorkflowError
from graph.schema import json_schema
from graph.wiring import wire
from graph.workflow import parse

ROOT = Path(__file__).parents[2]
SCHEMA = json_schema(darkroom.kinds())
VALIDATOR = Draft202012Validator(SCHEMA)
EVERYTHING = """\
darkroom: 1
name: 2024
doc: Everything the language has.
params:
  prompt: a bird
  plain: 7
  größe: {type: integer, default: 512, min: 64, max: 1024, doc: pixels}
  method: {default: plms, choices: [plms, ddim]}
  price: {type: text, default: 017}
  sketch: {type: path, default: bird.png}
  enlarge: true
defaults:
  sampler: {steps: $plain, cfg: 7}
  load_model: {path: "builtin:tiny"}
nodes:
  model: {use: load_model}
  positive: {use: text_encode, text_encoder: $model.text_encoder, text: "${prompt} for $$5", doc: what to paint}
  negative: {use: text_encode, text_encoder: $model.text_encoder, text: 12}
  start: {use: noise, model: $model, width: $größe, height: 64, seed: 18446744073709551615}
  painted:
    use: sampler
    model: $model
    positive: $positive
    negative: $negative
    latents: $start
    method: $method
    cfg: 7
    device: cpu
    cache: false
    fresh: 1.5h
    after: [$positive, $negative]
  decoded: {use: vae_decode, vae: $model.vae, latents: $painted}
  large: {use: upscale, when: $enlarge and $method == plms, image: $decoded.images.0, factor: 2}
  sheet: {use: grid, images: [$decoded, {first: [$large, $decoded]}], columns: null}
  all: {use: grid, images: $decoded.images, labels: "a ${prompt}", after: $sheet}
  signed: {use: watermark, image: {first: [$large, $decoded]}, text: $prompt}
outputs:
  print: $signed
  best: {first: [$large, $decoded]}
  sheets: $all
"""
NODES = """\
  model: {use: load_model, path: "builtin:tiny"}
  start: {use: noise, model: $model}
"""


def complaints(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def sketch(nodes: str = "", **sections: str) -> str:
    more = "".join(f"{name}: {text}\n" for name, text in sections.items())
    return f"darkroom: 1\n{more}nodes:\n{NODES}  {nodes}\n"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_workflow_fits_the_schema(path: Path) -> None:
    assert [] == complaints(path.read_text(encoding="utf-8"))


def test_all_that_the_language_has_fits_the_schema() -> None:
    assert [] == complaints(EVERYTHING)


def test_what_fits_here_has_no_mistake_but_missing_files() -> None:
    try:
        wire(parse(EVERYTHING.encode(), "everything.yaml", ROOT), darkroom.kinds())
        told: list[str] = []
    except WorkflowError as error:
        told = [str(mistake) for mistake in error.mistakes if not mistake.missing]

    assert [] == told


@pytest.mark.parametrize(
    "text",
    [
        sketch("other: {use: nois, model: $model}"),
        sketch("other: {use: noise, model: $model, sede: 1}"),
        sketch("other: {use: noise, model: $model, seed: -1}"),
        sketch('other: {use: noise, model: $model, seed: "42"}'),
        sketch("other: {use: noise, model: $model, width: 513}"),
        sketch("other: {use: noise, model: $model, count: true}"),
        sketch("other: {use: noise, model: model}"),
        sketch("other: {use: noise, model: $model.}"),
        sketch("other: {use: noise, model: [$model]}"),
        sketch("other: {use: noise, model: {first: []}}"),
        sketch("other: {use: noise}"),
        sketch("other: {model: $model}"),
        sketch("other: {use: noise, model: $model, each: model}"),
        sketch("other: {use: noise, model: $model, cache: maybe}"),
        sketch("other: {use: noise, model: $model, fresh: 60}"),
        sketch("other: {use: noise, model: $model, fresh: soon}"),
        sketch("other: {use: noise, model: $model, when: [$a]}"),
        sketch("other: {use: sampler, model: $model, positive: $a, negative: $b, latents: $c, method: elder}"),
        sketch("other: {use: sampler, model: $model, positive: $a, negative: $b, latents: $c, cfg: much}"),
        sketch("first: {use: noise, model: $model}"),
        sketch("2nd: {use: noise, model: $model}"),
        sketch(params="{when: 3}"),
        sketch(params="{seed: {min: 3}}"),
        sketch(params="{seed: {default: 3, mni: 1}}"),
        sketch(params="{seed: {type: int, default: 3}}"),
        sketch(params="{seed: {type: integer, default: 3.5}}"),
        sketch(params="{seed: [1, 2]}"),
        sketch(defaults="{nois: {seed: 1}}"),
        sketch(defaults="{noise: {use: noise}}"),
        sketch(outputs="{print: start}"),
        sketch(outputs="[$start]"),
        sketch(sweep="{seed: [1, 2]}"),
        sketch(node="{}"),
        "darkroom: 2\nnodes:\n" + NODES,
        "nodes:\n" + NODES,
        "darkroom: 1\nnodes: {}",
    ],
)
def test_a_usual_mistake_does_not_fit(text: str) -> None:
    assert complaints(text)


def test_a_default_may_give_what_a_kind_needs() -> None:
    assert [] == complaints("darkroom: 1\ndefaults: {load_model: {path: x}}\nnodes: {model: {use: load_model}}")


def test_a_parameter_has_its_description_default_and_range() -> None:
    width: dict[str, Any] = SCHEMA["$defs"]["node_noise"]["properties"]["width"]

    assert ("picture width, pixels", None) == (width["description"], width["default"])
    assert {"type": "integer", "minimum": 64, "maximum": 16384, "multipleOf": 8} in width["anyOf"]
