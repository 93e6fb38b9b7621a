"""What a check came to, and all that checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from harvester.config import RunConfig


class Check(Struct, frozen=True):
    """`is_good` None is not known, or not as it might be; then, too, `remedy` may name a way."""

    name: str
    is_good: bool | None
    text: str
    remedy: str = ""


class Patient(Struct, frozen=True):
    """What a run would be: its config, None where `refusal` says why there is none.

    `said` is what its options are and where each was said, `output` is None where none is named.
    """

    config: RunConfig | None
    refusal: str
    said: Mapping[str, str]
    output: Path | None
