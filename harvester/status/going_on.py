"""The command that goes on with an OUTPUT, as its ledger knows the last run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from harvester.api.endpoints import DEFAULT_ENDPOINT


def command_to_go_on(target: str, meta: Mapping[str, str | int]) -> str:
    """Returns a shell command.

    `target` names OUTPUT, or a ledger of a fleet, as a shell takes it; `meta` is what the ledger
    was told of itself.
    """
    part = "PART " if target.startswith("-") else ""
    words = [f"harvester run -o {part}{target}"]
    endpoint = str(meta.get("endpoint") or DEFAULT_ENDPOINT)
    if endpoint != DEFAULT_ENDPOINT:
        words.append(f"--endpoint {shlex.quote(endpoint)}")
    if token_file := meta.get("token_file"):
        words.append(f"--token-file {shlex.quote(_from_here(Path(str(token_file))))}")
    elif meta.get("simulated"):
        words.append("--simulate")
    return " ".join(words)


def _from_here(path: Path) -> str:
    """A path, short where it lies in the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
