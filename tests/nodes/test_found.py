"""What a review found by hand: each test failed before its remedy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from graph.errors import MissingError
from graph.values import Picture
from nodes.grid import Grid
from nodes.load_model import LoadModel, Parts
from nodes.sd.files import TINY, ModelFile
from nodes.sd.headers import read_header
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode

VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the built-in model, to be damaged."""
    return shutil.copytree(ModelFile.find(TINY, tmp_path).path, tmp_path / "model")


def parts(folder: Path, ctx: Any) -> Parts:
    return LoadModel(path=ModelFile.find(str(folder), folder)).run(ctx)


def configure(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), encoding="utf-8")


def reweigh(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_attention_fetched_from_a_hub_is_code(key: str, model: Path) -> None:
    configure(model / "text_encoder" / "config.json", **{key: "somebody/some-kernel"})

    with pytest.raises(MissingError, match=f'asks by "{key}" for code'):
        ModelFile.find(str(model), model)


def test_attention_of_the_library_itself_is_no_code(model: Path) -> None:
    configure(model / "text_encoder" / "config.json", attn_implementation="eager")

    assert model == ModelFile.find(str(model), model).path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_for_a_config_is_not_waited_for(model: Path) -> None:
    (model / "vae" / "config.json").unlink()
    os.mkfifo(model / "vae" / "config.json")

    with pytest.raises(MissingError, match=r'"vae/config.json" of model "model" is not a file'):
        ModelFile.find(str(model), model)


def test_an_index_of_weights_that_lists_no_names_is_named(model: Path) -> None:
    (model / VAE).unlink()
    (model / VAE).with_suffix(".safetensors.index.json").write_text('{"weight_map": {"a": ["b"]}}')

    with pytest.raises(MissingError, match="which is no file of weights"):
        ModelFile.find(str(model), model)


def test_a_weight_in_two_files_is_refused(model: Path, ctx: Any) -> None:
    one, name = load_file(model / VAE), "decoder.conv_out.bias"
    (model / VAE).unlink()
    save_file(one, model / "vae" / "a.safetensors")
    save_file({name: one[name] + 1}, model / "vae" / "b.safetensors")
    listed = {"weight_map": {"first": "a.safetensors", "second": "b.safetensors"}}
    (model / VAE).with_suffix(".safetensors.index.json").write_text(json.dumps(listed))
    of = parts(model, ctx)

    with pytest.raises(MissingError, match=rf'"{name}" is there twice, in "vae/a.safetensors" and in "vae/b'):
        VaeDecode().run(ctx, of.vae, noise(ctx, of))


def test_a_weight_of_whole_numbers_is_named(model: Path, ctx: Any) -> None:
    def round_off(weights: dict[str, Any]) -> None:
        name = next(name for name in weights if name.endswith("final_layer_norm.weight"))
        weights[name] = weights[name].to(torch.int32)

    reweigh(model / TEXT, round_off)

    with pytest.raises(MissingError, match=r"final_layer_norm\.weight.* is I32, but the model computes with fractions"):
        TextEncode(text="a circle").run(ctx, parts(model, ctx).text_encoder)


def test_a_name_twice_among_very_many_is_found_at_once(tmp_path: Path) -> None:
    header = "{" + ",".join(f'"{name}":0' for name in [*range(100_000), 99_999]) + "}"
    path = tmp_path / "many.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())

    with pytest.raises(MissingError, match='"99999" is there twice'):
        read_header(path)


def test_a_message_takes_over_no_more_than_a_line_of_a_header(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [7] * 50_000, "data_offsets": [0, 4]}})
    path = tmp_path / "long.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))

    with pytest.raises(MissingError) as caught:
        read_header(path)

    assert 500 > len(str(caught.value))


@pytest.mark.parametrize(
    ("labels", "same"), [("\nb", " |b"), ("a\n\n", "a| "), ("\na\nb\n\n", "a|b"), ("\na|b\n\n", "a|b")]
)
def test_an_empty_label_may_be_the_first_or_the_last(labels: str, same: str, ctx: Any) -> None:
    pair = [Picture(Image.new("RGB", (32, 32))) for _ in range(2)]

    assert Grid(labels=same).run(ctx, pair) == Grid(labels=labels).run(ctx, pair)


def noise(ctx: Any, of: Parts) -> Any:
    from nodes.noise import Noise

    return Noise(width=64, height=64).run(ctx, of.model)
