"""The pinned versions are those that the program asks for, each with its hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PINS = (ROOT / "harvester" / "docs" / "constraints.txt").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINNED = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", PINS, re.MULTILINE))


@pytest.mark.parametrize("asked", PROJECT["dependencies"])
def test_what_the_program_needs_is_pinned_to_a_version_it_takes(asked: str) -> None:
    requirement = Requirement(asked)
    assert requirement.specifier.contains(PINNED[requirement.name])


def test_no_version_with_known_flaws_is_taken() -> None:
    asked = {each.name: each for each in map(Requirement, PROJECT["dependencies"])}
    assert not asked["aiohttp"].specifier.contains("3.13.2")


def test_every_pin_has_hashes() -> None:
    entries = re.split(r"^(?=[a-z0-9-]+==)", PINS, flags=re.MULTILINE)[1:]
    assert len(entries) == len(PINNED)
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_pins_name_no_place_to_get_them_from() -> None:
    assert "://" not in PINS
