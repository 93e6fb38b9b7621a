"""Bulk-fetch notes from a paid, rate-limited API: each note once, nothing paid twice."""

from __future__ import annotations

from importlib import import_module

# As `typing` has it, which takes longer to load than it takes to be ready for Ctrl-C.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from harvester.engine.ports import (
        CallFinished,
        Event,
        LineLeftOut,
        Notice,
        Observer,
        RunBegan,
        RunEnded,
        Stopping,
    )
    from harvester.errors import HarvesterError
    from harvester.face import HarvestOptions, harvest
    from harvester.model import Summary

__version__ = "0.1.0"
__all__ = [
    "CallFinished",
    "Event",
    "HarvestOptions",
    "HarvesterError",
    "LineLeftOut",
    "Notice",
    "Observer",
    "RunBegan",
    "RunEnded",
    "Stopping",
    "Summary",
    "harvest",
]

# Where a name is loaded from, if not from `engine.ports`, when somebody asks for it: a command that
# only looks at a ledger, or tells its version, need not wait for the engine.
_PLACES = {
    "HarvestOptions": "face",
    "HarvesterError": "errors",
    "Summary": "model",
    "harvest": "face",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'engine.ports')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
