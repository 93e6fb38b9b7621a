"""Chance without a generator: the same words always draw the same lot, in whatever order."""

from __future__ import annotations

from hashlib import blake2b, shake_128

_DICE_BYTES = 192  # bits enough for all the rolls of one note


def share(*words: object) -> float:
    """A number in [0, 1) drawn from `words`, evenly spread over different words."""
    drawn = int.from_bytes(_digest(words, 8), "big")
    return (drawn >> 11) / (1 << 53)  # as many bits as a float holds, so never rounded up to 1


def hex_digits(*words: object) -> str:
    """32 lower-case hex digits drawn from `words`."""
    return _digest(words, 16).hex()


def _digest(words: tuple[object, ...], size: int) -> bytes:
    return blake2b("/".join(map(str, words)).encode(), digest_size=size).digest()


class Dice:
    """Rolls for one subject: the same subject rolls the same numbers every time."""

    def __init__(self, subject: str) -> None:
        self._left = int.from_bytes(shake_128(subject.encode()).digest(_DICE_BYTES), "big")

    def roll(self, sides: int) -> int:
        """A number in [0, `sides`)."""
        self._left, rolled = divmod(self._left, sides)
        return rolled

    def pick(self, choices: tuple[str, ...]) -> str:
        """One of `choices`."""
        return choices[self.roll(len(choices))]

    def digits(self, count: int) -> str:
        """`count` lower-case hex digits."""
        return f"{self.roll(16**count):0{count}x}"
