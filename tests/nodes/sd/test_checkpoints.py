"""Weights come from the file to the module, bit for bit, and nothing else does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from graph.errors import MissingError
from nodes.sd.checkpoints import compute_dtype, load
from nodes.sd.folders import ModelFolder

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def loaded(folder: Path, component: str, dtype: torch.dtype = torch.float32) -> Any:
    return load(ModelFolder(folder), "sd1", component, dtype)


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    save_file(change({name: weight.clone() for name, weight in load_file(path).items()}), path)


def same(left: Any, right: Any) -> bool:
    mine, other = left.state_dict(), right.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_a_component_is_what_was_saved(component: str, whole: Any) -> None:
    module = loaded(whole.folder, component)

    assert same(getattr(whole, component), module)
    assert not module.training
    assert not any(weight.requires_grad for weight in module.parameters())


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_every_weight_lies_in_aligned_memory_of_its_own(component: str, whole: Any) -> None:
    weights = list(loaded(whole.folder, component).parameters())

    assert {0} == {weight.data_ptr() % 64 for weight in weights}
    assert len(weights) == len({weight.untyped_storage().data_ptr() for weight in weights})


def test_half_precision_is_the_file_rounded(whole: Any) -> None:
    expected = whole.unet.state_dict()
    module = loaded(whole.folder, "unet", torch.float16)

    assert all(torch.equal(expected[name].half(), weight) for name, weight in module.state_dict().items())


def test_a_vae_never_computes_in_fp16() -> None:
    assert torch.float32 == compute_dtype("vae", "fp16")
    assert torch.bfloat16 == compute_dtype("vae", "bf16")
    assert torch.float16 == compute_dtype("unet", "fp16")


def test_names_of_old_autoencoders_are_understood(spoiled: Path, whole: Any) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(weights: dict[str, Any]) -> dict[str, Any]:
        for new, was in old.items():
            weights = {name.replace(f".{new}.", f".{was}."): weight for name, weight in weights.items()}
        return weights

    rewrite(spoiled / VAE, rename)

    assert any(".query." in name for name in load_file(spoiled / VAE))
    assert same(whole.vae, loaded(spoiled, "vae"))


def test_names_of_old_text_encoders_are_understood(spoiled: Path, whole: Any) -> None:
    def rename(weights: dict[str, Any]) -> dict[str, Any]:
        old = {f"text_model.{name.removeprefix('text_model.')}": weight for name, weight in weights.items()}
        return old | {"text_model.embeddings.position_ids": torch.arange(77)[None]}

    rewrite(spoiled / TEXT, rename)

    assert same(whole.text_encoder, loaded(spoiled, "text_encoder"))


def test_weights_in_several_files_are_put_together(spoiled: Path, whole: Any) -> None:
    whole.unet.save_pretrained(spoiled / "unet", max_shard_size="100KB")
    (spoiled / UNET).unlink()

    assert same(whole.unet, loaded(spoiled, "unet"))


def test_a_half_precision_variant_serves_where_it_is_alone(spoiled: Path) -> None:
    rewrite(spoiled / UNET, lambda weights: {name: weight.half() for name, weight in weights.items()})
    (spoiled / UNET).rename(spoiled / "unet" / "diffusion_pytorch_model.fp16.safetensors")

    assert loaded(spoiled, "unet").dtype == torch.float32


def test_half_precision_in_several_files_serves_where_it_is_alone(spoiled: Path, whole: Any) -> None:
    half = copy.deepcopy(whole.unet).half()
    half.save_pretrained(spoiled / "unet", max_shard_size="100KB", variant="fp16")
    (spoiled / UNET).unlink()

    assert same(half, loaded(spoiled, "unet", torch.float16))


def test_full_precision_comes_first_whatever_its_format(spoiled: Path, whole: Any) -> None:
    whole.unet.save_pretrained(spoiled / "unet", safe_serialization=False)
    rewrite(spoiled / UNET, lambda weights: {name: weight.half() for name, weight in weights.items()})
    (spoiled / UNET).rename(spoiled / "unet" / "diffusion_pytorch_model.fp16.safetensors")

    assert same(whole.unet, loaded(spoiled, "unet"))


@pytest.mark.parametrize("is_zip", [True, False])
def test_folders_of_before_safetensors_are_read(is_zip: bool, spoiled: Path, whole: Any) -> None:
    names = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "pytorch_model"}
    for component, name in names.items():
        for path in (spoiled / component).glob("*.safetensors"):
            path.unlink()
        weights = getattr(whole, component).state_dict()
        torch.save(weights, spoiled / component / f"{name}.bin", _use_new_zipfile_serialization=is_zip)
        assert same(getattr(whole, component), loaded(spoiled, component))


def test_a_weight_of_the_wrong_shape_is_named_with_both_shapes(spoiled: Path) -> None:
    rewrite(spoiled / UNET, lambda weights: weights | {"conv_in.bias": torch.zeros(7)})

    with pytest.raises(MissingError) as caught:
        loaded(spoiled, "unet")

    assert 'the weight "conv_in.bias" in "unet/diffusion_pytorch_model.safetensors" is [7]' in str(caught.value)
    assert "asks for [32]" in str(caught.value)


def test_a_lacking_weight_is_named(spoiled: Path) -> None:
    rewrite(spoiled / UNET, lambda weights: {name: weights[name] for name in weights if name != "conv_in.bias"})

    with pytest.raises(MissingError, match=r'the weights of "unet" lack "conv_in\.bias"'):
        loaded(spoiled, "unet")


def test_a_weight_that_is_there_twice_is_refused(spoiled: Path) -> None:
    data = (spoiled / UNET).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = b'{"conv_in.bias":{},' + data[9 : 8 + length]
    (spoiled / UNET).write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])

    with pytest.raises(MissingError, match=r'"conv_in\.bias" is there twice'):
        loaded(spoiled, "unet")


def test_a_senseless_config_is_named(spoiled: Path) -> None:
    config = spoiled / "unet" / "config.json"
    config.write_text(config.read_text().replace('"norm_num_groups": 8', '"norm_num_groups": 7'))

    with pytest.raises(MissingError, match=r'"unet/config\.json" of model "spoiled" does not describe'):
        loaded(spoiled, "unet")
