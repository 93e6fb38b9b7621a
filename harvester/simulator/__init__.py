"""The vendor's API as a local server, for practice and tests; `server` is loaded by who serves."""

from harvester.simulator.settings import SimulatorSettings

__all__ = ["SimulatorSettings"]
