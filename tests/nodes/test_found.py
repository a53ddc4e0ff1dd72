"""What a review found by hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from graph.errors import MissingError, OutOfMemory, StepError
from graph.values import Picture
from nodes.grid import Grid
from nodes.load_model import LoadModel, Parts
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd import memory, room
from nodes.sd.checkpoints import load
from nodes.sd.families.sd1 import FAMILY
from nodes.sd.files import TINY, ModelFile
from nodes.sd.folders import ModelFolder
from nodes.sd.headers import read_header
from nodes.sd.residency import weights
from nodes.sd.samplers import create
from nodes.sd.settings import Settings
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode
from nodes.vae_encode import VaeEncode

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


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("vae/config.json", "block_out_channels", []),
        ("vae/config.json", "block_out_channels", [1] * 5000),
        ("vae/config.json", "scaling_factor", "x"),
        ("vae/config.json", "scaling_factor", 0.0),
        ("unet/config.json", "sample_size", "x"),
        ("unet/config.json", "sample_size", [1, 2, 3]),
        ("unet/config.json", "sample_size", 10**9),
        ("unet/config.json", "block_out_channels", ["a"]),
    ],
)
def test_a_senseless_number_in_a_config_is_named_before_a_step(file: str, key: str, value: object, model: Path) -> None:
    configure(model / file, **{key: value})

    with pytest.raises(MissingError, match=f'"{file}" of model "model" has .*"{key}"'):
        ModelFile.find(str(model), model)


def test_a_vae_that_gives_no_numbers_is_no_black_picture(model: Path, ctx: Any) -> None:
    reweigh(model / VAE, lambda weights: weights["decoder.conv_out.weight"].fill_(float("nan")))
    of = parts(model, ctx)

    with pytest.raises(StepError, match="the VAE gave values that are no numbers"):
        VaeDecode().run(ctx, of.vae, noise(ctx, of))


def test_a_text_encoder_that_gives_no_numbers_is_named(model: Path, ctx: Any) -> None:
    def spoil(weights: dict[str, Any]) -> None:
        next(weight for name, weight in weights.items() if name.endswith("final_layer_norm.weight")).fill_(float("nan"))

    reweigh(model / TEXT, spoil)

    with pytest.raises(StepError, match="the text encoder gave values that are no numbers"):
        TextEncode(text="a circle").run(ctx, parts(model, ctx).text_encoder)


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Gives every device so many bytes."""
    return lambda size: monkeypatch.setattr(room, "total_bytes", lambda device: size)


def test_noise_for_a_picture_that_fits_nowhere_is_refused_before_it_is_drawn(
    model: Path, ctx: Any, tight: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = parts(model, ctx)
    monkeypatch.setattr(torch, "randn", None)
    tight(1 << 30)

    with pytest.raises(
        OutOfMemory, match=r"16384 x 8192 pixels takes at least [\d.]+ GiB, and cpu has 1\.0 GiB"
    ) as caught:
        Noise(width=16384, height=8192).run(ctx, of.model)

    found = re.search(r"could fit is (\d+) x (\d+)\.", caught.value.hint)
    assert found
    monkeypatch.undo()
    tight(1 << 30)
    assert Noise(width=int(found[1]), height=int(found[2])).run(ctx, of.model).is_noise


def test_every_step_with_weights_refuses_what_cannot_fit_before_they_are_loaded(
    model: Path, ctx: Any, tight: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = parts(model, ctx)
    prompt, start = TextEncode(text="").run(ctx, of.text_encoder), noise(ctx, of)
    monkeypatch.setattr(weights, "use", None)
    tight(1 << 10)

    with pytest.raises(OutOfMemory, match=r"sampling of 64 x 64 pixels takes at least .* and cpu has 1\.0 KiB in all"):
        Sampler(steps=1).run(ctx, of.model, prompt, prompt, start)
    with pytest.raises(OutOfMemory, match="decoding of 64 x 64 pixels"):
        VaeDecode().run(ctx, of.vae, start)
    with pytest.raises(OutOfMemory, match="encoding of 64 x 64 pixels"):
        VaeEncode().run(ctx, of.vae, Picture(Image.new("RGB", (64, 64))))


def test_a_picture_that_cannot_be_decoded_here_is_told_before_it_is_sampled(
    model: Path, ctx: Any, tight: Callable[[int], None]
) -> None:
    of = parts(model, ctx)
    prompt, start, floors = (
        TextEncode(text="").run(ctx, of.text_encoder),
        noise(ctx, of),
        FAMILY.floors(ModelFolder(model)),
    )
    assert 2 * floors.step < floors.decode
    tight(int(4 * (floors.decode - 1) * 8 * 8))

    Sampler(steps=1).run(ctx, of.model, prompt, prompt, start)

    assert ["decoding of 64 x 64 pixels takes at least"] == [said[:41] for said in ctx.warnings]


def test_main_memory_has_a_total() -> None:
    assert memory.total_bytes("cpu") >= memory.free_bytes("cpu") // 2 > 0


@pytest.mark.parametrize("step", ["step", "encode", "decode"])
def test_a_floor_is_not_over_what_is_really_held(step: str, model: Path, ctx: Any) -> None:
    """Tensors alive at one time, by the storages that operations give and that are not yet collected."""
    folder = ModelFolder(model)
    floor = getattr(FAMILY.floors(folder), step) * 16 * 16
    name, inputs = {
        "step": ("unet", (torch.zeros(1, 4, 16, 16), 1, torch.zeros(1, 77, 96))),
        "encode": ("vae", (torch.zeros(1, 3, 128, 128),)),
        "decode": ("vae", (torch.zeros(1, 4, 16, 16),)),
    }[step]
    module: Any = load(folder, "sd1", name, torch.float32)
    run = module if step == "step" else getattr(module, step)

    with Alive() as alive, torch.inference_mode():
        run(*inputs)

    assert floor <= alive.most / 4 <= 6 * floor


class Alive(TorchDispatchMode):
    """Counts the bytes of results that are held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most, self.seen = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in [result] if isinstance(result, torch.Tensor) else []:
            storage = tensor.untyped_storage()
            if storage._cdata not in self.seen:
                self.seen.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return result

    def _gone(self, which: int, size: int) -> None:
        self.seen.discard(which)
        self.now -= size


def noise(ctx: Any, of: Parts) -> Any:
    return Noise(width=64, height=64).run(ctx, of.model)


@pytest.mark.parametrize(("key", "value"), [("prediction_type", "zzz"), ("num_train_timesteps", 10**9)])
def test_a_schedule_that_cannot_be_is_named(key: str, value: object, model: Path) -> None:
    configure(model / "scheduler" / "scheduler_config.json", **{key: value})
    with pytest.raises(MissingError, match="scheduler_config"):
        create(ModelFolder(model), Settings(**Sampler(method="ddim").model_dump()))


@pytest.mark.parametrize(("key", "value"), [("layers_per_block", 10**9), ("block_out_channels", [48, 10**9])])
def test_a_config_that_would_be_built_for_ever_is_refused(key: str, value: object, model: Path) -> None:
    configure(model / "unet" / "config.json", **{key: value})
    with pytest.raises(MissingError, match=key):
        load(ModelFolder(model), "sd1", "unet", torch.float32)
