"""The system's own word on whether the other end took a request."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

# Where Linux keeps `tcpi_bytes_acked` in its `struct tcp_info`.
_ACKED = struct.Struct("=120xQ")


class Witness:
    """Watches the requests on a connection, each from `begin`; holds a descriptor until `close`."""

    def __init__(self, watched: socket.socket) -> None:
        self._socket: socket.socket | None = None
        if hasattr(socket, "TCP_INFO"):
            # A copy, since the connection's own is closed before its end is told.
            with suppress(OSError):
                self._socket = socket.socket(fileno=os.dup(watched.fileno()))
        self._before: int | None = None

    def begin(self) -> None:
        """Watch a request that is written next."""
        self._before = self._acked()

    def was_taken(self, *, in_order: bool) -> bool | None:
        """Whether the other end's system took any of it, once the connection is gone.

        An end `in_order` acknowledges all that was taken before it. A reset need not: None then.
        """
        after = self._acked()
        if after is None or self._before is None:
            return None
        if after > self._before:
            return True
        return False if in_order else None

    def close(self) -> None:
        """Let go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _acked(self) -> int | None:
        if self._socket is None:
            return None
        try:
            told = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
        except OSError:
            return None
        if len(told) < _ACKED.size:
            return None
        acked: int = _ACKED.unpack(told)[0]
        return acked
