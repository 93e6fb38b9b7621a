"""The simulator against the real answer: its shape, its size, and the server on a real socket."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from harvester.errors import UsageError
from harvester.simulator import SimulatorSettings
from harvester.simulator.api import ENDPOINTS, SimulatedApi
from harvester.simulator.server import SimulatorServer, serving

NOTE = "67f32a94000000001d02eb4a"
PATH = ENDPOINTS[0]
REAL_NOTES = [
    "67f32a94000000001d02eb4a",
    "6a274ceb000000000803f157",
    "69983ebb00000000150304d8",
    "69b41a4c000000002103b520",
    "699be056000000000c0349ff",
    "69a597a5000000001a01d5d9",
]
NONE = type(None)

# Keys in order and types, as the vendor's real answer has them.
IMAGE = {
    "fileId": str,
    "url": str,
    "original": str,
    "width": int,
    "height": int,
    "latitude": NONE,
    "longitude": NONE,
    "traceId": str,
    "sticker": NONE,
}
TIME = {"createTime": int, "updateTime": int, "userUpdateTime": int}
USER = {
    "nickName": str,
    "avatar": str,
    "userId": str,
    "advertiserId": NONE,
    "fansNum": int,
    "cooperType": int,
    "priceState": NONE,
    "pictureState": NONE,
    "picturePrice": NONE,
    "videoState": NONE,
    "videoPrice": NONE,
    "userType": int,
    "operateState": NONE,
    "currentLevel": NONE,
    "location": str,
    "contentTags": [],
    "featureTags": [],
    "personalTags": [],
    "gender": str,
    "isCollect": bool,
    "clickMidNum": int,
    "interMidNum": int,
    "pictureInCart": NONE,
    "videoInCart": NONE,
    "kolType": NONE,
    "mengagementNum": int,
    "mEngagementNum": int,
}
DATA = {
    "noteId": str,
    "noteLink": str,
    "userId": str,
    "headPhoto": NONE,
    "name": NONE,
    "redId": NONE,
    "type": int,
    "atUserList": NONE,
    "title": str,
    "content": str,
    "imagesList": [IMAGE],
    "videoInfo": NONE,
    "time": TIME,
    "createTime": str,
    "impNum": int,
    "likeNum": int,
    "favNum": int,
    "cmtNum": int,
    "readNum": int,
    "shareNum": int,
    "followCnt": int,
    "reportBrandUserId": NONE,
    "reportBrandName": NONE,
    "featureTags": NONE,
    "userInfo": USER,
    "compClickData": NONE,
}


def ids(count: int) -> list[str]:
    return [f"{0x67F32A94 + 86_399 * n:08x}000000001d{n:06x}" for n in range(count)]


def bodies(note_ids: list[str]) -> list[bytes]:
    api = SimulatedApi(SimulatorSettings())
    return [api.answer(PATH, {"token": "t", "noteId": each}, 0.0).body for each in note_ids]


def data_of(body: bytes) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(body)["data"]
    return data


def shape(value: object) -> object:
    """Keys in order and types; a list is the list of its items' different shapes."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        shapes: list[object] = []
        shapes.extend(each for each in map(shape, value) if each not in shapes)
        return shapes[:1] if all(each == shapes[0] for each in shapes) else shapes
    return type(value)


def key_order(value: object) -> object:
    if isinstance(value, dict):
        return [(key, key_order(item)) for key, item in value.items()]
    if isinstance(value, list) and value:
        return key_order(value[0])
    return None


def test_data_has_the_real_answers_keys_in_order_and_types() -> None:
    for body in bodies(REAL_NOTES + ids(200)):
        data = data_of(body)
        assert shape(data) == DATA
        assert key_order(data) == key_order(DATA)


def test_data_is_as_large_as_real_data() -> None:
    sizes = [
        len(json.dumps(data_of(body), ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
        for body in bodies(REAL_NOTES + ids(2_000))
        if b"\\ud83d" not in body
    ]
    assert min(sizes) > 2_300
    assert max(sizes) < 4_500
    assert 2_800 < sum(sizes) / len(sizes) < 3_600


def test_a_note_was_created_when_its_id_says() -> None:
    assert data_of(bodies([NOTE])[0])["createTime"] == "2025-04-07 09:29"
    for note_id in ids(50):
        data = data_of(bodies([note_id])[0])
        created = int(note_id[:8], 16)
        local = datetime.fromtimestamp(created, UTC) + timedelta(hours=8)
        assert data["createTime"] == f"{local:%Y-%m-%d %H:%M}"
        assert data["time"]["createTime"] == created * 1000
        assert created * 1000 <= data["time"]["userUpdateTime"] <= data["time"]["updateTime"]


def test_data_hangs_together() -> None:
    for note_id, body in zip(ids(100), bodies(ids(100)), strict=True):
        data = data_of(body)
        assert data["noteId"] == note_id
        assert note_id in data["noteLink"]
        assert data["userId"] == data["userInfo"]["userId"]
        assert len(bytes.fromhex(data["userId"])) == 12
        assert data["likeNum"] <= data["readNum"] <= data["impNum"]
        files = [image["fileId"] for image in data["imagesList"]]
        assert len(set(files)) == len(files) >= 1


@pytest.mark.parametrize("note_id", ["0" * 24, "f" * 24])
def test_the_first_and_the_last_id_have_data_too(note_id: str) -> None:
    assert shape(data_of(bodies([note_id])[0])) == DATA


def test_notes_differ_from_one_another() -> None:
    contents = {data_of(body)["content"] for body in bodies(ids(500))}
    assert len(contents) > 450


def test_one_title_in_a_hundred_ends_in_half_an_emoji() -> None:
    answers = bodies(ids(5_000))
    cut = [body for body in answers if data_of(body)["title"].endswith("\ud83d")]
    assert len(cut) == pytest.approx(50, rel=0.5)
    assert all(body.count(b'\\ud83d","content"') == 1 for body in cut)
    with pytest.raises(orjson.JSONDecodeError):  # the very thing a client must bear
        orjson.loads(cut[0])


def test_every_other_answer_is_read_alike_by_both_parsers() -> None:
    whole = [body for body in bodies(ids(500)) if b"\\ud83d" not in body]
    assert len(whole) > 480
    assert all(orjson.loads(body) == json.loads(body) for body in whole)


def in_time(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or fail by name rather than hang."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await coroutine

    asyncio.run(bounded())


@asynccontextmanager
async def client(
    **settings: Any,  # noqa: ANN401 - whatever SimulatorSettings takes
) -> AsyncIterator[tuple[aiohttp.ClientSession, SimulatorServer]]:
    quick = SimulatorSettings(**({"latency": 0, "jitter": 0} | settings))
    async with serving(quick) as server, aiohttp.ClientSession(server.url) as session:
        yield session, server


async def charges(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get("/_simulator/charges") as response:
        page: dict[str, Any] = await response.json()
        return page


async def fetch(
    session: aiohttp.ClientSession, note_id: str = NOTE, path: str = PATH
) -> tuple[int, dict[str, Any]]:
    async with session.get(path, params={"token": "t", "noteId": note_id}) as response:
        return response.status, await response.json()


def test_every_endpoint_is_served() -> None:
    async def scene() -> None:
        async with client() as (session, _):
            for path in ENDPOINTS:
                status, envelope = await fetch(session, path=path)
                assert (status, envelope["code"]) == (200, 0)
                assert shape(envelope["data"]) == DATA

    in_time(scene())


def test_an_unknown_path_is_answered_in_the_envelope() -> None:
    async def scene() -> None:
        async with client() as (session, _):
            status, envelope = await fetch(session, path="/api/xiaohongshu/get-note-detail/v8")
            assert (status, envelope["code"], envelope["data"]) == (404, 404, None)

    in_time(scene())


def test_status_and_code_go_over_the_wire_in_both_flavours() -> None:
    async def scene() -> None:
        async with client(fail={503: 1}) as (session, _):
            status, envelope = await fetch(session)
            assert (status, envelope["code"]) == (503, 503)
        async with client(fail={503: 1}, http_status="always-200") as (session, _):
            status, envelope = await fetch(session)
            assert (status, envelope["code"]) == (200, 503)

    in_time(scene())


def test_the_charges_page_counts_what_was_called() -> None:
    async def scene() -> None:
        async with client() as (session, server):
            for note_id in (NOTE, REAL_NOTES[1], NOTE, "nonsense"):
                await fetch(session, note_id)
            page = await charges(session)
            assert list(page) == ["calls", "charged", "byCode", "chargedTwice", "maxPerSecond"]
            assert page["byCode"] == {"0": 3, "400": 1}
            assert (page["calls"], page["charged"], page["chargedTwice"]) == (4, 3, [NOTE])
            assert 1 <= page["maxPerSecond"] <= 4
            assert page == server.api.charges()

    in_time(scene())


def test_a_day_and_a_balance_can_be_given_from_outside() -> None:
    async def scene() -> None:
        async with client(daily_quota=1, balance=2) as (session, _):
            codes = [(await fetch(session))[1]["code"] for _ in range(2)]
            await session.post("/_simulator/day")
            codes += [(await fetch(session))[1]["code"]]
            await session.post("/_simulator/day")
            codes += [(await fetch(session))[1]["code"]]
            await session.post("/_simulator/balance", params={"add": "5"})
            codes += [(await fetch(session))[1]["code"]]
            assert codes == [0, 303, 0, 601, 0]

    in_time(scene())


def test_the_accounts_pages_go_over_the_wire_and_count_as_no_call() -> None:
    async def scene() -> None:
        async with client(price=Decimal("0.05"), balance=Decimal(100)) as (session, _):
            await fetch(session)
            await session.post("/_simulator/balance", params={"add": "-0.25"})
            async with session.get("/user/get-balance", params={"token": "t"}) as response:
                assert (await response.json())["data"] == {"balance": "99.7000", "currency": "CNY"}
            example = {"api": PATH}
            async with session.get("/status/api-example/detail", params=example) as response:
                assert shape((await response.json())["data"]["example"]["data"]) == DATA
            assert (await charges(session))["calls"] == 1

    in_time(scene())


@pytest.mark.parametrize("query", ["", "?add=", "?add=-", "?add=x", f"?add={'9' * 5000}"])
def test_a_balance_that_is_no_number_is_refused(query: str) -> None:
    async def scene() -> None:
        async with (
            client(balance=1) as (session, _),
            session.post(f"/_simulator/balance{query}") as response,
        ):
            assert response.status == 400

    in_time(scene())


def test_a_client_that_goes_away_has_been_charged_and_holds_nothing_up() -> None:
    async def scene() -> None:
        async with client(latency=3_600) as (session, server):
            url = urlsplit(server.url)
            _, writer = await asyncio.open_connection(url.hostname, url.port)
            writer.write(f"GET {PATH}?token=t&noteId={NOTE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while not server.api.charges()["calls"]:
                await charges(session)
            assert (await charges(session))["charged"] == 1
            writer.close()
            await writer.wait_closed()
            assert (await charges(session))["charged"] == 1

    in_time(scene())


# The server's sockets of calls that were cut off are closed by the garbage collector, here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_calls_in_flight_do_not_hold_up_the_end() -> None:
    async def scene() -> None:
        async with client(latency=3_600) as (session, server):
            calls = [asyncio.create_task(fetch(session, each)) for each in ids(5)]
            while server.api.charges()["calls"] < len(calls):
                await charges(session)
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(failure, aiohttp.ClientError) for failure in failures)

    in_time(scene())
    gc.collect()


def test_calls_wait_side_by_side() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with client(latency=0.2) as (session, _):
            start = loop.time()
            answers = await asyncio.gather(*(fetch(session, each) for each in ids(50)))
            assert 0.2 <= loop.time() - start < 5
            assert [envelope["data"]["noteId"] for _, envelope in answers] == ids(50)

    in_time(scene())


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
def test_the_api_takes_get_only_and_charges_nothing_else(method: str) -> None:
    async def scene() -> None:
        async with client() as (session, server):
            query = {"token": "t", "noteId": NOTE}
            async with session.request(method, PATH, params=query) as response:
                assert response.status == 405
            assert server.api.charges()["calls"] == 0

    in_time(scene())


def test_a_taken_port_says_what_to_do() -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            words = f"port {port} on 127.0.0.1 is taken: choose another --port"
            with pytest.raises(UsageError) as caught:
                async with serving(SimulatorSettings(), port=port):
                    pass
            assert str(caught.value) == words

    in_time(scene())


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 70_000), ("192.0.2.1", 0), ("no such", 0)]
)
def test_an_address_that_cannot_be_had_says_what_to_do(host: str, port: int) -> None:
    async def scene() -> None:
        with pytest.raises(UsageError, match="choose another --host or --port"):
            async with serving(SimulatorSettings(), host, port):
                pass

    in_time(scene())


def test_nothing_is_served_any_more_at_the_end() -> None:
    async def scene() -> None:
        async with serving(SimulatorSettings(latency=0, jitter=0)) as server:
            session = aiohttp.ClientSession(server.url)
            assert (await fetch(session))[0] == 200
        async with session:
            with pytest.raises(aiohttp.ClientError):
                await fetch(session)

    in_time(scene())
