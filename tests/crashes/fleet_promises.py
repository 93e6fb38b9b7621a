"""What a fleet promises, one by one, held against a story that was played to its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from harvester.model import State
from harvester.output.part import read_part_marker
from tests.crashes.fleet_story import WORKERS, Story
from tests.crashes.fleet_world import Life, World
from tests.crashes.server import note_id

# Where the answer got lost on its way, the call was charged, or not: here it always is.
_LOST = ("lost", "broken")
_SAVES = ("0", "slow")


@dataclass
class Call:
    """One call as the server saw it."""

    number: int
    note: int
    life: Life
    answer: str
    landed: bool = False

    @property
    def is_save(self) -> bool:
        return self.answer in _SAVES

    @property
    def is_charged(self) -> bool:
        return self.answer in (*_SAVES, *_LOST)


@dataclass(frozen=True)
class Line:
    """One line of a part; `is_known` tells that the ledger vouches for it, `moment` is Unix ms."""

    part: int
    end: int
    note: int
    call: int
    moment: int
    is_known: bool


@dataclass
class Played:
    """A story that was played: what the server saw, and what is left."""

    story: Story
    world: World
    folder: Path
    calls: list[Call] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)

    def folder_of(self, worker: int) -> Path:
        """Where a worker keeps its OUTPUT."""
        return self.folder / str(worker)

    def is_without(self, *, death: bool, pause: bool) -> bool:
        """Whether no life was of these kinds."""
        return not any(
            (death and life.is_dead) or (pause and life.pauses > 0) for life in self.lives
        )

    @cached_property
    def lines(self) -> list[Line]:
        """All whole lines of all parts."""
        return [line for worker in range(WORKERS) for line in self._lines_of(worker)]

    def _lines_of(self, worker: int) -> Iterator[Line]:
        output = self.folder_of(worker) / "notes.jsonl"
        marker = read_part_marker(output)
        if marker is None or not output.exists():
            return
        rows = self.world.database.rows("SELECT id, length FROM part WHERE uuid = %s", marker.part)
        part, length = rows[0] if rows else (0, 0)
        end = 0
        for text in output.read_bytes().splitlines(keepends=True):
            end += len(text)
            if text.endswith(b"\n"):
                told = json.loads(text)
                moment = datetime.fromisoformat(told["fetchedAt"]).timestamp()
                note, call = int(told["noteId"][8:], 16), told["data"]["call"]
                yield Line(part, end, note, call, round(moment * 1000), end <= length)

    @cached_property
    def known(self) -> list[Line]:
        """The lines that the ledger vouches for."""
        return [line for line in self.lines if line.is_known]

    def by_note(self, query: str) -> Counter[int]:
        """Rows of a table with `seq`, counted by note."""
        rows = self.world.database.rows(
            f"SELECT note_id, count(*) FROM ({query}) AS rows JOIN job USING (seq) GROUP BY note_id"
        )
        return Counter({int(name[8:], 16): many for name, many in rows})


def broken_promises(played: Played) -> Iterator[str]:
    """What must hold once all is done, whatever went wrong on the way."""
    yield from paid_answers_are_kept(played)
    yield from charges_are_known(played)
    yield from unanswered_calls_are_true(played)
    yield from each_note_has_one_current_line(played)
    yield from lines_are_known_and_duplicates_listed(played)
    yield from counts_are_those_of_the_jobs(played)
    yield from activity_counts_each_call_once(played)
    yield from all_is_finished(played)


def paid_answers_are_kept(played: Played) -> Iterator[str]:
    """Each paid answer that a living worker had is on one line; none is on two.

    What was written before a death is held by the workers, who compare their OUTPUT to its past.
    """
    lines = Counter(line.call for line in played.lines)
    for call in played.calls:
        found = lines[call.number]
        if found > 1:
            yield f"note {call.note}: the answer of call {call.number} is on {found} lines"
        if call.is_save and call.landed and not call.life.is_dead and not found:
            yield f"note {call.note}: the paid answer of call {call.number} is lost ({call.life})"
        if found and not call.is_save:
            yield f"note {call.note}: call {call.number} says {call.answer}, but is on a line"


def charges_are_known(played: Played) -> Iterator[str]:
    """Each charge is a line the ledger knows, or a call known to be unanswered."""
    lines = Counter(line.note for line in played.known)
    unanswered = played.by_note("SELECT seq FROM unanswered")
    duplicates = played.by_note("SELECT seq FROM line WHERE found_at IS NOT NULL")
    charges = Counter(call.note for call in played.calls if call.is_charged)
    for note in range(len(played.story.notes)):
        missing = charges[note] - lines[note] - unanswered[note]
        if missing > 0:
            yield f"note {note}: {missing} of {charges[note]} charges are not known of"
        if charges[note] > 1 + unanswered[note] + duplicates[note]:
            yield f"note {note}: charged {charges[note]} times without a word"


def unanswered_calls_are_true(played: Played) -> Iterator[str]:
    """What was sent ends once: on a line, as another answer, or as an unanswered call."""
    lines = Counter(line.note for line in played.known)
    unrecorded = played.by_note("SELECT seq FROM unanswered WHERE NOT in_activity")
    departed: Counter[str] = sum((life.departed for life in played.lives), Counter())
    for note in range(len(played.story.notes)):
        ends, sent = lines[note] + unrecorded[note], departed[note_id(note)]
        if ends > sent:
            yield f"note {note} was sent {sent} times; {lines[note]} lines, the rest unanswered?"
    others = played.world.database.one(
        "SELECT coalesce(sum(calls), 0)::int FROM activity WHERE code <> 0"
    )
    if lines.total() + unrecorded.total() + others > departed.total():
        yield (
            f"{departed.total()} calls were sent; {lines.total()} lines, {others} other answers "
            f"and {unrecorded.total()} unanswered calls are known"
        )
    if played.is_without(death=True, pause=True):
        said = played.by_note("SELECT seq FROM unanswered").total()
        lost = sum(call.answer in _LOST for call in played.calls)
        if said != lost:
            yield f"{said} calls said to be unanswered, {lost} were"


def each_note_has_one_current_line(played: Played) -> Iterator[str]:
    """Over all parts, where the ledger says, and the newest that it knows."""
    known = {(line.part, line.end): line for line in played.known}
    newest: dict[int, int] = {}
    for line in played.known:
        newest[line.note] = max(line.moment, newest.get(line.note, 0))
    rows = played.world.database.rows(
        "SELECT note_id, state, part, line_end, fetched_at FROM job ORDER BY seq"
    )
    for name, state, part, end, fetched_at in rows:
        note = int(name[8:], 16)
        if state != State.DONE:
            if note in newest:
                yield f"note {note} is in state {state}, but is on a line"
            continue
        current = known.get((part, end))
        if current is None or current.note != note:
            yield f"note {note} should be on the line of part {part} that ends at {end}: {current}"
        elif abs(current.moment - fetched_at) > 1:
            yield f"note {note} was fetched at {current.moment}, the ledger says {fetched_at}"
        elif current.moment < newest[note] - 1:
            yield f"note {note} has a newer line than its current one"


def lines_are_known_and_duplicates_listed(played: Played) -> Iterator[str]:
    """Each line is known, where it is, and listed as paid for again where that is so."""
    lines = Counter(line.note for line in played.known)
    database = played.world.database
    for name, said in database.rows("SELECT note_id, lines FROM job ORDER BY seq"):
        note = int(name[8:], 16)
        if said != lines[note]:
            yield f"note {note} is on {lines[note]} known lines, the ledger says {said}"
    told = database.rows(
        "SELECT line.part, line.line_end, note_id, line.fetched_at FROM line JOIN job USING (seq)"
    )
    found = [(line.part, line.end, note_id(line.note), line.moment) for line in played.known]
    if sorted(told) != sorted(found):
        yield f"the ledger knows {set(told) - set(found)}, there are {set(found) - set(told)}"
    duplicates = played.by_note("SELECT seq FROM line WHERE found_at IS NOT NULL")
    for note in range(len(played.story.notes)):
        if duplicates[note] != max(0, lines[note] - 1):
            yield f"note {note} is on {lines[note]} lines, {duplicates[note]} listed as duplicates"


def counts_are_those_of_the_jobs(played: Played) -> Iterator[str]:
    """The tally is kept in step with the jobs, and no claim outlives its job."""
    database = played.world.database
    tally = dict(database.rows("SELECT state, jobs FROM tally WHERE jobs <> 0"))
    found = dict(database.rows("SELECT state, count(*) FROM job GROUP BY state"))
    if tally != found:
        yield f"the tally says {tally}, the jobs are {found}"
    claims = database.one("SELECT count(*) FROM claim")
    if claims:
        yield f"{claims} jobs are claimed for ever"


def activity_counts_each_call_once(played: Played) -> Iterator[str]:
    """What was charged and answered is counted once for each line, other calls at most once."""
    database = played.world.database
    charged = database.one("SELECT coalesce(sum(calls), 0)::int FROM activity WHERE code = 0")
    if charged != len(played.known):
        yield f"{charged} charged calls are counted, {len(played.known)} lines are known"
    counted = database.one("SELECT coalesce(sum(calls), 0)::int FROM activity WHERE code <> 0")
    made = sum(not call.is_save for call in played.calls)
    if counted > made or (counted < made and played.is_without(death=True, pause=True)):
        yield f"{counted} calls without a save are counted, {made} were made"


def all_is_finished(played: Played) -> Iterator[str]:
    """The living finish everything; what was rejected was told so by the server."""
    rejected = {call.note for call in played.calls if call.answer in ("404", "202")}
    rows = played.world.database.rows("SELECT note_id, state FROM job ORDER BY seq")
    if len(rows) != len(played.story.notes):
        yield f"{len(rows)} notes are known, {len(played.story.notes)} were named"
    for name, state in rows:
        note = int(name[8:], 16)
        if state not in (State.DONE, State.REJECTED):
            yield f"note {note} is left in state {state}"
        if state == State.REJECTED and note not in rejected:
            yield f"note {note} is rejected, the server never said so"
