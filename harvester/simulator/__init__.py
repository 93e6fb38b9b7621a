"""The vendor's API as a local server, for practice and tests."""

from harvester.simulator.server import serve_forever, serving
from harvester.simulator.settings import SimulatorSettings

__all__ = ["SimulatorSettings", "serve_forever", "serving"]
