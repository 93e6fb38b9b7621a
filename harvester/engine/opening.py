"""Opens OUTPUT and its ledger together, and mends what a crash left between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path

from harvester.disk import Disk
from harvester.errors import DamagedLedgerError, OutputMismatchError, UsageError
from harvester.ledger.bulk import BULK_AFTER
from harvester.ledger.protocol import Asked, DirectLedger, Extent, FoundLine, Identity, Opening
from harvester.ledger.reader import ledger_path, reading
from harvester.ledger.sqlite import Connection, SqliteLedger
from harvester.model import State
from harvester.output.file import OutputFile
from harvester.output.lines import head_endpoint, is_json, may_be_torn, read_head
from harvester.output.part import check_no_part
from harvester.output.reserve import Reserve
from harvester.settings import RunSettings

_LINES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Host:
    """The machine under a harvest: `clock` is Unix seconds, `boot` names this start of it.

    After `bulk_after` new ids of an input, the ledger takes the rest in bulk.
    """

    clock: Callable[[], float]
    disk: Disk = field(default_factory=Disk)
    connection: type[Connection] = Connection
    boot: str = ""
    bulk_after: int = BULK_AFTER


@dataclass(frozen=True, slots=True)
class Mended:
    """What opening had to do.

    `adopted` lines were paid for and not yet known, `cut` bytes were a torn last line, `lost` notes
    were taken by a power cut, `is_rebuilt` tells that the ledger was made anew from OUTPUT, and
    `set_aside` where a damaged one went.
    """

    adopted: int = 0
    cut: int = 0
    lost: int = 0
    is_rebuilt: bool = False
    set_aside: Path | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """OUTPUT, its ledger and its reserve, held; `part` names it in a fleet's harvest."""

    output: OutputFile
    ledger: DirectLedger
    reserve: Reserve
    mended: Mended = Mended()
    part: str = ""

    def close(self) -> None:
        """Let go of all; a ledger found damaged is set aside."""
        self.ledger.close()
        if self.ledger.is_damaged:
            _set_aside(ledger_path(self.output.path))
        if not self.reserve.saved():
            self.reserve.remove()
        self.output.close()


def open_harvest(
    path: Path, identity: Identity, host: Host, *, rebuild: bool = False, sync: bool = False
) -> Opened:
    """Open for a run; `path` is OUTPUT's, and its links are followed.

    Raises OutputLockedError, OutputMismatchError, UsageError, LedgerError, LocalIOError.
    """
    path = path.resolve()
    check_no_part(path)
    _check_not_lost(path, rebuild=rebuild)
    with ExitStack() as undo:
        held = _open_all(path, host, undo, sync=sync)
        try:
            if rebuild:
                _check_whole(path)
            mended = bring_together(held, identity, host, rebuild=rebuild)
        except DamagedLedgerError:
            # Nothing was called for yet, so what OUTPUT holds is all there is to know.
            held = _replace_ledger(held, host, undo, sync=sync)
            mended = bring_together(held, identity, host, rebuild=rebuild)
        held.reserve.prepare()
        undo.pop_all()
    return replace(held, mended=mended)


def bring_together(held: Opened, identity: Identity, host: Host, *, rebuild: bool) -> Mended:
    """See that OUTPUT and ledger are of this kind, and mend what came between them."""
    _check_identity(held.output.path, held.ledger, identity, held.output)
    return _mend(held, host.boot, rebuild=rebuild)


def _check_whole(path: Path) -> None:
    """Find damage anywhere in a ledger; reads all of it, so not before every run."""
    with reading(ledger_path(path)) as reader:
        reader.check()


def _replace_ledger(held: Opened, host: Host, undo: ExitStack, *, sync: bool) -> Opened:
    """Set a ledger aside that turned out to be damaged, and begin another."""
    with suppress(DamagedLedgerError):
        held.ledger.close()
    path = ledger_path(held.output.path)
    set_aside = _set_aside(path)
    ledger = _ledger(path, host, sync=sync)
    undo.callback(ledger.close)
    mended = Mended(is_rebuilt=held.output.length > 0, set_aside=set_aside)
    return Opened(held.output, ledger, held.reserve, mended)


def _open_all(path: Path, host: Host, undo: ExitStack, *, sync: bool = False) -> Opened:
    """OUTPUT, then its ledger; `undo` leaves no file behind."""
    ledger_file = ledger_path(path)
    had_output, had_ledger = path.exists(), ledger_file.exists()
    output = OutputFile(path, host.disk)
    if not had_output:
        undo.callback(host.disk.remove, path)
    undo.callback(output.close)
    if not had_ledger:
        undo.callback(_remove_ledger, ledger_file, host.disk)
    ledger, set_aside = _open_ledger(ledger_file, host, sync=sync)
    undo.callback(ledger.close)
    is_rebuilt = (not had_ledger or set_aside is not None) and output.length > 0
    mended = Mended(is_rebuilt=is_rebuilt, set_aside=set_aside)
    return Opened(output, ledger, Reserve(path, host.disk), mended)


def _open_ledger(path: Path, host: Host, *, sync: bool) -> tuple[SqliteLedger, Path | None]:
    """The ledger, and where a damaged one went that was there."""
    try:
        return _ledger(path, host, sync=sync), None
    except DamagedLedgerError:
        set_aside = _set_aside(path)
    return _ledger(path, host, sync=sync), set_aside


def _ledger(path: Path, host: Host, *, sync: bool) -> SqliteLedger:
    return SqliteLedger(
        path, host.clock, sync=sync, connection=host.connection, bulk_after=host.bulk_after
    )


def _set_aside(path: Path) -> Path:
    """Keep a damaged ledger under another name, out of the way."""
    names = (path.with_name(f"{path.name}.damaged{n or ''}") for n in count())
    aside = next(name for name in names if not name.exists())
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _remove_ledger(path: Path, disk: Disk) -> None:
    for suffix in ("", "-wal", "-shm"):
        disk.remove(path.with_name(path.name + suffix))


def begin(opened: Opened, settings: RunSettings, host: Host, *, has_input: bool) -> Opening:
    """Begin a run: exhausted jobs are tried again, rejected and old ones if the run is told to.

    What is old among the notes that an input names is found as it is read.
    """
    opened.ledger.mark_boot(host.boot)
    calling = settings.calling
    asked = Asked(
        None if calling.is_rate_found else calling.rate.per_second,
        settings.limits.max_charged_daily,
    )
    opening = opened.ledger.begin_run(settings.backoff.cap, asked)
    # Durable before the first line is written, or a power cut could not be told from an edit.
    opened.ledger.settle(opened.output.sync())
    if opening.joined:
        # Others are at it: what they have given up, they have just tried.
        return opening
    opened.ledger.retry([State.EXHAUSTED] + [State.REJECTED] * settings.retry_failed)
    if settings.refresh is not None and not has_input:
        opened.ledger.refresh(host.clock() - settings.refresh)
    return opening


def open_held(path: Path, host: Host) -> Opened:
    """Open to change jobs, whatever the ledger holds; errors as `open_harvest`'s.

    A damaged ledger is left where it is: only a run can rebuild it.
    """
    path = path.resolve()
    _check_not_lost(path, rebuild=False)
    _check_whole(path)
    with ExitStack() as undo:
        held = _open_all(path, host, undo)
        undo.pop_all()
    return held


def _check_not_lost(path: Path, *, rebuild: bool) -> None:
    """Refuse before OUTPUT would be made anew: its ledger says that it was paid for."""
    if path.exists() or rebuild or not ledger_path(path).exists():
        return
    state = "there"
    try:
        with reading(ledger_path(path), allow_older=True) as reader:
            if not reader.length():
                return
    except DamagedLedgerError:
        state = "there, though damaged"
    raise OutputMismatchError(
        f"{path} is missing, but its ledger {ledger_path(path)} is {state}: put the file back, or "
        "run with --rebuild to fetch (and pay for) its notes again."
    )


def _check_identity(
    path: Path, ledger: DirectLedger, identity: Identity, output: OutputFile
) -> None:
    held = ledger.identity() or identity_of(output)
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


def identity_of(output: OutputFile) -> Identity | None:
    """What OUTPUT's first line says it holds."""
    for line, _ in output.pieces(0):
        head = head_endpoint(line)
        return None if head is None else Identity(*head)
    return None


def _mend(held: Opened, boot: str, *, rebuild: bool) -> Mended:
    """Bring OUTPUT and ledger together again, whatever came between them."""
    output, ledger = held.output, held.ledger
    lost = cut = 0
    # A rebuild that was cut short goes on: its lines are known as charged already.
    rebuild = rebuild or ledger.is_rebuilding()
    if rebuild:
        ledger.forget_lines()
    elif _lost_power(output, ledger, boot):
        lost, cut = _mend_power(output, ledger)
    known = ledger.extent()
    if known.length > output.length or not output.holds(known):
        raise _mismatch(output, known)
    paid_now = not rebuild or held.mended.is_rebuilt
    adopted, torn = _adopt(output, ledger, known, paid_now=paid_now)
    if rebuild:
        ledger.end_rebuild()
    adopted += _adopt_reserve(held)
    return replace(
        held.mended,
        adopted=adopted,
        cut=cut + torn,
        lost=lost,
        is_rebuilt=rebuild or held.mended.is_rebuilt,
    )


def _mismatch(output: OutputFile, known: Extent) -> OutputMismatchError:
    what = "shorter than" if known.length > output.length else "not the file that"
    return OutputMismatchError(
        f"{output.path} is {what} its ledger knows ({output.length} bytes, {known.length} "
        "known): put the right file back, or run with --rebuild to take what is there as the "
        "truth."
    )


def _lost_power(output: OutputFile, ledger: DirectLedger, boot: str) -> bool:
    """Whether the system was started anew while something was not yet synced."""
    before = ledger.boot()
    if not before or not boot or before == boot:
        return False
    return ledger.synced() <= output.length and ledger.synced() < max(
        output.length, ledger.extent().length
    )


def _mend_power(output: OutputFile, ledger: DirectLedger) -> tuple[int, int]:
    """Keep the whole lines behind what was synced, up to the first that the power cut broke.

    Gives how many notes were lost, and how many bytes cut.
    """
    whole = ledger.synced()
    for piece, end in output.pieces(whole):
        if read_head(piece, end) is None or not is_json(piece):
            break
        whole = end
    cut = output.length - whole
    if cut:
        output.cut(whole)
    lost = 0
    if whole < ledger.extent().length:
        lost = ledger.lose_lines(output.extent_at(whole))
    return lost, cut


def _adopt(
    output: OutputFile, ledger: DirectLedger, known: Extent, *, paid_now: bool
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


def _adopt_reserve(held: Opened) -> int:
    """Put into OUTPUT what a full disk had kept out of it."""
    output, ledger = held.output, held.ledger
    lines = [
        piece
        for piece in held.reserve.saved().splitlines(keepends=True)
        if is_json(piece) and (line := read_head(piece, 0)) is not None and not ledger.knows(line)
    ]
    known = Extent(output.length)
    if lines:
        output.append(lines)
    adopted, _ = _adopt(output, ledger, known, paid_now=True)
    output.sync()
    held.reserve.remove()
    return adopted


def _found(output: OutputFile, start: int) -> Iterator[FoundLine]:
    """Whole lines from a place on, up to a torn last one.

    Raises OutputMismatchError for a line that is not ours.
    """
    for number, (piece, end) in enumerate(output.pieces(start), 1):
        line = read_head(piece, end)
        if line is not None and is_json(piece):
            yield line
        elif end != output.length or piece.endswith(b"\n") or not may_be_torn(piece):
            place = f"byte {end - len(piece)}" if start else f"line {number}"
            raise OutputMismatchError(
                f"{output.path} has a line that is broken or not harvester's at {place}: take it "
                "out, or choose another --output."
            )
