"""The pace of calls: the throttle that holds the rate, and the gate that pauses them all."""

from harvester.pace.pace import Pace

__all__ = ["Pace"]
