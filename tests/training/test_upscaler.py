"""The net that enlarges: what training writes, Darkroom computes alike; and the shipped one beats the filter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from nodes.sd.super_resolution import TINY, Compact, UpscalerFile, described
from nodes.sd.upscalers import load_upscaler
from training import upscaler
from training.drawing import draw_figures
from training.pictures import COUNT, scene_of


@pytest.fixture(scope="module")
def shipped() -> Path:
    return UpscalerFile.find(TINY, Path()).path


def test_an_untrained_net_is_the_bilinear_filter() -> None:
    small = torch.rand(1, 3, 9, 9)
    bilinear = torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear")

    torch.testing.assert_close(bilinear[..., 4:-4, 4:-4], upscaler.Compact()(small)[..., 4:-4, 4:-4])


def test_what_training_writes_is_what_darkroom_reads(shipped: Path, tmp_path: Path) -> None:
    net = upscaler.Compact()
    net.load_state_dict({name: weight.float() for name, weight in load_file(shipped).items()})
    small = torch.rand(1, 3, 9, 9)
    save_file(net.state_dict(), tmp_path / "net.safetensors")

    assert Compact(upscaler.FEATURES, upscaler.CONVOLUTIONS, upscaler.SCALE) == described(shipped).net
    torch.testing.assert_close(net(small), load_upscaler(tmp_path / "net.safetensors", torch.float32)(small))


def test_the_shipped_net_is_nearer_to_unseen_pictures_than_lanczos(shipped: Path) -> None:
    net, gains = load_upscaler(shipped, torch.float32), []
    for number in [n for n in range(COUNT + 20_000, COUNT + 20_100) if scene_of(n).words["kind"] != "landscape"][:6]:
        large = draw_figures(scene_of(number), 4)
        small = Image.fromarray(large).reduce(4)
        made = upscaler.enlarge(net, np.asarray(small))
        filtered = np.asarray(small.resize((512, 512), Image.Resampling.LANCZOS))
        gains.append(_error(filtered, large) / _error(made, large))

    assert 1.5 < float(np.median(gains))


def _error(made: upscaler.Pixels, wanted: upscaler.Pixels) -> float:
    return float(np.square(made.astype(float) - wanted).mean())
