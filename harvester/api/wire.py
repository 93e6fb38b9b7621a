"""One connection: writes a request, reads its answer, and tells how it ended."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from enum import Enum, auto

from aiohttp.connector import Connection

from harvester.api.reply import Reply
from harvester.api.rooms import SIZES
from harvester.api.witness import Witness
from harvester.secret import Secret

# What comes at once is read in pieces of this many bytes, whatever waits in the system.
PIECE = 64 << 10
# An answer that is late, or that says no end, is waited for as long as more comes within a moment
# (seconds), for so many moments.
_MOMENT = 0.25
_MOST_MOMENTS = 20


class End(Enum):
    """Why there is nothing to wait for any more: see `Wire.ask`."""

    OVER = auto()
    FULL = auto()
    LATE = auto()
    LOST = auto()


class Wire(asyncio.BufferedProtocol):
    """A connection on which one request is answered at a time.

    `idle_since` is the loop's time at which the last answer was read, `born` that of the
    connection's beginning, `is_used` whether anything was ever answered on it.
    """

    def __init__(
        self, connection: Connection, view: memoryview, on_death: Callable[[Wire], None]
    ) -> None:
        handler, transport = connection.protocol, connection.transport
        if handler is None or transport is None:
            raise ConnectionResetError
        self._connection = connection
        self._handler = handler
        self._transport = transport
        self._view = view
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._socket = transport.get_extra_info("socket")
        self._looking = select.poll()
        self._looking.register(self._socket.fileno(), select.POLLIN)
        self.born = self.idle_since = self._loop.time()
        self.is_used = False
        self.is_open = True
        self.reply = Reply()
        self._is_asked = self._is_watched = False
        self.error: BaseException | None = None
        self.was_taken: bool | None = True
        self._witness: Witness | None = None
        self._waiter: asyncio.Future[End] | None = None
        self._sizes = 0
        self._is_late = False
        self._moment: asyncio.TimerHandle | None = None
        self._moments = 0
        self._seen = 0
        transport.set_protocol(self)

    @property
    def idle(self) -> float:
        """For how many seconds nothing was asked."""
        return self._loop.time() - self.idle_since

    def is_silent(self) -> bool:
        """Whether the connection stands, and nothing was said on it since the last answer.

        The socket itself is asked: what has arrived may not have been read yet.
        """
        if not self.is_open or self._transport.is_closing():
            return False
        return not self._looking.poll(0)

    def ask(self, request: Secret[bytes], *, watched: bool = False) -> asyncio.Future[End]:
        """Write a request; gives how it ended, or that there is to be room to `read_on`.

        What was read is in `reply`. If `watched`, `was_taken` tells after a loss whether the other
        end's system took the request, None where that cannot be known.
        """
        self._is_asked, self._is_watched = True, watched
        self._sizes, self._is_late = 0, False
        self._waiter = self._loop.create_future()
        if watched:
            self._witness = self._witness or Witness(self._socket)
            self._witness.begin()
        self._transport.write(request.reveal())
        return self._waiter

    def read_on(self) -> asyncio.Future[End]:
        """Go on after `End.FULL`, with room for the next size."""
        self._sizes += 1
        self._waiter = self._loop.create_future()
        self._transport.resume_reading()
        if self._is_late or self.reply.is_enough:
            self._watch()
        return self._waiter

    def hurry(self) -> None:
        """Take in what has arrived and what comes in the next moments, and no more."""
        self._is_late = True
        if self._waiter is not None and not self._waiter.done():
            self._watch()

    def rest(self) -> bool:
        """Be idle, if the connection may be used again; gives whether it may."""
        self._forget()
        is_clean = self.is_open and self.reply.is_clean
        self._is_asked, self.is_used, self.reply = False, True, Reply()
        self.idle_since = self._loop.time()
        return is_clean

    def close(self) -> None:
        """End the connection."""
        self._forget()
        self.is_open = False
        self._let_go()
        self._transport.abort()
        self._connection.close()

    # What the transport says

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as asyncio has it
        """Where to read into: one place for all, since each piece is taken at once."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what came."""
        reply = self.reply
        if not self._is_asked:
            self.close()
            return
        if reply.is_over:
            reply.is_clean = False
            return
        try:
            is_over = reply.feed(bytes(self._view[:nbytes]))
        except MemoryError as error:
            self._fail(error)
            return
        if is_over:
            self._done(End.OVER)
        elif self._sizes < len(SIZES) and reply.size > SIZES[self._sizes]:
            self._transport.pause_reading()
            self._done(End.FULL)
        elif reply.is_enough:
            self._watch()

    def eof_received(self) -> bool:
        """Let the connection end: half of one is of no use."""
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take note of the end."""
        was_idle = self.is_open and not self._is_asked
        self.is_open = False
        self._handler.connection_lost(exc)
        self._connection.close()
        if was_idle and self.is_used:
            self._on_death(self)
        if self._witness is not None and self._is_watched:
            self.was_taken = self._witness.was_taken(in_order=exc is None)
        if self._is_asked and not self.reply.is_over:
            self.error = exc
            self.reply.end(broken=exc is not None)
            self._done(End.OVER if self.reply.is_whole else End.LOST)
        self._forget()
        self._let_go()

    def pause_writing(self) -> None:
        """Write no more for now: a request is short, and one at a time."""

    def resume_writing(self) -> None:
        """Write on."""

    # Moments

    def _watch(self) -> None:
        if self._moment is None:
            self._moments, self._seen = 0, -1
            self._next_moment()

    def _next_moment(self) -> None:
        reply = self.reply
        size = reply.size
        if self._waiter is None or self._waiter.done():
            self._moment = None
        elif size == self._seen or self._moments == _MOST_MOMENTS:
            reply.end(broken=True)
            self._done(End.OVER if reply.is_whole else End.LATE)
        else:
            self._moments += 1
            self._seen = size
            self._moment = self._loop.call_later(_MOMENT, self._next_moment)

    def _done(self, end: End) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(end)

    def _fail(self, error: Exception) -> None:
        """Give up, telling whoever waits why."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.close()

    def _forget(self) -> None:
        if self._moment is not None:
            self._moment.cancel()
            self._moment = None
        self._waiter = None

    def _let_go(self) -> None:
        if self._witness is not None:
            self._witness.close()
            self._witness = None
