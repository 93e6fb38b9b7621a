"""What `verify` finds: every kind of damage by its name and line, and no false alarm."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from harvester.errors import DamagedLedgerError, LedgerError, LocalIOError, UsageError
from harvester.ledger.protocol import Checkpoint, FoundLine, Identity
from harvester.ledger.sqlite.bulk import Bulk
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import reading
from harvester.model import Job, Judgement, State, Verdict
from harvester.output import lines as module
from harvester.output import verify as verifying
from harvester.output.lines import make_line, read_head
from harvester.output.verify import Checked, Damage, Remedy, verify

ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
NOW = 1795395723.4567
TAIL = 64
Lines = list[bytes]


def note(number: int) -> str:
    return f"{0x67000000 + number:024x}"


def line(
    number: int, attempts: int = 1, endpoint: str = ENDPOINT, request: bytes = b"null"
) -> bytes:
    data = b'{"text":"' + b"x" * (10 + number) + b'"}'
    judgement = Judgement(Verdict.SAVE, 0, "saved", data=data, request_id=request)
    # Fetched again, it was so later.
    moment = NOW + number + 100 * (attempts - 1)
    return make_line(Job(number, note(number), 0, attempts - 1), judgement, endpoint, moment)


def ledger_of(path: Path) -> Path:
    return path.with_name(path.name + ".ledger")


def extent_of(data: bytes) -> Checkpoint:
    return Checkpoint(len(data), data[-TAIL:])


def adopt(ledger: SqliteLedger, lines: Lines, since: int = 0) -> None:
    found, data = [], b""
    for number, text in enumerate(lines):
        data += text
        head = read_head(text, len(data))
        assert head is not None
        if number >= since:
            # The recorder knows moments to the microsecond, the line to the millisecond.
            at = head.fetched_at + 0.0007
            found.append(FoundLine(head.note_id, head.attempts, at, head.end))
    ledger.adopt(found, extent_of(data))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An OUTPUT of ten lines and its ledger."""
    path = tmp_path / "notes.jsonl"
    lines = [line(number) for number in range(1, 11)]
    path.write_bytes(b"".join(lines))
    with closing(SqliteLedger(ledger_of(path), lambda: NOW)) as ledger:
        ledger.identify(Identity(ENDPOINT, simulated=False))
        adopt(ledger, lines)
    return path


def found(path: Path, checked: Checked | None = None) -> list[Damage]:
    with reading(ledger_of(path)) as reader:
        reader.check()
        return list(verify(path, reader, checked or Checked()))


def kinds(path: Path) -> list[tuple[str, int]]:
    return [(damage.name, damage.line) for damage in found(path)]


def change(path: Path, how: Callable[[Lines], Lines | None]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(how(lines) or lines))


def put(at: int, text: bytes) -> Callable[[Lines], Lines]:
    """Put a line before the one with this number."""
    return lambda lines: [*lines[: at - 1], text, *lines[at - 1 :]]


def swap(at: int, old: bytes, new: bytes) -> Callable[[Lines], Lines]:
    def swapped(lines: Lines) -> Lines:
        assert old in lines[at - 1]
        return [*lines[: at - 1], lines[at - 1].replace(old, new, 1), *lines[at:]]

    return swapped


def test_a_good_output_is_good(output: Path) -> None:
    checked = Checked()
    assert found(output, checked) == []
    assert (checked.lines, checked.current, checked.is_run_on) == (10, 10, False)


def test_each_remedy_is_a_command() -> None:
    assert all("{run}" in mends.value or "{rebuild}" in mends.value for mends in Remedy)


IN_PLACE = [
    (swap(3, b'"data":{', b'"data":('), [("garbled", 3), ("missing", 0)]),
    (swap(3, b"xxx", b"\0\0\0"), [("garbled", 3), ("missing", 0)]),
    (swap(3, b'"attempts":', b'"attempt5":'), [("garbled", 3), ("missing", 0)]),
    (swap(3, b'{"noteId"', b'{"nodeId"'), [("foreign", 3), ("missing", 0)]),
    (swap(3, b'"attempts":1', b'"attempts":7'), [("edited", 3)]),
    (swap(3, b"2026-", b"2025-"), [("edited", 3)]),
    (swap(3, b"note-detail/v1", b"note-detail/v2"), [("mixed", 3), ("missing", 0)]),
    (swap(3, b"xxx", b"yyy"), []),
    (swap(10, b"xxx", b"yyy"), [("end differs", 0)]),
]


@pytest.mark.parametrize(("how", "expected"), IN_PLACE)
def test_a_changed_line_of_the_same_length(
    output: Path, how: Callable[[Lines], Lines], expected: list[tuple[str, int]]
) -> None:
    change(output, how)
    assert kinds(output) == expected


SHIFTED = [
    (put(4, b"# mine\n"), ("foreign", 4), 5),
    (put(4, line(77)), ("inserted", 4), 5),
    (put(4, line(2)), ("duplicate", 4), 5),
    (put(4, line(4)), ("duplicate", 5), 6),
    (put(4, line(10)), ("duplicate", 4), 5),
    (put(4, line(77, request=b'"simulated-1"')), ("mixed", 4), 5),
    (swap(4, b"xxx", b"xxxyyy"), ("edited", 4), 5),
]


@pytest.mark.parametrize(("how", "first", "shifted"), SHIFTED)
def test_what_was_put_in_is_named_and_all_behind_it_told_once(
    output: Path, how: Callable[[Lines], Lines], first: tuple[str, int], shifted: int
) -> None:
    change(output, how)
    assert kinds(output) == [first, ("moved", shifted), ("end differs", 0)]


@pytest.mark.parametrize(("source", "other"), [(2, 2), (9, 10), (10, 11)])
def test_a_duplicate_tells_the_other_line(output: Path, source: int, other: int) -> None:
    change(output, put(4, line(source)))
    assert found(output)[0].text == f"{note(source)} has another line, line {other}"


def test_a_line_taken_out_is_missing_by_name(output: Path) -> None:
    change(output, lambda lines: lines[:3] + lines[4:])
    damages = found(output)
    assert [(d.name, d.line) for d in damages] == [
        ("shorter", 0),
        ("moved", 4),
        ("missing", 0),
    ]
    assert damages[1].text.endswith("and so do the lines up to 9")
    assert damages[2].text == f"1 done note has no good line: {note(4)}"


def test_lines_in_another_order_are_moved(output: Path) -> None:
    change(output, lambda lines: [lines[1], lines[0], *lines[2:]])
    assert kinds(output) == [("moved", 1), ("moved", 2)]


def test_the_first_ten_missing_notes_are_named(output: Path) -> None:
    lines = [line(number) for number in range(1, 31)]
    with closing(SqliteLedger(ledger_of(output), lambda: NOW)) as ledger:
        adopt(ledger, lines, since=10)
    damages = found(output)
    assert [d.name for d in damages] == ["shorter", "missing"]
    assert damages[1].text.count(note(0)[:16]) == 10
    assert note(11) in damages[1].text
    assert damages[1].text.startswith("20 done notes have no good line")
    assert damages[1].text.endswith(f"{note(20)}, …")


def test_an_output_cut_off_or_gone_or_another_is_told_apart(output: Path) -> None:
    whole = output.read_bytes()
    output.write_bytes(whole[:-20])
    assert kinds(output) == [("shorter", 0), ("garbled", 10), ("missing", 0)]
    output.write_bytes(b"".join(line(number) for number in range(51, 70)))
    damages = kinds(output)
    assert damages[-2:] == [("replaced", 0), ("missing", 0)]
    assert {kind for kind, number in damages if number} == {"inserted", "unknown"}
    output.unlink()
    assert kinds(output) == [("output missing", 0)]


def test_what_a_crash_leaves_at_the_end_is_told_from_damage(output: Path) -> None:
    with output.open("ab") as file:
        file.write(line(11) + line(12) + line(1) + line(13)[:50])
    assert kinds(output) == [
        ("unknown", 11),
        ("unknown", 12),
        ("unknown", 13),
        ("torn", 14),
    ]


def test_what_a_running_run_has_not_recorded_yet_is_no_damage(output: Path) -> None:
    with output.open("ab") as file:
        file.write(line(11) + line(12)[:50])
        file.flush()
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        checked = Checked()
        assert found(output, checked) == []
    assert (checked.lines, checked.is_run_on) == (10, True)
    assert kinds(output) == [("unknown", 11), ("torn", 12)]


def test_lines_recorded_while_it_reads_are_no_damage(output: Path) -> None:
    lines = [line(number) for number in range(1, 13)]
    with reading(ledger_of(output)) as reader:
        checked = Checked()
        change(output, lambda lines: [line(1, attempts=7), *lines[1:]])
        damages = verify(output, reader, checked)
        assert next(damages).name == "edited"
        output.write_bytes(output.read_bytes() + lines[10] + lines[11])
        with closing(SqliteLedger(ledger_of(output), lambda: NOW)) as ledger:
            adopt(ledger, lines, since=10)
        assert list(damages) == []
    assert checked.lines == 12


def test_older_lines_of_refreshed_notes_are_expected(output: Path) -> None:
    lines = [line(number) for number in range(1, 11)] + [line(3, attempts=2), line(5, attempts=2)]
    output.write_bytes(b"".join(lines))
    with closing(SqliteLedger(ledger_of(output), lambda: NOW)) as ledger:
        adopt(ledger, lines, since=10)
        assert ledger.counts().done == 10
    checked = Checked()
    assert found(output, checked) == []
    assert (checked.lines, checked.current) == (12, 10)
    output.write_bytes(b"".join([*lines[:4], line(3), *lines[5:]]))
    assert ("older lines", 0) in kinds(output)


@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_line_that_is_there_twice_is_named_and_can_be_taken_out(
    output: Path, *, is_adopted: bool
) -> None:
    lines = [line(number) for number in range(1, 11)]
    change(output, put(4, line(2)))
    if is_adopted:
        with closing(SqliteLedger(ledger_of(output), lambda: NOW)) as ledger:
            ledger.forget_lines()
            adopt(ledger, [*lines[:3], lines[1], *lines[3:]])
    (first, *more) = found(output)
    number, other = (2, 4) if is_adopted else (4, 2)
    assert (first.name, first.line, first.remedy) == ("duplicate", number, Remedy.TAKE_OUT)
    assert first.text == f"{note(2)} has another line, line {other}"
    assert (more == []) is is_adopted


def test_a_line_past_all_bounds_is_not_held_in_memory(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 1000)
    change(output, put(4, b"x" * 12_345 + b"\n"))
    assert kinds(output)[:2] == [("foreign", 4), ("moved", 5)]


def test_each_line_is_found_by_its_number(output: Path) -> None:
    for source in range(1, 10):
        lines = [line(number) for number in range(1, 11)]
        output.write_bytes(b"".join([*lines, b"\n", line(source)]))
        with closing(sqlite3.connect(ledger_of(output))) as db:
            db.execute("UPDATE output SET length = ?", (output.stat().st_size,))
            db.commit()
        texts = [d.text for d in found(output) if d.name == "duplicate"]
        assert texts == [f"{note(source)} has another line, line {source}"]


def test_numbers_that_take_long_to_count_are_left_out(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(output, put(9, line(2)))
    monkeypatch.setattr(verifying, "_MOST_COUNTED", 100)
    assert found(output)[0].text == f"{note(2)} has another line"


def test_a_ledger_that_cannot_be_used_is_told_in_plain_words(output: Path) -> None:
    ledger = ledger_of(output)
    whole = ledger.read_bytes()
    cases: list[tuple[bytes, type[LedgerError], str]] = [
        (whole[:4096] + b"\xa5" * 8192 + whole[12288:], DamagedLedgerError, "--rebuild"),
        (b"\xa5" * 100 + whole[100:], DamagedLedgerError, "not a database"),
        (b"", LedgerError, "empty"),
        (whole[:60] + (99).to_bytes(4, "big") + whole[64:], LedgerError, "newer harvester"),
    ]
    for data, error, words in cases:
        ledger.write_bytes(data)
        with pytest.raises(error, match=words) as caught:
            found(output)
        assert "\n" not in str(caught.value)
    ledger.unlink()
    with pytest.raises(UsageError, match="rebuild it from OUTPUT"):
        found(output)
    output.unlink()
    with pytest.raises(UsageError, match="earlier run"):
        found(output)


def test_an_output_that_is_no_file_is_told(output: Path) -> None:
    output.unlink()
    output.mkdir()
    with pytest.raises(LocalIOError, match="cannot read"):
        found(output)


def test_a_ledger_being_filled_is_not_searched_line_by_line(output: Path) -> None:
    with closing(sqlite3.connect(ledger_of(output))) as db:
        Bulk(db, straight=0).begin()
        db.commit()
    with pytest.raises(UsageError, match="long input"):
        found(output)


def test_a_job_is_known_with_its_line(output: Path) -> None:
    with reading(ledger_of(output)) as reader:
        job = reader.jobs_of([note(1)]).get(note(1))
        assert job is not None
        assert (job.state, job.line_end, job.lines) == (State.DONE, len(line(1)), 1)
        assert not reader.jobs_of(["nobody"])
        assert [*reader.jobs_of([note(1), "nobody"])] == [note(1)]
