"""Look at a picture with a safety checker, and hide it where it must not be seen."""

from __future__ import annotations

import torch
from PIL import Image, ImageFilter

from graph.errors import StepError
from graph.node import Context
from graph.values import ModelHandle, Picture
from nodes.sd.residency import weights
from nodes.sd.safety import COMPONENT
from nodes.sd.safety_net import prepared

_CARE = 0.01
"""By how much all concepts come nearer once a picture asks for special care."""
_COARSE = 16
"""A blurred picture keeps no detail smaller than this part of its longer side."""


def found(picture: Picture, digest: str, ctx: Context) -> dict[str, float]:
    """Look at a picture: by name ("concept 4"), what is over its limit, and by how much, to three places.

    The names of the concepts were never published.
    """
    with weights.use(ModelHandle(digest, COMPONENT, "clip"), ctx) as net, torch.no_grad():
        looked = prepared(picture, net.side).to(ctx.device, net.visual_projection.weight.dtype)
        concepts, cares = (part.cpu().numpy() for part in net(looked))
    careful = any(round(care, 3) > 0 for care in cares)
    scores = [round(score + (_CARE if careful else 0.0), 3) for score in concepts]
    return {f"concept {number}": float(score) for number, score in enumerate(scores) if score > 0}


def hidden(picture: Picture, action: str, why: str) -> Picture:
    """Blur or blacken a picture, or leave it ("flag"); alpha stays. Raises StepError ("fail")."""
    if action == "fail":
        raise StepError(
            f"the safety check flags this picture: {why}",
            hint="Another seed or prompt gives another picture; action says what else becomes of such pictures.",
        )
    if action == "flag":
        return picture
    plain = picture.pixels.convert("RGB")
    radius = max(plain.size) / _COARSE
    covered = (
        plain.filter(ImageFilter.GaussianBlur(radius)) if action == "blur" else Image.new("RGB", plain.size)
    ).convert(picture.mode)
    if picture.mode == "RGBA":
        covered.putalpha(picture.pixels.getchannel("A"))
    return Picture(covered)
