"""Train the built-in model: `python -m training` runs all stages, `python -m training STAGE` one.

Work files, checkpoints among them, go to build/tiny (2.2 GB). A run that was stopped goes on where its last
checkpoint was, at most two minutes back; to begin anew, delete the folder. The model goes to nodes/sd/tiny.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from training import (
    heap,  # noqa: F401  # before torch allocates anything
    stages,
)
from training.judge import write_scores

WORK = Path("build/tiny")
MODEL = Path("nodes/sd/tiny")
STAGES: Mapping[str, Callable[[Path], None]] = {
    "vae": stages.train_vae,
    "text": stages.train_text,
    "latents": stages.write_latents,
    "denoiser": stages.train_denoiser,
    "decoder": stages.train_decoder,
    "export": partial(stages.write_model, folder=MODEL),
    "score": partial(write_scores, MODEL),
}


def main(names: list[str]) -> None:
    """Run the named stages, or all; a finished stage is not repeated."""
    for name in names or STAGES:
        STAGES[name](WORK)


if __name__ == "__main__":
    main(sys.argv[1:])
