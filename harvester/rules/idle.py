"""How long a connection may be idle and still be used: learnt from the server."""

from __future__ import annotations

# What most servers keep for longer.
_AT_FIRST = 30.0
# A connection is left alone so much earlier than the server was seen to end one.
_SHARE = 0.75
# What was learnt holds for so many seconds: a server that was only restarted taught nothing.
_HOLDS = 900.0


class IdleLimit:
    """The longest time, in seconds, that a connection is kept idle; moments are loop seconds."""

    def __init__(self) -> None:
        self._limit = _AT_FIRST
        self._learnt = float("-inf")

    def seconds(self, now: float) -> float:
        """What holds now."""
        return self._limit if now < self._learnt + _HOLDS else _AT_FIRST

    def learn(self, idle: float, now: float) -> None:
        """Take note that the server ends, or says it will end, what is idle for so long."""
        limit = _SHARE * idle
        if limit <= self.seconds(now):
            self._limit, self._learnt = limit, now
