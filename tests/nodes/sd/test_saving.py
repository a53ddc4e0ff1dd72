"""What nodes do where memory is not enough: layers that visit, samples one by one, small tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionConfig

from graph.errors import OutOfMemory
from graph.values import Picture
from nodes.sd.halves import OneByOne
from nodes.sd.layers import visiting
from nodes.sd.residency import Weights
from nodes.sd.safety_net import SafetyNet
from nodes.sd.tensors import thaw
from nodes.sd.vae_tiles import granted
from nodes.vae_decode import VaeDecode
from nodes.vae_encode import VaeEncode
from tests.nodes.sd.lab import Lab


def denoise(unet: Any, device: str) -> Tensor:
    words = torch.ones(2, 77, unet.config.cross_attention_dim, device=device)
    made: Tensor = unet(torch.ones(2, 4, 8, 8, device=device), torch.tensor(500), encoder_hidden_states=words).sample
    return made


def read(encoder: Any, device: str) -> Tensor:
    ids = torch.arange(77)[None] % 5  # tokens are on the CPU, as the tokenizer gives them
    made: Tensor = encoder(ids).last_hidden_state
    return made


def decode(vae: Any, device: str) -> Tensor:
    made: Tensor = vae.decode(torch.ones(1, 4, 8, 8, device=device)).sample
    return made


def encode(vae: Any, device: str) -> Tensor:
    made: Tensor = vae.encode(torch.ones(1, 3, 64, 64, device=device)).latent_dist.parameters
    return made


def steer(net: Any, device: str) -> Tensor:
    words = torch.ones(2, 77, net.config.cross_attention_dim, device=device)
    picture = torch.ones(2, 3, 64, 64, device=device)
    batch = torch.ones(2, 4, 8, 8, device=device)
    made: Tensor = net(
        batch, torch.tensor(5), encoder_hidden_states=words, controlnet_cond=picture
    ).mid_block_res_sample
    return made


def look(net: Any, device: str) -> Tensor:
    concepts: Tensor = net(torch.ones(1, 3, 32, 32))[0]
    return concepts


def module_of(whole: Any, part: str) -> Any:
    torch.manual_seed(3)
    if part == "controlnet":
        return ControlNetModel.from_unet(whole.unet, conditioning_embedding_out_channels=(8, 8, 16, 16)).eval()
    if part == "safety_checker":
        eyes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        return SafetyNet(CLIPVisionConfig(**eyes, image_size=32, patch_size=8, projection_dim=16)).eval()
    return getattr(whole, part)


USES: list[tuple[str, Callable[[Any, str], Tensor]]] = [
    ("unet", denoise),
    ("text_encoder", read),
    ("vae", decode),
    ("vae", encode),
    ("controlnet", steer),
    ("safety_checker", look),
]
each_use = pytest.mark.parametrize(("part", "use"), USES, ids=lambda value: getattr(value, "__name__", value))


@each_use
def test_all_that_a_visiting_module_computes_is_computed_on_the_device(whole: Any, part: str, use: Any) -> None:
    module = module_of(whole, part)
    before = dict(module.named_parameters())

    with torch.inference_mode(), visiting(module, "meta"):  # which has no weights of its own to fall back on
        made = use(module, "meta")

    assert "meta" == made.device.type
    assert all(weight is before[name] for name, weight in module.named_parameters())
    assert {"cpu"} == {weight.device.type for weight in (*module.parameters(), *module.buffers())}


@each_use
def test_visiting_changes_no_bits(whole: Any, part: str, use: Any) -> None:
    module = module_of(whole, part)
    with torch.inference_mode():
        alone = use(module, "cpu")
        with visiting(module, "cpu"):
            visited = use(module, "cpu")

    assert torch.equal(alone, visited)


def test_no_more_than_one_layer_visits_at_a_time(whole: Any) -> None:
    there: list[int] = []

    def count(*_: object) -> None:
        there.append(sum(weight.device.type == "meta" for weight in whole.unet.parameters()))

    with torch.inference_mode(), visiting(whole.unet, "meta"):
        hooks = [layer.register_forward_pre_hook(count) for layer in whole.unet.modules()]
        denoise(whole.unet, "meta")
    for hook in hooks:
        hook.remove()

    assert 2 == max(there)  # a weight and a bias


def test_the_weights_of_a_layer_that_fails_are_home_again(whole: Any) -> None:
    with torch.inference_mode(), visiting(whole.vae, "meta"), pytest.raises(RuntimeError):
        whole.vae.decode(torch.ones(1, 5, 8, 8))  # it takes four channels

    assert {"cpu"} == {weight.device.type for weight in whole.vae.parameters()}


def test_samples_given_one_by_one_come_together_again(whole: Any) -> None:
    """Within the rounding of float32: another batch goes through other kernels."""
    with torch.inference_mode():
        words = torch.stack([torch.zeros(77, 32), torch.ones(77, 32)])[..., : whole.unet.config.cross_attention_dim]
        batch = torch.arange(2.0)[:, None, None, None].expand(2, 4, 8, 8)
        together = whole.unet(batch, torch.tensor(500), encoder_hidden_states=words, return_dict=False)
        parted = OneByOne(whole.unet)(batch, torch.tensor(500), encoder_hidden_states=words, return_dict=False)

    torch.testing.assert_close(together, parted, rtol=0, atol=1e-5)


def test_what_comes_once_for_each_sample_is_parted_and_the_rest_is_not() -> None:
    seen = []

    def net(batch: Tensor, time: Tensor, **beside: Any) -> tuple[list[Tensor], Tensor]:
        seen.append((time, beside["added"]["ids"].tolist(), beside["scale"], beside["down"][0].tolist()))
        return [batch, batch + 1], batch * 2

    batch, time = torch.tensor([[1.0], [2.0]]), torch.tensor(7)
    given = {"added": {"ids": torch.tensor([3, 4])}, "scale": 0.5, "down": [torch.tensor([5, 6])]}
    (same, more), twice = OneByOne(net)(batch, time, **given)

    assert [(time, [3], 0.5, [5]), (time, [4], 0.5, [6])] == seen
    assert [[[1.0], [2.0]], [[2.0], [3.0]], [[2.0], [4.0]]] == [same.tolist(), more.tolist(), twice.tolist()]


def test_a_sampler_that_saves_memory_gives_nearly_the_same(lab: Lab) -> None:
    whole = lab.sample(lab.noise)
    lab.ctx.saving = "halves"

    # Float32 rounding over two steps of a net with random weights.
    torch.testing.assert_close(thaw(whole.samples), thaw(lab.sample(lab.noise).samples), rtol=0, atol=1e-3)


def test_a_sampler_whose_layers_visit_gives_the_same_bits(lab: Lab) -> None:
    whole = lab.sample(lab.noise)
    lab.ctx.saving, lab.ctx.device = "offload", "cpu:0"  # another name, so another device than main memory

    assert whole == lab.sample(lab.noise)


def test_where_memory_is_saved_tiles_are_small(lab: Lab) -> None:
    lab.ctx.saving = "tiles"

    assert [256, 256, 128] == [granted(lab.ctx, tile) for tile in (None, 768, 128)]
    lab.ctx.saving = "halves"
    assert [None, 768] == [granted(lab.ctx, tile) for tile in (None, 768)]


def test_the_vae_saves_memory_by_tiles(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.sd.vae_tiles.SMALL", 128)
    ctx, vae = lab.ctx, lab.parts.vae
    picture = Picture(Image.linear_gradient("L").resize((192, 192)).convert("RGB"))
    tiled = VaeEncode(tile=128).run(ctx, vae, picture)
    parts = VaeDecode(tile=128).run(ctx, vae, tiled)
    ctx.saving = "tiles"

    assert tiled == VaeEncode().run(ctx, vae, picture)
    assert parts == VaeDecode().run(ctx, vae, tiled)


def test_out_of_main_memory_idle_weights_are_forgotten_and_those_at_work_are_kept(lab: Lab, fresh: Weights) -> None:
    parts, ctx = lab.parts, lab.ctx
    with fresh.use(parts.text_encoder, ctx):
        pass
    with pytest.raises(OutOfMemory), fresh.use(parts.vae, ctx):
        torch.empty(2**60, dtype=torch.uint8)
    with fresh.use(parts.vae, ctx), fresh.use(parts.text_encoder, ctx):
        pass

    assert 3 == fresh.loads


def test_where_memory_is_saved_weights_stay_in_main_memory(lab: Lab, fresh: Weights) -> None:
    lab.ctx.device, lab.ctx.saving = "meta", "offload"
    with torch.inference_mode(), fresh.use(lab.parts.model, lab.ctx) as unet:
        assert {"cpu"} == {weight.device.type for weight in unet.parameters()}
        assert "meta" == denoise(unet, "meta").device.type
        with fresh.use(lab.parts.model, lab.ctx) as again:  # who borrows it twice brings it once
            assert "meta" == denoise(again, "meta").device.type
    assert not unet._forward_pre_hooks
