"""The training loop that every stage shares: processes in step, moving average, checkpoints, resuming.

Each worker process computes gradients on its own samples; one all-reduce a step averages them, so that all
workers hold the same weights. Chance depends on (seed, step, worker) alone: a run that was interrupted and
resumed draws the same samples as one that was not.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

_SAVE_SECONDS = 120.0
_LOG_STEPS = 100


class Lesson(Protocol):
    """What a stage teaches: the weights it trains and the loss of one batch."""

    student: nn.Module

    def loss(self, rng: np.random.Generator, progress: float) -> Tensor:
        """Compute the mean loss of one worker's batch; `progress` runs from 0 to 1 over the stage."""
        ...


@dataclass(frozen=True)
class Course:
    """How a stage is trained."""

    name: str
    steps: int
    rate: float
    """Highest learning rate; warmed up over 100 steps, kept, and let down over the last part."""
    cooldown: float = 0.3
    """Share of the steps over which the rate falls to zero."""
    decay: float = 0.998
    """Of the moving average whose weights the stage hands on."""
    weight_decay: float = 1e-2
    workers: int = 2
    seed: int = 0


def train(make: Callable[[], Lesson], course: Course, folder: Path) -> dict[str, Tensor]:
    """Train to the last step, from the newest checkpoint if there is one; return the averaged weights."""
    path = folder / f"{course.name}.pt"
    if _steps_done(path) < course.steps:
        folder.mkdir(parents=True, exist_ok=True)
        mp.spawn(_work, (make, course, path, _free_port()), course.workers, join=True)
    return averaged(path)


def averaged(path: Path) -> dict[str, Tensor]:
    """Read the moving average out of a checkpoint."""
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)["average"]
    return weights


def _steps_done(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["step"]) if path.exists() else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _work(rank: int, make: Callable[[], Lesson], course: Course, path: Path, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=course.workers)
    torch.manual_seed(course.seed)
    _Run(make(), course, path, rank).to_the_end()
    dist.destroy_process_group()


class _Run:
    """One worker's state: weights, average, optimizer, step."""

    def __init__(self, lesson: Lesson, course: Course, path: Path, rank: int) -> None:
        self.lesson, self.course, self.path, self.rank = lesson, course, path, rank
        self.weights = [p for p in lesson.student.parameters() if p.requires_grad]
        self.average = {k: v.detach().clone() for k, v in lesson.student.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.weights, course.rate, (0.9, 0.99), weight_decay=course.weight_decay, foreach=True
        )
        self.step, self.seconds, self.saved = 0, 0.0, time.monotonic()
        if path.exists():
            self._resume(torch.load(path, weights_only=True))

    def to_the_end(self) -> None:
        losses: list[float] = []
        clock = time.process_time()
        while self.step < self.course.steps:
            losses.append(self._one_step())
            if self.rank == 0 and self.step % _LOG_STEPS == 0:
                self._log(float(np.mean(losses)))
                losses.clear()
            if self.rank == 0 and time.monotonic() - self.saved > _SAVE_SECONDS:
                self.seconds, clock = self.seconds + time.process_time() - clock, time.process_time()
                self._save()
        self.seconds += time.process_time() - clock
        if self.rank == 0:
            self._save()

    def _one_step(self) -> float:
        course = self.course
        chance = np.random.default_rng((course.seed, self.step, self.rank))
        torch.manual_seed(int(chance.integers(2**31)))
        for group in self.optimizer.param_groups:
            group["lr"] = course.rate * _rate_factor(self.step, course)
        loss = self.lesson.loss(chance, self.step / course.steps)
        loss.backward()
        _average_gradients(self.weights)
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._follow()
        return float(loss.item())

    def _follow(self) -> None:
        """Move the average; early on it follows faster, so that it does not remember the start."""
        decay = min(self.course.decay, (1 + self.step) / (10 + self.step))
        now = self.lesson.student.state_dict()
        torch._foreach_lerp_([*self.average.values()], [*now.values()], 1 - decay)

    def _log(self, loss: float) -> None:
        line = {"step": self.step, "loss": round(loss, 5), "at": time.strftime("%H:%M:%S")}
        with self.path.with_suffix(".jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "student": self.lesson.student.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        beside = self.path.with_suffix(".part")
        torch.save(state, beside)
        beside.replace(self.path)
        self.saved = time.monotonic()

    def _resume(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.lesson.student.load_state_dict(state["student"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])


def _rate_factor(step: int, course: Course) -> float:
    left = (course.steps - step) / (course.cooldown * course.steps)
    return min(1.0, (step + 1) / 100, left)


def _average_gradients(weights: list[nn.Parameter]) -> None:
    if dist.get_world_size() == 1:
        return
    grads = [w.grad if w.grad is not None else torch.zeros_like(w) for w in weights]
    flat = torch.cat([g.reshape(-1) for g in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
        weight.grad = part.view_as(weight)
