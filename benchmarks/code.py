"""What it costs a plan to know the code of its nodes, in a process of its own.

python -m benchmarks.code CACHE_FOLDER [WORKFLOW]     prints one JSON object; the second time, all is remembered
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

TXT2IMG = Path(__file__).parents[1] / "workflows" / "txt2img.yaml"


def measure(folder: Path, workflow: Path = TXT2IMG) -> dict[str, Any]:
    """Look at the code of the kinds that a workflow uses, remembered in a cache in a folder."""
    import darkroom
    from graph.cache import open_cache
    from graph.code import Codes, source_paths

    warnings: list[str] = []
    nodes = {step.node for step in darkroom.check(darkroom.load(workflow)).steps.values()}
    cache, codes = open_cache(folder, warnings.append), Codes()
    begun = time.process_time(), time.perf_counter()
    for node in nodes:
        codes.of(node, cache)
    cpu, wall = time.process_time() - begun[0], time.perf_counter() - begun[1]
    paths = source_paths(nodes, codes, cache)
    cache.close()
    return {"kinds": len(nodes), "paths": len(paths), "cpu": cpu, "wall": wall, "warnings": warnings}


if __name__ == "__main__":
    print(json.dumps(measure(*map(Path, sys.argv[1:]))))
