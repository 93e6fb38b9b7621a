"""Chance without a generator: the same words always draw the same lot, in whatever order."""

from __future__ import annotations

from hashlib import blake2b


def share(*words: object) -> float:
    """A number in [0, 1) drawn from `words`, evenly spread over different words."""
    drawn = int.from_bytes(_digest(words, 8), "big")
    return (drawn >> 11) / (1 << 53)  # as many bits as a float holds, so never rounded up to 1


def hex_digits(*words: object) -> str:
    """32 lower-case hex digits drawn from `words`."""
    return _digest(words, 16).hex()


def _digest(words: tuple[object, ...], size: int) -> bytes:
    return blake2b("/".join(map(str, words)).encode(), digest_size=size).digest()
