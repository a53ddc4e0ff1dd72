"""ControlNets and autoencoders that come by themselves: the bits of diffusers' pipelines, or a refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
)
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from PIL import Image
from safetensors.torch import save_file

import darkroom
from graph.errors import MissingError, StepError, WorkflowError
from graph.values import Control, Picture
from graph.workflow import parse
from nodes.control import SteerBy
from nodes.load_controlnet import LoadControlNet
from nodes.load_vae import LoadVae
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.alone_files import ControlNetFile, VaeFile
from nodes.sd.files import ModelFile
from nodes.sd.residency import Weights, weights
from nodes.sd.unet_names import compvis_names
from nodes.text_encode import TextEncode
from nodes.vae_decode import VaeDecode
from nodes.vae_encode import VaeEncode
from tests.nodes.sd import single_files, test_sdxl
from tests.nodes.sd.conftest import vae
from tests.nodes.sd.parity import compare
from tests.nodes.sd.test_bookmarks import same_from_everywhere
from tests.nodes.sd.test_lora import model
from tests.nodes.sd.test_parity import PROMPT, expected, picture, pipeline

base = test_sdxl.base
STEPS = 5


def net(unet: Any, seed: int, **more: Any) -> Any:
    """A ControlNet with nothing at zero, as one is after training."""
    torch.manual_seed(seed)
    made = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16))
    made.register_to_config(**more)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def nets(whole: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder, found = tmp_path_factory.mktemp("controlnets"), []
    for seed, name in enumerate(("edges", "depth")):
        found.append(net(whole.unet, seed))
        found[-1].save_pretrained(folder / name)
        found[-1].folder = folder / name
    return found


def loaded(made: Any, ctx: Any) -> Any:
    return LoadControlNet(path=ControlNetFile.find(str(made.folder), made.folder)).run(ctx)


def control(made: Any, ctx: Any, image: Picture, **more: float) -> Control:
    return SteerBy(**more).run(ctx, loaded(made, ctx), image)


def steered(kind: Any, whole: Any, method: str, controlnet: Any) -> Any:
    scheduler = pipeline(StableDiffusionPipeline, whole, method).scheduler
    pipe = kind(
        vae=whole.vae, text_encoder=whole.text_encoder, tokenizer=whole.tokenizer, unet=whole.unet,
        controlnet=controlnet, scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("method", ["euler", "heun", "dpmpp_2m"])
@pytest.mark.parametrize("cfg", [7.5, 1.0], ids=["guided", "unguided"])
@pytest.mark.parametrize("more", [{}, {"strength": 0.6, "start": 0.2, "end": 0.7}], ids=["whole", "part"])
def test_one_controlnet_is_the_pipelines(
    method: Any, cfg: float, more: dict[str, float], whole: Any, nets: list[Any], ctx: Any
) -> None:
    parts, hint = model(whole.folder, ctx), picture((96, 64))
    pipe = steered(StableDiffusionControlNetPipeline, whole, method, nets[0])
    call = {"controlnet_conditioning_scale": more.get("strength", 1.0), "image": hint.pixels,
            "control_guidance_start": more.get("start", 0.0), "control_guidance_end": more.get("end", 1.0)}  # fmt: skip

    positive, negative = (TextEncode(text=text).run(ctx, parts.text_encoder) for text in (PROMPT, "blurry"))
    noise = Noise(seed=5, width=96, height=64).run(ctx, parts.model)
    sampler = Sampler(method=method, steps=STEPS, cfg=cfg)
    latents = sampler.run(ctx, parts.model, positive, negative, noise, controls=[control(nets[0], ctx, hint, **more)])

    whole_picture = expected(pipe, 5, guidance_scale=cfg, **call)
    compare("sd1", "ControlNet", method, whole_picture, latents, VaeDecode().run(ctx, parts.vae, latents).image)
    plain = sampler.run(ctx, parts.model, positive, negative, noise)
    assert plain.samples != latents.samples


def test_several_controlnets_are_the_pipelines(whole: Any, nets: list[Any], ctx: Any) -> None:
    parts, hints = model(whole.folder, ctx), [picture((64, 64)), Picture(Image.linear_gradient("L").resize((64, 64)))]
    pipe = steered(StableDiffusionControlNetPipeline, whole, "unipc", MultiControlNetModel(nets))
    call = {"image": [hint.pixels for hint in hints], "controlnet_conditioning_scale": [0.9, 0.4],
            "control_guidance_start": [0.0, 0.3], "control_guidance_end": [0.5, 1.0]}  # fmt: skip

    positive, negative = (TextEncode(text=text).run(ctx, parts.text_encoder) for text in (PROMPT, "blurry"))
    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    controls = [
        control(nets[0], ctx, hints[0], strength=0.9, end=0.5),
        control(nets[1], ctx, hints[1], strength=0.4, start=0.3),
    ]
    latents = Sampler(method="unipc", steps=STEPS).run(ctx, parts.model, positive, negative, noise, controls=controls)

    compare("sd1", "two ControlNets", "unipc", expected(pipe, 5, **call), latents)


def test_controlnets_steer_a_run_that_was_cut_off_as_they_would_have(whole: Any, nets: list[Any], ctx: Any) -> None:
    parts = model(whole.folder, ctx)
    prompt = TextEncode(text=PROMPT).run(ctx, parts.text_encoder)
    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    hints = [control(nets[0], ctx, picture((64, 64)), end=0.5), control(nets[1], ctx, picture((64, 64)), start=0.3)]
    inputs = (parts.model, prompt, prompt, noise, None, hints)

    assert 4 < same_from_everywhere(ctx, lambda marked: Sampler(method="heun", steps=4).run(marked, *inputs))


def test_img2img_with_a_controlnet_of_another_size_is_the_pipelines(whole: Any, nets: list[Any], ctx: Any) -> None:
    parts, hint = model(whole.folder, ctx), Picture(Image.radial_gradient("L").resize((80, 120)))
    pipe = steered(StableDiffusionControlNetImg2ImgPipeline, whole, "euler_a", nets[1])

    positive, negative = (TextEncode(text=text).run(ctx, parts.text_encoder) for text in (PROMPT, "blurry"))
    start = VaeEncode(seed=5).run(ctx, parts.vae, picture((96, 64)))
    sampler = Sampler(method="euler_a", steps=STEPS, strength=0.8)
    latents = sampler.run(ctx, parts.model, positive, negative, start, controls=[control(nets[1], ctx, hint, end=0.6)])

    call = {"image": picture((96, 64)).pixels, "control_image": hint.pixels, "width": 96, "height": 64}
    more = {"strength": 0.8, "control_guidance_end": 0.6, "controlnet_conditioning_scale": 1.0}
    compare("sd1", "img2img, ControlNet", "euler_a", expected(pipe, 5, **call, **more), latents)
    assert ['the picture for ControlNet "depth" is resized from 80 x 120 to 96 x 64 pixels'] == ctx.warnings


def test_a_network_that_pools_its_picture_is_the_pipelines(whole: Any, ctx: Any, tmp_path: Path) -> None:
    shuffle = net(whole.unet, 3, global_pool_conditions=True)
    shuffle.save_pretrained(tmp_path / "shuffle")
    shuffle.folder = tmp_path / "shuffle"
    parts = model(whole.folder, ctx)
    pipe = steered(StableDiffusionControlNetPipeline, whole, "euler", shuffle)

    positive, negative = (TextEncode(text=text).run(ctx, parts.text_encoder) for text in (PROMPT, "blurry"))
    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)
    controls = [control(shuffle, ctx, picture((64, 64)))]
    latents = Sampler(method="euler", steps=STEPS).run(ctx, parts.model, positive, negative, noise, controls=controls)

    compare("sd1", "pooling ControlNet", "euler", expected(pipe, 5, image=picture((64, 64)).pixels), latents)


@pytest.mark.parametrize("cfg", [5.0, 1.0], ids=["guided", "unguided"])
def test_a_controlnet_for_stable_diffusion_xl_is_the_pipelines(cfg: float, base: Any, ctx: Any, tmp_path: Path) -> None:
    edges = net(base.unet, 4)
    edges.save_pretrained(tmp_path / "edges")
    edges.folder = tmp_path / "edges"
    parts, hint = model(base.folder, ctx), picture((96, 64))
    pipe = StableDiffusionXLControlNetPipeline(**base.components, controlnet=edges, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)

    noise = Noise(seed=5, width=96, height=64).run(ctx, parts.model)
    positive, negative = test_sdxl.encoded(parts, ctx)
    controls = [control(edges, ctx, hint, strength=0.7)]
    sampler = Sampler(method="euler", steps=test_sdxl.STEPS, cfg=cfg)
    latents = sampler.run(ctx, parts.model, positive, negative, noise, controls=controls)

    call = {"image": hint.pixels, "controlnet_conditioning_scale": 0.7, "guidance_scale": cfg}
    compare("sdxl", "ControlNet", "euler", test_sdxl.expected(pipe, "euler", **call), latents)


def test_a_controlnet_that_wants_classes_is_refused_before_any_step(whole: Any, ctx: Any, tmp_path: Path) -> None:
    edges = net(whole.unet, 4, class_embed_type="identity")
    edges.save_pretrained(tmp_path / "edges")
    edges.folder = tmp_path / "edges"
    parts = model(whole.folder, ctx)
    words = TextEncode(text=PROMPT).run(ctx, parts.text_encoder)
    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)

    with pytest.raises(StepError, match="is made for a model with class_embed_type identity, but this one has None"):
        Sampler(steps=2).run(ctx, parts.model, words, words, noise, controls=[control(edges, ctx, picture((64, 64)))])
    assert [] == ctx.steps


def test_a_controlnet_for_another_model_is_refused_before_any_step(
    whole: Any, base: Any, ctx: Any, tmp_path: Path
) -> None:
    edges = net(base.unet, 4)
    edges.save_pretrained(tmp_path / "edges")
    edges.folder = tmp_path / "edges"
    parts = model(whole.folder, ctx)
    words = TextEncode(text=PROMPT).run(ctx, parts.text_encoder)
    noise = Noise(seed=5, width=64, height=64).run(ctx, parts.model)

    said = 'ControlNet "edges" is made for a model with cross_attention_dim 64, but this one has 32'
    with pytest.raises(StepError, match=said):
        Sampler(steps=2).run(ctx, parts.model, words, words, noise, controls=[control(edges, ctx, picture((64, 64)))])
    assert [] == ctx.steps


def test_control_ends_after_it_starts() -> None:
    with pytest.raises(ValueError, match=r"start 0\.5 is not before end 0\.5"):
        SteerBy(start=0.5, end=0.5)


# Autoencoders


@pytest.fixture(scope="module")
def other_vae(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.manual_seed(21)
    made = vae()
    made.folder = tmp_path_factory.mktemp("vaes") / "soft"
    made.save_pretrained(made.folder)
    return made


def test_another_vae_is_the_pipelines_with_its_vae_replaced(whole: Any, other_vae: Any, ctx: Any) -> None:
    parts = model(whole.folder, ctx)
    soft = LoadVae(path=VaeFile.find(str(other_vae.folder), other_vae.folder)).run(ctx)
    pipe = pipeline(StableDiffusionImg2ImgPipeline, whole, "euler")
    pipe.vae = other_vae

    positive, negative = (TextEncode(text=text).run(ctx, parts.text_encoder) for text in (PROMPT, "blurry"))
    start = VaeEncode(seed=5).run(ctx, soft, picture((96, 64)))
    latents = Sampler(method="euler", steps=STEPS, strength=0.6).run(ctx, parts.model, positive, negative, start)

    image = VaeDecode().run(ctx, soft, latents).image
    compare("sd1", "img2img, another VAE", "euler",
            expected(pipe, 5, image=picture((96, 64)).pixels, strength=0.6), latents, image)  # fmt: skip
    assert image != VaeDecode().run(ctx, parts.vae, latents).image


def test_the_vae_of_a_models_folder_is_the_models_own(whole: Any, ctx: Any) -> None:
    parts = model(whole.folder, ctx)
    own = LoadVae(path=VaeFile.find(str(whole.folder), whole.folder)).run(ctx)
    start = VaeEncode(seed=5).run(ctx, parts.vae, picture((64, 64)))

    assert start == VaeEncode(seed=5).run(ctx, own, picture((64, 64)))
    assert VaeDecode().run(ctx, parts.vae, start) == VaeDecode().run(ctx, own, start)


@pytest.mark.parametrize(("scale", "latents"), [(0.18215, "sd"), (0.13025, "sdxl"), (0.5, "")])
def test_whose_latents_a_vae_takes_is_told_by_its_scale(
    scale: float, latents: str, other_vae: Any, ctx: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(other_vae.folder, tmp_path / "vae")
    config = json.loads((folder / "config.json").read_text()) | {"scaling_factor": scale}
    (folder / "config.json").write_text(json.dumps(config))
    found = VaeFile.find("vae", tmp_path)

    assert latents == found.traits().get("latents", "")
    assert "sdxl" == LoadVae(path=found, latents="sdxl").run(ctx).family
    if not latents:
        with pytest.raises(StepError, match='VAE "vae" does not say whose latents it takes'):
            LoadVae(path=found).run(ctx)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "nothing|no model|has no"),
        (lambda folder: (folder / "diffusion_pytorch_model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "evil.py").write_text("raise SystemExit"), "is code"),
        (
            lambda folder: (folder / "config.json").write_text('{"_class_name": "AutoencoderTiny"}'),
            "is a 'AutoencoderTiny', but AutoencoderKL is what can be run",
        ),
    ],
)
def test_a_folder_that_is_no_vae_is_refused(change: Any, said: str, other_vae: Any, tmp_path: Path) -> None:
    change(shutil.copytree(other_vae.folder, tmp_path / "vae"))

    with pytest.raises(MissingError, match=said):
        VaeFile.find("vae", tmp_path)


@pytest.mark.parametrize(("latents", "scale"), [("sd", 0.18215), ("sdxl", 0.13025)])
@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_a_vae_in_one_file_is_that_of_the_folder(
    latents: Any, scale: float, prefix: str, ctx: Any, tmp_path: Path
) -> None:
    torch.manual_seed(9)
    made = single_files.autoencoder(scale, 64)
    made.save_pretrained(tmp_path / "vae")
    published = {prefix + name: weight.contiguous() for name, weight in single_files.vae_weights(made).items()}
    save_file(published, tmp_path / "alone.safetensors")
    whole, file = (VaeFile.find(name, tmp_path) for name in ("vae", "alone"))

    assert {} == file.traits()
    with pytest.raises(StepError, match='VAE "alone" does not say whose latents it takes'):
        LoadVae(path=file).run(ctx)
    start = VaeEncode(seed=5).run(ctx, LoadVae(path=whole).run(ctx), picture((64, 64)))
    told = LoadVae(path=file, latents=latents).run(ctx)
    assert start == VaeEncode(seed=5).run(ctx, told, picture((64, 64)))
    assert VaeDecode().run(ctx, LoadVae(path=whole).run(ctx), start) == VaeDecode().run(ctx, told, start)


def test_load_model_says_what_a_component_is(other_vae: Any, tmp_path: Path) -> None:
    save_file(single_files.vae_weights(single_files.autoencoder(1.0, 64)), tmp_path / "alone.safetensors")

    with pytest.raises(MissingError, match=r'"alone\.safetensors" is a VAE, not a checkpoint'):
        ModelFile.find("alone", tmp_path)
    with pytest.raises(MissingError, match='"soft" is a VAE, not a model'):
        ModelFile.find(str(other_vae.folder), tmp_path)
    with pytest.raises(MissingError, match='"alone" holds no ControlNet'):
        ControlNetFile.find("alone", tmp_path)


def published_names(made: Any) -> dict[str, torch.Tensor]:
    """A ControlNet's weights as its authors call them."""
    own = made.state_dict()
    names = compvis_names({name.rpartition(".")[0] for name in own})
    hints = {"conv_in": 0, "conv_out": 14} | {f"blocks.{at}": 2 * at + 2 for at in range(6)}
    names |= {f"controlnet_cond_embedding.{name}": f"input_hint_block.{at}" for name, at in hints.items()}
    blocks = (at for at in range(12) if f"controlnet_down_blocks.{at}.weight" in own)
    names |= {f"controlnet_down_blocks.{at}": f"zero_convs.{at}.0" for at in blocks}
    names |= {"controlnet_mid_block": "middle_block_out.0"}
    parts = {name: name.rpartition(".") for name in own}
    return {f"control_model.{names[place]}.{kind}": own[name].contiguous() for name, (place, _, kind) in parts.items()}


def steers(family: str) -> Any:
    """A U-Net of a family, to be steered."""
    if family == "sdxl":
        return single_files.large(2048, 2816)
    linear = {"use_linear_projection": True} if family == "sd2" else {}
    width, heads = {"sd1": (768, 8), "sd2": (1024, [1, 2])}[family]
    return single_files.network((64, 128), width, attention_head_dim=heads, **linear)


@pytest.mark.parametrize("names", [published_names, lambda made: dict(made.state_dict())], ids=["published", "ours"])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_controlnet_in_one_file_is_that_of_the_folder(family: str, names: Any, ctx: Any, tmp_path: Path) -> None:
    made = net(steers(family), 6)
    made.save_pretrained(tmp_path / "folder")
    torch.save({"state_dict": names(made)}, tmp_path / "alone.pth")
    folder, file = (ControlNetFile.find(name, tmp_path) for name in ("folder", "alone"))

    assert {"network": family} == folder.traits() == file.traits()
    handles = [LoadControlNet(path=path).run(ctx) for path in (folder, file)]
    with weights.use(handles[0], ctx) as theirs, weights.use(handles[1], ctx) as ours:
        width = made.config.cross_attention_dim
        seen = torch.randn(1, 4, 8, 8), torch.tensor(7), torch.randn(1, 5, width), torch.rand(1, 3, 64, 64)
        told = {"text_embeds": torch.randn(1, 1280), "time_ids": torch.randn(1, 6)} if family == "sdxl" else None
        for one, other in zip(
            theirs(*seen, added_cond_kwargs=told, return_dict=False)[0],
            ours(*seen, added_cond_kwargs=told, return_dict=False)[0],
            strict=True,
        ):
            assert torch.equal(one, other)


WORKFLOW = """\
darkroom: 1
nodes:
  model:    {use: load_model, path: MODEL}
  edges:    {use: load_controlnet, path: EDGES}
  soft:     {use: load_vae, path: SOFT}
  drawing:  {use: load_image, path: drawing.png}
  lines:    {use: control, controlnet: $edges, image: $drawing, strength: 0.8, end: 0.7}
  positive: {use: text_encode, text_encoder: $model.text_encoder, text: a cat}
  negative: {use: text_encode, text_encoder: $model.text_encoder}
  start:    {use: noise, model: $model, width: 64, height: 64}
  painted:
    use: sampler
    model: $model
    positive: $positive
    negative: $negative
    latents: $start
    controls: [$lines]
    steps: 2
  picture:  {use: vae_decode, vae: $soft, latents: $painted}
outputs: {picture: $picture}
"""


def workflow(whole: Any, edges: Path, soft: Path, folder: Path) -> darkroom.Workflow:
    picture((64, 64)).save(folder / "drawing.png")
    text = WORKFLOW.replace("MODEL", str(whole.folder)).replace("EDGES", str(edges)).replace("SOFT", str(soft))
    return parse(text.encode(), "a.yaml", folder)


def test_a_workflow_with_both_leaves_no_weights_behind(
    whole: Any, nets: list[Any], other_vae: Any, fresh: Weights, tmp_path: Path
) -> None:
    result = darkroom.run(
        workflow(whole, nets[0].folder, other_vae.folder, tmp_path), cache=tmp_path / "cache", device="cpu"
    )

    assert "run" == result.actions["painted"]
    assert 4 == fresh.loads
    assert [] == list(fresh._held)


def test_check_refuses_a_controlnet_for_another_family(
    whole: Any, nets: list[Any], other_vae: Any, tmp_path: Path
) -> None:
    edges = shutil.copytree(nets[0].folder, tmp_path / "edges")
    config = json.loads((edges / "config.json").read_text()) | {"cross_attention_dim": 1024}
    (edges / "config.json").write_text(json.dumps(config))

    with pytest.raises(WorkflowError) as caught:
        darkroom.check(workflow(whole, edges, other_vae.folder, tmp_path))

    (mistake,) = caught.value.mistakes
    assert "is for sd2" in mistake.message
    assert "is for sd1" in mistake.message
