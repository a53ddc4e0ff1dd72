"""Load all of a checkpoint as a run does: check it, then each network through residency.

python -m benchmarks.load_graph FILE fp32|bf16|fp16
"""

from __future__ import annotations

import atexit
import gc
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

start = time.perf_counter()

from graph.pace import over_many_objects  # noqa: E402 - the libraries are loaded within the time
from graph.values import ModelHandle  # noqa: E402
from nodes.sd.files import ModelFile  # noqa: E402


@over_many_objects
def load(path: Path, precision: str) -> None:
    """As a step of a run: torch is imported here as well."""
    family = ModelFile.find(str(path), path.parent).family
    from nodes.sd.residency import weights

    facts: dict[str, Any] = {"device": "cpu", "precision": precision, "saving": ""}
    ctx: Any = SimpleNamespace(**facts, locate=lambda digest: path, warn=print)
    with ExitStack() as held:
        for component in ("unet", "vae", "text_encoder"):
            module = held.enter_context(weights.use(ModelHandle("", component, family), ctx))
            sum(int(weight.view(-1)[::1024].isnan().sum()) for weight in module.parameters())  # every page of it


atexit.register(gc.freeze)  # as `runner.main`
load(Path(sys.argv[1]), sys.argv[2])
print(time.perf_counter() - start)
