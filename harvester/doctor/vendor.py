"""Checks of the other side: the token, the address and its answer, certificate and clock."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from harvester.api.account import AccountPages, ask
from harvester.api.client import Target
from harvester.api.endpoints import endpoint_path
from harvester.api.proxy import unused_proxy
from harvester.config import RunConfig
from harvester.doctor.check import Check, bad, doubt, good
from harvester.formatting import duration
from harvester.model import Answer, Verdict
from harvester.money import Balance, Why
from harvester.rules.retry_after import read_date
from harvester.rules.verdicts import judge
from harvester.tokens import COPY_AGAIN

_EXAMPLE = "/status/api-example/detail"
_TIMEOUT = 20.0
# In seconds: by more than this the day of the quota begins at another moment than is thought.
_MOST_OFF = 60.0
# A certificate that ends within so many seconds ends some night soon.
_SOON = 14 * 86400.0
_HTTPS = 443


async def check_vendor(config: RunConfig) -> list[Check]:
    """All of them at once; the first answer tells the address and the clock."""
    async with asyncio.TaskGroup() as group:
        tokens = [group.create_task(_token(config, number)) for number in range(len(config.tokens))]
        sample = group.create_task(_sample(config))
        certificate = group.create_task(_certificate(config))
    answer = sample.result()
    return [
        *(task.result() for task in tokens),
        _address(config, answer),
        certificate.result(),
        _clock(answer),
        *_proxy(config),
    ]


async def _token(config: RunConfig, number: int) -> Check:
    name = "token" if len(config.tokens) == 1 else f"token {number + 1}"
    token = config.tokens[number]
    pages = AccountPages(config.base_url, token, config.redaction, config.proxy)
    told = await pages.balance(_TIMEOUT)
    if isinstance(told, Balance):
        if told.amount <= 0:
            return bad(name, f"good, but the balance is {told}", "top up")
        return good(name, f"good; the balance is {told}")
    if told.why is Why.REFUSED:
        return bad(name, str(told), COPY_AGAIN)
    untold = doubt if told.why is Why.NOT_THERE else bad
    return untold(name, f"whether it is good cannot be told: {told}", "see the address")


async def _sample(config: RunConfig) -> Answer:
    """What the vendor shows of the endpoint to everybody; no token is sent."""
    target = Target(config.base_url, _EXAMPLE, None, proxy=config.proxy, parameter="api")
    return await ask(target, endpoint_path(config.endpoint), _TIMEOUT)


def _address(config: RunConfig, answer: Answer) -> Check:
    judgement = judge(answer, config.redaction.said, is_first=True)
    if answer.fault is not None or judgement.is_redirect:
        remedy = "check the network, --base-url or --region, and --proxy"
        return bad("address", judgement.reason, remedy)
    took = f"{config.base_url} answers in {answer.elapsed:.2f} s"
    if judgement.verdict is Verdict.SAVE:
        return good("address", f"{took}; a sample answer has {len(judgement.data):,} bytes")
    said = f"it shows no sample of {config.endpoint} ({judgement.reason})"
    return doubt("address", f"{took}, but {said}", "is it the endpoint that you mean?")


async def _certificate(config: RunConfig) -> Check:
    url = urlsplit(config.base_url)
    if url.scheme != "https":
        if config.is_local:
            return good("TLS", "not needed on this machine")
        return doubt("TLS", "plain HTTP: the token travels unencrypted", "--region global")
    if config.proxy is not None:
        return doubt("TLS", "not looked at, behind a proxy")
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(url.hostname, url.port or _HTTPS, ssl=True)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "TLS failed"
        remedy = "check the clock, and name trusted certificates in SSL_CERT_FILE"
        return bad("TLS", f"no trusted connection: {reason}", remedy)
    except (OSError, TimeoutError):
        return doubt("TLS", "not reached")
    writer.transport.abort()
    return _trusted(writer.get_extra_info("peercert") or {})


def _trusted(held: Mapping[str, object]) -> Check:
    """How long a certificate that was accepted lasts."""
    left = ssl.cert_time_to_seconds(str(held["notAfter"])) - time.time() if held else 0.0
    text = f"the certificate is trusted, for another {duration(left)}"
    if left > _SOON:
        return good("TLS", text)
    return doubt("TLS", text, "look whether it was renewed before a night fails")


def _clock(answer: Answer) -> Check:
    """This machine's clock against the server's."""
    there = read_date(answer.date or "")
    if there is None:
        return doubt("clock", "the server tells no time")
    off = abs(time.time() - there)
    if off <= _MOST_OFF:
        return good("clock", "as the server's")
    return bad("clock", f"{duration(off)} off the server's", "set it: timedatectl set-ntp true")


def _proxy(config: RunConfig) -> Iterator[Check]:
    unused = unused_proxy(config.base_url)
    if config.proxy is not None:
        yield good("proxy", f"{config.proxy.place}, as --proxy says")
    elif unused:
        yield doubt("proxy", unused.removeprefix("; "))
