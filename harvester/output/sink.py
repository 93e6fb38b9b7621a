"""OUTPUT, for the recorder, on a thread of its own: no slow disk blocks the event loop."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.ledger.protocol import Checkpoint
from harvester.output.file import OutputFile
from harvester.output.spool import EmergencySpool
from harvester.threads import Runner


class Sink:
    """OUTPUT and what is beside it; `thread` runs one call at a time, in order."""

    def __init__(self, output: OutputFile, spool: EmergencySpool, thread: Runner) -> None:
        self._output = output
        self._spool = spool
        self._thread = thread

    @property
    def calls(self) -> int:
        """How many answers there is room for beside OUTPUT, should it take none."""
        return self._spool.calls

    async def append(self, lines: Sequence[bytes]) -> tuple[list[int], Checkpoint]:
        """Append whole lines; gives where each ends, and the checkpoint. Raises LocalIOError."""
        return await self._thread.run(self._append, lines)

    def _append(self, lines: Sequence[bytes]) -> tuple[list[int], Checkpoint]:
        ends = self._output.append(lines)
        self._spool.see(lines)
        return ends, self._output.checkpoint(lines[-1] if lines else b"")

    async def keep_unread(self, lines: Sequence[bytes]) -> None:
        """Keep answers that could not be read beside OUTPUT. Raises LocalIOError."""
        await self._thread.run(self._keep_unread, lines)

    def _keep_unread(self, lines: Sequence[bytes]) -> None:
        self._spool.keep_unread(lines)
        self._spool.see(lines)

    async def sync(self) -> int:
        """Make OUTPUT durable; gives its length. Raises LocalIOError."""
        return await self._thread.run(self._output.sync)

    async def save(self, lines: Sequence[bytes]) -> bool:
        """Keep more lines beside OUTPUT, since it takes none; gives whether that was possible."""
        return await self._thread.run(self._spool.save, lines)
