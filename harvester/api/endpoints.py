"""The note-detail family and the resolver of short links by name, as the vendor has them."""

from __future__ import annotations

import difflib
import re

DEFAULT_ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
# Tells what a short link of the app's leads to.
RESOLVER = "xiaohongshu/share-url-transfer/v1"
ENDPOINTS = {
    DEFAULT_ENDPOINT: "/api/xiaohongshu-pgy/get-note-detail/v1",
    "xiaohongshu-pgy/solar-note-detail/v1": "/api/xiaohongshu-pgy/api/solar/note/noteId/detail/v1",
    **{
        f"xiaohongshu/note-detail/v{n}": f"/api/xiaohongshu/get-note-detail/v{n}"
        for n in range(1, 8)
    },
    RESOLVER: f"/api/{RESOLVER}",
}
# Hidden in newer documentation, and seen to answer 301 alone.
DEPRECATED = frozenset({DEFAULT_ENDPOINT})
# What to try where an endpoint gives nothing: the successor first, then what is recommended.
_TO_TRY = ("xiaohongshu-pgy/solar-note-detail/v1", "xiaohongshu/note-detail/v1")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]+", re.ASCII)


def endpoint_name(text: str) -> str:
    """The one name of an endpoint given by name or by path; an unknown path is its own name.

    Raises ValueError, with the nearest known name.
    """
    if text in ENDPOINTS:
        return text
    if _PATH.fullmatch(text):
        return next((name for name, path in ENDPOINTS.items() if path == text), text)
    near = _nearest(text)
    hint = f"did you mean {near}?" if near else "known: " + ", ".join(ENDPOINTS)
    raise ValueError(f"is neither a known name nor a path: {hint}")


def _nearest(text: str) -> str | None:
    """The known name or path that was probably meant: close to it, or its only end as typed."""
    typed = text.strip().casefold()
    known = [*ENDPOINTS, *ENDPOINTS.values()]
    ending = [name for name in ENDPOINTS if typed and name.endswith("/" + typed)]
    near = ending or difflib.get_close_matches(typed, known, n=1)
    return near[0] if len(near) == 1 else None


def endpoint_advice(name: str) -> str:
    """What to do where an endpoint gives nothing, in words."""
    other = next(one for one in _TO_TRY if one != name)
    return f"try --endpoint {other} with another --output, where each note is paid for anew"


def endpoint_parameter(name: str) -> str:
    """What the parameter of an endpoint is called that says what it is asked for."""
    return "shareUrl" if endpoint_path(name) == ENDPOINTS[RESOLVER] else "noteId"


def endpoint_path(name: str) -> str:
    """The path of an endpoint's name."""
    return ENDPOINTS.get(name, name)
