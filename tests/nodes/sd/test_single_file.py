"""Checkpoints in one file give the networks, and the pictures, that diffusers makes of them."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from safetensors.torch import load_file, save_file

from graph.errors import MissingError
from graph.node import Context
from graph.values import Picture
from nodes.load_model import LoadModel
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd import families, residency
from nodes.sd.alone_files import VaeFile
from nodes.sd.checkpoints import load
from nodes.sd.files import ModelFile
from nodes.sd.models import opened
from nodes.sd.single_file import controlnet_file, single_file, vae_file
from nodes.sd.unet_names import compvis_names
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode
from tests.nodes.sd import single_files
from tests.nodes.sd.conftest import MERGES, write_tokenizer

PIPELINES = {
    "sd1": StableDiffusionPipeline,
    "sd2": StableDiffusionPipeline,
    "sdxl": StableDiffusionXLPipeline,
    "refiner": StableDiffusionXLImg2ImgPipeline,
}
FAMILIES = {"refiner": "sdxl-refiner"}
Weights = dict[str, torch.Tensor]


class Kinds:
    """The checkpoints of each kind, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipes: dict[str, Any] = {}

    def __call__(self, kind: str) -> Path:
        """A folder with `model.safetensors`, a tokenizer beside it, and in `whole` what diffusers would save."""
        place = self.folder / kind
        if kind not in self.pipes:
            torch.manual_seed(7)
            pipe = getattr(single_files, kind)(place / "whole")
            save_file(single_files.checkpoint(pipe), place / "model.safetensors")
            write_tokenizer(place / "tokenizer")
            self.pipes[kind] = pipe
        return place


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    return Kinds(tmp_path_factory.mktemp("single"))


@pytest.fixture
def sd1(kinds: Kinds, tmp_path: Path) -> Path:
    """A checkpoint of Stable Diffusion 1 to be damaged, its tokenizer beside it."""
    shutil.copytree(kinds("sd1") / "tokenizer", tmp_path / "tokenizer")
    return Path(shutil.copy(kinds("sd1") / "model.safetensors", tmp_path / "model.safetensors"))


def components(pipe: Any) -> Iterator[tuple[str, Any]]:
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        if isinstance(part := getattr(pipe, name, None), torch.nn.Module):
            yield name, part


def same(expected: Any, module: Any) -> bool:
    mine, other = expected.state_dict(), module.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def rewrite(path: Path, change: Callable[[Weights], Mapping[str, torch.Tensor]]) -> Path:
    save_file(dict(change(load_file(path))), path)
    return path


def refused(path: Path) -> str:
    with pytest.raises(MissingError) as caught:
        ModelFile.find(str(path), path.parent)
    return str(caught.value)


def from_single_file(kind: str, place: Path) -> Any:
    path, config = place / "model.safetensors", place / "whole"
    pipe = PIPELINES[kind].from_single_file(str(path), config=str(config), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# Networks


@pytest.mark.parametrize("kind", PIPELINES)
def test_every_weight_is_that_of_the_network_and_of_diffusers(kind: str, kinds: Kinds) -> None:
    place = kinds(kind)
    model = opened(place / "model.safetensors")
    family = families.recognise(model).name

    assert FAMILIES.get(kind, kind) == family
    for (name, original), (_, theirs) in zip(
        components(kinds.pipes[kind]), components(from_single_file(kind, place)), strict=True
    ):
        mine = load(model, family, name, torch.float32)
        assert same(original, mine)
        assert same(theirs, mine)


@pytest.mark.parametrize("kind", PIPELINES)
def test_every_config_is_what_diffusers_would_save_as_far_as_it_counts(kind: str, kinds: Kinds) -> None:
    model = opened(kinds(kind) / "model.safetensors")

    for name, part in components(kinds.pipes[kind]):
        mine, theirs = model.config(name), part.config if name in ("unet", "vae") else part.config.to_dict()
        passed = {key: value for key, value in mine.items() if key not in ("upcast_attention", "projection_dim")}
        assert {key: _plain(theirs[key]) for key in passed} == {key: _plain(value) for key, value in passed.items()}


def _plain(value: Any) -> Any:
    """One number for all levels is the number at each."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(set(value)) == 1 else list(value)
    return value


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_txt2img_from_one_file_is_what_diffusers_makes_of_it(kind: str, kinds: Kinds, ctx: Context) -> None:
    place, prompt, negative, steps, cfg = kinds(kind), "a cat and a dog", "blurry", 3, 5.0
    parts = LoadModel(path=ModelFile.find(str(place / "model.safetensors"), place)).run(ctx)
    texts = [TextEncode(text=text).run(ctx, parts.text_encoder) for text in (prompt, negative)]
    noise = Noise(seed=3, width=64, height=64).run(ctx, parts.model)
    latents = Sampler(method="ddim", steps=steps, cfg=cfg).run(ctx, parts.model, texts[0], texts[1], noise)
    mine = VaeDecode().run(ctx, parts.vae, latents).image

    pipe = from_single_file(kind, place)
    for _, part in components(pipe):
        for weight in part.parameters():
            weight.data = weight.data.clone()  # it was mapped, and so not aligned, which rounds otherwise
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    generator = torch.Generator().manual_seed(3)
    options = {"height": 64, "width": 64, "num_inference_steps": steps, "guidance_scale": cfg, "generator": generator}
    theirs = pipe(prompt, negative_prompt=negative, **options).images[0]

    assert Picture(theirs) == mine


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_of_any_suffix_gives_the_same_networks(
    suffix: str, is_zip: bool, kinds: Kinds, tmp_path: Path
) -> None:
    place = kinds("sd1")
    tree = {"state_dict": load_file(place / "model.safetensors"), "global_step": 470000, "callbacks": {Kinds: object()}}
    torch.save(tree, tmp_path / f"old{suffix}", _use_new_zipfile_serialization=is_zip)
    shutil.copytree(place / "tokenizer", tmp_path / "tokenizer")
    model = opened(ModelFile.find(f"old{suffix}", tmp_path).path)

    assert all(same(part, load(model, "sd1", name, torch.float32)) for name, part in components(kinds.pipes["sd1"]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_it_is_and_computes_in_any(dtype: torch.dtype, sd1: Path, kinds: Kinds) -> None:
    rewrite(sd1, lambda weights: {name: weight.to(dtype) for name, weight in weights.items()})
    expected = {name: weight.to(dtype) for name, weight in kinds.pipes["sd1"].unet.state_dict().items()}
    model = opened(sd1)

    for compute in (dtype, torch.float32):
        found = load(model, "sd1", "unet", compute).state_dict()
        assert all(torch.equal(expected[name].to(compute), found[name]) for name in expected)


def test_smoothed_weights_beside_the_others_are_left_alone(sd1: Path, kinds: Kinds) -> None:
    rewrite(sd1, lambda weights: weights | {f"model_ema.diffusion_model{n}": torch.zeros(2) for n in range(120)})

    assert same(kinds.pipes["sd1"].unet, load(opened(sd1), "sd1", "unet", torch.float32))


def test_a_text_encoder_without_its_outermost_level_is_read(sd1: Path, kinds: Kinds) -> None:
    rewrite(sd1, lambda weights: {name.replace(".text_model.", "."): weight for name, weight in weights.items()})

    assert same(kinds.pipes["sd1"].text_encoder, load(opened(sd1), "sd1", "text_encoder", torch.float32))


def test_the_last_layer_of_open_clip_is_left_out_where_all_24_are_there(tmp_path: Path) -> None:
    whole = single_files.sd2(tmp_path / "whole", layers=24)
    save_file(single_files.checkpoint(whole), tmp_path / "model.safetensors")

    assert 23 == opened(tmp_path / "model.safetensors").config("text_encoder")["num_hidden_layers"]
    assert 23 == len(load(opened(tmp_path / "model.safetensors"), "sd2", "text_encoder", torch.float32).encoder.layers)


@pytest.mark.parametrize(
    ("channels", "kind", "pipeline"),
    [
        (9, "sd1", "StableDiffusionInpaintPipeline"),
        (8, "sd1", "StableDiffusionInstructPix2PixPipeline"),
        (5, "sd2", "StableDiffusionDepth2ImgPipeline"),
        (9, "sd2", "StableDiffusionInpaintPipeline"),
        (7, "sd2", "StableDiffusionUpscalePipeline"),
    ],
)
def test_the_kind_is_told_by_text_encoder_and_channels(
    channels: int, kind: str, pipeline: str, kinds: Kinds, tmp_path: Path
) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    path = Path(shutil.copy(kinds(kind) / "model.safetensors", tmp_path / "other.safetensors"))
    rewrite(path, lambda weights: weights | {first: torch.zeros(weights[first].shape[0], channels, 3, 3)})

    assert pipeline == opened(path).index["_class_name"]
    assert channels == opened(path).config("unet")["in_channels"]


# What it predicts


def predicts(path: Path, prediction: str = "") -> str:
    return str(opened(path, prediction).json("scheduler", "scheduler_config.json")["prediction_type"])


@pytest.fixture
def sd2(kinds: Kinds, tmp_path: Path) -> Path:
    shutil.copytree(kinds("sd2") / "tokenizer", tmp_path / "tokenizer")
    return Path(shutil.copy(kinds("sd2") / "model.safetensors", tmp_path / "model.safetensors"))


def test_the_vae_of_a_checkpoint_is_another_where_the_sidecar_names_another(sd1: Path, tmp_path: Path) -> None:
    before = VaeFile.find("model.safetensors", tmp_path).members()
    save_file(single_files.vae_weights(single_files.autoencoder(1.0, 64)), tmp_path / "other.safetensors")
    (tmp_path / "model.model.yaml").write_text("darkroom: 1\nvae: other.safetensors\n")

    assert (*before, ("vae", tmp_path / "other.safetensors")) == VaeFile.find("model.safetensors", tmp_path).members()


def half(made: Any, folder: Path) -> None:
    made.half().save_pretrained(folder, variant="fp16")


def pickled(made: Any, folder: Path) -> None:
    made.save_pretrained(folder, safe_serialization=False)


def sharded(made: Any, folder: Path) -> None:
    made.save_pretrained(folder, max_shard_size="20KB")


@pytest.mark.parametrize("save", [half, pickled, sharded])
def test_the_vae_beside_a_checkpoint_may_be_any_folder_of_one(save: Any, sd1: Path, tmp_path: Path, ctx: Any) -> None:
    made = single_files.autoencoder(0.5, 64)
    save(made, tmp_path / "soft")
    (tmp_path / "model.model.yaml").write_text("darkroom: 1\nvae: soft\n")
    parts = LoadModel(path=ModelFile.find("model.safetensors", tmp_path)).run(ctx)

    with residency.Weights().use(parts.vae, ctx) as vae:
        assert 0.5 == vae.config.scaling_factor
        for name, weight in made.state_dict().items():
            assert torch.equal(weight.float(), vae.state_dict()[name])
    assert {path.name for path in (tmp_path / "soft").iterdir()} == {
        path.name for name, path in ModelFile.find("model.safetensors", tmp_path).members() if name.startswith("vae/")
    }


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
def test_the_vae_beside_a_checkpoint_may_be_one_file(suffix: str, sd1: Path, tmp_path: Path, ctx: Any) -> None:
    made = single_files.autoencoder(0.5, 64)
    names = {name: weight.contiguous() for name, weight in single_files.vae_weights(made).items()}
    file = tmp_path / f"soft{suffix}"
    save_file(names, file) if suffix == ".safetensors" else torch.save({"state_dict": names}, file)
    (tmp_path / "model.model.yaml").write_text(f"darkroom: 1\nvae: {file.name}\n")
    parts = LoadModel(path=ModelFile.find("model.safetensors", tmp_path)).run(ctx)

    with residency.Weights().use(parts.vae, ctx) as vae:
        assert 0.18215 == vae.config.scaling_factor
        assert torch.equal(made.encoder.conv_in.weight, vae.encoder.conv_in.weight)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda folder: (folder / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}'),
            "AutoencoderKL",
        ),
        (lambda folder: (folder / "diffusion_pytorch_model.safetensors").unlink(), 'no weights of "soft"'),
        (lambda folder: (folder / "run.py").write_text("raise SystemExit"), '"run.py" of model "soft" is code'),
    ],
)
def test_a_folder_beside_a_checkpoint_that_is_no_vae_is_refused(
    spoil: Any, said: str, sd1: Path, tmp_path: Path
) -> None:
    single_files.autoencoder(0.5, 64).save_pretrained(tmp_path / "soft")
    spoil(tmp_path / "soft")
    (tmp_path / "model.model.yaml").write_text("darkroom: 1\nvae: soft\n")

    with pytest.raises(MissingError, match=said):
        ModelFile.find("model.safetensors", tmp_path)


def test_stable_diffusion_1_predicts_the_noise(sd1: Path) -> None:
    assert "epsilon" == predicts(sd1)


def test_stable_diffusion_2_predicts_the_velocity_unless_something_says_otherwise(sd2: Path) -> None:
    assert "v_prediction" == predicts(sd2)
    assert "epsilon" == predicts(sd2, "epsilon")
    assert 96 == opened(sd2).config("unet")["sample_size"]
    assert 64 == opened(sd2, "epsilon").config("unet")["sample_size"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("512-base-ema", "epsilon"), ("v2-1_512-ema-pruned", "epsilon"), ("v2-1_768-ema-pruned", "v_prediction"),
     ("mine-512-vpred", "v_prediction")],
)  # fmt: skip
def test_the_name_of_a_file_says_what_it_predicts(name: str, said: str, sd2: Path) -> None:
    assert said == predicts(sd2.rename(sd2.with_name(f"{name}.safetensors")))


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("model:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n", "epsilon"),
        ('model:\n  target: ldm.x\n  params:\n    parameterization: "v"\n', "v_prediction"),
        ("about: me", "v_prediction"),
    ],
)
def test_a_config_beside_it_says_what_it_predicts(yaml: str, said: str, sd2: Path) -> None:
    sd2.with_suffix(".yaml").write_text(yaml)

    assert said == predicts(sd2)


def test_its_metadata_says_what_it_predicts(sd2: Path) -> None:
    save_file(load_file(sd2), sd2, {"modelspec.prediction_type": "epsilon"})

    assert "epsilon" == predicts(sd2)


def test_a_marker_among_the_weights_says_that_it_predicts_the_velocity(sd1: Path) -> None:
    assert "v_prediction" == predicts(rewrite(sd1, lambda weights: weights | {"v_pred": torch.zeros(0)}))


def test_the_steps_of_its_training_say_what_it_predicts(sd2: Path) -> None:
    torch.save({"state_dict": load_file(sd2), "global_step": 875000}, sd2.with_suffix(".ckpt"))

    assert "epsilon" == predicts(sd2.with_suffix(".ckpt"))


def test_the_sidecar_says_what_it_predicts(sd2: Path) -> None:
    sd2.with_name("model.model.yaml").write_text("darkroom: 1\nprediction: epsilon\n")

    assert "epsilon" == predicts(sd2)


def test_what_it_predicts_enters_the_digest_wherever_it_is_said(sd2: Path, ctx: Context) -> None:
    before = ctx.digest(ModelFile.find(str(sd2), sd2.parent))
    base = sd2.rename(sd2.with_name("512-base.safetensors"))

    assert before != ctx.digest(ModelFile.find(str(base), base.parent))


def test_the_user_says_what_a_model_predicts(sd2: Path, whole: Any, ctx: Context) -> None:
    for path in (sd2, whole.folder):
        handle = LoadModel(path=ModelFile.find(str(path), sd2.parent), prediction="v_prediction").run(ctx).model
        assert "v_prediction" == handle.prediction
        assert "v_prediction" == predicts(path, handle.prediction)


# Tokenizers


def test_a_tokenizer_fills_up_as_the_encoder_was_trained(kinds: Kinds) -> None:
    model = opened(kinds("sdxl") / "model.safetensors")

    assert ["<|endoftext|>", "!"] == [model.tokenizer(name).says["pad_token"] for name in ("tokenizer", "tokenizer_2")]


def test_a_missing_tokenizer_says_what_to_put_where(sd1: Path, nowhere: Path) -> None:
    shutil.rmtree(sd1.parent / "tokenizer")

    message = refused(sd1)

    assert 'checkpoint "model.safetensors" has no tokenizer' in message
    assert "vocab.json and merges.txt" in message
    assert str(sd1.parent / "tokenizer") in message


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the search path and the Hugging Face cache; no OpenCLIP."""
    monkeypatch.setenv("DARKROOM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("nodes.sd.tokenizers.find_spec", lambda name: None)
    return tmp_path


@pytest.mark.parametrize(
    "place",
    [
        "",
        "model/tokenizer",
        "models/tokenizer",
        "models/checkpoints/tokenizer",
        "models/some-model/tokenizer",
        "models/comfy/sd1_tokenizer",
        "hub/models--openai--clip-vit-large-patch14/snapshots/abc",
        "hub/models--some--model/snapshots/abc/tokenizer",
    ],
)
def test_a_tokenizer_is_found(place: str, sd1: Path, nowhere: Path) -> None:
    shutil.rmtree(sd1.parent / "tokenizer")
    write_tokenizer(nowhere / place)
    if place.startswith("models/some"):
        (nowhere / "models" / "some-model" / "model_index.json").write_text("{}")
    if place.startswith("hub"):
        refs = nowhere.joinpath(*place.split("/")[:2]) / "refs"
        refs.mkdir()
        (refs / "main").write_text("abc")

    found = ModelFile.find(str(sd1), sd1.parent)

    assert nowhere / place == opened(sd1).tokenizer("tokenizer").place
    assert "tokenizer/vocab.json" in dict(found.members())


def test_the_sidecar_names_a_tokenizer(sd1: Path, nowhere: Path) -> None:
    write_tokenizer(nowhere / "mine")
    sd1.with_name("model.model.yaml").write_text("darkroom: 1\ntokenizer: mine\n")

    assert nowhere / "mine" == opened(sd1).tokenizer("tokenizer").place


def test_open_clip_words_are_those_of_a_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import CLIPTokenizer

    from nodes.sd import tokens

    words = write_tokenizer(tmp_path / "tokenizer")
    file = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    file.write_bytes(gzip.compress(('"bpe_simple_vocab_16e6.txt#version: 0.2\n' + "\n".join(MERGES) + "\n").encode()))
    monkeypatch.setattr(tokens, "CLIP_WORDS", words)

    mine = CLIPTokenizer(**tokens.open_clip_words(file))
    theirs = CLIPTokenizer.from_pretrained(str(tmp_path / "tokenizer"), local_files_only=True)

    assert theirs.get_vocab() == mine.get_vocab()
    assert theirs("a cat and a dög?").input_ids == mine("a cat and a dög?").input_ids


# Files of their own


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_an_autoencoder_of_its_own_is_read(prefix: str, kinds: Kinds, tmp_path: Path) -> None:
    kinds("sd1")
    vae = kinds.pipes["sd1"].vae
    save_file({prefix + name: weight.contiguous() for name, weight in single_files.vae_weights(vae).items()},
              tmp_path / "vae.safetensors")  # fmt: skip
    vae.save_pretrained(tmp_path)

    mine, theirs = vae_file(tmp_path / "vae.safetensors"), vae_file(tmp_path / "diffusion_pytorch_model.safetensors")

    assert mine.config == theirs.config
    assert set(vae.state_dict()) == set(mine.weights) == set(theirs.weights)


def test_a_controlnet_of_its_own_is_read(tmp_path: Path) -> None:
    from diffusers import ControlNetModel

    unet = single_files.network((32, 64), 64, attention_head_dim=8)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 96, 256))
    parts = single_files.split(net)
    hints = {"conv_in": 0, "conv_out": 14} | {f"blocks.{n}": 2 * (n + 1) for n in range(6)}
    places = {f"controlnet_cond_embedding.{name}": f"input_hint_block.{at}" for name, at in hints.items()}
    places |= {f"controlnet_down_blocks.{n}": f"zero_convs.{n}.0" for n in range(9)}
    places |= {"controlnet_mid_block": "middle_block_out.0"} | compvis_names({name for name, _ in parts})
    weights = {f"control_model.{places[name]}.{kind}": weight.contiguous() for (name, kind), weight in parts.items()}
    save_file(weights, tmp_path / "net.safetensors")

    mine = controlnet_file(tmp_path / "net.safetensors")
    copy = ControlNetModel.from_config(dict(mine.config))

    assert {name: tuple(weight.shape) for name, weight in net.state_dict().items()} == {
        name: weight.entry.shape for name, weight in mine.weights.items()
    }
    assert net.state_dict().keys() == copy.state_dict().keys()


# What is no checkpoint, or not a whole one


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["lora_unet_down_blocks_0.lora_down.weight"], "is a LoRA"),
        (["unet.down_blocks.0.lora_A.weight"], "is a LoRA"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], "is a VAE"),
        (["control_model.input_blocks.0.0.weight"], "is a ControlNet"),
        (["emb_params"], "is a textual inversion"),
        (["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"], "is a net that enlarges pictures"),
        (["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], "is a checkpoint of Flux"),
        (["down_blocks.0.resnets.0.conv1.weight"], "is a network of a diffusers folder"),
        (["text_model.embeddings.position_ids"], "is a text encoder alone"),
        (["input_blocks.0.0.weight"], "is a U-Net alone"),
        (["fc.weight"], 'is a file with 1 weights of something else ("fc.weight" ...)'),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_called_by_its_name(names: list[str], what: str, tmp_path: Path) -> None:
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "other.safetensors")

    assert f'"other.safetensors" {what}, not a checkpoint' in refused(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("first_stage_model", 'the "vae" in "model.safetensors" is not whole'),
        ("cond_stage_model", "no text encoder that goes with one"),
        ("cond_stage_model.transformer.text_model.embeddings.token", 'the "text_encoder" in'),
        ("model.diffusion_model.input_blocks.1.0", 'the "unet" in "model.safetensors" is not whole'),
        ("model.diffusion_model.input_blocks.1.1.proj_in", 'lacks the weight "input_blocks.1.1.proj_in.weight"'),
    ],
)
def test_a_checkpoint_without_some_of_its_networks_says_which(lost: str, said: str, sd1: Path) -> None:
    rewrite(sd1, lambda weights: {name: weights[name] for name in weights if not name.startswith(lost)})

    assert said in refused(sd1)


def test_a_weight_of_the_wrong_shape_is_named_with_both_shapes(sd1: Path) -> None:
    bias = "model.diffusion_model.out.2.bias"
    rewrite(sd1, lambda weights: weights | {bias: torch.zeros(7)})

    with pytest.raises(
        MissingError, match=re.escape('"conv_out.bias"') + r".* is \[7\], but the config asks for \[4\]"
    ):
        load(opened(sd1), "sd1", "unet", torch.float32)


def test_a_weight_that_cannot_be_parted_is_named(kinds: Kinds, tmp_path: Path) -> None:
    path = Path(shutil.copy(kinds("sd2") / "model.safetensors", tmp_path / "model.safetensors"))
    odd = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"
    rewrite(path, lambda weights: weights | {odd: torch.zeros(7, 3)})

    assert 'the "text_encoder" in "model.safetensors" is not whole: [7, 3] cannot be cut into 3' in refused(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_truncated_checkpoint_is_found_by_check(suffix: str, sd1: Path) -> None:
    path = sd1.with_suffix(suffix)
    if suffix == ".ckpt":
        torch.save(load_file(sd1), path)
    path.write_bytes(path.read_bytes()[:-100_000])

    assert "is no good file of weights" in refused(path) or "is not a good safetensors file" in refused(path)


def test_looking_at_a_checkpoint_reads_no_weight(sd1: Path, kinds: Kinds) -> None:
    looked = single_file(sd1)

    assert sum(
        part.numel() for _, module in components(kinds.pipes["sd1"]) for part in module.state_dict().values()
    ) == sum(weight.entry.size // 4 for name in ("unet", "vae", "text_encoder") for _, weight in looked.weights(name))
