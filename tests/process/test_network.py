"""Where the network is not plain: proxies, TLS with a certificate of one's own, long ways."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

from tests.process.hostile import Hostile
from tests.process.proxy import Proxy
from tests.process.tool import Tool

PASSWORD = "pass-5b1e77c0d2"  # noqa: S105 - made up, to be searched for in what is written
# Of me:pass-5b1e77c0d2
WHO = "Basic bWU6cGFzcy01YjFlNzdjMGQy"


def over_tls(folder: Path) -> tuple[Hostile, dict[str, str]]:
    """A good server over TLS, and the variables of whoever is to trust it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    server = Hostile(context=context)
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


def test_over_plain_http_the_proxy_passes_calls_on(tool: Tool) -> None:
    with Hostile() as server, Proxy() as proxy:
        run = tool.harvest(server.url, tool.notes(3), "--proxy", f"http://127.0.0.1:{proxy.port}")
    assert run.code == 0, run.text
    assert server.calls.total() == 3
    assert proxy.heads[0].startswith(f"GET {server.url}/")
