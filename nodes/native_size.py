"""native_size: the size of picture that a model was trained at."""

from __future__ import annotations

from typing import NamedTuple

from graph.node import Context, Node
from graph.values import Denoiser


class Size(NamedTuple):
    width: int
    height: int


class NativeSize(Node, kind="native_size", version=1):
    """Tell the size of picture that a model was trained at, pixels: 512 for Stable Diffusion 1, 1024 for XL.

    Other sizes work, but far smaller ones are shapeless, and far larger ones repeat their subject.
    """

    def run(self, ctx: Context, model: Denoiser) -> Size:
        from nodes.sd import families
        from nodes.sd.models import opened

        family, described = families.named(model.family), opened(ctx.locate(model.digest), model.prediction)
        _, rows, columns = family.latent_shape(described, None, None)
        factor = family.factor(described)
        return Size(columns * factor, rows * factor)
