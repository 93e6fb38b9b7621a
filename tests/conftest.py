"""Options of the whole suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("crash simulation (tests/crashes)")
    group.addoption("--seed", type=int, help="Play the story of one seed, and tell it.")
    group.addoption("--seeds", type=int, default=2000, help="Play so many stories.")
    group.addoption("--first-seed", type=int, default=0, help="The first of them.")
