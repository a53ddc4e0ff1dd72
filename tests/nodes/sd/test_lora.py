"""LoRA: the weights that diffusers and peft make of the same file, bit for bit; refused where it does not fit."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

import darkroom
from graph.errors import MissingError, StepError, WorkflowError
from graph.workflow import parse
from nodes.load_model import LoadModel, Parts
from nodes.lora import AddLora, Changed
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.files import ModelFile
from nodes.sd.lora_files import LoraFile
from nodes.sd.residency import Weights, weights
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode
from tests.nodes.sd import loras, single_files, test_sdxl
from tests.nodes.sd.parity import compare
from tests.nodes.sd.test_parity import PROMPT, expected, pipeline
from tests.nodes.sd.test_sdxl import saved

base = test_sdxl.base
ATTENTION = "attn"


@pytest.fixture(scope="module")
def linear(whole: Any, tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPipeline:
    """A pipeline in the layout of Stable Diffusion 2."""
    torch.manual_seed(7)
    unet = UNet2DConditionModel.from_config({**whole.unet.config, "use_linear_projection": True}).eval()
    pipe = StableDiffusionPipeline(
        whole.vae, whole.text_encoder, whole.tokenizer, unet, whole.scheduler, None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    return saved(pipe, tmp_path_factory.mktemp("models") / "linear")


def model(folder: Path, ctx: Any) -> Parts:
    return LoadModel(path=ModelFile.find(str(folder), folder)).run(ctx)


def added(parts: Any, path: Path, ctx: Any, **more: float) -> Changed:
    return AddLora(path=LoraFile.find(str(path), path.parent), **more).run(ctx, parts.model, parts.text_encoder)


def small(whole: Any) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        whole.vae, copy.deepcopy(whole.text_encoder), whole.tokenizer, copy.deepcopy(whole.unet), whole.scheduler,
        None, None, requires_safety_checker=False,
    )  # fmt: skip


def fused(pipe: Any, *files: tuple[Path, float]) -> Any:
    """What diffusers and peft make of LoRAs with weights."""
    names = [f"lora{number}" for number, _ in enumerate(files)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft says of every second adapter that it is the second
        for name, (path, _) in zip(names, files, strict=True):
            pipe.load_lora_weights(load_file(path), adapter_name=name)
        pipe.set_adapters(names, [strength for _, strength in files])
        pipe.fuse_lora(components=pipe._lora_loadable_modules, adapter_names=names)
        pipe.unload_lora_weights()
    return pipe


def same_weights(module: Any, handle: Any, ctx: Any, component: str = "") -> None:
    with weights.use(replace(handle, component=component or handle.component), ctx) as mine:
        ours, theirs = mine.state_dict(), module.state_dict()
        assert theirs.keys() == ours.keys()
        assert [] == [name for name in theirs if not torch.equal(theirs[name], ours[name])]


@pytest.mark.parametrize(
    ("names", "only"),
    [(loras.kohya, ""), (loras.kohya, ATTENTION), (loras.peft, ""), (loras.diffusers, ATTENTION),
     (loras.processors, ATTENTION)],
    ids=["kohya-convolutions", "kohya", "peft", "diffusers", "processors"],
)  # fmt: skip
def test_the_weights_are_those_of_diffusers_for_stable_diffusion_1(
    names: Any, only: str, whole: Any, ctx: Any, fresh: Weights, tmp_path: Path
) -> None:
    parts = {"unet": whole.unet, "text_encoder": whole.text_encoder}
    path = loras.write(tmp_path / "style.safetensors", parts, names, only=only)

    patched = added(model(whole.folder, ctx), path, ctx, strength=0.7)

    pipe = fused(small(whole), (path, 0.7))
    same_weights(pipe.unet, patched.model, ctx)
    same_weights(pipe.text_encoder, patched.text_encoder, ctx)


@pytest.mark.parametrize("names", [loras.kohya, loras.peft])
def test_the_weights_are_those_of_diffusers_for_stable_diffusion_2(
    names: Any, linear: Any, ctx: Any, fresh: Weights, tmp_path: Path
) -> None:
    parts = {"unet": linear.unet, "text_encoder": linear.text_encoder}
    path = loras.write(tmp_path / "style.safetensors", parts, names)

    patched = added(model(linear.folder, ctx), path, ctx, strength=-0.4)

    pipe = StableDiffusionPipeline(**copy.deepcopy(linear.components), requires_safety_checker=False)
    fused(pipe, (path, -0.4))
    same_weights(pipe.unet, patched.model, ctx)
    same_weights(pipe.text_encoder, patched.text_encoder, ctx)


@pytest.mark.parametrize(
    ("names", "only"),
    [(loras.xl, ""), (loras.kohya, ATTENTION), (loras.peft, "")],
    ids=["kohya", "kohya-diffusers", "peft"],
)
def test_the_weights_are_those_of_diffusers_for_stable_diffusion_xl(
    names: Any, only: str, base: Any, ctx: Any, fresh: Weights, tmp_path: Path
) -> None:
    parts = {name: getattr(base, name) for name in ("unet", "text_encoder", "text_encoder_2")}
    path = loras.write(tmp_path / "style.safetensors", parts, names, only=only)

    patched = added(model(base.folder, ctx), path, ctx, strength=0.5)

    pipe = fused(StableDiffusionXLPipeline(**copy.deepcopy(base.components), add_watermarker=False), (path, 0.5))
    same_weights(pipe.unet, patched.model, ctx)
    same_weights(pipe.text_encoder, patched.text_encoder, ctx)
    same_weights(pipe.text_encoder_2, patched.text_encoder, ctx, "text_encoder_2")


def test_a_pickled_lora_is_read_whatever_it_is_called(whole: Any, ctx: Any, fresh: Weights, tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", {"unet": whole.unet}, loras.processors, only=ATTENTION)
    turned = {name: tensor.T.contiguous().T for name, tensor in load_file(path).items()}
    torch.save(turned, tmp_path / "b.safetensors")

    patched = added(model(whole.folder, ctx), tmp_path / "b.safetensors", ctx)

    same_weights(fused(small(whole), (path, 1.0)).unet, patched.model, ctx)


def test_several_add_up_and_the_picture_is_the_pipelines(whole: Any, ctx: Any, fresh: Weights, tmp_path: Path) -> None:
    parts = {"unet": whole.unet, "text_encoder": whole.text_encoder}
    one = loras.write(tmp_path / "one.safetensors", parts, loras.kohya, seed=1)
    two = loras.write(tmp_path / "two.safetensors", parts, loras.peft, seed=2)

    first = added(model(whole.folder, ctx), one, ctx, strength=0.6)
    both = added(first, two, ctx, strength=0.3)
    positive, negative = (TextEncode(text=text).run(ctx, both.text_encoder) for text in (PROMPT, "blurry"))
    noise = Noise(seed=5, width=64, height=64).run(ctx, both.model)
    latents = Sampler(method="euler", steps=5).run(ctx, both.model, positive, negative, noise)

    pipe = pipeline(StableDiffusionPipeline, whole, "euler")
    pipe.unet, pipe.text_encoder = copy.deepcopy(whole.unet), copy.deepcopy(whole.text_encoder)
    fused(pipe, (one, 0.6), (two, 0.3))
    decoded = VaeDecode().run(ctx, model(whole.folder, ctx).vae, latents)
    compare("sd1", "txt2img, two LoRAs", "euler", expected(pipe, 5, width=64, height=64), latents, decoded.image)


def test_a_middle_convolution_is_what_three_convolutions_are(whole: Any, ctx: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    name, layer = "down_blocks.0.resnets.0.conv1", whole.unet.down_blocks[0].resnets[0].conv1
    down, mid, up = torch.randn(2, 32, 1, 1), torch.randn(3, 2, 3, 3), torch.randn(32, 3, 1, 1)
    stem = "lora_unet_" + name.replace(".", "_")
    tensors = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": torch.tensor(1.0)}
    path = tmp_path / "locon.safetensors"
    save_file({f"{stem}.{part}": tensor for part, tensor in tensors.items()}, path)
    seen = torch.randn(1, 32, 8, 8)

    patched = added(model(whole.folder, ctx), path, ctx)

    way = torch.nn.functional.conv2d
    beside = way(way(way(seen, down), mid, padding=1), up) * (1 / 2)
    with weights.use(patched.model, ctx) as unet:
        # float32, sums of some hundred numbers in another order
        torch.testing.assert_close(layer(seen) + beside, unet.get_submodule(name)(seen), rtol=1e-4, atol=1e-4)


def test_the_model_itself_stays_as_it_is_and_what_is_unchanged_is_shared(
    whole: Any, ctx: Any, fresh: Weights, tmp_path: Path
) -> None:
    parts = model(whole.folder, ctx)
    one, two = (
        added(parts, loras.write(tmp_path / f"{word}.safetensors", {"unet": whole.unet}, loras.kohya, only=word), ctx)
        for word in ("attn1", "attn2")
    )
    with fresh.use(one.model, ctx) as first, fresh.use(parts.model, ctx) as own, fresh.use(two.model, ctx) as second:
        places = [{name: w.data_ptr() for name, w in unet.state_dict().items()} for unet in (first, own, second)]

    same_weights(whole.unet, parts.model, ctx)
    a, b, c = places
    assert {name for name in a if a[name] != b[name]} == {name for name in a if "attn1" in name and "weight" in name}
    assert {name for name in a if b[name] != c[name]} == {name for name in a if "attn2" in name and "weight" in name}


def test_released_weights_come_back_as_the_files_own(whole: Any, ctx: Any, fresh: Weights, tmp_path: Path) -> None:
    parts = model(whole.folder, ctx)
    path = loras.write(tmp_path / "a.safetensors", {"unet": whole.unet, "text_encoder": whole.text_encoder}, loras.peft)
    patched = added(parts, path, ctx)
    for handle in (patched.model, patched.text_encoder, parts.model):
        with fresh.use(handle, ctx):
            pass

    for handle in (patched.model, patched.text_encoder):
        fresh.release(handle)

    assert 1 == len(fresh._held)
    fresh.release(parts.model)
    same_weights(whole.unet, parts.model, ctx)


def test_half_precision_rounds_the_sum_once(whole: Any, ctx: Any, fresh: Weights, tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", {"unet": whole.unet}, loras.kohya)
    patched = added(model(whole.folder, ctx), path, ctx)
    ctx.precision = "bf16"
    tensors, name = load_file(path), "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    down, up = (tensors[tensor] for tensor in loras.kohya("unet", name))

    with fresh.use(patched.model, ctx) as unet:
        rounded = whole.unet.get_submodule(name).weight.bfloat16().float()
        assert torch.equal((rounded + up @ down * (2.0 / 3)).bfloat16(), unet.get_submodule(name).weight)


def test_no_strength_is_the_model_itself(whole: Any, ctx: Any, tmp_path: Path) -> None:
    parts = model(whole.folder, ctx)
    path = loras.write(tmp_path / "a.safetensors", {"unet": whole.unet, "text_encoder": whole.text_encoder}, loras.peft)
    alone = loras.write(tmp_path / "b.safetensors", {"unet": whole.unet}, loras.peft_alone)

    assert (parts.model, parts.text_encoder) == added(parts, path, ctx, strength=0.0)
    assert parts.text_encoder == added(parts, path, ctx, strength=1.0, text_strength=0.0).text_encoder
    assert parts.text_encoder == added(parts, alone, ctx).text_encoder


def test_a_lora_for_another_model_names_both(whole: Any, base: Any, ctx: Any, tmp_path: Path) -> None:
    parts = model(whole.folder, ctx)
    other = loras.write(tmp_path / "xl.safetensors", {"unet": base.unet}, loras.xl)
    two = {"unet": whole.unet, "text_encoder_2": whole.text_encoder}
    half = loras.write(tmp_path / "half.safetensors", two, loras.kohya, only="attn")
    torch.manual_seed(0)
    wide = UNet2DConditionModel.from_config({**whole.unet.config, "cross_attention_dim": 48})
    wrong = loras.write(tmp_path / "wide.safetensors", {"unet": wide}, loras.kohya, only="attn2")

    with pytest.raises(
        StepError, match=r'LoRA "xl\.safetensors" does not fit model "small": not all of what it changes'
    ):
        added(parts, other, ctx)
    with pytest.raises(StepError, match='not all of what it changes is there; it lacks what "lora_te2_text_model'):
        added(parts, half, ctx)
    with pytest.raises(StepError, match=r"is for a weight of \[32, 48\], the model has \[32, 32\] and \d+ more"):
        added(parts, wrong, ctx)


DOWN, UP = torch.zeros(2, 4), torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"lora_unet_a.hada_w1_a": DOWN, "lora_unet_a.alpha": torch.tensor(1.0)}, "it looks like LoHa"),
        ({"lora_unet_a.lokr_w1": DOWN}, "it looks like LoKr"),
        (
            {"lora_unet_a.lora_down.weight": DOWN, "lora_unet_a.lora_up.weight": UP, "lora_unet_a.dora_scale": DOWN},
            'holds "lora_unet_a.dora_scale"; it looks like DoRA',
        ),
        ({"lora_unet_double_blocks_0.lora_down.weight": DOWN}, "a LoRA for Flux"),
        ({"model.diffusion_model.input_blocks.0.0.weight": DOWN}, "a whole checkpoint"),
        ({"weight": DOWN}, 'no LoRA that can be used: it holds "weight"'),
        ({}, "it holds nothing"),
        ({"lora_unet_a.lora_down.weight": DOWN}, "but not the up that belongs to it"),
        ({"lora_unet_a.lora_down.weight": DOWN, "unet.a.lora_A.weight": DOWN}, "for one weight"),
        ({"lora_unet_a.lora_down.weight": DOWN, "lora_unet_a.lora_up.weight": DOWN}, "do not go together"),
        ({"unet.a.lora_A.weight": DOWN.int(), "unet.a.lora_B.weight": UP}, "as I32, which is not supported"),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_refused_by_name(tensors: Any, said: str, tmp_path: Path) -> None:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "a.safetensors")

    with pytest.raises(MissingError, match=said):
        LoraFile.find("a", tmp_path)


@pytest.mark.parametrize(
    ("width", "family"), [(768, "sd1"), (1024, "sd2"), (1280, "sdxl-refiner"), (2048, "sdxl"), (32, None)]
)
def test_the_family_is_told_by_the_width_of_the_prompts(width: int, family: str | None, tmp_path: Path) -> None:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{stem}.lora_down.weight": torch.zeros(1, width), f"{stem}.lora_up.weight": torch.zeros(320, 1)}
    save_file(tensors, tmp_path / "a.safetensors")

    assert ({"network": family} if family else {}) == LoraFile.find("a.safetensors", tmp_path).traits()


@pytest.mark.parametrize(
    ("modules", "family"),
    [
        (("lora_te1_a", "lora_te2_a"), "sdxl"),
        (("lora_te2_a",), None),
        (("lora_unet_mid_block_attentions_0_transformer_blocks_9_attn1_to_q",), "sdxl"),
        (("lora_unet_mid_block_attentions_0_transformer_blocks_3_attn1_to_q",), None),
    ],
)
def test_the_family_is_told_by_what_only_xl_has(modules: tuple[str, ...], family: str | None, tmp_path: Path) -> None:
    ends = {"lora_down.weight": torch.zeros(1, 640), "lora_up.weight": torch.zeros(640, 1)}
    tensors = {f"{module}.{end}": tensor.clone() for module in modules for end, tensor in ends.items()}
    save_file(tensors, tmp_path / "a.safetensors")

    assert ({"network": family} if family else {}) == LoraFile.find("a.safetensors", tmp_path).traits()


def test_a_lora_of_the_base_is_refused_by_the_refiner_before_anything_is_loaded(fresh: Any, tmp_path: Path) -> None:
    single_files.refiner(tmp_path / "refiner")
    stem = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{stem}.lora_down.weight": torch.zeros(1, 2048), f"{stem}.lora_up.weight": torch.zeros(640, 1)}
    save_file(tensors, tmp_path / "style.safetensors")
    text = WORKFLOW.replace("MODEL", "refiner").replace("path: style,", "path: style.safetensors,")

    with pytest.raises(WorkflowError) as caught:
        darkroom.check(parse(text.encode(), "a.yaml", tmp_path))
    assert [
        'styled.path: the network of the LoRA is for sdxl ("style.safetensors" in styled), '
        'but that of $model is for sdxl-refiner ("refiner" in model)'
    ] == [mistake.message for mistake in caught.value.mistakes]
    assert 0 == fresh.loads


WORKFLOW = """\
darkroom: 1
nodes:
  model:    {use: load_model, path: MODEL}
  styled:   {use: lora, model: $model, text_encoder: $model.text_encoder, path: style, strength: 0.8}
  positive: {use: text_encode, text_encoder: $styled.text_encoder, text: a cat}
  negative: {use: text_encode, text_encoder: $styled.text_encoder}
  start:    {use: noise, model: $styled, width: 64, height: 64}
  painted:  {use: sampler, model: $styled, positive: $positive, negative: $negative, latents: $start, steps: 2}
  picture:  {use: vae_decode, vae: $model.vae, latents: $painted}
outputs: {picture: $picture}
"""


def test_a_workflow_with_a_lora_leaves_no_weights_behind(whole: Any, fresh: Weights, tmp_path: Path) -> None:
    parts = {"unet": whole.unet, "text_encoder": whole.text_encoder}
    loras.write(tmp_path / "style.safetensors", parts, loras.kohya)
    workflow = parse(WORKFLOW.replace("MODEL", str(whole.folder)).encode(), "a.yaml", tmp_path)

    result = darkroom.run(workflow, cache=tmp_path / "cache", device="cpu")

    assert "run" == result.actions["styled"]
    assert 3 == fresh.loads
    assert [] == list(fresh._held)


def test_check_refuses_a_lora_for_another_family_and_names_both(whole: Any, tmp_path: Path) -> None:
    stem = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    tensors = {f"{stem}.lora_down.weight": torch.zeros(1, 2048), f"{stem}.lora_up.weight": torch.zeros(640, 1)}
    save_file(tensors, tmp_path / "style.safetensors")

    with pytest.raises(WorkflowError) as caught:
        darkroom.check(parse(WORKFLOW.replace("MODEL", str(whole.folder)).encode(), "a.yaml", tmp_path))

    (mistake,) = caught.value.mistakes
    assert "wrong-family" == mistake.code
    assert f'is for sdxl ("style" in styled), but that of $model is for sd1 ("{str(whole.folder)[-80:]}" in model)' in (
        mistake.message
    )
