"""What is read, and what is refused before a call is made."""

from __future__ import annotations

import gzip
import json

from aiohttp import web

from harvester.sides import Side
from tests.process.tool import Tool, Upstream

NOWHERE = "http://127.0.0.1:9"
# Kept for documentation: nobody is there, and a run that is refused asks for nobody.
ELSEWHERE = "http://192.0.2.1"


async def saving(upstream: Upstream, note_id: str, _nth: int) -> web.StreamResponse:
    return upstream.reply(0, {"noteId": note_id})


def test_every_form_of_input_is_read(tool: Tool) -> None:
    ids = tool.note_ids(16)
    site = "https://www.xiaohongshu.com"
    (tool.folder / "plain.txt").write_bytes(
        "\ufeff# a comment\r\n\r\n{}\r\n{}\r\n{}/explore/{}?xsec_token=AB%3D&x=1\r\n".format(
            ids[0], ids[1].upper(), site, ids[2]
        ).encode()
        + f"{site}/discovery/item/{ids[3]}\n{site}/search_result/{ids[4]}?a=b\n".encode()
        + f"{site}/user/profile/5ff0e6410000000001008400/{ids[5]}?x=y\n".encode()
        + f"58 小满发布了一篇笔记😆 {site}/explore/{ids[6]}?s=1 复制本条信息\n{ids[0]}".encode()
    )
    tool.write("a.csv", ["title,noteId", f'"a, ""b""\nc",{ids[7]}', f"d,{site}/explore/{ids[8]}"])
    tool.write("b.tsv", ["note_id\ttitle", f"{ids[9]}\tx"])
    tool.write(
        "c.jsonl", [json.dumps({"title": "标题", "id": ids[10]}), "", f'{{"id":"{ids[11]}"}}']
    )
    tool.write("d.ndjson", [f'{{"noteId":"{ids[12]}","id":7}}'])
    (tool.folder / "e.txt").write_bytes(gzip.compress(f"{ids[13]}\n".encode()))
    (tool.folder / "f.csv.gz").write_bytes(gzip.compress(f"id\n{ids[14]}\n".encode()))
    names = ("plain.txt", "a.csv", "b.tsv", "c.jsonl", "d.ndjson", "e.txt", "f.csv.gz", "-")
    simulator = tool.simulate()
    run = tool.harvest(simulator.url, *names, stdin=f"{ids[15]}\n{ids[15]}\n".encode())
    assert run.code == 0, run.text
    assert "named no note" not in run.out
    assert sorted(tool.saved()) == ids
    assert simulator.calls == 16


def test_bad_lines_are_counted_and_named_or_refused_when_strict(tool: Tool) -> None:
    ids = tool.note_ids(3)
    notes = tool.write("late.txt", [*ids * 4000, "no note here", *ids])
    simulator = tool.simulate()
    strict = tool.harvest(simulator.url, notes, "--strict")
    assert strict.code == 2, strict.text
    assert f"{notes}:12001: " in strict.err
    assert simulator.calls == 0
    assert not tool.output.exists()
    lax = tool.harvest(simulator.url, notes)
    assert lax.code == 0, lax.text
    assert "1 line of input named no note" in lax.out
    assert f"{notes}:12001: names no note: no note here" in lax.out
    told = tool.run("status", tool.output, env=tool.env)
    assert f"left out; the first: {notes}:12001: names no note: no note here" in told.text
    assert simulator.calls == 3


def test_unusable_input_is_refused(tool: Tool) -> None:
    rubbish = tool.write("rubbish.txt", ["lorem", "ipsum \x1b[31mdolor"])
    header = tool.write("header.csv", ["a,b", "1,2"])
    runs = {
        f"{rubbish}:1: ": tool.start_harvest(NOWHERE, rubbish),
        "nothing-there.txt: no such file": tool.start_harvest(NOWHERE, "nothing-there.txt"),
        f"{header}:1: no column": tool.start(
            "run", header, "-o", "other.jsonl", "--base-url", NOWHERE
        ),
    }
    for words, run in runs.items():
        ended = run.finish()
        assert ended.code == 2, ended.text
        assert words in ended.text
        assert "\x1b" not in ended.text


def test_wrong_usage_is_refused_in_plain_words(tool: Tool) -> None:
    notes = tool.notes(1)
    cases = [
        (("--timeout", "10"), "--allow-short-timeout"),
        (("--rate", "fast"), "5/s"),
        (("--rate", "0/s"), "rate"),
        (("--endpoint", "xiaohongshu/note-detail/v77"), "did you mean xiaohongshu/note-detail/v"),
        (("--base-url", "ftp://x"), "--base-url"),
        (("--max-notes", "0"), "--max-notes"),
        (("--frobnicate",), "--frobnicate"),
        (("-q", "-v"), "-q and -v contradict each other"),
    ]
    runs = [
        (tool.start("run", notes, "-o", f"{n}.jsonl", *options), words)
        for n, (options, words) in enumerate(cases)
    ]
    runs.append((tool.start("run", notes, "-o", "t.jsonl", env=tool.env), "JUSTONEAPI_TOKEN"))
    runs.append((tool.start("run", notes), "--output"))
    runs.append((tool.start("status", "none.jsonl"), "none.jsonl.ledger"))
    for run, words in runs:
        ended = run.finish()
        assert ended.code == 2, ended.text
        assert words in ended.err
        assert "Traceback" not in ended.text
    assert list(tool.folder.glob("*.jsonl*")) == []


def test_every_option_has_an_environment_variable(tool: Tool) -> None:
    simulator = tool.simulate()
    env = {
        **tool.env,
        "JUSTONEAPI_TOKEN": tool.token,
        "JUSTONEAPI_BASE_URL": simulator.url,
        "HARVESTER_RUN_RATE": "1000/s",
        "HARVESTER_RUN_MAX_NOTES": "3",
        "HARVESTER_RUN_OUTPUT": str(tool.output),
        "HARVESTER_RUN_QUIET": "1",
    }
    run = tool.run("run", tool.notes(10), env=env)
    assert run.code == 7, run.text
    assert len(run.out.splitlines()) == 1
    assert simulator.calls == 3


def test_an_output_keeps_to_its_kind(tool: Tool) -> None:
    notes = tool.notes(2)
    upstream = tool.upstream(saving)
    practice = tool.folder / "practice.jsonl"
    real = tool.start_harvest(upstream.url, notes)
    simulated = tool.start("run", notes, "-o", practice, "--simulate", *tool.fast, env=tool.env)
    assert (real.finish().code, simulated.finish().code) == (0, 0)
    texts = (tool.output.read_bytes(), practice.read_bytes())
    more = tool.notes(4)
    refused = {
        "simulated": tool.run("run", more, "-o", practice, "--base-url", ELSEWHERE),
        "real": tool.run("run", more, "-o", tool.output, "--simulate"),
        "xiaohongshu-pgy/note-detail/v1": tool.harvest(
            upstream.url, more, "--endpoint", "xiaohongshu/note-detail/v7"
        ),
    }
    for words, ended in refused.items():
        assert ended.code == 2, ended.text
        assert words in ended.err
        assert "choose another --output" in ended.err
        assert "Traceback" not in ended.text
    assert len(upstream.starts) == 2
    assert (tool.output.read_bytes(), practice.read_bytes()) == texts


def test_a_real_output_takes_no_notes_of_a_simulator_on_this_machine(tool: Tool) -> None:
    upstream = tool.upstream(saving)
    assert tool.harvest(upstream.url, tool.notes(2)).code == 0
    _stops_before_it_mixes(tool, tool.simulate().url, "OUTPUT holds real notes")


def test_an_output_of_a_simulator_takes_no_real_notes_of_this_machine(tool: Tool) -> None:
    simulator = tool.simulate()
    assert tool.harvest(simulator.url, tool.notes(2)).code == 0
    _stops_before_it_mixes(tool, tool.upstream(saving).url, "OUTPUT holds simulated notes")
    more = tool.harvest(simulator.url, tool.notes(4))
    assert more.code == 0, more.text
    assert sorted(tool.saved()) == tool.note_ids(4)


def _stops_before_it_mixes(tool: Tool, url: str, words: str) -> None:
    lines = tool.output.read_bytes()
    mixed = tool.harvest(url, tool.notes(4), "--workers", "1")
    assert mixed.code == 2, mixed.text
    assert words in mixed.text
    assert "choose another --output" in mixed.text
    assert tool.output.read_bytes() == lines
    kept = [json.loads(line) for line in Side.UNREAD.of(tool.output).read_bytes().splitlines()]
    assert [line["noteId"] for line in kept] == tool.note_ids(4)[2:3]
    status = tool.status()
    assert (status["done"], status["queued"]) == (2, 2)


def test_a_lost_ledger_is_rebuilt_without_a_call(tool: Tool) -> None:
    notes = tool.notes(10)
    simulator = tool.simulate()
    assert tool.harvest(simulator.url, notes).code == 0
    text = tool.output.read_bytes()
    for part in tool.folder.glob("notes.jsonl.ledger*"):
        part.unlink()
    without = tool.harvest(simulator.url)
    assert "what was still queued is not known: name the INPUT" in without.closing_line
    again = tool.harvest(simulator.url, notes)
    assert again.code == 0, again.text
    assert "not known" not in again.closing_line
    assert simulator.calls == 10
    assert tool.output.read_bytes() == text
    status = tool.status()
    assert (status["done"], status["charged"], status["simulated"]) == (10, 10, True)


def test_a_file_of_others_is_refused_and_untouched(tool: Tool) -> None:
    notes = tool.notes(2)
    simulator = tool.simulate()
    poem = tool.write("poem.txt", ["Wanderers Nachtlied", "Über allen Gipfeln"])
    table = tool.write("table.jsonl", ['{"noteId":"x","other":1}', '{"noteId":"y"}'])
    before = (poem.read_bytes(), table.read_bytes())
    runs = [
        tool.start("run", notes, "-o", path, "--base-url", simulator.url) for path in (poem, table)
    ]
    runs.append(tool.start("run", notes, "-o", tool.folder, "--base-url", simulator.url))
    for run in runs:
        ended = run.finish()
        assert ended.code == 2, ended.text
        assert "Traceback" not in ended.text
    assert (poem.read_bytes(), table.read_bytes()) == before
    assert simulator.calls == 0
    assert list(tool.folder.glob("*.ledger*")) == []


def test_what_goes_wrong_is_one_json_object_where_that_is_asked_for(tool: Tool) -> None:
    tool.write("bad.txt", ["nonsense"])
    wrong = {
        ("status", "none.jsonl", "--json"): ("usage", 2),
        ("verify", "none.jsonl", "--jason", "--json"): ("usage", 2),
        ("run", "bad.txt", "-o", "y.jsonl", "--simulate", "--json"): ("input", 2),
        ("run", "bad.txt", "-o", "y.jsonl", "--simulate", "--json", "--dry-run"): ("input", 2),
        ("run", "none.txt", "-o", "x.jsonl", "--simulate", "--json"): ("input", 2),
    }
    for words, end in wrong.items():
        ended = tool.run(*words)
        told = json.loads(ended.out)
        assert (told["reason"], told["exitCode"]) == end
        assert ended.code == told["exitCode"]
        assert told["message"] in ended.err


def test_progress_for_programs_tells_of_the_beginning_and_the_end(tool: Tool) -> None:
    how = ("-o", tool.output, "--simulate", "--rate", "1000/s", "--progress", "json")
    ended = tool.run("run", tool.notes(3), *how)
    assert ended.code == 0, ended.text
    first, *_, last = map(json.loads, ended.err.splitlines())
    assert (first["event"], first["queued"]) == ("begin", 0)
    assert (last["event"], last["exitCode"], last["done"]) == ("end", 0, 3)
    assert last["at"] > first["at"] > "2"
