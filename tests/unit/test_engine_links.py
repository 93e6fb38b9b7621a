"""Short links: each is resolved by one paid call, ever; then the notes they lead to are fetched."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

import harvester
from harvester.api.endpoints import endpoint_path
from harvester.config import RunConfig
from harvester.console.dry_run import estimate, estimate_lines
from harvester.console.summary import closing_line
from harvester.engine.links import resolved
from harvester.engine.open_output import forget
from harvester.engine.open_run import this_environment
from harvester.errors import UsageError
from harvester.secret import Secret
from harvester.simulator import SimulatorSettings
from harvester.simulator.server import SimulatorServer, serving

A = "67f32a94000000001d02eb4a"
SHARED = (
    "45 某人发布了一篇小红书笔记 😆 C4Q 😆 http://xhslink.com/a/{}，复制本条信息，打开【小红书】"
)
LIST = [A, SHARED.format("one"), "https://xhslink.cn/o/Two http://XHSLINK.com/a/one", "no note"]
RESOLVER = "xiaohongshu/share-url-transfer/v1"


def harvest(server: SimulatorServer, inputs: Any, output: Path, **options: Any) -> Any:  # noqa: ANN401 - as given
    said = {"rate": "1000/s", "no_account": True, **options}
    return harvester.harvest(inputs, output, token="t", base_url=server.url, **said)  # noqa: S106 - any will do


def served(output: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in output.read_bytes().splitlines()]


def links_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.links.jsonl")


def test_each_link_is_paid_for_once_and_its_note_is_fetched(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"

    async def main() -> None:
        async with serving(SimulatorSettings(latency=0.0)) as server:
            summary = await harvest(server, LIST, output, resolve_links=True)
            assert (summary.reason, summary.saved, summary.bad_lines) == ("done", 3, 1)
            assert server.api.charges()["charged"] == 5
            again = await harvest(server, [*LIST, SHARED.format("one")], output, resolve_links=True)
            assert (again.reason, again.calls) == ("done", 0)
            assert server.api.charges()["calls"] == 5

    asyncio.run(main())
    links = {line["noteId"] for line in served(links_of(output))}
    assert links == {"http://xhslink.com/a/one", "http://xhslink.cn/o/Two"}
    assert len({line["noteId"] for line in served(output)}) == 3


def test_limits_hold_for_links_and_notes_together(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"

    async def main() -> None:
        async with serving(SimulatorSettings(latency=0.0)) as server:
            for limit, reason, charged in (
                ({"max_charged": 1}, "limit", 1),
                ({"max_charged": 3}, "limit", 4),
                ({"max_calls": 3}, "done", 5),
            ):
                summary = await harvest(server, LIST, output, resolve_links=True, **limit)
                assert summary.reason == reason
                assert server.api.charges()["charged"] == charged

    asyncio.run(main())


def test_a_daily_cap_counts_links_and_notes(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"

    async def main() -> None:
        async with serving(SimulatorSettings(latency=0.0)) as server:
            cap = {"resolve_links": True, "max_charged_daily": 4}
            for _ in range(2):
                summary = await harvest(server, LIST, output, **cap)
                assert (summary.reason, summary.exit_code) == ("limit", 7)
                assert server.api.charges()["charged"] == 4

    asyncio.run(main())


def test_a_quota_met_at_the_links_ends_the_run_and_the_next_day_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"

    async def main() -> None:
        async with serving(SimulatorSettings(latency=0.0, daily_quota=1)) as server:
            first = await harvest(server, LIST, output, resolve_links=True)
            assert (first.reason, first.done, first.queued) == ("quota", 1, 1)
            assert "short links" in first.detail
            assert not output.exists()
            reasons: list[str] = []
            while "done" not in reasons and len(reasons) < 5:
                server.api.new_day()
                summary = await harvest(server, LIST, output, resolve_links=True)
                reasons.append(summary.reason)
            assert reasons[-1] == "done"
            assert server.api.charges()["charged"] == 5

    asyncio.run(main())


def test_a_link_that_leads_nowhere_is_a_bad_line(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"

    async def main() -> Any:  # noqa: ANN401 - a Summary
        async with serving(SimulatorSettings(latency=0.0, missing=1.0)) as server:
            return await harvest(server, LIST[1:2], output, resolve_links=True)

    summary = asyncio.run(main())
    assert (summary.exit_code, summary.bad_lines) == (2, 1)
    assert "did not lead to a note" in summary.detail


def test_a_link_that_could_not_be_resolved_yet_is_no_list_that_is_done(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"

    async def main() -> None:
        path = endpoint_path(RESOLVER)
        async with serving(SimulatorSettings(latency=0.0, deprecated=(path,))) as server:
            once = {"resolve_links": True, "max_attempts": 1}
            summary = await harvest(server, LIST[:2], output, **once)
            assert summary.detail == "1 short link could not be resolved"
            summary = await harvest(server, LIST, output, **once)
            assert (summary.reason, summary.exit_code) == ("some failed", 1)
            line = closing_line(summary, Path("notes.jsonl"), "harvester run -o notes.jsonl")
            assert "2 short links could not be resolved" in line
            assert "harvester failures notes.jsonl.links.jsonl" in line
        async with serving(SimulatorSettings(latency=0.0)) as server:
            summary = await harvest(server, LIST, output, resolve_links=True)
            assert (summary.reason, summary.done) == ("done", 3)

    asyncio.run(main())


def test_the_columns_of_a_list_stay_with_the_notes_behind_its_links(tmp_path: Path) -> None:
    output, table = tmp_path / "notes.jsonl", tmp_path / "list.csv"
    table.write_text(
        f"笔记ID,链接,达人\n{A},http://xhslink.com/a/of-a,李\n,http://xhslink.com/a/b,韩\n"
    )

    async def main() -> None:
        async with serving(SimulatorSettings(latency=0.0)) as server:
            options = {"resolve_links": True, "carry": "达人", "strict": True}
            summary = await harvest(server, table, output, **options)
            assert summary.reason == "done"

    asyncio.run(main())
    # The first row names its note: its link is not paid for.
    assert [line["noteId"] for line in served(links_of(output))] == ["http://xhslink.com/a/b"]
    assert [line["input"] for line in served(output)] == [{"达人": "李"}, {"达人": "韩"}]


def test_by_hand_it_takes_two_commands(tmp_path: Path) -> None:
    links, output = tmp_path / "notes.jsonl.links.jsonl", tmp_path / "notes.jsonl"

    async def main() -> None:
        async with serving(SimulatorSettings(latency=0.0)) as server:
            first = await harvest(server, LIST, links, endpoint=RESOLVER)
            assert (first.saved, first.bad_lines) == (2, 2)
            second = await harvest(server, links, output)
            assert (second.saved, second.bad_lines) == (2, 0)

    asyncio.run(main())


def test_a_dry_run_tells_the_cost_of_both(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"
    said = {"simulate": True, "resolve_links": True, "price": "0.15"}
    config = RunConfig.read(LIST, output, said)
    found = estimate(config, None)
    lines = [*estimate_lines(config, found)]
    assert "by at least 2 calls (0.30 at 0.15 a call)" in lines[0]
    assert lines[1].startswith("3 new notes")
    assert "at least 3 calls (0.45 at 0.15 a call)" in lines[2]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_no_note_behind_a_link_that_led_to_none(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"

    async def main() -> None:
        async with serving(SimulatorSettings(latency=0.0, missing=1.0)) as server:
            await harvest(server, LIST[1:2], output, resolve_links=True)

    asyncio.run(main())
    more = [*LIST[:2], "http://xhslink.com/a/other"]
    config = RunConfig.read(more, output, {"resolve_links": True}, Secret("t"))
    found = estimate(config, None)
    assert found.links is not None
    assert (found.links.calls, found.new, found.bad_lines) == (1, 2, 1)
    assert "did not lead to a note" in str(found.bad_examples[0])


def test_a_link_to_a_forgotten_note_is_not_called_for_nor_told_nor_kept(tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"

    async def main() -> None:
        async with serving(SimulatorSettings(latency=0.0)) as server:
            await harvest(server, LIST, output, resolve_links=True)
            found = dict(resolved(links_of(output)))
            note = found["http://xhslink.com/a/one"]
            assert forget(output, [note], this_environment()).links == 1
            summary = await harvest(server, LIST, output, resolve_links=True)
            assert (summary.reason, summary.calls, summary.bad_lines) == ("done", 0, 1)
            said = {"resolve_links": True, "base_url": server.url}
            config = RunConfig.read(LIST, output, said, Secret("t"))
            assert estimate(config, None).bad_lines == 1

    asyncio.run(main())
    for file in tmp_path.iterdir():
        assert b"xhslink.com/a/one" not in file.read_bytes(), file


def test_links_are_resolved_for_notes_and_not_for_themselves(tmp_path: Path) -> None:
    said = {"simulate": True, "resolve_links": True, "endpoint": RESOLVER}
    with pytest.raises(UsageError, match="--endpoint"):
        RunConfig.read(LIST, tmp_path / "o", said)
