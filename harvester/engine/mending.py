"""Brings OUTPUT and its ledger together again, whatever came between them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import chain, islice

from msgspec.structs import replace

from harvester.engine.held import Environment, OpenOutput, Recovery
from harvester.engine.kind import identity_of, of_kind
from harvester.errors import LocalIOError, OutputMismatchError
from harvester.ledger.protocol import Checkpoint, FoundLine, Identity, Ledger
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.output.beside import PADDING, kept_lines
from harvester.output.census import take_census
from harvester.output.file import OutputFile
from harvester.output.lines import BOM, between_holes, has_holes, read_line

_LINES_AT_ONCE = 10_000
# As our lines begin, and as a power cut may leave a file.
_OUR_BEGINNINGS = (b"{", b"\0" * 512)


def mend(held: OpenOutput, kind: Identity, env: Environment, *, rebuild: bool) -> Recovery:
    """Bring OUTPUT and ledger together again, whatever came between them."""
    output, ledger = held.output, held.ledger
    lost = 0
    has_lost_power = _lost_power(output, ledger, env.boot)
    durable = ledger.synced() if has_lost_power else ledger.checkpoint().length
    # A part's rebuild that was cut short goes on.
    rebuild = rebuild or ledger.is_rebuilding()
    if rebuild or not ledger.checkpoint().length:
        _check_ours(output)
    cut = output.mend_end(0 if rebuild else durable)
    if not rebuild and has_lost_power and output.has_line_end(durable):
        lost, torn = _mend_power(held, kind)
        cut += torn
    is_read_anew = not rebuild and not _fits(output, ledger.checkpoint())
    if is_read_anew:
        lost = _check_all_there(held, durable)
    cut += output.mend_holes(0 if rebuild or is_read_anew else ledger.checkpoint().length)
    with ledger.as_one(env.look):
        if rebuild or is_read_anew:
            ledger.forget_lines()
            cut += output.mend_end(0)
        adopted = _adopt(output, ledger, kind, ledger.checkpoint().length)
        if rebuild:
            adopted += _adopt_beside(held, kind, kept_lines(output.path))
        adopted += _adopt_beside(held, kind, held.spool.saved())
        ledger.end_reading()
        held.spool.return_unread()
        # What was read is what stands there, or nothing of it is taken.
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


def catch_up(held: OpenOutput, env: Environment) -> Identity | None:
    """Have the ledger learn all that is in OUTPUT, of whatever kind it is; gives that, if any."""
    kind = identity_of(held.output) or held.ledger.identity()
    if kind is not None:
        mend(held, kind, env, rebuild=False)
    return kind


def _check_ours(output: OutputFile) -> None:
    """Raise OutputMismatchError for another program's file, before anything in it is mended."""
    for number, (piece, _) in enumerate(output.pieces(0), 1):
        if text := piece.removeprefix(BOM).strip().rstrip(PADDING):
            if text.startswith(_OUR_BEGINNINGS):
                return
            raise _not_ours(output, f"line {number}")


def _not_ours(output: OutputFile, place: str) -> OutputMismatchError:
    return OutputMismatchError(
        f"{output.path} has a line that is broken or not harvester's at {place}: take it out; "
        f"`harvester verify {shlex.quote(str(output.path))}` tells how. If the file is another "
        "program's, choose another --output."
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
        beside = chain(kept_lines(output.path), held.spool.saved())
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
        lost = ledger.lose_lines(output.checkpoint_at(whole))
        lost -= _adopt_beside(held, kind, iter(known))
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
    # A part may hold older lines that the ledger does not know by their places.
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

    unknown = (of_kind(line, kind, "beside", output) for line in lines if is_unknown(line))
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
            raise _not_ours(output, place)
        of_kind(piece, kind, f"at {place}", output)
        yield line
