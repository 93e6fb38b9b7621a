"""How a note id is kept: 24 hex digits take 12 bytes, any other id stays text."""

from __future__ import annotations

_HEX_DIGITS = 24
MARK_BYTES = 16


def to_key(note_id: str) -> bytes | str:
    """The ledger's key of a note id."""
    if len(note_id) == _HEX_DIGITS:
        try:
            key = bytes.fromhex(note_id)
        except ValueError:
            return note_id
        # fromhex skips spaces and reads capitals: only what comes back the same is kept short.
        return key if key.hex() == note_id else note_id
    return note_id


def mark_of_key(key: bytes | str) -> bytes:
    """What tells a note's key where its id is not to be kept."""
    # Whoever only looks at a ledger needs none.
    from hashlib import blake2b  # noqa: PLC0415

    return blake2b(key if isinstance(key, bytes) else key.encode(), digest_size=MARK_BYTES).digest()


def from_key(key: bytes | str) -> str:
    """The note id of a ledger's key."""
    return key if isinstance(key, str) else key.hex()
