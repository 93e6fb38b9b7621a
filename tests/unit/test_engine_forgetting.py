"""Notes that are forgotten: gone from OUTPUT, ledger and side files, whatever comes between."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harvester.cli import cli
from harvester.config import RunConfig
from harvester.disk import replacing
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.open_output import begin, forget, open_output
from harvester.engine.rehearsal import rehearsed
from harvester.errors import OutputLockedError
from harvester.halt import go_on
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.model import Job, Judgement, Verdict
from harvester.output.lines import make_line
from harvester.output.verify import Checked, verify
from harvester.secret import Secret
from harvester.sides import Side

ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
RESOLVER = "xiaohongshu/share-url-transfer/v1"
NOW = 1795395723.456
GONE, ALSO_GONE = f"{0x67000001:024x}", f"{0x67000006:024x}"
SECRET = b"what nobody is to read"


def line(number: int, at: float = 0, text: bytes = b"hello") -> bytes:
    judgement = Judgement(Verdict.SAVE, 0, "saved", data=b'{"text":"' + text + b'"}')
    return make_line(Job(0, f"{0x67000000 + number:024x}"), judgement, ENDPOINT, NOW + at)


# The first one to be forgotten was fetched twice; the other is the last line.
LINES = [line(0), line(1, text=SECRET), line(2), line(3), line(1, 9, SECRET), line(6, text=SECRET)]
KEPT = LINES[0] + LINES[2] + LINES[3]
LINK = "http://xhslink.com/a/gone"


def resolved(link: str, note_id: str) -> bytes:
    data = f'{{"redirect_url":"https://www.xiaohongshu.com/discovery/item/{note_id}?a=b"}}'
    judgement = Judgement(Verdict.SAVE, 0, "saved", data=data.encode())
    return make_line(Job(0, link), judgement, RESOLVER, NOW)


def opened(path: Path, env: Environment | None = None) -> OpenOutput:
    config = RunConfig(output=path, endpoint=ENDPOINT, tokens=(Secret("t"),))
    held = open_output(config, env or Environment(lambda: NOW))
    begin(held, config, Environment(lambda: NOW))
    return held


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "of" / "notes.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(LINES))
    with closing(opened(path)) as held:
        held.ledger.enrol([GONE, f"{0x67000007:024x}"], NOW + 99, {GONE: f'{{"a":"{SECRET!r}"}}'})
        held.ledger.finish_run("done", 0)
    for side in (Side.CUT, Side.KEPT):
        side.of(path).write_bytes(line(1, text=SECRET)[:-20] + b"\n" + line(2))
    with Side.CUT.of(path).open("ab") as file:
        file.write(b'":"of /explore/%s %s"}}\n' % (GONE.encode(), SECRET))
    links = resolved(LINK, GONE) + resolved("http://xhslink.com/a/stays", LINES[0][11:35].decode())
    Side.LINKS.of(path).write_bytes(links)
    Side.UNREAD.of(path).write_bytes(b'{"noteId": "%s", "text": "?"}\n' % ALSO_GONE.encode())
    return path


def check_gone(path: Path, queued: int = 1) -> None:
    """All there is beside what was forgotten, and nothing brings that back."""
    with reading(ledger_path(path)) as reader:
        assert list(verify(path, reader, Checked())) == []
        assert reader.charged() == len(LINES)
        counts = reader.counts(NOW)
        assert (counts.done, counts.queued) == (3, queued)
    with closing(opened(path)) as held:
        assert held.ledger.enrol([GONE, ALSO_GONE], NOW + 99, {GONE: "{}"}).added == 0
        new = f"{0x67000008:024x}"
        assert held.ledger.enrol([new], None).added == 1
        assert new in [job.note_id for job in held.ledger.claim(9, 60).jobs]
        held.ledger.finish_run("done", 0)
    assert path.read_bytes() == KEPT
    for file in path.parent.iterdir():
        assert SECRET not in file.read_bytes(), file
        assert LINK.encode() not in file.read_bytes(), file
    assert b"a/stays" in Side.LINKS.of(path).read_bytes()


def test_a_forgotten_note_is_nowhere_and_is_not_fetched_again(output: Path) -> None:
    args = ["forget", str(output), "--id", f"https://www.xiaohongshu.com/explore/{GONE}"]
    done = CliRunner().invoke(cli, [*args, "--id", ALSO_GONE, "--id", "f" * 24])
    assert done.output == (
        "forgot 3 notes, 2 of them known here, 3 lines erased, and 1 short link that led there: "
        "none will be fetched again\n"
    ), done.exception
    for file in output.parent.iterdir():
        assert SECRET not in file.read_bytes(), file
        assert bytes.fromhex(GONE) not in file.read_bytes(), file
        assert GONE.encode() not in file.read_bytes(), file
    check_gone(output)


def test_a_list_of_notes_is_forgotten_or_nothing_of_it(output: Path) -> None:
    ids = output.with_name("ids.txt")
    ids.write_text(f"{GONE}\nwho is this\n")
    args = ["forget", str(output), "--ids-from", str(ids)]
    done = CliRunner().invoke(cli, args)
    assert "ids.txt:2: names no note" in str(done.exception)
    os.mkfifo(pipe := output.with_name("pipe"))
    done = CliRunner().invoke(cli, [*args[:-1], str(pipe)])
    assert "pipe: here every input is read twice" in str(done.exception)
    assert output.read_bytes() == b"".join(LINES)
    ids.write_text(f"# asked on Monday\n{GONE}\n{ALSO_GONE}\n")
    assert CliRunner().invoke(cli, [*args[:-1], "-"], input=ids.read_text()).exit_code == 0
    assert output.read_bytes() == KEPT
    assert "--id ID" in str(CliRunner().invoke(cli, args[:2]).exception)


@pytest.mark.parametrize("put_back", ["", "notes.jsonl"], ids=["the ledger", "OUTPUT, too"])
def test_a_copy_from_before_that_is_put_back_brings_no_note_back(
    output: Path, tmp_path: Path, put_back: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(output.parent, copy)
    forget(output, [GONE, ALSO_GONE], Environment(lambda: NOW))
    for name in filter(None, ("notes.jsonl.ledger", put_back)):
        shutil.copyfile(copy / name, output.with_name(name))
    config = RunConfig(output=output, endpoint=ENDPOINT, tokens=(Secret("t"),))
    with rehearsed(config, go_on) as ledger:
        assert (ledger.counts().done, ledger.counts().queued) == (3, 1)
    check_gone_after(output, lambda: opened(output).close())
    check_gone(output)


@pytest.mark.parametrize("typed", ["", GONE[:-1], "https://xhslink.com/a/Bcd"])
def test_what_is_no_note_is_not_said_to_be_forgotten(output: Path, typed: str) -> None:
    done = CliRunner().invoke(cli, ["forget", str(output), "--id", GONE, "--id", typed])
    assert "nothing was erased" in str(done.exception)
    assert output.read_bytes() == b"".join(LINES)


def test_a_ledger_that_is_lost_loses_no_mark_nor_do_marks_that_are_lost(output: Path) -> None:
    forget(output, [GONE, ALSO_GONE], Environment(lambda: NOW))
    marks = Side.FORGOTTEN.of(output)
    kept = marks.read_bytes()
    assert GONE.encode() not in kept
    marks.unlink()
    opened(output).close()
    assert marks.read_bytes() == kept
    ledger_path(output).unlink()
    with output.open("ab") as file:
        file.write(LINES[1])
    with closing(opened(output)) as held:
        assert held.ledger.enrol([GONE, ALSO_GONE], None).added == 0
    assert output.read_bytes() == KEPT


def test_a_link_that_led_to_a_forgotten_note_is_paid_for_no_more(output: Path) -> None:
    forget(output, [GONE], Environment(lambda: NOW))
    config = RunConfig(output=Side.LINKS.of(output), endpoint=RESOLVER, tokens=(Secret("t"),))
    with closing(open_output(config, Environment(lambda: NOW))) as held:
        assert held.ledger.enrol([LINK], None).added == 0


def test_nothing_is_erased_while_a_run_resolves_links(output: Path) -> None:
    config = RunConfig(output=Side.LINKS.of(output), endpoint=RESOLVER, tokens=(Secret("t"),))
    with closing(open_output(config, Environment(lambda: NOW))), pytest.raises(OutputLockedError):
        forget(output, [GONE], Environment(lambda: NOW))
    assert output.read_bytes() == b"".join(LINES)


def test_what_is_not_erased_beside_an_output_is_named(output: Path) -> None:
    (output.parent / "notes.jsonl.log").write_text(GONE)
    told = CliRunner().invoke(cli, ["forget", str(output), "--id", GONE]).output
    assert told.splitlines()[1].endswith("yours to clean: notes.jsonl.log")


class Moments:
    """Copies of the folder at many moments of a command, as a crash would leave it."""

    def __init__(self, output: Path, place: Path) -> None:
        self._folder, self._place, self._name = output.parent, place, output.name
        self._many = 0

    def keep(self) -> None:
        shutil.copytree(self._folder, self._place / f"{self._many}")
        self._many += 1

    def __iter__(self) -> Iterator[Path]:
        return (self._place / f"{number}" / self._name for number in range(self._many))


def test_after_a_crash_at_any_moment_the_next_run_goes_on_with_it(
    output: Path, tmp_path: Path
) -> None:
    moments = Moments(output, tmp_path / "moments")

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401 - SQLite's
            if sql.startswith(("COMMIT", "PRAGMA wal")):
                moments.keep()
            return super().execute(sql, *args)

    env = Environment(lambda: NOW, connection=Watched, look=moments.keep)
    forget(output, [GONE, ALSO_GONE], env)
    befores = 0
    for path in moments:
        with reading(ledger_path(path)) as reader:
            damages = [damage.name for damage in verify(path, reader, Checked())]
        assert damages in ([], ["forgetting"])
        opened(path).close()
        before = path.read_bytes() == b"".join(LINES)
        befores += before
        if not before:
            check_gone(path)
    assert 0 < befores < len(list(moments)) / 2


def test_what_a_crash_left_of_a_copy_goes_and_one_that_is_being_written_stays(
    tmp_path: Path,
) -> None:
    place = tmp_path / "notes.jsonl"
    with replacing(place) as first:
        first.write(b"first")
        held = Path(first.name)
        shutil.copy(held, held.with_name(held.name.replace("-", "-0")))
        with replacing(place) as second:
            second.write(b"second")
            assert set(tmp_path.iterdir()) == {held, Path(second.name)}
        assert place.read_bytes() == b"second"
    assert place.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [place]


def test_lines_that_were_put_back_are_erased_by_the_next_run(output: Path) -> None:
    forget(output, [GONE, ALSO_GONE], Environment(lambda: NOW))
    with output.open("ab") as file:
        file.write(LINES[1])
    check_gone_after(output, lambda: opened(output).close())


def check_gone_after(path: Path, act: Callable[[], object]) -> None:
    act()
    assert path.read_bytes() == KEPT
    with reading(ledger_path(path)) as reader:
        assert list(verify(path, reader, Checked())) == []


def test_nothing_is_forgotten_while_a_run_is_on_or_in_a_fleet(output: Path) -> None:
    with closing(opened(output)), pytest.raises(OutputLockedError):
        forget(output, [GONE], Environment(lambda: NOW))
    assert output.read_bytes() == b"".join(LINES)
    Side.PART_MARKER.of(output).write_text("{}")
    told = CliRunner().invoke(cli, ["forget", str(output), "--id", GONE]).exception
    assert told is not None
    assert output.read_bytes() == b"".join(LINES)
