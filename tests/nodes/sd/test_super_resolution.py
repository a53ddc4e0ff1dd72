"""Super-resolution nets: told by their weights, equal to their papers, whole or in tiles."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from graph.errors import MissingError, OutOfMemory, StepError
from graph.values import Picture, SuperResolution
from nodes.load_upscaler import LoadUpscaler
from nodes.sd import room
from nodes.sd.super_resolution import TINY, Compact, Esrgan, Net, UpscalerFile, described
from nodes.sd.tiles import windows
from nodes.sd.upscalers import load_upscaler
from nodes.upscale import Upscale

State = dict[str, torch.Tensor]
ESRGAN_X4 = Esrgan(features=8, growth=4, blocks=1, doublings=2, folded=1)
COMPACT_X4 = Compact(features=8, convolutions=2, scale=4)


def weights(net: Net, seed: int = 0) -> State:
    """Random weights under today's names, large enough that every convolution counts."""
    torch.manual_seed(seed)
    return {name: torch.randn(shape) * 0.25 for name, shape in net.shapes().items()}


def in_the_names_of_2018(state: State) -> State:
    """ESRGAN's first layout: nameless places in nested sequences."""
    blocks = len({name.split(".")[1] for name in state if name.startswith("body.")})
    ups = len([name for name in state if name.startswith("conv_up") and name.endswith("weight")])
    places = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    places |= {f"conv_up{number}": f"model.{3 * number}" for number in range(1, ups + 1)}
    places |= {"conv_hr": f"model.{3 * ups + 2}", "conv_last": f"model.{3 * ups + 4}"}
    return {_old(name, places, "model.1.sub.{}.RDB{}.conv{}.0"): weight for name, weight in state.items()}


def in_the_names_of_2019(state: State) -> State:
    places = {"conv_first": "conv_first", "conv_body": "trunk_conv", "conv_hr": "HRconv", "conv_last": "conv_last"}
    places |= {f"conv_up{number}": f"upconv{number}" for number in (1, 2, 3)}
    return {_old(name, places, "RRDB_trunk.{}.RDB{}.conv{}"): weight for name, weight in state.items()}


def _old(name: str, places: dict[str, str], deep: str) -> str:
    *place, kind = name.split(".")
    if place[0] != "body":
        return f"{places[place[0]]}.{kind}"
    return f"{deep.format(place[1], place[2][-1], place[3][-1])}.{kind}"


def saved(state: State, folder: Path, name: str = "net") -> Path:
    path = folder / f"{name}.safetensors"
    save_file(state, path)
    return path


def esrgan(state: State, small: torch.Tensor) -> torch.Tensor:
    """The forward pass as the papers draw it, written out; of 2018: 4.0, figures 3 and 4; of 2021: figure 4."""

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def active(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    folded = int((state["conv_first.weight"].shape[1] / 3) ** 0.5)
    count, channels, rows, columns = small.shape
    cells = small.reshape(count, channels, rows // folded, folded, columns // folded, folded)
    x = first = conv(
        "conv_first", cells.permute(0, 1, 3, 5, 2, 4).reshape(count, -1, rows // folded, columns // folded)
    )
    for block in sorted({name.split(".")[1] for name in state if "rdb" in name}, key=int):
        before = x
        for dense in (1, 2, 3):
            known = [x]
            for number in (1, 2, 3, 4):
                known.append(active(conv(f"body.{block}.rdb{dense}.conv{number}", torch.cat(known, 1))))
            x = x + 0.2 * conv(f"body.{block}.rdb{dense}.conv5", torch.cat(known, 1))
        x = before + 0.2 * x
    x = first + conv("conv_body", x)
    for number in (1, 2, 3):
        if f"conv_up{number}.weight" in state:
            x = active(conv(f"conv_up{number}", x.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return conv("conv_last", active(conv("conv_hr", x)))


def compact(state: State, small: torch.Tensor) -> torch.Tensor:
    last = max(int(name.split(".")[1]) for name in state)
    x = small
    for at in range(0, last + 1, 2):
        x = functional.conv2d(x, state[f"body.{at}.weight"], state[f"body.{at}.bias"], padding=1)
        if at < last:
            slope = state[f"body.{at + 1}.weight"][:, None, None]
            x = torch.where(x > 0, x, slope * x)
    count, pixels, rows, columns = x.shape
    scale = int((pixels / 3) ** 0.5)
    large = x.reshape(count, 3, scale, scale, rows, columns).permute(0, 1, 4, 2, 5, 3)
    return large.reshape(count, 3, rows * scale, columns * scale) + small.repeat_interleave(scale, 2).repeat_interleave(
        scale, 3
    )


@pytest.mark.parametrize("renamed", [dict, in_the_names_of_2018, in_the_names_of_2019])
@pytest.mark.parametrize("doublings", [0, 1, 2, 3])
def test_esrgan_computes_what_its_paper_draws_under_all_its_names(renamed: Any, doublings: int, tmp_path: Path) -> None:
    net = Esrgan(features=8, growth=4, blocks=2, doublings=doublings, folded=1)
    state = weights(net)
    path = saved(renamed(state), tmp_path)
    small = torch.rand(1, 3, 12, 8)

    assert net == described(path).net
    torch.testing.assert_close(esrgan(state, small), load_upscaler(path, torch.float32)(small))


@pytest.mark.parametrize(("folded", "scale"), [(2, 2), (4, 1)])
def test_real_esrgan_folds_pixels_into_channels(folded: int, scale: int, tmp_path: Path) -> None:
    net = Esrgan(features=8, growth=4, blocks=1, doublings=2, folded=folded)
    state = weights(net)
    path = saved(state, tmp_path)
    small = torch.rand(1, 3, 12, 8)

    assert (net, scale) == (described(path).net, described(path).net.scale)
    torch.testing.assert_close(esrgan(state, small), load_upscaler(path, torch.float32)(small))


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_compact_nets_compute_what_they_are_described_as(scale: int, tmp_path: Path) -> None:
    net = Compact(features=8, convolutions=3, scale=scale)
    state = weights(net)
    path = saved(state, tmp_path)
    small = torch.rand(1, 3, 12, 8)

    assert net == described(path).net
    torch.testing.assert_close(compact(state, small), load_upscaler(path, torch.float32)(small))


def test_of_several_copies_of_a_net_the_averaged_one_is_taken(tmp_path: Path) -> None:
    averaged, last = weights(COMPACT_X4, 1), weights(COMPACT_X4, 2)
    both = {f"params.{name}": weight for name, weight in last.items()}
    both |= {f"params_ema.{name}": weight for name, weight in averaged.items()}
    small = torch.rand(1, 3, 8, 8)

    made = load_upscaler(saved(both, tmp_path), torch.float32)(small)

    torch.testing.assert_close(compact(averaged, small), made)


def _without(state: State, *names: str) -> State:
    return {name: weight for name, weight in state.items() if name not in names}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"model.diffusion_model.out.weight": torch.zeros(1)}, "looks like a Stable Diffusion checkpoint"),
        ({"a.weight": torch.zeros(1)}, 'is of an unknown kind; its weights begin with "a.weight"'),
        (weights(ESRGAN_X4) | {"body.0.rdb1.conv1x1.weight": torch.zeros(4, 8, 1, 1)}, r"looks like an ESRGAN\+ net"),
        (_without(weights(ESRGAN_X4), "body.0.rdb2.conv3.bias"), '"body.0.rdb2.conv3.bias" is lacking'),
        (weights(ESRGAN_X4) | {"conv_hr.weight": torch.zeros(3)}, r'"conv_hr.weight" is \[3\], where \[8, 8, 3, 3\]'),
        (weights(ESRGAN_X4) | {"conv_first.weight": torch.zeros(8, 1, 3, 3)}, "takes 1 channels, not 3, 12 or 48"),
        (weights(COMPACT_X4) | {"body.6.weight": torch.zeros(4, 8, 3, 3)}, "gives 4 channels"),
        (_without(weights(COMPACT_X4), "body.1.weight", "body.3.weight", "body.5.weight"), "it has no PReLUs"),
        ({"body.0.weight": torch.zeros(3)}, r'"body.0.weight" is \[3\]'),
        ({"body.0.weight": torch.zeros(8, 3, 3, 3), "body.999999.weight": torch.zeros(3, 8, 3, 3)}, "no PReLUs"),
        ({name: weight.int() for name, weight in weights(COMPACT_X4).items()}, "are no fractions"),
        ({}, "holds no weights"),
    ],
)  # fmt: skip
def test_what_is_no_such_net_is_named_before_anything_runs(state: State, told: str, tmp_path: Path) -> None:
    saved(state, tmp_path)

    with pytest.raises(MissingError, match=told) as caught:
        UpscalerFile.find("net.safetensors", tmp_path)

    assert 'upscaler "net.safetensors" ' in str(caught.value)
    assert "ESRGAN (RRDBNet) and the compact nets" in caught.value.hint


def test_a_built_in_net_of_another_name_is_not_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match='no upscaler "builtin:big" comes with Darkroom') as caught:
        UpscalerFile.find("builtin:big", tmp_path)

    assert TINY in caught.value.hint


# Enlarging


def photo(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Picture:
    channels = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Picture(Image.merge(mode, [Image.fromarray(noise[..., at]) for at in range(channels)]))


def gentle(net: Net) -> State:
    """Weights whose results are spread between black and white, so that no difference is clipped away."""
    state = weights(net)
    last, forward = ("conv_last", esrgan) if isinstance(net, Esrgan) else (f"body.{2 * net.convolutions + 2}", compact)
    made = forward(state, torch.rand(1, 3, 48, 48))
    state[f"{last}.weight"] *= 0.2 / made.std()
    state[f"{last}.bias"] += 0.5 - forward(state, torch.rand(1, 3, 48, 48)).mean()
    return state


def handle(net: Net, folder: Path, ctx: Any) -> SuperResolution:
    saved(gentle(net), folder)
    return LoadUpscaler(path=UpscalerFile.find("net.safetensors", folder)).run(ctx)


@pytest.mark.parametrize(
    "net", [ESRGAN_X4, Esrgan(features=8, growth=4, blocks=1, doublings=2, folded=2), COMPACT_X4], ids=str
)
def test_tiles_that_see_as_far_as_the_net_give_what_the_whole_picture_gives(
    net: Net, tmp_path: Path, ctx: Any, fresh: Any
) -> None:
    model, picture = handle(net, tmp_path, ctx), photo(203, 137)
    assert net.reach <= 40

    whole = np.asarray(Upscale(factor=net.scale, tile=16384).run(ctx, picture, model).pixels).astype(int)
    tiled = np.asarray(Upscale(factor=net.scale, tile=160).run(ctx, picture, model).pixels).astype(int)

    assert (137 * net.scale, 203 * net.scale, 3) == whole.shape
    assert 20 < whole.std() < 90
    assert np.abs(whole - tiled).max() <= 1  # a convolution over another size may round its last bit otherwise
    assert 0.001 > (whole != tiled).mean()


def test_a_net_is_used_again_until_the_picture_is_large_enough(tmp_path: Path, ctx: Any, fresh: Any) -> None:
    model, picture = handle(Compact(features=8, convolutions=2, scale=2), tmp_path, ctx), photo(20, 12)
    once = Upscale(factor=2).run(ctx, picture, model)
    twice = Upscale(factor=2).run(ctx, once, model)

    assert twice == Upscale(factor=4).run(ctx, picture, model)
    size = (50, 30)
    assert twice.pixels.resize(size, Image.Resampling.BOX).tobytes() == (
        Upscale(factor=2.5, method="box").run(ctx, picture, model).data
    )
    assert (20, 12) == Upscale(factor=1).run(ctx, picture, model).pixels.size


def test_a_net_that_enlarges_nothing_is_used_once(tmp_path: Path, ctx: Any, fresh: Any) -> None:
    model, picture = handle(Compact(features=8, convolutions=2, scale=1), tmp_path, ctx), photo(20, 12)

    cleaned = Upscale(factor=1).run(ctx, picture, model)

    assert cleaned != picture
    assert cleaned.pixels.resize((60, 36), Image.Resampling.LANCZOS).tobytes() == (
        Upscale(factor=3).run(ctx, picture, model).data
    )


def test_grey_becomes_colour_and_alpha_goes_through_the_filter(tmp_path: Path, ctx: Any, fresh: Any) -> None:
    model, grey, clear = handle(COMPACT_X4, tmp_path, ctx), photo(16, 16, "L"), photo(16, 16, "RGBA")
    colours = Picture(clear.pixels.convert("RGB"))

    assert Upscale().run(ctx, grey, model) == Upscale().run(ctx, Picture(grey.pixels.convert("RGB")), model)
    made = Upscale().run(ctx, clear, model).pixels
    assert Upscale().run(ctx, colours, model).data == made.convert("RGB").tobytes()
    assert clear.pixels.getchannel("A").resize((64, 64), Image.Resampling.LANCZOS).tobytes() == (
        made.getchannel("A").tobytes()
    )


def test_large_pictures_are_done_in_tiles_and_every_tile_is_told(tmp_path: Path, ctx: Any, fresh: Any) -> None:
    model = handle(Compact(features=2, convolutions=0, scale=1), tmp_path, ctx)

    Upscale(factor=1).run(ctx, photo(600, 500), model)
    assert [(1, 2), (2, 2)] == ctx.steps
    ctx.steps.clear()
    Upscale(factor=1).run(ctx, photo(512, 512), model)
    assert [(1, 1)] == ctx.steps


def test_a_picture_too_large_on_the_way_is_refused_before_the_weights_are_read(
    tmp_path: Path, ctx: Any, fresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = handle(Compact(features=2, convolutions=0, scale=8), tmp_path, ctx)

    with pytest.raises(StepError, match=r"what the net makes of the picture would be 12,800x12,800") as caught:
        Upscale(factor=1).run(ctx, Picture(Image.new("RGB", (1600, 1600))), model)
    assert "a net that enlarges less" in caught.value.hint

    monkeypatch.setattr(room, "total_bytes", lambda device: 1 << 20)
    with pytest.raises(OutOfMemory, match=r"a tile of 528 x 528 pixels takes at least .* 1\.0 MiB in all"):
        Upscale(factor=1).run(ctx, Picture(Image.new("RGB", (1000, 1000))), model)
    assert 0 == fresh.loads


def test_values_that_are_no_numbers_are_no_black_picture(tmp_path: Path, ctx: Any, fresh: Any) -> None:
    state = gentle(COMPACT_X4)
    state["body.0.bias"][:] = float("nan")
    saved(state, tmp_path)
    model = LoadUpscaler(path=UpscalerFile.find("net.safetensors", tmp_path)).run(ctx)

    with pytest.raises(StepError, match="the upscaler gave values that are no numbers"):
        Upscale().run(ctx, photo(8, 8), model)


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(100, 32, 8), (100, 100, 8), (7, 32, 8), (33, 32, 16), (96, 32, 0)]
)
def test_windows_cover_a_side_once_and_share_enough(length: int, tile: int, overlap: int) -> None:
    cover = windows(length, tile, overlap)

    assert list(range(length)) == [at for window in cover for at in range(length)[window.keep]]
    assert {min(tile, length)} == {window.stop - window.start for window in cover}
    for before, after in pairwise(cover):
        assert overlap <= before.stop - after.start
        assert after.keep.start - after.start >= overlap // 2 <= before.stop - before.keep.stop


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net"])
def test_what_torch_saved_is_read_whatever_its_suffix(zipped: bool, name: str, tmp_path: Path) -> None:
    averaged, last = weights(ESRGAN_X4, 1), weights(ESRGAN_X4, 2)
    nested = {"params": last, "params_ema": averaged, "epoch": 7}
    torch.save(nested, tmp_path / name, _use_new_zipfile_serialization=zipped)
    small = torch.rand(1, 3, 8, 8)

    found = UpscalerFile.find(name, tmp_path)

    torch.testing.assert_close(esrgan(averaged, small), load_upscaler(found.path, torch.float32)(small))


def test_weights_that_lie_pixel_by_pixel_are_read_in_their_own_order(tmp_path: Path) -> None:
    state = weights(COMPACT_X4)
    lying = {name: _lying(weight) for name, weight in state.items()}
    torch.save(lying, tmp_path / "net.pth")
    small = torch.rand(1, 3, 8, 8)

    torch.testing.assert_close(compact(state, small), load_upscaler(tmp_path / "net.pth", torch.float32)(small))


def _lying(weight: torch.Tensor) -> torch.Tensor:
    return weight.to(memory_format=torch.channels_last) if weight.dim() == 4 else weight


@pytest.mark.parametrize("name", ["body/0/rdb1/conv1/weight", "rdb", "x" * 3_000])
def test_a_weight_with_an_odd_name_is_named_in_few_words(name: str, tmp_path: Path) -> None:
    path = saved(weights(ESRGAN_X4) | {name: torch.zeros(1)}, tmp_path)

    with pytest.raises(MissingError) as caught:
        UpscalerFile.find(str(path), tmp_path)

    assert name[:100] in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(("width", "height"), [(200, 64), (61, 160), (160, 62), (64, 64), (1, 200)])
def test_a_side_as_short_as_tiles_overlap_is_enlarged(
    width: int, height: int, tmp_path: Path, ctx: Any, fresh: Any
) -> None:
    far = Esrgan(features=2, growth=2, blocks=3, doublings=1, folded=1)
    large = Upscale(factor=2).run(ctx, photo(width, height), handle(far, tmp_path, ctx))

    assert (2 * width, 2 * height) == (large.width, large.height)
