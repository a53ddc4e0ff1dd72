"""Ages as people write them, and how long a result lasts by them."""

from __future__ import annotations

import math
import re
import time
from functools import lru_cache

ALWAYS, NEVER = "always", "never"
"""Look at the world again at every run; once computed, a result stays."""
TAKES = "always, never or an age such as 30min, 1h, 2d"
_SPANS = {"min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds(text: str) -> float:
    """Read an age ("30d", "12h", "2 w", "45min"). Raises ValueError."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]+)", text.strip(), re.ASCII)
    if not found or found[2] not in _SPANS:
        raise ValueError(f'"{text}" is no age')
    return float(found[1]) * _SPANS[found[2]]


@lru_cache
def lasts(fresh: str) -> float:
    """For how many seconds a result may be used that is to be as fresh as this. Raises ValueError."""
    if fresh == NEVER:
        return math.inf
    return 0.0 if fresh == ALWAYS else seconds(fresh)


def is_fresh(fresh: str, made: float) -> bool:
    """Whether a result may be used that was made at a time (seconds since 1970), and is to be as fresh as this."""
    return fresh == NEVER or 0 <= time.time() - made < lasts(fresh)
