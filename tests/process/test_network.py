"""Where the network is not plain: proxies, TLS with a certificate of one's own, long ways."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from itertools import pairwise
from pathlib import Path

import trustme

from tests.process.hostile import Behaviour, Hostile, Talk, body_of, whole
from tests.process.proxy import Proxy
from tests.process.tool import Simulator, Tool

PASSWORD = "pass-5b1e77c0d2"  # noqa: S105 - made up, to be searched for in what is written
# Of me:pass-5b1e77c0d2
WHO = "Basic bWU6cGFzcy01YjFlNzdjMGQy"


def over_tls(folder: Path, behave: Behaviour | None = None) -> tuple[Hostile, dict[str, str]]:
    """A good server over TLS, and the variables of whoever is to trust it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    server = Hostile(behave, context)
    server.scheme = "https"
    return server, {"SSL_CERT_FILE": str(trusted)}


def test_calls_go_through_the_proxy_that_is_named_over_tls_by_tunnel(tool: Tool) -> None:
    tls, trust = over_tls(tool.logs)
    with tls as server, Proxy(WHO) as proxy:
        url = f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}"
        env = {**tool.env, **trust, "JUSTONEAPI_TOKEN": tool.token, "HARVESTER_RUN_PROXY": url}
        run = tool.harvest(server.url, tool.notes(3), "-v", env=env, cold=True)
    assert run.code == 0, run.text
    assert sorted(tool.saved()) == tool.note_ids(3)
    assert {head.split()[0] for head in proxy.heads} == {"CONNECT"}
    assert tool.token not in "".join(proxy.heads)
    assert tool.holding(PASSWORD) == tool.holding(tool.token) == tool.holding(WHO) == []


def test_a_proxy_without_its_password_refuses_the_run_and_says_what_it_wants(tool: Tool) -> None:
    tls, trust = over_tls(tool.logs)
    with tls as server, Proxy(WHO) as proxy:
        env = {**tool.env, **trust, "JUSTONEAPI_TOKEN": tool.token}
        wrong = ("--proxy", f"http://me:{PASSWORD[:-1]}@127.0.0.1:{proxy.port}")
        run = tool.harvest(server.url, tool.notes(3), *wrong, env=env, cold=True)
    assert run.code == 5, run.text
    assert "a proxy wants a name and a password" in run.closing_line
    assert PASSWORD[:-1] not in run.out
    assert (server.calls.total(), tool.status()["queued"]) == (0, 3)


def test_a_proxy_of_the_environment_is_not_used_but_named_where_nothing_is_reached(
    tool: Tool,
) -> None:
    with Proxy() as proxy:
        place = f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}"
        env = {**tool.env, "JUSTONEAPI_TOKEN": tool.token, "ALL_PROXY": place}
        few = ("--max-attempts", "1")
        run = tool.harvest(f"http://127.0.0.1:{tool.free_port()}", tool.notes(1), *few, env=env)
    assert run.code == 6, run.text
    assert "ALL_PROXY is set" in run.closing_line
    assert "--proxy" in run.closing_line
    assert proxy.heads == tool.holding(PASSWORD) == []


def test_over_plain_http_the_proxy_passes_calls_on_and_the_quiet_are_warned(tool: Tool) -> None:
    with Hostile() as server, Proxy() as proxy:
        url = f"http://127.evil.example:{server.port}"
        way = ("--proxy", f"http://127.0.0.1:{proxy.port}", "-q")
        run = tool.harvest(url, tool.notes(3), *way)
    assert run.code == 0, run.text
    assert server.calls.total() == 3
    assert proxy.heads[0].startswith(f"GET {url}/")
    assert run.text.count("is plain HTTP: the token travels unencrypted") == 1


def test_over_tls_and_a_long_way_the_server_never_sees_more_than_the_rate(tool: Tool) -> None:
    heard: list[float] = []

    async def behave(talk: Talk, note_id: str) -> None:
        heard.append(time.monotonic())
        # Every other one has to come on a new connection, which takes two round trips more.
        last = ("Connection: close",) if len(heard) % 2 else ()
        await talk.say(whole(body_of(note_id), *last))
        if last:
            talk.hang_up()

    tls, trust = over_tls(tool.logs, behave)
    with tls as server, Proxy(latency=0.25, always=server.port) as far:
        env = {**tool.env, **trust, "JUSTONEAPI_TOKEN": tool.token}
        url = f"https://127.0.0.1:{far.port}"
        run = tool.harvest(url, tool.notes(16), "--rate", "10/s", env=env, cold=True)
    assert run.code == 0, run.text
    assert len(heard) == 16
    # A new connection takes half a second more than a kept one; a busy machine adds far less.
    assert all(b - a > 0.7 for a, b in zip(heard, heard[10:], strict=False))
    assert all(b > a for a, b in pairwise(heard))


def test_standing_still_for_longer_than_the_timeout_loses_no_answer_that_came(tool: Tool) -> None:
    upstream = tool.upstream()
    short = ("--allow-short-timeout", "--timeout", "3", "--workers", "50")
    run = tool.start_harvest(upstream.url, tool.notes(50), *short)
    tool.until(lambda: upstream.calls == 50, "fifty calls in flight")
    run.signal(signal.SIGSTOP)
    upstream.open()
    late = time.monotonic() + 3.2
    tool.until(lambda: time.monotonic() > late, "all to be late")
    run.signal(signal.SIGCONT)
    ended = run.finish()
    assert ended.code == 0, ended.text
    assert sorted(tool.saved()) == tool.note_ids(50)
    assert (upstream.calls, tool.status()["unanswered"]) == (50, 0)


def test_few_descriptors_are_said_once_at_the_start_and_cost_no_attempt(tool: Tool) -> None:
    few = ("--simulate", "--rate", "1000/s", "-o", tool.output, tool.notes(80))
    run = tool.run("run", *few, shell='ulimit -n 48; exec "$@"')
    assert run.code == 0, run.text
    assert run.text.count("this process may have few open files") == 1
    assert "Traceback" not in run.text
    assert len(tool.saved()) == 80


def test_a_simulator_without_descriptors_writes_no_tracebacks(tool: Tool) -> None:
    place = ("simulate", "--port", "0", "--latency", "20ms")
    simulator = Simulator(tool.start(*place, env=tool.env, shell='ulimit -n 24; exec "$@"'))
    port = int(simulator.url.rpartition(":")[2])
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    for one in crowd:
        one.close()
    assert simulator.calls == 0
    assert simulator.process.err == ""
