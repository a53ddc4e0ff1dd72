"""Write a picture into the output folder."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import field_validator

from graph.credentials import Certificate, signed
from graph.errors import StepError
from graph.node import Context, Field, Node
from graph.outputs import check_pattern
from graph.values import Picture, SavedFile

Format = Literal["png", "jpeg", "webp"]


class SaveImage(
    Node, kind="save_image", version=1,
    elsewhere={"SaveImage": "save_image", "images": "image", "filename_prefix": "path"},
):  # fmt: skip
    """Write a picture as PNG, JPEG or WEBP, never over another file.

    path: below the output folder; {name} (of the workflow), {node}, {seed} and {n} are filled in, where {n} is
    the first number that is free; {n:05} writes five digits. Without {n}, a taken name gets -2, -3 ...

    certificate: a file that `darkroom c2pa certificate` made, or that an authority gave: the picture's file is signed
    with it as Content Credentials (C2PA), which needs the extra darkroom[c2pa]. See docs/c2pa.md.

    Raises StepError where the file cannot be written, or would lie outside the output folder.
    """

    path: str = Field(default="{name}-{n:05}.png", min_length=1, description="the file's name, or its pattern")
    format: Format | None = Field(default=None, description="the path's suffix tells it unless set")
    quality: int = Field(default=95, ge=1, le=100, description="of JPEG and WEBP; 100 makes WEBP lossless")
    certificate: Certificate | None = Field(default=None, description="sign with this PEM file of key and certificate")
    origin: Literal["generated", "edited"] = Field(
        default="generated", description="what the signature says: made by a model, or a picture changed by one"
    )

    @field_validator("path")
    @classmethod
    def _can_be_written(cls, path: str) -> str:
        try:
            check_pattern(path)
        except StepError as error:
            raise ValueError(str(error)) from error
        return path

    def run(self, ctx: Context, image: Picture) -> SavedFile:
        seal = None
        if self.certificate:
            seal = partial(signed, certificate=self.certificate.path, edited=self.origin == "edited")
        return ctx.save(image, self.path, format=self.format or "", quality=self.quality, seal=seal)
