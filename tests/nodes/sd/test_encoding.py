"""What text_encode makes of weights, long prompts and mixes, against the rules written out anew, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from graph.codec import encode
from graph.errors import StepError
from graph.values import Conditioning, Latents
from nodes.load_model import LoadModel, Parts
from nodes.noise import Noise
from nodes.sampler import Sampler
from nodes.sd.files import ModelFile
from nodes.sd.tensors import freeze, thaw
from nodes.text_encode import TextEncode
from tests.nodes.sd import test_sdxl

LONG = "cat dog " * 60
base = test_sdxl.base


@pytest.fixture
def parts(whole: Any, ctx: Any) -> Parts:
    return LoadModel(path=ModelFile.find(str(whole.folder), whole.folder)).run(ctx)


class Rules:
    """The web UI's rules, for token lists that a test writes by hand."""

    def __init__(self, whole: Any, clip_skip: int = 0) -> None:
        self.tokenizer, self.encoder, self.skip = whole.tokenizer, whole.text_encoder, clip_skip

    def ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, verbose=False).input_ids[1:-1]
        return ids

    def chunk(self, *words: tuple[str, float]) -> torch.Tensor:
        ids, weights = [self.tokenizer.bos_token_id], [1.0]
        for text, weight in words:
            ids += self.ids(text)
            weights += [weight] * len(self.ids(text))
        ids += [self.tokenizer.eos_token_id] * (77 - len(ids))
        weights += [1.0] * (77 - len(weights))
        states = self.encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states[3 - self.skip]
        states = self.encoder.final_layer_norm(states)
        heavier = states * torch.tensor(weights).reshape(1, 77, 1)
        return heavier * (states.mean() / heavier.mean())


def encoded(parts: Parts, ctx: Any, **params: Any) -> torch.Tensor:
    return thaw(TextEncode(**params).run(ctx, parts.text_encoder).embeddings)


@pytest.mark.parametrize("clip_skip", [0, 1, 2])
@pytest.mark.parametrize("text", ["a cat", "", "a, b: 🐈 | c"])
def test_a_prompt_without_syntax_is_what_diffusers_makes_of_it(
    text: str, clip_skip: int, whole: Any, parts: Parts, ctx: Any
) -> None:
    ids = whole.tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    layers = whole.text_encoder(ids, output_hidden_states=True).hidden_states
    expected = whole.text_encoder.final_layer_norm(layers[3 - clip_skip])

    for syntax in ("a1111", "plain", "subprompts") if ":" not in text else ("a1111", "plain"):
        assert torch.equal(expected, encoded(parts, ctx, text=text, clip_skip=clip_skip, syntax=syntax))


@pytest.mark.parametrize("clip_skip", [0, 2])
def test_weights_multiply_states_and_keep_their_mean(clip_skip: int, whole: Any, parts: Parts, ctx: Any) -> None:
    rules = Rules(whole, clip_skip)
    expected = rules.chunk(("a", 1.0), ("cat", 1.3), ("and", 1.0), ("dog", 1.1 * 1.1), ("b", 1 / 1.1))

    assert torch.equal(expected, encoded(parts, ctx, text="a (cat:1.3) and ((dog)) [b]", clip_skip=clip_skip))


def test_a_long_prompt_is_its_chunks_one_after_another(whole: Any, parts: Parts, ctx: Any) -> None:
    rules = Rules(whole)
    words = LONG.split()
    expected = [rules.chunk((" ".join(words[:75]), 1.0)), rules.chunk((" ".join(words[75:]), 1.0))]

    for syntax in ("a1111", "plain"):
        assert torch.equal(torch.cat(expected, dim=1), encoded(parts, ctx, text=LONG, syntax=syntax))


@pytest.mark.parametrize(("after", "moved"), [(0, 0), (1, 1), (19, 19), (20, 0)])
def test_a_full_chunk_ends_behind_a_comma_that_is_near(
    after: int, moved: int, whole: Any, parts: Parts, ctx: Any
) -> None:
    rules = Rules(whole)
    before = "cat " * (74 - after) + ","
    first = before + " dog" * (after - moved)
    expected = [rules.chunk((first, 1.0)), rules.chunk(("dog " * (5 + moved), 1.0))]

    assert torch.equal(torch.cat(expected, dim=1), encoded(parts, ctx, text=before + " dog" * (after + 5)))


def test_a_break_begins_a_chunk(whole: Any, parts: Parts, ctx: Any) -> None:
    rules = Rules(whole)
    expected = torch.cat([rules.chunk(), rules.chunk(("cat", 1.0)), rules.chunk(("dog", 1.2))], dim=1)

    assert torch.equal(expected, encoded(parts, ctx, text="BREAK cat BREAK (dog:1.2) BREAK"))


def test_two_encoders_are_weighed_each_alone_and_pooled_is_the_first_chunk(base: Any, ctx: Any) -> None:
    handle = LoadModel(path=ModelFile.find(str(base.folder), base.folder)).run(ctx).text_encoder
    expected = []
    for encoder, tokenizer in ((base.text_encoder, base.tokenizer), (base.text_encoder_2, base.tokenizer_2)):
        chunks = []
        for words in (["cat"], ["dog"] * 2):
            marks = tokenizer(" ".join(words), padding="max_length", max_length=77, return_tensors="pt").input_ids
            chunks.append(encoder(marks, output_hidden_states=True).hidden_states[-2])
        heavier = chunks[1].clone()
        heavier[:, 2] *= 1.5
        expected.append(torch.cat([chunks[0], heavier * (chunks[1].mean() / heavier.mean())], dim=1))

    result = TextEncode(text="cat BREAK dog (dog:1.5)").run(ctx, handle)

    assert torch.equal(torch.cat(expected, dim=-1), thaw(result.embeddings))
    assert TextEncode(text="cat").run(ctx, handle).pooled == result.pooled
    assert result.filler == TextEncode(text="").run(ctx, handle).embeddings


def test_pooled_changes_with_its_prompt_by_step(base: Any, ctx: Any) -> None:
    handle = LoadModel(path=ModelFile.find(str(base.folder), base.folder)).run(ctx).text_encoder

    (later,) = TextEncode(text="a [cat:dog:3]").run(ctx, handle).variants

    assert TextEncode(text="a dog").run(ctx, handle) == later


def test_weights_that_are_all_0_leave_nothing(parts: Parts, ctx: Any) -> None:
    embeddings = encoded(parts, ctx, text="(cat:0)")

    assert 0 == embeddings[0, 1].abs().sum()
    assert bool(embeddings.isfinite().all())


def test_subprompts_are_added_by_their_shares(whole: Any, parts: Parts, ctx: Any) -> None:
    rules, shares = Rules(whole), (0.25, 0.75, 1)
    expected = torch.zeros(1, 77, 32)
    for word, share in zip(("cat", "dog", "b"), shares, strict=True):
        expected = torch.add(expected, rules.chunk((word, 1.0)), alpha=share / 2)

    assert torch.equal(expected, encoded(parts, ctx, text="cat:0.25 dog:0.75 b", syntax="subprompts"))


@pytest.mark.parametrize("swapped", [False, True], ids=["positive", "negative"])
def test_the_shorter_prompt_is_filled_with_empty_chunks(swapped: bool, whole: Any, parts: Parts, ctx: Any) -> None:
    def painted(one: Conditioning, other: Conditioning) -> Latents:
        noise = Noise(seed=1, width=64, height=64).run(ctx, parts.model)
        positive, negative = (other, one) if swapped else (one, other)
        return Sampler(steps=2).run(ctx, parts.model, positive, negative, noise)

    long, short, filled = (
        TextEncode(text=text).run(ctx, parts.text_encoder) for text in (LONG, "b", "b BREAK BREAK cat")
    )
    by_hand = torch.cat([Rules(whole).chunk(("b", 1.0)), Rules(whole).chunk()], dim=1)

    assert torch.equal(by_hand, thaw(filled.embeddings)[:, :154])
    assert encode(painted(long, short)) == encode(painted(long, cut(filled, 154)))


def cut(conditioning: Conditioning, tokens: int) -> Conditioning:
    return replace(conditioning, embeddings=freeze(thaw(conditioning.embeddings)[:, :tokens]))


def test_prompts_of_other_lengths_than_chunks_are_refused(parts: Parts, ctx: Any) -> None:
    prompt = TextEncode(text="a").run(ctx, parts.text_encoder)
    noise = Noise(width=64, height=64).run(ctx, parts.model)

    with pytest.raises(StepError, match="the prompts have 77 and 70 tokens, and do not go together"):
        Sampler(steps=1).run(ctx, parts.model, prompt, cut(prompt, 70), noise)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_a_prompt_changes_by_steps_however_often_a_method_looks(method: Any, parts: Parts, ctx: Any) -> None:
    noise = Noise(seed=1, width=64, height=64).run(ctx, parts.model)

    def painted(text: str) -> Latents:
        prompt = TextEncode(text=text).run(ctx, parts.text_encoder)
        return Sampler(method=method, steps=3).run(ctx, parts.model, prompt, prompt, noise)

    cat = painted("cat")
    assert painted("[cat:dog:0.7]") == painted("[cat:dog:2]") != cat
    assert painted("[cat:dog:3]") == cat
