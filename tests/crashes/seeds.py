"""The seeds that are played: so many stories to a test."""

from __future__ import annotations

import pytest


def seeds_of(metafunc: pytest.Metafunc, at_once: int, share: int = 1, least: int = 0) -> None:
    """Have a test of `seeds` called with so many at once.

    Of as many as are asked for, one in `share` is played, but no fewer than the least.
    """
    if "seeds" not in metafunc.fixturenames:
        return
    one: int | None = metafunc.config.getoption("seed")
    first: int = metafunc.config.getoption("first_seed")
    many: int = max(least, metafunc.config.getoption("seeds") // share)
    seeds = range(first, first + many) if one is None else range(one, one + 1)
    parts = [seeds[n : n + at_once] for n in range(0, len(seeds), at_once)]
    metafunc.parametrize("seeds", parts, ids=[f"{part[0]}-{part[-1]}" for part in parts])
