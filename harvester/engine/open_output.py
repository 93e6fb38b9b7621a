"""Opens OUTPUT and its ledger together, and mends what a crash left between them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain, count, islice
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from harvester.api.endpoints import RESOLVER
from harvester.config import RunConfig
from harvester.disk import Disk
from harvester.engine.forgetting import (
    Forgotten,
    end_forgetting,
    erase_forgotten,
    keep_marks,
    left_beside,
    links_to_forgotten,
)
from harvester.errors import (
    DamagedLedgerError,
    LocalIOError,
    OutputLockedError,
    OutputMismatchError,
    UsageError,
)
from harvester.halt import Look, go_on
from harvester.ledger.protocol import (
    Checkpoint,
    FoundLine,
    Identity,
    Ledger,
    RunRequest,
    StartedRun,
)
from harvester.ledger.sqlite.bulk import BULK_AFTER
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.ledger.sqlite.store import Connection
from harvester.model import State
from harvester.output.census import take_census
from harvester.output.file import OutputFile
from harvester.output.holder import is_held
from harvester.output.lines import between_holes, has_holes, read_head, read_line
from harvester.output.part import check_no_part
from harvester.output.spool import EmergencySpool
from harvester.sanitize import sanitize
from harvester.sides import Side

_LINES_AT_ONCE = 10_000
# As many calls are in flight as a run has workers, and at most these.
MOST_IN_FLIGHT = 1024


class Environment(Struct, frozen=True):
    """The machine under a harvest: `clock` is Unix seconds, `boot` names this start of it.

    After `bulk_after` new ids of an input, the ledger takes the rest in bulk. `look` is called
    between the pieces of what is read.
    """

    clock: Callable[[], float]
    disk: Disk = field(default_factory=Disk)
    connection: type[Connection] = Connection
    boot: str = ""
    bulk_after: int = BULK_AFTER
    look: Look = go_on


class Recovery(Struct, frozen=True):
    """What opening had to do.

    `adopted` lines were paid for and not yet known, `cut` bytes were a torn last line, `lost` notes
    were taken by a power cut, `is_rebuilt` tells that the ledger was made anew from OUTPUT,
    `is_read_anew` that OUTPUT was only stored in another way, and `set_aside` where a damaged
    ledger went. `warning` is what to say of the disk.
    """

    adopted: int = 0
    cut: int = 0
    lost: int = 0
    is_rebuilt: bool = False
    is_queue_lost: bool = False
    is_read_anew: bool = False
    set_aside: Path | None = None
    warning: str = ""


class OpenOutput(Struct, frozen=True):
    """OUTPUT, its ledger and its spool, held; `part` names it in a fleet's harvest."""

    output: OutputFile
    ledger: Ledger
    spool: EmergencySpool
    recovery: Recovery = Recovery()
    part: str = ""

    def close(self) -> None:
        """Let go of all; a ledger found damaged is set aside."""
        self.ledger.close()
        if self.ledger.is_damaged:
            set_aside(ledger_path(self.output.path))
        self.spool.close()
        self.output.close()


def open_output(config: RunConfig, env: Environment) -> OpenOutput:
    """Open OUTPUT for a run; its links are followed.

    Room is kept free for the answers of all calls that may be in flight.

    Raises OutputLockedError, OutputMismatchError, UsageError, LedgerError, LocalIOError.
    """
    path = config.output.resolve()
    check_no_part(path)
    _check_not_lost(path, env.disk, rebuild=config.rebuild)
    with ExitStack() as undo:
        output = _open_file(path, env, undo, sync=config.sync)
        try:
            held = _brought_together(output, config, env, undo)
        except DamagedLedgerError:
            # Nothing was called for yet, so what OUTPUT holds is all there is to know.
            aside = set_aside(ledger_path(path))
            held = _brought_together(output, config, env, undo)
            held = replace(held, recovery=replace(held.recovery, set_aside=aside))
        opened = with_room(held, config)
        undo.pop_all()
    return opened


def _brought_together(
    output: OutputFile, config: RunConfig, env: Environment, undo: ExitStack
) -> OpenOutput:
    """OUTPUT with its ledger, which is closed at once where it fails."""
    with ExitStack() as failing:
        held = _with_ledger(output, env, failing, sync=config.sync)
        if config.rebuild:
            _check_whole(output.path)
        held = replace(held, recovery=_without_forgotten(held, config, env))
        undo.push(failing.pop_all())
    return held


def with_room(held: OpenOutput, config: RunConfig) -> OpenOutput:
    """The same with room kept free for the answers of all calls that may be in flight."""
    in_flight = (config.workers or MOST_IN_FLIGHT) * len(config.tokens)
    done = held.ledger.counts().done
    average = held.output.length // done if done else 0
    warning = held.spool.prepare(in_flight, average)
    return replace(held, recovery=replace(held.recovery, warning=warning))


def _without_forgotten(held: OpenOutput, config: RunConfig, env: Environment) -> Recovery:
    """The same as `bring_together`; lines of forgotten notes are erased, also if put back."""
    is_erased = erase_forgotten(held.output, held.ledger) is not None
    recovery = bring_together(held, config, env)
    if not is_erased and erase_forgotten(held.output, held.ledger) is not None:
        recovery = bring_together(held, config, env)
    _forget_links(held, env)
    end_forgetting(held.ledger)
    return recovery


def bring_together(held: OpenOutput, config: RunConfig, env: Environment) -> Recovery:
    """See that OUTPUT and ledger are of this kind, and mend what came between them."""
    kind = _kind_of(held, config)
    if not held.part:
        held.ledger.identify(kind)
    return mend(held, kind, env, rebuild=config.rebuild)


def _check_whole(path: Path) -> None:
    """Find damage anywhere in a ledger; reads all of it, so not before every run."""
    with reading(ledger_path(path)) as reader:
        reader.check()


def _open_file(path: Path, env: Environment, undo: ExitStack, *, sync: bool) -> OutputFile:
    """OUTPUT; `undo` leaves no file behind that was not there."""
    had_output = path.exists()
    output = OutputFile(path, env.disk, sync=sync, look=env.look)
    if not had_output:
        undo.callback(env.disk.remove, path)
    undo.callback(output.close)
    return output


def _with_ledger(
    output: OutputFile, env: Environment, undo: ExitStack, *, sync: bool
) -> OpenOutput:
    """OUTPUT and its ledger; a new one beside an old OUTPUT does not know what was queued."""
    path = ledger_path(output.path)
    is_new = not path.exists()
    if is_new:
        undo.callback(_remove_ledger, path, env.disk)
    ledger = SqliteLedger(
        path, env.clock, sync=sync, connection=env.connection, bulk_after=env.bulk_after
    )
    undo.callback(ledger.close)
    keep_marks(output.path, ledger)
    is_rebuilt = is_new and output.length > 0
    if is_rebuilt:
        ledger.lose_queue()
    recovery = Recovery(is_rebuilt=is_rebuilt, is_queue_lost=ledger.is_queue_lost())
    spool = EmergencySpool(output.path, env.disk)
    undo.callback(spool.close)
    return OpenOutput(output, ledger, spool, recovery)


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Keep a ledger under another name, out of the way."""
    names = (path.with_name(f"{path.name}.{why}{n or ''}") for n in count())
    aside = next(name for name in names if not name.exists())
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _remove_ledger(path: Path, disk: Disk) -> None:
    for suffix in ("", "-wal", "-shm"):
        disk.remove(path.with_name(path.name + suffix))


def begin(opened: OpenOutput, config: RunConfig, env: Environment) -> StartedRun:
    """Begin a run: exhausted jobs are tried again, rejected and old ones if the run is told to.

    What is old among the notes that an input names is found as it is read.
    """
    opened.ledger.mark_boot(env.boot)
    rate = None if config.rate is None else config.rate.per_second
    file = None if config.simulate else config.token_file
    # What is no file, such as a pipe, is not there for the next run.
    token_file = str(file.absolute()) if file is not None and file.is_file() else ""
    request = RunRequest(rate, config.max_charged_daily, token_file)
    started = opened.ledger.begin_run(config.backoff_cap, request)
    # Durable before the first line is written, or a power cut could not be told from an edit.
    opened.ledger.settle(opened.output.sync())
    if not started.joined:
        # Where others are at it, they have just tried what they have given up.
        opened.ledger.retry([State.EXHAUSTED] + [State.REJECTED] * config.retry_failed)
    if config.refresh is not None and not config.has_input:
        opened.ledger.refresh(env.clock() - config.refresh)
    return started


def open_held(path: Path, env: Environment) -> OpenOutput:
    """Open to change jobs, whatever the ledger holds; errors as `open_output`'s.

    A damaged ledger is left where it is: only a run can rebuild it.
    """
    path = path.resolve()
    _check_not_lost(path, env.disk, rebuild=False)
    _check_whole(path)
    with ExitStack() as undo:
        held = _with_ledger(_open_file(path, env, undo, sync=False), env, undo, sync=False)
        undo.pop_all()
    return held


def forget(path: Path, ids: Sequence[str], env: Environment) -> Forgotten:
    """Erase notes from OUTPUT, its ledger and what lies beside it; they are never fetched again.

    Short links that led to them are forgotten, too, in the harvest that resolved them.

    Errors as `open_output`'s, before anything is erased; LocalIOError later leaves the rest to
    whoever opens OUTPUT next.
    """
    if is_held(Side.LINKS.of(path.resolve())):
        raise OutputLockedError(f"a run resolves the short links of {path}: wait until it ends.")
    with closing(open_held(path, env)) as held:
        return _forget(held, ids, env)


def _forget(held: OpenOutput, ids: Sequence[str], env: Environment) -> Forgotten:
    kind = identity_of(held.output) or held.ledger.identity()
    assert isinstance(held.ledger, SqliteLedger)  # noqa: S101 - an OUTPUT's own
    if kind is not None:
        mend(held, kind, env, rebuild=False)
    notes = held.ledger.forget(ids)
    keep_marks(held.output.path, held.ledger)
    lines = erase_forgotten(held.output, held.ledger) or 0
    if kind is not None:
        mend(held, kind, env, rebuild=False)
    held.ledger.settle(held.output.sync())
    links = _forget_links(held, env)
    held.ledger.end_forgetting()
    return Forgotten(notes, lines, links, left_beside(held.output.path))


def _forget_links(held: OpenOutput, env: Environment) -> int:
    """Forget the short links that led to forgotten notes; gives how many."""
    place = Side.LINKS.of(held.output.path)
    links = links_to_forgotten(place, held.ledger)
    if links is None:
        return 0
    kind = held.ledger.identity()
    config = RunConfig(
        output=place, endpoint=RESOLVER, simulate=kind is not None and kind.simulated
    )
    # What a crash broke off there ends with the opening.
    with closing(open_output(config, env)) as opened:
        if links:
            _forget(opened, links, env)
    return len(links)


def _check_not_lost(path: Path, disk: Disk, *, rebuild: bool) -> None:
    """Refuse before OUTPUT would be made anew: its ledger says that it was paid for."""
    if path.exists() or rebuild:
        return
    if not ledger_path(path).exists():
        _check_not_moved(path, disk)
        return
    state = "there"
    try:
        with reading(ledger_path(path), allow_older=True) as reader:
            if not reader.checkpoint().length:
                return
    except DamagedLedgerError:
        state = "there, though damaged"
    if Side.KEPT.of(path).exists():
        raise OutputMismatchError(
            f"{path} is missing, but its ledger {ledger_path(path)} is {state}, and an earlier run "
            f"kept what it held: `mv {shlex.quote(str(Side.KEPT.of(path)))} "
            f"{shlex.quote(str(path))}`, or run with --rebuild, which takes all from there."
        )
    raise OutputMismatchError(
        f"{path} is missing, but its ledger {ledger_path(path)} is {state}: put the file back, or "
        "run with --rebuild to fetch (and pay for) its notes again."
    )


def _check_not_moved(path: Path, disk: Disk) -> None:
    """Refuse to begin where an earlier run kept answers: its OUTPUT and ledger were moved away."""
    for kept, is_used in (
        (Side.SPOOL.of(path), any(EmergencySpool(path, disk).saved())),
        (Side.KEPT.of(path), Side.KEPT.of(path).exists()),
    ):
        if is_used:
            raise OutputMismatchError(
                f"{path} and its ledger are missing, but {kept} holds answers of an earlier run: "
                "put both back where they were, or run with --rebuild to begin with these alone "
                "and pay for the other notes again."
            )


def _kind_of(held: OpenOutput, config: RunConfig) -> Identity:
    """What OUTPUT holds, or is to hold; raises UsageError where this run's notes must not mix."""
    beside = chain(held.spool.saved(), _kept_lines(held.output.path))
    found = identity_of(held.output) or _first_identity(beside) or held.ledger.identity()
    if found is None:
        return identity_asked(config)
    check_kind(found, config)
    return found


def identity_asked(config: RunConfig) -> Identity:
    """What the notes of a run are said to be."""
    return Identity(config.endpoint, config.simulate)


def check_kind(found: Identity, config: RunConfig) -> None:
    """Raise UsageError unless a run's notes may be added to those found."""
    may_be_simulated = config.simulate or config.is_local
    if found.simulated != config.simulate and not (found.simulated and may_be_simulated):
        kinds = ("simulated", "real") if found.simulated else ("real", "simulated")
        raise UsageError(
            f"{config.output} holds {kinds[0]} notes, this run would add {kinds[1]} ones: "
            "choose another --output."
        )
    if found.endpoint != config.endpoint:
        raise UsageError(
            f"{config.output} holds notes of the endpoint {found.endpoint}, not of "
            f"{config.endpoint}: choose another --output, or --endpoint {found.endpoint}."
        )


def identity_of(output: OutputFile) -> Identity | None:
    """What OUTPUT's first line says it holds."""
    return _first_identity(line for line, _ in output.pieces(0))


def _first_identity(lines: Iterable[bytes]) -> Identity | None:
    first = next((line for line in lines if line.strip()), b"")
    head = read_head(first)
    return None if head is None else head.of


def mend(held: OpenOutput, kind: Identity, env: Environment, *, rebuild: bool) -> Recovery:
    """Bring OUTPUT and ledger together again, whatever came between them."""
    output, ledger = held.output, held.ledger
    lost = 0
    has_lost_power = _lost_power(output, ledger, env.boot)
    durable = ledger.synced() if has_lost_power else ledger.checkpoint().length
    # A part's rebuild that was cut short goes on.
    rebuild = rebuild or ledger.is_rebuilding()
    cut = output.mend_end(0 if rebuild else durable)
    if not rebuild and has_lost_power and output.has_line_end(durable):
        lost, torn = _mend_power(held, kind)
        cut += torn
    is_read_anew = not rebuild and not _fits(output, ledger.checkpoint())
    if is_read_anew:
        lost = _check_all_there(held, durable)
    if rebuild or is_read_anew or not ledger.checkpoint().length:
        cut += output.mend_holes()
    with ledger.as_one(env.look):
        if rebuild or is_read_anew:
            ledger.forget_lines()
            cut += output.mend_end(0)
        adopted = _adopt(output, ledger, kind, ledger.checkpoint().length)
        if rebuild:
            adopted += _adopt_beside(held, kind, _kept_lines(output.path))
        adopted += _adopt_beside(held, kind, held.spool.saved())
        ledger.end_reading()
        held.spool.return_unread()
        # What was read is what stands there, or nothing of it is taken.
        output.check_unchanged()
        output.sync()
    held.spool.remove()
    return replace(
        held.recovery,
        adopted=adopted,
        cut=cut,
        lost=lost,
        is_rebuilt=rebuild or held.recovery.is_rebuilt,
        is_read_anew=is_read_anew,
    )


def _fits(output: OutputFile, known: Checkpoint) -> bool:
    return known.length <= output.length and output.holds(known)


def _check_all_there(held: OpenOutput, durable: int) -> int:
    """Raise OutputMismatchError unless OUTPUT is what it was, only stored in another way.

    Of what was not `durable` (bytes), a power cut may have taken notes; gives how many.
    """
    output, known = held.output, held.ledger.checkpoint()
    what = "shorter than" if known.length > output.length else "not the file that"
    is_what = (
        f"{output.path} is {what} its ledger knows ({output.length} bytes, {known.length} known)"
    )
    if held.part:
        raise OutputMismatchError(
            f"{is_what}: put the right file back, or run with --rebuild to take what is there as "
            "the truth, which fetches, and pays for, what it lacks again."
        )
    with reading(ledger_path(output.path)) as reader:
        pieces = (piece for piece, _ in output.pieces(0))
        lines = chain.from_iterable(
            between_holes(piece)[0] if has_holes(piece) else [piece] for piece in pieces
        )
        beside = chain(_kept_lines(output.path), held.spool.saved())
        census = take_census(lines, beside, reader, durable)
    if census.is_as_it_was:
        return census.missing
    if not census.missing:
        raise OutputMismatchError(
            f"{is_what}, though all its {census.done} notes are there: put the right file back, or "
            "run with --rebuild to take it as it is, which pays for nothing again."
        )
    raise OutputMismatchError(
        f"{is_what}, and {census.missing} of its {census.done} notes are not in it: put the right "
        "file back, or run with --rebuild to take what is there as the truth, which fetches, and "
        f"pays for, those {census.missing} again."
    )


def _kept_lines(output: Path) -> Iterator[bytes]:
    """The lines that a run kept when OUTPUT was removed or replaced under it."""
    try:
        file = Side.KEPT.of(output).open("rb")
    except OSError:
        return
    with file:
        yield from file


def _lost_power(output: OutputFile, ledger: Ledger, boot: str) -> bool:
    """Whether the system was started anew while something was not yet synced."""
    before = ledger.boot()
    if not before or not boot or before == boot:
        return False
    return ledger.synced() < max(output.length, ledger.checkpoint().length)


def _mend_power(held: OpenOutput, kind: Identity) -> tuple[int, int]:
    """Mend what a power cut broke, by places; gives how many notes were lost, and bytes cut."""
    output, ledger = held.output, held.ledger
    whole, behind, cut = _cut_broken(held, ledger.synced())
    lost = 0
    if whole < ledger.checkpoint().length and _is_as_written(held, whole):
        known = [line for line in behind if (head := read_line(line)) and ledger.knows(head)]
        lost = ledger.lose_lines(output.checkpoint_at(whole)) - len(known)
        _adopt_beside(held, kind, iter(known))
    return lost, cut


def _cut_broken(held: OpenOutput, whole: int) -> tuple[int, list[bytes], int]:
    """Cut OUTPUT where it is first broken behind what is `whole`.

    Gives where that is, the whole lines behind it, which are put back later, and how many bytes
    are gone.
    """
    output, behind = held.output, []
    for piece, end in output.pieces(whole):
        if b"\0" in piece:
            behind += between_holes(piece)[0]
        elif piece.endswith(b"\n") and (not piece.strip() or read_line(piece) is not None):
            if end - len(piece) == whole:
                whole = end
            elif piece.strip():
                behind.append(piece)
    cut = output.length - whole
    if cut:
        if behind and not held.spool.save(behind):
            raise LocalIOError(
                f"{output.path} was broken by a power cut, and no room is left to mend it: make "
                "room on the disk, then run again."
            )
        output.cut(whole)
    return whole, behind, cut - sum(map(len, behind))


def _is_as_written(held: OpenOutput, place: int) -> bool:
    """Whether the line that ends at a place is one that the ledger knows there."""
    head = read_line(held.output.line_before(place), place) if place else None
    # A part holds older lines, which the ledger does not know by their places.
    return not place or bool(held.part) or (head is not None and held.ledger.knows(head))


def _adopt(output: OutputFile, ledger: Ledger, kind: Identity, start: int) -> int:
    """Adopt whole lines past what is known; gives how many were news."""
    adopted = 0
    lines = _found(output, start, kind)
    while group := list(islice(lines, _LINES_AT_ONCE)):
        adopted += ledger.adopt(group, output.checkpoint_at(group[-1].end))
    return adopted


def _adopt_beside(held: OpenOutput, kind: Identity, lines: Iterator[bytes]) -> int:
    """Put into OUTPUT what an earlier run kept beside it, and adopt it; gives how many."""
    output, ledger = held.output, held.ledger
    adopted = 0

    def is_unknown(line: bytes) -> bool:
        head = read_line(line)
        return head is not None and not ledger.knows(head)

    unknown = (_of_kind(line, kind, "beside", output) for line in lines if is_unknown(line))
    while group := list(islice(unknown, _LINES_AT_ONCE)):
        start = output.length
        output.append(group)
        adopted += _adopt(output, ledger, kind, start)
    return adopted


def _found(output: OutputFile, start: int, kind: Identity) -> Iterator[FoundLine]:
    """The lines from a place on; blank ones are left out.

    Raises OutputMismatchError for a line that is not ours, or of another kind.
    """
    for number, (piece, end) in enumerate(output.pieces(start), 1):
        if not piece.strip():
            continue
        place = f"byte {end - len(piece)}" if start else f"line {number}"
        line = read_line(piece, end)
        if line is None or not piece.endswith(b"\n"):
            raise OutputMismatchError(
                f"{output.path} has a line that is broken or not harvester's at {place}: take it "
                "out, or choose another --output."
            )
        _of_kind(piece, kind, f"at {place}", output)
        yield line


def _of_kind(line: bytes, kind: Identity, place: str, output: OutputFile) -> bytes:
    """A line of the kind that OUTPUT holds; raises OutputMismatchError for another."""
    head = read_head(line)
    if head is not None and head.of != kind:
        what, among = ("simulated" if one.simulated else "real" for one in (head.of, kind))
        raise OutputMismatchError(
            f"{output.path} has a {what} note of {sanitize(head.of.endpoint)} {place}, but holds "
            f"{among} ones of {kind.endpoint}: move it to a file of its own."
        )
    return line
