"""What a check came to, and the three words for it."""

from __future__ import annotations

from msgspec import Struct


class Check(Struct, frozen=True):
    """`is_good` None is not known, or not as it might be; then, too, `remedy` may name a way."""

    name: str
    is_good: bool | None
    text: str
    remedy: str = ""


def good(name: str, text: str) -> Check:
    """Nothing is to be done about it."""
    return Check(name, is_good=True, text=text)


def bad(name: str, text: str, remedy: str) -> Check:
    """No night can go well with it."""
    return Check(name, is_good=False, text=text, remedy=remedy)


def doubt(name: str, text: str, remedy: str = "") -> Check:
    """It cannot be told, or might be better."""
    return Check(name, None, text, remedy)
