"""The pace of calls: the throttle that holds the rate, and the gate that pauses them all."""

from harvester.pace.shared import LedgerClock, SharedThrottle
from harvester.pace.throttle import Throttle

__all__ = ["LedgerClock", "SharedThrottle", "Throttle"]
