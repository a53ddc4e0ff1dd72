"""Sampling through the graph, and by a loop over the very same modules, in turns, in one process.

python -m benchmarks.bare MODEL ROUNDS STEPS     prints one JSON object
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from transformers import CLIPTokenizer

from benchmarks.processes import ROOT
from darkroom import Denoiser, FileRef, ModelHandle, Picture, Session, TextEncoder, Vae, Workflow, load, open_session
from graph.context import Alone
from graph.execute import execute
from graph.files import digest_of
from graph.workflow import set_values
from nodes.sd.residency import weights

WORKFLOW = ROOT / "workflows" / "txt2img.yaml"


@dataclass(frozen=True, slots=True)
class Graph:
    """The shipped workflow, run again and again with other seeds; the weights stay in memory."""

    session: Session
    workflow: Workflow
    steps: int

    def paint(self, seed: int) -> bytes:
        """Wire, plan and run it. The prompts are known; noise, sampler and decoder run."""
        graph = self.session.check(set_values(self.workflow, {"seed": seed, "steps": self.steps}))
        planned = self.session.plan(graph)
        world = replace(self.session.world, workflow=graph.workflow.name)
        results = execute(planned, self.session.cache, self.session.sink, world, keep_values=True, save=False)
        if results.failures:
            raise results.failures[0].error
        picture: Picture = results.outputs["picture"]
        return picture.data


@dataclass(frozen=True, slots=True)
class Loop:
    """What is left of it without a graph."""

    unet: Any
    vae: Any
    prompts: torch.Tensor
    scheduler: Any
    cfg: float
    steps: int

    @torch.inference_mode()
    def paint(self, seed: int) -> bytes:
        """Draw noise, denoise it step by step, decode it."""
        scheduler = DDIMScheduler.from_config(self.scheduler)
        scheduler.set_timesteps(self.steps)
        config = self.unet.config
        shape = (1, config.in_channels, config.sample_size, config.sample_size)
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scheduler.init_noise_sigma
        for moment in scheduler.timesteps:
            both = self.unet(torch.cat([latents] * 2), moment, encoder_hidden_states=self.prompts, return_dict=False)[0]
            without, with_prompt = both.chunk(2)
            guided = without + self.cfg * (with_prompt - without)
            latents = scheduler.step(guided, moment, latents, return_dict=False)[0]
        decoded = self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]
        unit = (decoded * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()[0]
        pixels: bytes = (unit * 255).round().astype(np.uint8).tobytes()
        return pixels


def compare(model: str, rounds: int, steps: int) -> dict[str, Any]:
    """CPU seconds of both, in turns, one thread; both must paint the same picture each time."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        session = open_session(cache="none", out=folder, device="cpu")
        graph = Graph(session, set_values(load(WORKFLOW), {"model": model}), steps)
        expected = graph.paint(0)  # this loads the weights
        loop = _loop(graph)
        if loop.paint(0) != expected:
            raise RuntimeError("the loop does not paint the picture that the graph paints")
        found: dict[str, list[float]] = {"graph": [], "loop": []}
        works: list[tuple[str, Callable[[int], bytes]]] = [("graph", graph.paint), ("loop", loop.paint)]
        for seed in range(1, rounds + 1):
            painted = set()
            for name, paint in works if seed % 2 else reversed(works):
                start = time.process_time()
                painted.add(paint(seed))
                found[name].append(time.process_time() - start)
            if len(painted) > 1:
                raise RuntimeError(f"graph and loop paint different pictures with seed {seed}")
    return found


def _loop(graph: Graph) -> Loop:
    """A loop over the modules that the graph has just run with."""
    workflow, session = graph.workflow, graph.session
    params = {name: param.value.value for name, param in workflow.params.items()}
    node: Any = session.check(workflow).steps["weights"].instance
    path: FileRef = node.path
    digest, family = digest_of(path, session.cache), node.path.family

    def module(handle: ModelHandle) -> Any:
        with weights.use(handle, Alone(print)) as found:
            return found

    unet = module(Denoiser(digest, "unet", family, "auto"))
    vae = module(Vae(digest, "vae", family, "auto"))
    encoder = module(TextEncoder(digest, "text_encoder", family, "auto"))
    tokenizer = CLIPTokenizer.from_pretrained(str(path.path / "tokenizer"), local_files_only=True)
    prompts = [_encoded(tokenizer, encoder, str(params[name])) for name in ("negative", "prompt")]
    scheduler = json.loads((Path(path.path) / "scheduler" / "scheduler_config.json").read_text())
    return Loop(unet, vae, torch.cat(prompts), scheduler, float(str(params["cfg"])), graph.steps)


@torch.inference_mode()
def _encoded(tokenizer: Any, encoder: Any, text: str) -> torch.Tensor:
    words = tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    hidden: torch.Tensor = encoder(words.input_ids)[0]
    return hidden


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
