"""`merge` as its users call it: on parts that runs wrote, or are writing."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path

from tests.process.tool import Finished, Tool


def parts(tool: Tool, *many: range) -> list[Path]:
    """Parts of simulated harvests, of slices of the same notes."""
    ids = tool.note_ids(60)
    outputs = []
    for number, piece in enumerate(many):
        notes = tool.write(f"{number}.txt", [ids[n] for n in piece])
        output = tool.folder / f"part-{number}.jsonl"
        ended = tool.run("run", notes, "-o", output, "--simulate", *tool.fast)
        assert ended.code == 0, ended.text
        outputs.append(output)
    return outputs


def merge(tool: Tool, *args: str | Path, shell: str = "") -> Finished:
    return tool.run("merge", *args, env=tool.env, shell=shell)


def test_parts_become_one_file_that_is_good_to_go_on_with(tool: Tool) -> None:
    one, two = parts(tool, range(40), range(30, 60))
    place = tool.folder / "all.jsonl"
    ended = merge(tool, one, two, "-o", place)
    assert ended.code == 0, ended.text
    assert ended.out == (
        f"merged 2 parts into {place}: 70 lines, 60 notes, 10 older lines left out\n"
    )
    assert sorted(tool.saved(place)) == tool.note_ids(60)
    again = set(tool.saved(two))
    kept = [line for line in lines(one) if json.loads(line)["noteId"] not in again]
    assert lines(place) == kept + lines(two)
    piped = merge(tool, one, two, "-o", "-")
    assert piped.out == place.read_text("utf-8")
    assert piped.err == "merged 2 parts: 70 lines, 60 notes, 10 older lines left out\n"
    packed = tool.folder / "two.jsonl.gz"
    packed.write_bytes(gzip.compress(two.read_bytes()))
    before = place.read_bytes()
    assert merge(tool, one, packed, "-o", place).code == 0
    assert place.read_bytes() == before
    assert not list(tool.folder.glob(".*"))
    taken = tool.run("run", "-o", place, "--simulate", *tool.fast)
    assert taken.code == 0, taken.text
    assert tool.status(place)["done"] == 60


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_part_that_a_run_is_writing_is_merged_as_it_is(tool: Tool) -> None:
    upstream = tool.upstream()
    first = tool.write("ids.txt", tool.note_ids(20))
    simulator = tool.simulate()
    assert tool.harvest(simulator.url, first).code == 0
    run = tool.start_harvest(upstream.url, tool.notes(30, seed=2))
    tool.until(lambda: upstream.calls > 0, "a call")
    with tool.output.open("ab") as file:
        file.write(lines(tool.output)[0][:80])
    ended = merge(tool, tool.output, "-o", tool.folder / "all.jsonl")
    assert ended.code == 0, ended.text
    assert "merged 1 part into" in ended.out
    assert ": 20 lines, 20 notes, 0 older lines left out" in ended.out
    assert f"{tool.output}: the last line is torn (80 bytes) and left out" in ended.err
    assert lines(tool.folder / "all.jsonl") == lines(tool.output)[:20]
    run.signal(signal.SIGKILL)
    run.finish()


def test_what_must_not_be_merged_is_refused_and_nothing_is_written(tool: Tool) -> None:
    (one,) = parts(tool, range(5))
    real = tool.folder / "real.jsonl"
    real.write_bytes(one.read_bytes().replace(b'"simulated-', b'"'))
    words = tool.write("words.txt", ["dear diary"])
    place = tool.folder / "all.jsonl"
    for args, said in (
        ((one, real, "-o", place), "must not mix"),
        ((one, words, "-o", place), f"{words}:1 is not a good line"),
        ((one, tool.folder / "none", "-o", place), "there is no file"),
        ((real, "-o", one), "runs go on with"),
        ((real, "-o", real), "is one of the parts"),
        ((one, "-o", words), "is no file of notes"),
        ((one,), "Missing option"),
        (("-o", place), "Missing argument"),
    ):
        ended = merge(tool, *args)
        assert (ended.code, ended.out) == (2, ""), ended.text
        assert said in ended.err
        assert "Traceback" not in ended.err
    assert not place.exists()


def test_a_full_disk_leaves_the_earlier_file(tool: Tool) -> None:
    (one,) = parts(tool, range(60))
    place = tool.folder / "all.jsonl"
    place.write_bytes(lines(one)[0])
    ended = merge(tool, one, "-o", place, shell='ulimit -f 8; exec "$@"')
    assert ended.code == 74, ended.text
    assert "cannot be written" in ended.err
    assert place.read_bytes() == lines(one)[0]
    assert not list(tool.folder.glob(".*"))
