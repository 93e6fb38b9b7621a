"""A webhook is told in the form that it takes; what goes wrong is one line that shows no URL."""

from __future__ import annotations

import gc
import ssl
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import trustme

from harvester.api.proxy import Proxy, read_proxy
from harvester.observe.webhooks import Webhooks
from harvester.secret import Secret
from tests.process.hook import Hook
from tests.process.proxy import Proxy as ProxyServer
from tests.process.tool import refusing, until

FEISHU, DINGTALK = "/open-apis/bot/v2/hook/s3cretkey", "/robot/send?access_token=s3cretkey"
WECOM, SLACK = "/cgi-bin/webhook/send?key=s3cretkey", "/services/T01/B01/s3cretkey"
FIELDS = {"reason": "done", "done": 4}


def told_by(url: str, *, proxy: Proxy | None = None, timeout: float = 10.0) -> list[str]:
    """What is said after a webhook was told."""
    said: list[str] = []
    webhooks = Webhooks([Secret(url)], proxy, said.append)
    webhooks.tell("all done", FIELDS)
    webhooks.wait(timeout)
    return said


@pytest.mark.parametrize(
    ("path", "answer", "message"),
    [
        (FEISHU, '{"code": 0}', {"msg_type": "text", "content": {"text": "all done"}}),
        (DINGTALK, '{"errcode": 0}', {"msgtype": "text", "text": {"content": "all done"}}),
        (WECOM, '{"errcode": 0}', {"msgtype": "text", "text": {"content": "all done"}}),
        (SLACK, "ok", {"text": "all done"}),
        ("/hook?key=s3cretkey", "", {"text": "all done", **FIELDS}),
        ("", '{"code": 200}', {"text": "all done", **FIELDS}),
    ],
)
def test_each_service_is_told_in_its_own_form(
    path: str, answer: str, message: dict[str, Any]
) -> None:
    with Hook(answer) as hook:
        assert told_by(hook.url(path)) == []
    assert hook.told == [message]
    assert hook.heads[0].startswith("POST ")


@pytest.mark.parametrize(
    ("path", "answer", "status", "said"),
    [
        (FEISHU, '{"code": 19024, "msg": "Key Words"}', "200 OK", "with code 19024: Key Words"),
        (DINGTALK, '{"errcode": 1, "errmsg": "s3cretkey?"}', "200 OK", "with code 1: ***?"),
        (WECOM, "<html>", "200 OK", "gave an answer that cannot be read"),
        (SLACK, "no_service", "404 Not Found", "answered with HTTP 404"),
        ("/", "", "500 Oh", "answered with HTTP 500"),
    ],
)
def test_what_a_service_refuses_is_said_without_its_url(
    path: str, answer: str, status: str, said: str
) -> None:
    with Hook(answer, status) as hook:
        [line] = told_by(hook.url(path))
    assert said in line
    assert line.startswith("harvester: --notify 1 (")
    assert "s3cretkey" not in line


def test_a_redirect_is_not_followed() -> None:
    with Hook() as other, Hook("", f"307 Go\r\nLocation: {other.url()}") as hook:
        [line] = told_by(hook.url())
    assert "answered with HTTP 307" in line
    assert other.told == []


def test_nobody_there_is_said_in_plain_words() -> None:
    with refusing() as port:
        [line] = told_by(f"http://127.0.0.1:{port}{FEISHU}")
    assert line == "harvester: --notify 1 (Feishu) cannot be told: Connection refused."


def test_the_proxy_that_is_named_is_used_and_none_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with refusing() as port, Hook() as hook, ProxyServer("Basic bWU6cHc=") as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        proxy = read_proxy(f"http://me:pw@127.0.0.1:{server.port}")
        assert told_by(hook.url(), proxy=proxy) == []
        assert told_by(hook.url()) == []
    assert len(server.heads) == 1
    assert len(hook.told) == 2


def test_a_certificate_is_looked_at_and_the_proxys_password_goes_to_the_proxy_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Hook(context=context) as hook, ProxyServer("Basic bWU6cHc=") as server:
        url = hook.url().replace("http:", "https:")
        assert "certificate verify failed" in told_by(url)[0]
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        place = f"127.0.0.1:{server.port}"
        assert told_by(url, proxy=read_proxy(f"http://me:pw@{place}")) == []
        assert "407" in told_by(url, proxy=read_proxy(f"http://{place}"))[0]
    with warnings.catch_warnings():
        # The standard library of 3.11.2 leaves the socket of a tunnel that is refused lying about.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert all(head.startswith("CONNECT ") for head in server.heads)
    assert "Proxy-Authorization" not in "".join(hook.heads)
    assert len(hook.told) == 1


def test_who_is_silent_is_not_waited_for_longer_than_said_and_keeps_nobody_else_waiting() -> None:
    said: list[str] = []
    with Hook(None) as silent, Hook() as hook:
        webhooks = Webhooks([Secret(silent.url()), Secret(hook.url())], None, said.append)
        webhooks.tell("all done", {})
        until(lambda: hook.told == silent.told == [{"text": "all done"}], "both are told")
        began = time.monotonic()
        webhooks.wait(0.2)
        assert time.monotonic() - began < 5
        assert said == ["harvester: --notify has had no answer in 0.2 s."]


def test_waiting_can_be_left_off() -> None:
    with Hook(None) as silent:
        webhooks = Webhooks([Secret(silent.url())], None, lambda _: None)
        webhooks.tell("all done", {})
        until(lambda: bool(silent.told), "it is told")
        waiting = threading.Thread(target=webhooks.wait, args=(60,))
        waiting.start()
        webhooks.leave()
        waiting.join(30)
        assert not waiting.is_alive()
