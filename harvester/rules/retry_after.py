"""The Retry-After header, in both forms of RFC 9110 (section 10.2.3): seconds or a date."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

# A longer wait than this is taken for an error of the server's clock or arithmetic.
_LONGEST = 3600.0


def parse_retry_after(header: str | None, now: float, said: str | None = None) -> float | None:
    """Seconds to wait, or None if the header says nothing usable.

    A date is read by the clock that wrote it: `said` is the answer's own Date, and `now` (Unix
    seconds) counts where there is none.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST)
    until = read_date(text)
    if until is None:
        return None
    since = read_date(said or "")
    return min(max(0.0, until - (now if since is None else since)), _LONGEST)


def read_date(text: str) -> float | None:
    """A date of HTTP's in Unix seconds; None for what is none."""
    try:
        date = parsedate_to_datetime(text)
        # The RFC's dates are all in GMT, also in the form that does not say so.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
