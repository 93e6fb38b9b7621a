"""OUTPUT as people store it, and what is put beside it: nothing that was paid for is paid again."""

from __future__ import annotations

import gzip
import json
import re
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.open_output import open_output
from harvester.errors import (
    HaltedError,
    LocalIOError,
    OutputChangedError,
    OutputMismatchError,
    UsageError,
)
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.model import Job, Judgement, Verdict
from harvester.output.lines import BOM, make_line
from harvester.output.verify import Checked, verify
from harvester.secret import Secret
from harvester.sides import Side

ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
NOW = 1795395723.4567
MANY = 5


def line(number: int, request: bytes = b"null", endpoint: str = ENDPOINT, at: float = NOW) -> bytes:
    data = b'{"end":"the same in every line, as in real notes, and longer than 64 bytes"}'
    judgement = Judgement(Verdict.SAVE, 0, "saved", data=data, request_id=request)
    return make_line(Job(0, f"{0x67000000 - number:024x}"), judgement, endpoint, at)


LINES = [line(number) for number in range(MANY)]


def config_of(path: Path, *, rebuild: bool = False) -> RunConfig:
    return RunConfig(output=path, endpoint=ENDPOINT, tokens=(Secret("t"),), rebuild=rebuild)


def opened(path: Path, *, rebuild: bool = False) -> OpenOutput:
    return open_output(config_of(path, rebuild=rebuild), Environment(lambda: NOW))


def look(path: Path, *, rebuild: bool = False) -> OpenOutput:
    """Open and close again, as a run does that finds nothing to do."""
    with closing(opened(path, rebuild=rebuild)) as held:
        counts = held.ledger.counts()
    assert (counts.done, counts.queued) == (MANY, 0)
    with reading(ledger_path(path)) as reader:
        assert list(verify(path, reader, Checked())) == []
        assert reader.charged() == MANY
    return held


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b"".join(LINES))
    look(path)
    return path


def sorted_keys(text: bytes) -> bytes:
    return json.dumps(json.loads(text), sort_keys=True).encode() + b"\n"


STORED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("last newline stripped", lambda text: text[:-1]),
    ("CRLF", lambda text: text.replace(b"\n", b"\r\n")),
    ("CRLF, the last stripped", lambda text: text.replace(b"\n", b"\r\n")[:-2]),
    ("BOM", lambda text: BOM + text),
    ("BOM and CRLF", lambda text: BOM + text.replace(b"\n", b"\r\n")),
    ("a blank line at the end", lambda text: text + b"\n"),
    ("a blank line within", lambda text: text.replace(b"\n", b"\n\n", 1)),
    ("NUL bytes at the end", lambda text: text + b"\0" * 5000),
    ("NUL bytes within", lambda text: text.replace(b"\n", b"\n" + bytes(700), 1)),
    ("NUL bytes for a newline", lambda text: text.replace(b"\n", bytes(700), 1)),
    ("^Z of DOS", lambda text: text + b"\x1a"),
    ("keys sorted", lambda text: b"".join(map(sorted_keys, text.splitlines()))),
    ("spaced", lambda text: text.replace(b'":', b'": ').replace(b',"', b', "')),
]


@pytest.mark.parametrize(("how", "store"), STORED, ids=[name for name, _ in STORED])
@pytest.mark.parametrize("way", ["", "lost ledger", "--rebuild"])
def test_how_lines_are_stored_makes_none_of_them_broken(
    output: Path, how: str, store: Callable[[bytes], bytes], way: str
) -> None:
    assert how
    output.write_bytes(store(output.read_bytes()))
    if way == "lost ledger":
        ledger_path(output).unlink()
    look(output, rebuild=way == "--rebuild")
    held = look(output)
    assert not held.recovery.is_read_anew
    with closing(opened(output)) as held:
        held.output.append([line(99)])
    assert len(output.read_bytes().split()) >= len(LINES) + 1
    assert not Side.CUT.of(output).exists()


@pytest.mark.parametrize(
    ("encode", "how"),
    [(lambda text: text.decode().encode("utf-16"), "in UTF-16"), (gzip.compress, "packed")],
)
@pytest.mark.parametrize("has_ledger", [True, False])
def test_an_output_in_a_form_that_is_not_read_is_not_called_broken(
    output: Path, encode: Callable[[bytes], bytes], how: str, *, has_ledger: bool
) -> None:
    output.write_bytes(encode(b"".join(LINES)))
    with reading(ledger_path(output)) as reader, pytest.raises(OutputMismatchError, match=how):
        list(verify(output, reader, Checked()))
    if not has_ledger:
        ledger_path(output).unlink()
    with pytest.raises(OutputMismatchError, match=f"stored {how}") as told:
        opened(output, rebuild=True)
    subprocess.run(str(told.value).split("`")[1], shell=True, check=True)  # noqa: S602 - as it says
    assert output.read_bytes() == b"".join(LINES)
    look(output)


@pytest.mark.parametrize("store", [store for _, store in STORED], ids=[how for how, _ in STORED])
def test_an_output_stored_anew_is_no_work_of_a_power_cut(
    output: Path, store: Callable[[bytes], bytes]
) -> None:
    with closing(opened(output)) as held:
        held.ledger.mark_boot("one")
        held.ledger.settle(held.output.sync())
    text = store(output.read_bytes())
    output.write_bytes(text)
    with closing(open_output(config_of(output), Environment(lambda: NOW, boot="two"))) as held:
        assert (held.recovery.lost, held.ledger.counts().done) == (0, MANY)
    assert output.read_bytes().split() == re.sub(rb"\0+|\x1a", b"\n", text).split()


@pytest.mark.parametrize("is_recorded", [True, False])
def test_whole_lines_behind_one_that_a_power_cut_broke_are_kept(
    output: Path, *, is_recorded: bool
) -> None:
    started = Environment(lambda: NOW, boot="one")
    with closing(open_output(config_of(output), started)) as held:
        held.ledger.mark_boot("one")
        held.ledger.settle(held.output.sync())
    more = [line(number) for number in range(MANY, MANY + 6)]
    with output.open("ab") as file:
        file.write(b"".join(more))
    if is_recorded:
        open_output(config_of(output), started).close()
    text = output.read_bytes()
    # A hole from within a line to its end, and one within another.
    text = text.replace(more[1], more[1][:50].ljust(len(more[1]), b"\0"))
    text = text.replace(more[4], more[4][:50] + bytes(50) + more[4][100:])
    output.write_bytes(text)
    with closing(open_output(config_of(output), Environment(lambda: NOW, boot="two"))) as held:
        assert held.recovery.lost == 2 * is_recorded
        assert held.ledger.counts().done == MANY + 4
    kept = [*LINES, more[0], more[2], more[3], more[5]]
    assert output.read_bytes() == b"".join(kept)
    with reading(ledger_path(output)) as reader:
        assert list(verify(output, reader, Checked())) == []
        assert reader.charged() == len(kept) + 2 * is_recorded


def test_a_hole_that_a_power_cut_left_is_mended_also_where_output_was_stored_anew(
    output: Path,
) -> None:
    with closing(opened(output)) as held:
        held.ledger.mark_boot("one")
        held.ledger.settle(sum(map(len, LINES[:2])))
    text = BOM + b"".join(LINES)
    output.write_bytes(text.replace(LINES[2], LINES[2][:50].ljust(len(LINES[2]), b"\0")))
    with closing(open_output(config_of(output), Environment(lambda: NOW, boot="two"))) as held:
        assert (held.recovery.lost, held.ledger.counts().done) == (1, MANY - 1)
    assert output.read_bytes() == text.replace(LINES[2], b"")
    with reading(ledger_path(output)) as reader:
        assert list(verify(output, reader, Checked())) == []


@pytest.mark.parametrize("store", [store for _, store in STORED], ids=[how for how, _ in STORED])
@pytest.mark.parametrize("durable", [0, 1, MANY - 1])
def test_what_a_power_cut_took_is_queued_again_though_the_rest_was_stored_anew(
    output: Path, store: Callable[[bytes], bytes], durable: int
) -> None:
    with closing(opened(output)) as held:
        held.ledger.mark_boot("one")
        held.ledger.settle(sum(map(len, LINES[:durable])))
    output.write_bytes(store(b"".join(LINES[:-1])))
    with closing(open_output(config_of(output), Environment(lambda: NOW, boot="two"))) as held:
        assert held.recovery.lost == 1
        counts = held.ledger.counts()
        assert (counts.done, counts.queued) == (MANY - 1, 1)
    with reading(ledger_path(output)) as reader:
        assert list(verify(output, reader, Checked())) == []


@pytest.mark.parametrize("way", ["lost ledger", "--rebuild"])
def test_a_line_that_a_power_cut_tore_is_cut_and_kept_and_those_behind_it_are_read(
    output: Path, way: str
) -> None:
    hole = LINES[2][:50].ljust(len(LINES[2]), b"\0")
    output.write_bytes(output.read_bytes().replace(LINES[2], hole))
    if way == "lost ledger":
        ledger_path(output).unlink()
    with closing(opened(output, rebuild=way == "--rebuild")) as held:
        assert (held.recovery.cut, held.ledger.counts().done) == (len(hole), MANY - 1)
        assert held.ledger.counts().queued == (way == "--rebuild")
    assert output.read_bytes().splitlines(keepends=True) == [*LINES[:2], *LINES[3:]]
    assert Side.CUT.of(output).read_bytes() == LINES[2][:50] + b"\n"


def test_an_output_in_another_encoding_is_no_work_of_a_power_cut(output: Path) -> None:
    text = output.read_bytes().decode().encode("utf-16-be")
    output.write_bytes(text)
    ledger_path(output).unlink()
    with pytest.raises(OutputMismatchError, match="at line 1: take it out; `harvester verify"):
        opened(output)
    assert output.read_bytes() == text


def test_a_power_cut_excuses_no_line_that_was_durable(output: Path) -> None:
    with closing(opened(output)) as held:
        held.ledger.mark_boot("one")
        held.ledger.settle(sum(map(len, LINES[:-1])))
    output.write_bytes(BOM + b"".join(LINES[1:-1]))
    with pytest.raises(OutputMismatchError, match="pays for, those 2 again"):
        open_output(config_of(output), Environment(lambda: NOW, boot="two"))


def test_that_a_queue_is_lost_is_told_until_an_input_is_named(output: Path) -> None:
    ledger_path(output).unlink()
    for _ in range(3):
        assert look(output).recovery.is_queue_lost
    with closing(opened(output)) as held:
        held.ledger.enrol(["a"], None)
    with closing(opened(output)) as held:
        assert not held.recovery.is_queue_lost


def test_a_line_of_a_note_that_was_never_enrolled_tells_that_a_queue_is_lost(output: Path) -> None:
    with closing(opened(output)) as held:
        held.ledger.enrol([json.loads(line(60))["noteId"]], None)
    for number, is_lost in ((60, False), (50, True)):
        output.write_bytes(output.read_bytes() + line(number))
        with closing(opened(output)) as held:
            assert held.recovery.is_queue_lost is is_lost


def test_a_sorted_output_is_told_by_its_lines_and_read_when_told_to(output: Path) -> None:
    output.write_bytes(b"".join(sorted(LINES)))
    with pytest.raises(OutputMismatchError, match=f"all its {MANY} notes are there.*--rebuild"):
        opened(output)
    look(output, rebuild=True)


def test_the_way_out_says_how_many_notes_it_pays_for_again(output: Path) -> None:
    output.write_bytes(b"".join(LINES[:2]))
    with pytest.raises(OutputMismatchError, match="pays for, those 3 again"):
        opened(output)


def test_what_is_cut_is_kept_beside_it(output: Path) -> None:
    torn = line(7)[:90]
    output.write_bytes(output.read_bytes() + torn)
    assert look(output).recovery.cut == len(torn)
    assert Side.CUT.of(output).read_bytes() == torn + b"\n"


@pytest.mark.parametrize("rebuild", [False, True], ids=["", "--rebuild"])
def test_a_file_of_another_program_is_refused_as_it_is(output: Path, *, rebuild: bool) -> None:
    other = output.with_name("other")
    for text in (ledger_path(output).read_bytes(), bytes(range(256)) * 9, b"PK\3\4a\0\0b\nc\0\x1a"):
        other.write_bytes(text)
        with pytest.raises(OutputMismatchError, match="not harvester's at line 1"):
            opened(other, rebuild=rebuild)
        assert other.read_bytes() == text
        assert sorted(output.parent.glob("other*")) == [other]


@pytest.mark.parametrize(
    "foreign", [line(7, b'"simulated-7"'), line(7, endpoint="other/v1")], ids=["simulated", "other"]
)
@pytest.mark.parametrize("rebuild", [False, True], ids=["", "--rebuild"])
def test_lines_of_another_kind_are_not_adopted(
    output: Path, foreign: bytes, *, rebuild: bool
) -> None:
    output.write_bytes(output.read_bytes() + foreign)
    with pytest.raises(OutputMismatchError, match="move it to a file of its own"):
        opened(output, rebuild=rebuild)


def test_a_doubled_line_is_charged_once(output: Path) -> None:
    output.write_bytes(output.read_bytes() + LINES[0] + line(50) + line(50))
    with closing(opened(output)) as held:
        assert held.ledger.charged_since(0) == MANY + 1


def test_a_line_from_before_the_clock_was_put_back_is_charged_and_current(output: Path) -> None:
    output.write_bytes(output.read_bytes() + line(0, at=NOW - 86400))
    with closing(opened(output)) as held:
        assert held.ledger.charged_since(0) == MANY + 1
        assert held.ledger.refresh(NOW - 1) == 1


@pytest.mark.parametrize("way", ["lost ledger", "--rebuild"])
def test_lines_that_are_doubled_far_from_each_other_are_charged_once(
    output: Path, way: str
) -> None:
    # So far that they are not adopted together.
    many = 10_001
    more = [line(-number) for number in range(1, many)]
    output.write_bytes(b"".join([*LINES, *more, *LINES[1:], more[0]]))
    if way == "lost ledger":
        ledger_path(output).unlink()
    with closing(opened(output, rebuild=way == "--rebuild")) as held:
        assert held.ledger.counts().done == MANY + len(more)
        assert held.ledger.charged_since(0) == MANY + len(more)
    with reading(ledger_path(output)) as reader:
        found = [(damage.name, damage.line) for damage in verify(output, reader, Checked())]
    assert found == [("duplicate", number) for number in range(2, MANY + 2)]


def test_notes_of_a_simulator_of_its_own_refuse_a_real_run(tmp_path: Path) -> None:
    path = tmp_path / "practice.jsonl"
    host = Environment(lambda: NOW)
    local = replace(config_of(path), base_url="http://127.0.0.1:8080")
    with closing(open_output(local, host)) as held:
        held.output.append([line(1, b'"simulated-1"')])
    open_output(local, host).close()
    with pytest.raises(UsageError, match="holds simulated notes"):
        opened(path)


def test_all_files_are_their_owners_alone_and_modes_are_kept(output: Path) -> None:
    with closing(opened(output)) as held:
        held.spool.save([line(9)])
        held.ledger.mark_boot("one")
        files = [path for path in output.parent.iterdir() if path != output]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    output.chmod(0o640)
    opened(output).close()
    assert stat.S_IMODE(output.stat().st_mode) == 0o640


def test_a_planted_link_is_not_followed(output: Path, tmp_path: Path) -> None:
    prey = tmp_path / "prey"
    prey.write_bytes(b"mine")
    for path in (Side.CUT.of(output), output.with_name(output.name + ".ledger-reserve")):
        path.symlink_to(prey)
    output.write_bytes(output.read_bytes() + line(7)[:90])
    with pytest.raises(LocalIOError):
        opened(output)
    Side.CUT.of(output).unlink()
    with closing(opened(output)) as held:
        held.spool.save([line(9)])
    ledger_path(other := tmp_path / "other.jsonl").symlink_to(tmp_path / "made")
    with pytest.raises(LocalIOError, match="that it is no link"):
        opened(other)
    assert prey.read_bytes() == b"mine"
    assert not (tmp_path / "made").exists()


# Changed under a run


def edited(output: Path) -> None:
    """As `sed -i` does it: another file, with what was there when it began."""
    text = output.read_bytes()
    output.unlink()
    output.write_bytes(b"".join(text.splitlines(keepends=True)[:2]))


@pytest.mark.parametrize("change", [edited, Path.unlink], ids=["sed -i", "rm"])
def test_an_output_that_is_replaced_under_a_run_is_kept_and_put_back(
    output: Path, change: Callable[[Path], None]
) -> None:
    with closing(opened(output)) as held:
        change(output)
        with pytest.raises(OutputChangedError, match=r"mv .*kept"):
            held.output.append([line(20)])
        held.output.append([line(20)])
    assert Side.KEPT.of(output).read_bytes() == b"".join([*LINES, line(20)])
    with pytest.raises(OutputMismatchError, match=r"kept|all its"):
        opened(output)
    with closing(opened(output, rebuild=True)) as held:
        counts = held.ledger.counts()
        assert (counts.done, counts.queued) == (MANY + 1, 0)


def test_an_output_that_is_moved_under_a_run_goes_on_where_it_is(output: Path) -> None:
    away = output.with_name("notes.jsonl.1")
    with closing(opened(output)) as held:
        output.rename(away)
        output.touch()
        with pytest.raises(OutputChangedError, match=f"mv {away}"):
            held.output.append([line(20)])
        held.output.append([line(20)])
    away.replace(output)
    with closing(opened(output)) as held:
        assert held.ledger.counts().done == MANY + 1


@pytest.mark.parametrize(("size", "what"), [(0, "cut short"), (99_999, "somebody else")])
def test_an_output_whose_length_changes_under_a_run_is_noticed_and_left_alone(
    output: Path, size: int, what: str
) -> None:
    with closing(opened(output)) as held:
        with output.open("r+b") as file:
            file.truncate(size)
        for _ in range(2):
            with pytest.raises(OutputChangedError, match=what):
                held.output.append([line(20)])
        assert held.spool.save([line(20)])
    assert output.stat().st_size == size


@pytest.mark.parametrize("looks", [2, 2 + MANY, 3 + MANY])
def test_an_output_that_is_emptied_while_it_is_read_anew_is_not_forgotten(
    output: Path, looks: int
) -> None:
    output.write_bytes(BOM + output.read_bytes())
    copy = output.read_bytes()

    def empty() -> None:
        nonlocal looks
        looks -= 1
        if not looks:
            output.write_bytes(b"")

    with pytest.raises(OutputChangedError, match="put the good copy back"):
        open_output(config_of(output), Environment(lambda: NOW, look=empty))
    output.write_bytes(copy)
    look(output)


class After:
    """Leaves off at the look with this number."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def look(self) -> None:
        self.left -= 1
        if not self.left:
            raise HaltedError


@pytest.mark.parametrize("is_lost", [True, False])
def test_opening_a_long_output_leaves_off_between_its_pieces(
    tmp_path: Path, *, is_lost: bool
) -> None:
    # Three pieces long.
    long = b'"' + 3000 * b"x" + b'"'
    path, text = tmp_path / "notes.jsonl", b"".join(line(number, long) for number in range(1000))
    path.write_bytes(text)
    if not is_lost:
        opened(path).close()
    stopping = After(4)
    host = Environment(lambda: NOW, look=stopping.look)
    with pytest.raises(HaltedError):
        open_output(config_of(path, rebuild=not is_lost), host)
    assert path.read_bytes() == text
    with closing(opened(path)) as held:
        assert held.ledger.counts().done == 1000


def test_notes_with_nothing_in_them_are_known_from_output_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    empty = make_line(Job(0, "6" * 24), Judgement(Verdict.SAVE, 0, "saved"), ENDPOINT, NOW)
    path.write_bytes(b"".join([*LINES[1:], empty]))
    look(path)
    with reading(ledger_path(path)) as reader:
        assert reader.empty() == 1
