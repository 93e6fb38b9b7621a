"""The note-detail family by name; paths are from the vendor's OpenAPI."""

from __future__ import annotations

import difflib
import re

from harvester.errors import UsageError

DEFAULT_ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
ENDPOINTS = {
    DEFAULT_ENDPOINT: "/api/xiaohongshu-pgy/get-note-detail/v1",
    "xiaohongshu-pgy/solar-note-detail/v1": "/api/xiaohongshu-pgy/api/solar/note/noteId/detail/v1",
    **{
        f"xiaohongshu/note-detail/v{n}": f"/api/xiaohongshu/get-note-detail/v{n}"
        for n in range(1, 8)
    },
}
_PATH = re.compile(r"/[A-Za-z0-9._~/-]+", re.ASCII)


def endpoint_name(text: str) -> str:
    """The one name of an endpoint given by name or by path; an unknown path is its own name.

    Raises UsageError, with the nearest known name.
    """
    if text in ENDPOINTS:
        return text
    if _PATH.fullmatch(text):
        return next((name for name, path in ENDPOINTS.items() if path == text), text)
    near = difflib.get_close_matches(text, ENDPOINTS, n=1)
    hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(ENDPOINTS)
    raise UsageError(f"--endpoint {text!r} is neither a known name nor a path: {hint}")


def endpoint_path(name: str) -> str:
    """The path of an endpoint's name."""
    return ENDPOINTS.get(name, name)
