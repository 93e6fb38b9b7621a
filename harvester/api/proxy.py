"""The HTTP proxy that calls go through, where one is named."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from harvester.secret import Secret

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[1-9]\d{0,4})?")


class Proxy(Struct, frozen=True):
    """`place` is its host and port; `authorization` what it is told of us, if anything.

    `secrets` are to be masked in what is said by whoever got them.
    """

    place: str
    authorization: Secret[str] | None = None
    secrets: tuple[Secret[str], ...] = ()


def read_proxy(text: str) -> Proxy:
    """A proxy by its URL; raises ValueError, which shows none of it."""
    scheme, _, rest = text.strip().partition("://")
    who, at, place = rest.rstrip("/").rpartition("@")
    if scheme.lower() != "http" or not _HOST.fullmatch(place):
        raise ValueError(
            "is not like http://proxy.example:3128 or http://NAME:PASSWORD@proxy.example:3128."
        )
    try:
        urlsplit(f"http://{place}").port  # noqa: B018 - raises for what is none
    except ValueError:
        raise ValueError("has no port from 1 to 65535.") from None
    if not at:
        return Proxy(place)
    name, _, password = (unquote(part) for part in who.partition(":"))
    packed = b64encode(f"{name}:{password}".encode()).decode("ascii")
    return Proxy(place, Secret(f"Basic {packed}"), (Secret(password), Secret(packed)))


def unused_proxy(base_url: str) -> str:
    """What is said where the environment names a proxy for calls, which is not used; else ""."""
    # It loads half of the standard library, for a run that cannot reach the API.
    from urllib.request import getproxies_environment, proxy_bypass  # noqa: PLC0415

    url, named = urlsplit(base_url), getproxies_environment()
    scheme = next((scheme for scheme in (url.scheme, "all") if named.get(scheme)), None)
    if scheme is None or proxy_bypass(url.hostname or ""):
        return ""
    return (
        f"; {scheme.upper()}_PROXY is set, but proxies in the environment are not used: name it "
        "with --proxy"
    )
