"""Textual inversion: the bits of diffusers' load_textual_inversion, and nobody else's encoder changed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

import darkroom
from graph.codec import encode
from graph.errors import MissingError, StepError
from graph.values import TextEncoder
from graph.workflow import parse
from nodes.load_model import LoadModel
from nodes.sd.embedding_files import EmbeddingFile
from nodes.sd.files import ModelFile
from nodes.sd.residency import Weights, weights
from nodes.sd.tensors import thaw
from nodes.text_encode import TextEncode
from nodes.textual_inversion import TextualInversion
from tests.nodes.sd import test_sdxl

base = test_sdxl.base
WIDTH = 32


@pytest.fixture
def handle(whole: Any, ctx: Any) -> TextEncoder:
    return LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx).text_encoder


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def written(path: Path, layout: str, tensor: torch.Tensor) -> Path:
    """A file as a program writes it."""
    if layout == "web ui":
        param = {"string_to_token": {"*": 265}, "string_to_param": {"*": tensor}, "name": "x", "step": 10}
        torch.save(param, path.with_suffix(".pt"))
        return path.with_suffix(".pt")
    if layout == "the first program":
        param = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": tensor})}
        torch.save(param, path.with_suffix(".pt"))
        return path.with_suffix(".pt")
    if layout == "diffusers, pickled":
        torch.save({"<cat-toy>": tensor}, path.with_suffix(".bin"))
        return path.with_suffix(".bin")
    save_file(
        {{"diffusers": "<cat-toy>", "web ui, safe": "emb_params"}[layout]: tensor}, path.with_suffix(".safetensors")
    )
    return path.with_suffix(".safetensors")


def added(ctx: Any, handle: TextEncoder, path: Path, token: str = "") -> TextEncoder:
    return TextualInversion(path=EmbeddingFile.find(str(path), path.parent), token=token).run(ctx, handle)


def encoded(ctx: Any, handle: TextEncoder, text: str, **params: Any) -> torch.Tensor:
    return thaw(TextEncode(text=text, **params).run(ctx, handle).embeddings)


def pipelines(whole: Any, *loads: tuple[dict[str, torch.Tensor], str]) -> Any:
    pipe = StableDiffusionPipeline(
        whole.vae, copy.deepcopy(whole.text_encoder), copy.deepcopy(whole.tokenizer), whole.unet, whole.scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    for state, token in loads:
        pipe.load_textual_inversion(state, token=token)
    return lambda text: pipe.encode_prompt(text, "cpu", 1, do_classifier_free_guidance=False)[0]


@pytest.mark.parametrize("layout", ["web ui", "the first program", "web ui, safe", "diffusers", "diffusers, pickled"])
@pytest.mark.parametrize("shape", [(WIDTH,), (1, WIDTH), (3, WIDTH)], ids=str)
def test_a_prompt_with_an_embedding_is_that_of_diffusers(
    layout: str, shape: tuple[int, ...], whole: Any, handle: TextEncoder, ctx: Any, tmp_path: Path
) -> None:
    tensor = vectors(*shape)
    expected = pipelines(whole, ({"x": tensor.reshape(shape)}, "toy"))("a toy and a cat")
    patched = added(ctx, handle, written(tmp_path / "toy", layout, tensor))

    assert torch.equal(expected, encoded(ctx, patched, "a toy and a cat"))


def test_several_embeddings_are_those_of_diffusers(whole: Any, handle: TextEncoder, ctx: Any, tmp_path: Path) -> None:
    one, two = vectors(2, WIDTH), vectors(1, WIDTH, seed=1)
    expected = pipelines(whole, ({"x": one}, "toy"), ({"x": two}, "style"))("style, a toy")
    patched = added(ctx, handle, written(tmp_path / "toy", "diffusers", one))
    patched = added(ctx, patched, written(tmp_path / "b", "web ui", two), token="style")

    assert torch.equal(expected, encoded(ctx, patched, "style, a toy"))


@pytest.mark.parametrize("name", ["toy-2", "<toy-2>", "embedding:toy-2", "embedding:toy-2.pt", "TOY-2"])
def test_every_way_to_name_an_embedding_is_understood(name: str, handle: TextEncoder, ctx: Any, tmp_path: Path) -> None:
    patched = added(ctx, handle, written(tmp_path / "toy-2", "diffusers", vectors(1, WIDTH)))
    # A name may begin with another.
    patched = added(ctx, patched, written(tmp_path / "toy", "diffusers", vectors(1, WIDTH, seed=1)))

    assert torch.equal(encoded(ctx, patched, "a toy-2 dog"), encoded(ctx, patched, f"a {name} dog"))
    assert not torch.equal(encoded(ctx, patched, "a toy dog"), encoded(ctx, patched, f"a {name} dog"))


@pytest.mark.parametrize("text", ["toys", "a_toy", "atoy", "toymaker", "the dog"])
def test_a_part_of_a_word_names_nothing(text: str, handle: TextEncoder, ctx: Any, tmp_path: Path) -> None:
    patched = added(ctx, handle, written(tmp_path / "toy", "diffusers", vectors(1, WIDTH)))

    assert torch.equal(encoded(ctx, handle, text), encoded(ctx, patched, text))


def test_the_given_encoder_keeps_its_bits_and_both_share_weights(
    handle: TextEncoder, ctx: Any, tmp_path: Path, fresh: Any
) -> None:
    patched = added(ctx, handle, written(tmp_path / "toy", "diffusers", vectors(1, WIDTH)))

    with_toy = encoded(ctx, patched, "a toy", clip_skip=1)
    after = encoded(ctx, handle, "a toy", clip_skip=1)
    assert 1 == weights.loads
    weights.release(patched)

    assert torch.equal(after, encoded(ctx, handle, "a toy", clip_skip=1))
    assert not torch.equal(after, with_toy)
    assert 2 == weights.loads


def test_vectors_weigh_and_wrap_like_words(whole: Any, handle: TextEncoder, ctx: Any, tmp_path: Path) -> None:
    patched = added(ctx, handle, written(tmp_path / "toy", "diffusers", vectors(3, WIDTH)))

    assert torch.equal(encoded(ctx, patched, "toy"), encoded(ctx, patched, "(toy:1.0)"))
    assert not torch.equal(encoded(ctx, patched, "toy cat"), encoded(ctx, patched, "(toy:1.5) cat"))
    # 73 words and three vectors that stay together are two chunks.
    split = encoded(ctx, patched, "cat " * 73 + "toy")
    assert torch.equal(encoded(ctx, patched, "toy"), split[:, 77:])


def test_an_embedding_for_two_encoders_is_read_by_both(base: Any, ctx: Any, tmp_path: Path) -> None:
    handle = LoadModel(path=ModelFile.find(str(base.folder), base.folder)).run(ctx).text_encoder
    tensors = {"clip_l": vectors(2, 24), "clip_g": vectors(2, 40)}
    save_file(tensors, tmp_path / "toy.safetensors")
    pipe = copy.copy(base)
    for end, label in (("", "clip_l"), ("_2", "clip_g")):
        encoder, tokenizer = (copy.deepcopy(getattr(base, kind + end)) for kind in ("text_encoder", "tokenizer"))
        setattr(pipe, "text_encoder" + end, encoder)
        setattr(pipe, "tokenizer" + end, tokenizer)
        pipe.load_textual_inversion({"x": tensors[label]}, token="toy", text_encoder=encoder, tokenizer=tokenizer)
    expected, _, pooled, _ = pipe.encode_prompt("a toy and a cat", device="cpu", do_classifier_free_guidance=False)

    result = TextEncode(text="a toy and a cat").run(ctx, added(ctx, handle, tmp_path / "toy.safetensors"))

    assert torch.equal(expected, thaw(result.embeddings))
    assert result.pooled is not None
    assert torch.equal(pooled, thaw(result.pooled))


def test_vectors_of_another_width_are_refused_naming_both(handle: TextEncoder, ctx: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "toy", "diffusers", vectors(1, 1024))

    with pytest.raises(StepError, match=r'has vectors 1024 wide, but the text encoder of family "sd1" takes 32'):
        added(ctx, handle, path)
    assert {"network": "sd2"} == EmbeddingFile.find(str(path), tmp_path).traits()


def test_an_embedding_for_two_encoders_is_not_for_one(handle: TextEncoder, ctx: Any, tmp_path: Path) -> None:
    save_file({"clip_l": vectors(1, 768), "clip_g": vectors(1, 1280)}, tmp_path / "toy.safetensors")

    with pytest.raises(StepError, match=r"768 and 1280 wide, but .* takes 32"):
        added(ctx, handle, tmp_path / "toy.safetensors")


def test_a_word_that_is_taken_is_refused(handle: TextEncoder, ctx: Any, tmp_path: Path) -> None:
    patched = added(ctx, handle, written(tmp_path / "toy", "diffusers", vectors(1, WIDTH)))

    with pytest.raises(StepError, match='"Toy" is taken by another embedding'):
        added(ctx, patched, written(tmp_path / "b", "diffusers", vectors(1, WIDTH)), token="<Toy>")


def test_the_word_of_a_file_is_its_name_or_stands_in_it(handle: TextEncoder, ctx: Any, tmp_path: Path) -> None:
    def word(name: str) -> str:
        path = written(tmp_path / name, "diffusers", vectors(1, WIDTH))
        said: str = json.loads(added(ctx, handle, path).embeddings[0])["word"]
        return said

    assert "style" == word("style")
    assert "cat-toy" == word("learned_embeds")


def test_a_renamed_file_is_another_content(ctx: Any, tmp_path: Path) -> None:
    paths = [written(tmp_path / name, "diffusers", vectors(1, WIDTH)) for name in ("one", "two")]
    one, two = (ctx.digest(EmbeddingFile.find(str(path), tmp_path)) for path in paths)

    assert one != two


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"a": vectors(1, 4), "b": vectors(1, 4)},
        {"emb_params": vectors(76, 4)},
        {"emb_params": vectors(1, 1, 4)},
        {"emb_params": torch.zeros(1, 4, dtype=torch.int64)},
        {"emb_params": vectors(0, 4)},
        {"clip_l": vectors(1, 4), "clip_g": vectors(2, 2, 4)},
    ],
    ids=str,
)
def test_another_file_is_refused_with_what_it_holds(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "toy.safetensors")

    with pytest.raises(MissingError, match=r'"toy\.safetensors" is no textual inversion: it holds') as caught:
        EmbeddingFile.find("toy", tmp_path)
    assert "A textual inversion holds 1 to 75 vectors." == caught.value.hint


def test_a_handle_without_embeddings_has_the_bytes_of_before(handle: TextEncoder) -> None:
    assert b"embeddings" not in encode(handle).data


IN_TURNS = """\
darkroom: 1
nodes:
  model:  {use: load_model, path: MODEL}
  taught: {use: textual_inversion, text_encoder: $model.text_encoder, path: TAUGHT, token: cat-toy}
  cat: {use: text_encode, text_encoder: $FIRST, text: a cat}
  dog: {use: text_encode, text_encoder: $SECOND, text: a dog, after: [$cat]}
outputs: {dog: $dog}
"""


@pytest.mark.parametrize(("first", "second"), [("taught", "model.text_encoder"), ("model.text_encoder", "taught")])
def test_weights_are_read_once_for_encoders_that_differ_in_their_embeddings(
    first: str, second: str, whole: Any, fresh: Weights, tmp_path: Path
) -> None:
    path = written(tmp_path / "x", "diffusers", vectors(WIDTH))
    text = IN_TURNS.replace("MODEL", str(whole.folder)).replace("TAUGHT", str(path))
    text = text.replace("FIRST", first).replace("SECOND", second)
    result = darkroom.run(parse(text.encode(), "a.yaml", tmp_path), cache=tmp_path / "cache", device="cpu")

    assert "run" == result.actions["cat"] == result.actions["dog"]
    assert 1 == fresh.loads
    assert [] == list(fresh._held)


def test_a_number_is_no_embedding(tmp_path: Path) -> None:
    save_file({"emb_params": torch.tensor(1.0)}, tmp_path / "number.safetensors")

    with pytest.raises(MissingError, match="no textual inversion"):
        EmbeddingFile.find("number", tmp_path)
