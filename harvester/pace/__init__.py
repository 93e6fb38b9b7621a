"""The pace of calls: the throttle that holds the rate, and the gate that pauses them all."""

from harvester.pace.rate_share import RateShare
from harvester.pace.throttle import Throttle

__all__ = ["RateShare", "Throttle"]
