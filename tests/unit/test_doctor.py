"""The checks of `doctor`, each on the real thing it looks at: files, locks, a ledger, servers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.doctor import examination, place
from harvester.doctor.check import Check
from harvester.doctor.examination import check_day, check_files, check_schedule, examine
from harvester.doctor.place import check_place, check_run
from harvester.doctor.vendor import check_vendor
from harvester.ledger.protocol import Checkpoint
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.model import Outcome, State
from harvester.output.ending import mark_of
from harvester.secret import Secret
from harvester.sides import Side

TOKEN = "tok-3f9ac17e55d04b28"  # noqa: S105 - a made up one
LINE = b'{"noteId":"x"}\n'
Page = Callable[[web.Request], web.StreamResponse]


def config(base_url: str = "http://127.0.0.1:1", **more: Any) -> RunConfig:  # noqa: ANN401 - its own
    more = {"output": Path("n.jsonl"), "tokens": (Secret(TOKEN),), **more}
    return RunConfig(base_url=base_url, **more)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def well(request: web.Request) -> web.StreamResponse:
    """A vendor that is as it should be."""
    if request.path.endswith("get-balance"):
        assert request.query["token"] == TOKEN
        return web.json_response({"code": 0, "data": {"balance": "9.5000", "currency": "CNY"}})
    # A sample is shown to whoever asks: the token is not.
    assert dict(request.query) == {"api": "/api/xiaohongshu-pgy/get-note-detail/v1"}
    return web.json_response({"code": 0, "data": {"example": {"code": 0}}})


def refusing(_request: web.Request) -> web.StreamResponse:
    # As if the address were known to be this account's: it says the token to who sent none, too.
    return web.json_response({"code": 100, "message": f"bad token {TOKEN}"}, status=401)


def early(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"code": 0}, headers={"Date": formatdate(time.time() - 600)})


@asynccontextmanager
async def serving(page: Page, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return page(request)

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
    await runner.cleanup()


def told_by(page: Page, tls: ssl.SSLContext | None = None, **more: Any) -> dict[str, Check]:  # noqa: ANN401 - the config's
    async def main() -> list[Check]:
        async with serving(page, tls) as url:
            return await check_vendor(config(url, **more))

    return by_name(run(main()))


def run(main: Coroutine[Any, Any, list[Check]]) -> list[Check]:
    return asyncio.run(main)


def test_a_vendor_that_is_as_it_should_be_is_good_in_everything() -> None:
    found = told_by(well)
    assert {check.is_good for check in found.values()} == {True}
    assert list(found) == ["token", "address", "TLS", "clock"]
    assert "9.50 CNY" in found["token"].text


def test_a_refused_token_is_bad_and_not_shown() -> None:
    found = told_by(refusing)
    assert found["token"].is_good is False
    assert "copy it again" in found["token"].remedy
    assert "bad token ***" in found["token"].text
    assert "bad token ***" in found["address"].text
    assert TOKEN not in str(found)
    several = told_by(refusing, tokens=(Secret(TOKEN), Secret("another-of-the-run")))
    assert "bad token ***" in several["token 2"].text
    assert TOKEN not in str(several)


def test_a_servers_date_that_names_no_zone_is_in_gmt(monkeypatch: pytest.MonkeyPatch) -> None:
    def obsolete(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"code": 0}, headers={"Date": time.asctime(time.gmtime())})

    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert told_by(obsolete)["clock"].is_good
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clock_that_is_off_is_bad() -> None:
    check = told_by(early)["clock"]
    assert (check.is_good, "10 min" in check.text) == (False, True)
    assert "timedatectl" in check.remedy


def test_an_address_out_of_reach_is_bad_and_names_the_proxy_that_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    found = by_name(run(check_vendor(config())))
    assert found["address"].is_good is False
    assert "not used" in found["proxy"].text


@pytest.mark.parametrize("is_known", [True, False])
def test_a_certificate_is_trusted_or_the_way_out_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_known: bool
) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    if is_known:
        authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    found = told_by(well, tls)
    # What trusts is made once a process; the address is asked through it.
    assert found["TLS"].is_good is is_known if "TLS" in found else not is_known


# OUTPUT's place


def ledger_of(output: Path, queued: int) -> SqliteLedger:
    ledger = SqliteLedger(Side.LEDGER.of(output), time.time)
    ledger.begin_run(120.0)
    ledger.enrol([f"{n:024x}" for n in range(queued + 1)], None)
    (job,) = ledger.claim(1, 100.0).jobs
    saved = Outcome(job, State.DONE, 0, "saved", line=LINE, fetched_at=time.time())
    ledger.record([saved], [len(LINE)], Checkpoint(len(LINE), mark_of(LINE)))
    ledger.close()
    output.write_bytes(LINE)
    return ledger


def looked_at(output: Path) -> dict[str, Check]:
    return by_name(list(check_place(output)))


def test_a_ledger_and_its_output_are_good_and_room_is_told_by_the_lines_so_far(
    tmp_path: Path,
) -> None:
    output = tmp_path / "n.jsonl"
    ledger_of(output, 40)
    found = looked_at(output)
    assert {check.is_good for check in found.values()} == {True}
    assert found["ledger"].text == "whole; 41 notes known, 40 queued"
    assert "wanted for 40 queued notes" in found["disk"].text
    with output.open("ab") as file:
        file.write(LINE)
    assert f"{len(LINE)} bytes more" in looked_at(output)["OUTPUT"].text


@pytest.mark.parametrize("held", [b"", b'{"noteId":"y"}\n'])
def test_an_output_that_does_not_hold_what_is_known_is_bad(tmp_path: Path, held: bytes) -> None:
    output = tmp_path / "n.jsonl"
    ledger_of(output, 1)
    output.write_bytes(held)
    assert looked_at(output)["OUTPUT"].is_good is False
    output.unlink()
    assert looked_at(output)["OUTPUT"].is_good is False


def test_a_broken_ledger_is_bad_and_one_that_is_missing_beside_an_output_is_told(
    tmp_path: Path,
) -> None:
    output = tmp_path / "n.jsonl"
    assert looked_at(output)["ledger"].is_good is True
    output.write_bytes(LINE)
    assert looked_at(output)["ledger"].is_good is None
    Side.LEDGER.of(output).write_bytes(b"no database at all" * 100)
    assert looked_at(output)["ledger"].is_good is False


def test_want_of_room_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_LEAST", 1 << 60)
    check = looked_at(tmp_path / "n.jsonl")["disk"]
    assert (check.is_good, check.remedy) == (False, "make room, or move OUTPUT")


def test_what_is_there_and_cannot_be_written_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "n.jsonl"
    ledger_of(output, 1)
    # Root may write whatever there is.
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    wrong = [check.name for check in check_place(output) if not check.is_good]
    assert wrong == ["OUTPUT", "ledger"]


def test_a_file_system_without_locks_and_a_folder_that_is_not_there_are_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(fcntl, "flock", lambda _file, _how: None)
    assert looked_at(tmp_path / "n.jsonl")["locks"].is_good is False
    assert list(tmp_path.iterdir()) == []
    found = looked_at(tmp_path / "no" / "n.jsonl")
    assert (list(found), found["OUTPUT"].is_good) == (["OUTPUT"], False)


# The machine


def test_the_quotas_day_is_told_in_both_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert "00:00 in Asia/Shanghai, 16:00 here (UTC)" in check_day(config()).text
    monkeypatch.undo()
    time.tzset()


def test_few_open_files_are_bad_where_more_calls_may_be_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert check_files(config()).is_good is True
    monkeypatch.setattr(examination, "raise_limit", lambda: 3)
    check = check_files(config(workers=10))
    assert (check.is_good, "--workers 3" in check.remedy) == (False, True)


def test_what_starts_a_night_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("USER", "me")
    monkeypatch.setenv("LOGNAME", "me")
    assert check_schedule(tmp_path).is_good is None
    (tools / "systemctl").write_text("")
    os.chmod(tools / "systemctl", 0o755)  # noqa: PTH101, S103 - a command
    assert check_schedule(tmp_path).remedy == "loginctl enable-linger"
    (tmp_path / "me").touch()
    assert check_schedule(tmp_path).is_good is True


def test_a_wrong_configuration_keeps_the_other_checks_from_nothing(tmp_path: Path) -> None:
    found = by_name(run(examine(None, tmp_path / "n.jsonl", {})))
    assert {"locks", "ledger", "disk", "schedule"} <= set(found)


def test_of_practice_no_vendor_is_asked() -> None:
    found = by_name(run(examine(config("", simulate=True), None, {})))
    assert "token" not in found
    assert found["address"].is_good is True


def test_what_a_run_would_refuse_is_bad(tmp_path: Path) -> None:
    output = tmp_path / "n.jsonl"
    ledger_of(output, 1)
    (tmp_path / "ids.txt").write_text("67f32a94000000001d02eb4a\n")

    def told(**more: Any) -> Check:  # noqa: ANN401 - a config's own
        return check_run(replace(config(output=output), **{"inputs": ("-",), **more}))

    output.write_bytes(b"")
    good = told(output=tmp_path / "new.jsonl", strict=True)
    assert (good.is_good, good.text) == (True, "it would begin")
    assert "ledger knows" in told().text
    output.unlink()
    Side.LEDGER.of(output).unlink()
    output.write_bytes(b"never a note\n")
    assert "line 1" in told().text
    output.write_bytes(
        b'{"noteId":"67f32a94000000001d02eb4a","fetchedAt":"2026-11-23T01:02:03.456Z","attempts":1,'
        b'"endpoint":"xiaohongshu-pgy/note-detail/v1","recordTime":null,"requestId":null,'
        b'"data":{}}\n'
    )
    assert told().is_good is True
    assert "endpoint" in told(endpoint="xiaohongshu-pgy/solar-note-detail/v1").text
    assert told(inputs=(str(tmp_path / "ids.txt"),)).is_good is True
    assert "no such file" in told(inputs=(str(tmp_path / "gone.txt"),)).remedy
    # Nothing is left of it.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.txt", "n.jsonl"]


def test_a_ledger_that_has_no_room_to_be_tried_on_a_copy_names_the_place_that_is_full(
    tmp_path: Path,
) -> None:
    output = tmp_path / "n.jsonl"
    ledger_of(output, 1)
    output.write_bytes(LINE)
    # Longer than any disk, and takes no room on this one.
    os.truncate(Side.LEDGER.of(output), shutil.disk_usage(tempfile.gettempdir()).total + (1 << 30))
    check = check_run(config(output=output))
    assert check.is_good is False
    assert "No space left" in check.text
    assert "set TMPDIR" in check.remedy


def test_an_output_that_cannot_be_read_on_is_bad(tmp_path: Path) -> None:
    check = check_run(config(output=tmp_path / "n.jsonl"))
    assert check.is_good is True
    (tmp_path / "n.jsonl").symlink_to("/proc/self/mem")
    check = check_run(config(output=tmp_path / "n.jsonl"))
    assert (check.is_good, "Input/output error" in check.text) == (False, True)


def test_other_files_of_a_run_are_to_be_writable(tmp_path: Path) -> None:
    places = {"--log-file": tmp_path / "a.log", "--metrics-file": tmp_path / "no" / "m.prom"}
    found = by_name(run(examine(None, None, places)))
    assert "--log-file" not in found
    assert found["--metrics-file"].is_good is False


def test_a_user_may_have_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "systemctl").write_text("")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert check_schedule(tmp_path).remedy == "loginctl enable-linger"
