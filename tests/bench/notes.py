"""Files of note ids for benchmarks."""

from __future__ import annotations

import random
from pathlib import Path


def write_ids(path: Path, many: int) -> Path:
    """A file of random note ids, the same for the same number."""
    rng = random.Random(many)
    path.write_text("".join(f"{rng.getrandbits(96):024x}\n" for _ in range(many)))
    return path
