"""Opens OUTPUT and its ledger together, for a run or to change what they hold."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

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
)
from harvester.engine.held import Environment, OpenOutput, Recovery
from harvester.engine.kind import kind_of
from harvester.engine.links import resolved
from harvester.engine.mending import catch_up, mend
from harvester.errors import DamagedLedgerError, OutputLockedError, OutputMismatchError
from harvester.ledger.protocol import RunRequest, StartedRun
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.ledger.sqlite.store import LEDGER_FILES, set_aside
from harvester.model import State
from harvester.output.ending import check_stored
from harvester.output.file import OutputFile
from harvester.output.holder import is_held
from harvester.output.part import check_no_part
from harvester.output.spool import EmergencySpool
from harvester.sides import Side


def open_output(config: RunConfig, env: Environment) -> OpenOutput:
    """Open OUTPUT for a run; its links are followed.

    Room is kept free for the answers of all calls that may be in flight.

    Raises OutputLockedError, OutputMismatchError, UsageError, LedgerError, LocalIOError.
    """
    path = config.output.resolve()
    check_no_part(path)
    _check_not_lost(path, env.disk, rebuild=config.rebuild)
    with ExitStack() as undo:
        output = open_file(path, env, undo, sync=config.sync, link=config.output)
        try:
            held = _brought_together(output, config, env, undo)
        except DamagedLedgerError:
            # Nothing was called for yet, so what OUTPUT holds is all there is to know.
            aside = set_aside(ledger_path(path), "damaged")
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
        recovery = _without_forgotten(held, config, env)
        assert isinstance(held.ledger, SqliteLedger)  # noqa: S101 - an OUTPUT's own
        is_lost = held.ledger.is_queue_lost()
        held = replace(held, recovery=replace(recovery, is_queue_lost=is_lost))
        undo.push(failing.pop_all())
    return held


def with_room(held: OpenOutput, config: RunConfig) -> OpenOutput:
    """The same with room kept free for the answers of all calls that may be in flight."""
    in_flight = config.most_workers * len(config.tokens)
    done = held.ledger.counts().done
    average = held.output.length // done if done else 0
    warning = held.spool.prepare(in_flight, average, held.output.longest())
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
    kind = kind_of(held, config)
    if not held.part:
        held.ledger.identify(kind)
    return mend(held, kind, env, rebuild=config.rebuild)


def _check_whole(path: Path) -> None:
    """Find damage anywhere in a ledger; reads all of it, so not before every run."""
    with reading(ledger_path(path)) as reader:
        reader.check()


def open_file(
    path: Path, env: Environment, undo: ExitStack, *, sync: bool = False, link: Path | None = None
) -> OutputFile:
    """OUTPUT; `undo` leaves no file behind that was not there."""
    had_output = path.exists()
    output = OutputFile(path, env.disk, sync=sync, look=env.look, link=link)
    if not had_output:
        undo.callback(env.disk.remove, path)
    undo.callback(output.close)
    # What cannot be read is told by whoever reads more of it.
    with suppress(OSError):
        check_stored(path)
    return output


def _with_ledger(
    output: OutputFile, env: Environment, undo: ExitStack, *, sync: bool
) -> OpenOutput:
    """OUTPUT and its ledger, which is to be rebuilt where it is new beside an old OUTPUT."""
    path = ledger_path(output.path)
    is_new = not path.exists()
    if is_new:
        undo.callback(_remove_ledger, path, env.disk)
    ledger = SqliteLedger(
        path, env.clock, sync=sync, connection=env.connection, bulk_after=env.bulk_after
    )
    undo.callback(ledger.close)
    keep_marks(output.path, ledger)
    recovery = Recovery(is_rebuilt=is_new and output.length > 0)
    spool = EmergencySpool(output.path, env.disk)
    undo.callback(spool.close)
    return OpenOutput(output, ledger, spool, recovery)


def _remove_ledger(path: Path, disk: Disk) -> None:
    for suffix in LEDGER_FILES:
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
        held = _with_ledger(open_file(path, env, undo), env, undo, sync=False)
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
    assert isinstance(held.ledger, SqliteLedger)  # noqa: S101 - an OUTPUT's own
    kind = catch_up(held, env)
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
    ledger, place = held.ledger, Side.LINKS.of(held.output.path)
    if not isinstance(ledger, SqliteLedger) or not ledger.is_forgetting() or not place.exists():
        return 0
    links = [link for link, note_id in resolved(place) if ledger.forgets(note_id)]
    kind = ledger.identity()
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
