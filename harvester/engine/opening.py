"""Opens OUTPUT and its ledger together, and mends what a crash left between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from harvester.errors import OutputMismatchError, UsageError
from harvester.ledger.protocol import Extent, FoundLine, Identity, Opening
from harvester.ledger.reader import reading
from harvester.ledger.sqlite import SqliteLedger
from harvester.model import State
from harvester.output.file import OutputFile
from harvester.output.lines import head_endpoint, is_json, may_be_torn, read_head
from harvester.settings import RunSettings

_LINES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Opened:
    """OUTPUT and ledger, held; and what opening them had to do.

    `adopted` lines were paid for and not yet known, `cut` bytes were a torn last line,
    `is_rebuilt` tells that the ledger was made anew from OUTPUT.
    """

    output: OutputFile
    ledger: SqliteLedger
    adopted: int = 0
    cut: int = 0
    is_rebuilt: bool = False

    def close(self) -> None:
        """Let go of both."""
        self.ledger.close()
        self.output.close()


def ledger_path(output: Path) -> Path:
    """Where the ledger of an OUTPUT is."""
    return output.with_name(output.name + ".ledger")


def open_harvest(
    path: Path,
    identity: Identity,
    clock: Callable[[], float],
    *,
    rebuild: bool = False,
    sync: bool = False,
) -> Opened:
    """Open for a run, or to change jobs; `path` is OUTPUT's, and its links are followed.

    Raises OutputLockedError, OutputMismatchError, UsageError, LedgerError, LocalIOError.
    """
    path = path.resolve()
    _check_not_lost(path, rebuild=rebuild)
    with ExitStack() as undo:
        output, ledger, had_ledger = _open_both(path, clock, undo, sync=sync)
        _check_identity(path, ledger, identity, output)
        opened = _mend(output, ledger, had_ledger=had_ledger, rebuild=rebuild)
        undo.pop_all()
    return opened


def _open_both(
    path: Path, clock: Callable[[], float], undo: ExitStack, *, sync: bool = False
) -> tuple[OutputFile, SqliteLedger, bool]:
    """OUTPUT, then its ledger, and whether there was one; `undo` leaves no file behind."""
    ledger_file = ledger_path(path)
    had_output, had_ledger = path.exists(), ledger_file.exists()
    output = OutputFile(path)
    if not had_output:
        undo.callback(path.unlink, missing_ok=True)
    undo.callback(output.close)
    if not had_ledger:
        undo.callback(_remove_ledger, ledger_file)
    ledger = SqliteLedger(ledger_file, clock, sync=sync)
    undo.callback(ledger.close)
    return output, ledger, had_ledger


def _remove_ledger(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def begin(opened: Opened, settings: RunSettings, now: float, *, has_input: bool) -> Opening:
    """Begin a run: exhausted jobs are tried again, rejected and old ones if the run is told to.

    What is old among the notes that an input names is found as it is read; `now` is Unix seconds.
    """
    opening = opened.ledger.begin_run(settings.backoff.cap)
    opened.ledger.retry([State.EXHAUSTED] + [State.REJECTED] * settings.retry_failed)
    if settings.refresh is not None and not has_input:
        opened.ledger.refresh(now - settings.refresh)
    return opening


def open_held(path: Path, clock: Callable[[], float]) -> Opened:
    """Open to change jobs, whatever the ledger holds; errors as `open_harvest`'s."""
    path = path.resolve()
    _check_not_lost(path, rebuild=False)
    with ExitStack() as undo:
        output, ledger, _ = _open_both(path, clock, undo)
        undo.pop_all()
    return Opened(output, ledger)


def _check_not_lost(path: Path, *, rebuild: bool) -> None:
    """Refuse before OUTPUT would be made anew: its ledger says that it was paid for."""
    if path.exists() or rebuild or not ledger_path(path).exists():
        return
    with reading(ledger_path(path)) as reader:
        if not reader.length():
            return
    raise OutputMismatchError(
        f"{path} is missing, but its ledger {ledger_path(path)} is there: put the file back, or "
        "run with --rebuild to fetch (and pay for) its notes again."
    )


def _check_identity(
    path: Path, ledger: SqliteLedger, identity: Identity, output: OutputFile
) -> None:
    held = ledger.identity() or _identity_of(output)
    if held is None:
        ledger.identify(identity)
        return
    if held.simulated != identity.simulated:
        kinds = ("simulated", "real") if held.simulated else ("real", "simulated")
        raise UsageError(
            f"{path} holds {kinds[0]} notes, this run would add {kinds[1]} ones: "
            "choose another --output."
        )
    if held.endpoint != identity.endpoint:
        raise UsageError(
            f"{path} holds notes of the endpoint {held.endpoint}, not of {identity.endpoint}: "
            f"choose another --output, or --endpoint {held.endpoint}."
        )
    ledger.identify(identity)


def _identity_of(output: OutputFile) -> Identity | None:
    """What OUTPUT's first line says it holds."""
    for line, _ in output.pieces(0):
        head = head_endpoint(line)
        return None if head is None else Identity(*head)
    return None


def _mend(output: OutputFile, ledger: SqliteLedger, *, had_ledger: bool, rebuild: bool) -> Opened:
    known = ledger.extent()
    if rebuild:
        ledger.forget_lines()
        known = Extent()
    elif known.length > output.length or not output.holds(known):
        what = "shorter than" if known.length > output.length else "not the file that"
        raise OutputMismatchError(
            f"{output.path} is {what} its ledger knows ({output.length} bytes, {known.length} "
            "known): put the right file back, or run with --rebuild to take what is there as the "
            "truth."
        )
    paid_now = not (rebuild and had_ledger)
    adopted, cut = _adopt(output, ledger, known, paid_now=paid_now)
    is_rebuilt = rebuild or (not had_ledger and output.length > 0)
    return Opened(output, ledger, adopted, cut, is_rebuilt)


def _adopt(
    output: OutputFile, ledger: SqliteLedger, known: Extent, *, paid_now: bool
) -> tuple[int, int]:
    """Adopt whole lines past what is known, and cut a torn last one."""
    adopted, whole = 0, known.length
    lines = _found(output, known.length)
    while group := list(islice(lines, _LINES_AT_ONCE)):
        whole = group[-1].end
        adopted += ledger.adopt(group, output.extent_at(whole), paid_now=paid_now)
    cut = output.length - whole
    if cut:
        output.cut(whole)
    return adopted, cut


def _found(output: OutputFile, start: int) -> Iterator[FoundLine]:
    """Whole lines from a place on, up to a torn last one.

    Raises OutputMismatchError for a line that is not ours.
    """
    for piece, end in output.pieces(start):
        line = read_head(piece, end)
        if line is not None and (start == 0 or is_json(piece)):
            yield line
        elif end != output.length or piece.endswith(b"\n") or not may_be_torn(piece):
            begin = end - len(piece)
            raise OutputMismatchError(
                f"{output.path} has a line that is not harvester's at byte {begin}: take it out, "
                "or choose another --output."
            )
