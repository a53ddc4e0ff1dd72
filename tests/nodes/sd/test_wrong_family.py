"""Parts of two families of models in one workflow: refused by check, before any weights are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import darkroom
from graph.errors import WorkflowError
from graph.workflow import parse

WORKFLOW = """\
darkroom: 1
nodes:
  old:     {use: load_model, path: OLD}
  new:     {use: load_model, path: NEW}
  words:   {use: text_encode, text_encoder: $new.text_encoder, text: a cat}
  nothing: {use: text_encode, text_encoder: $old.text_encoder}
  start:   {use: noise, model: $old, width: 64, height: 64}
  painted: {use: sampler, model: $old, positive: $words, negative: $nothing, latents: $start}
  decoded: {use: vae_decode, vae: $old.vae, latents: $painted}
"""


@pytest.fixture
def workflow(whole: Any, spoiled: Path) -> str:
    config = spoiled / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_linear_projection": True}))
    return WORKFLOW.replace("OLD", str(whole.folder)).replace("NEW", str(spoiled))


def check(text: str) -> darkroom.Graph:
    return darkroom.check(parse(text.encode(), "two.yaml", Path()))


def test_a_prompt_of_another_family_is_refused_with_both_models_and_the_way_out(
    workflow: str, fresh: Any, whole: Any, spoiled: Path
) -> None:
    with pytest.raises(WorkflowError) as caught:
        check(workflow)

    (mistake,) = caught.value.mistakes
    assert (
        f'painted.positive: the conditioning of $words is for openclip-h ("{str(spoiled)[-80:]}" in new), '
        f'but that of $old is for clip-l ("{str(whole.folder)[-80:]}" in old)'
    ) == mistake.message
    assert ("two.yaml:8:50", "For words.text_encoder, take $old.text_encoder.") == (str(mistake.place), mistake.hint)
    assert 0 == fresh.loads


def test_latents_of_one_space_go_through_models_of_two_families(workflow: str) -> None:
    """Stable Diffusion 1 and 2 share their latents: the VAE of one decodes those of the other."""
    text = workflow.replace("$new.text_encoder", "$old.text_encoder").replace("$old.vae", "$new.vae")

    assert 7 == len(check(text).steps)
