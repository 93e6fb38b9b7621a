"""Membership in a fleet: heartbeats, stops that all hear of, paces that are slowed down for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import psycopg
from msgspec import Struct

from harvester.ledger.fleet import FleetAddress
from harvester.ledger.hosts import ALIVE_FOR
from harvester.ledger.postgres.connection import Address, Connection, refusal
from harvester.ledger.postgres.transaction import Row, text_of

# In seconds. A heartbeat that is slower than this is of no use.
_TIMEOUT = 1.0
_CONNECT_TIMEOUT = 4
_MOST_DETAIL = 500
_BE_ALIVE = """
INSERT INTO member (run, part, session, alive_until, tokens)
SELECT id, part, session, now_ms() + %(alive)s, %(tokens)s FROM run WHERE id = %(run)s
ON CONFLICT (run) DO UPDATE SET alive_until = excluded.alive_until, tokens = excluded.tokens
"""
# The rate of a token is that of the hosts that live, and of whoever comes when none does. No row is
# locked where it is ours.
_RATE = """
INSERT INTO pace (token_fp, rate)
SELECT token, %(rate)s FROM unnest(%(tokens)s::text[]) AS named (token)
WHERE NOT EXISTS (SELECT FROM pace WHERE token_fp = token AND rate = %(rate)s)
ORDER BY token ON CONFLICT (token_fp) DO UPDATE SET rate = excluded.rate
WHERE NOT EXISTS (SELECT FROM member
    WHERE alive_until > now_ms() AND run <> %(run)s AND pace.token_fp = ANY(tokens))
"""
_READ = """
SELECT now_ms(),
    (SELECT count(*) FROM member WHERE alive_until > now_ms() AND session = mine.session),
    (SELECT coalesce(jsonb_object_agg(token_fp, jsonb_build_array(reason, detail, shared)), '{}')
        FROM standing WHERE session = mine.session),
    (SELECT coalesce(jsonb_object_agg(token_fp, jsonb_build_array(slowed, slowed_by = id, wait)),
        '{}') FROM pace WHERE token_fp = ANY(%(tokens)s)),
    (SELECT min(rate) FROM pace WHERE token_fp = ANY(%(tokens)s) AND rate <> %(rate)s)
FROM run AS mine WHERE id = %(run)s
"""
_STOP = """
INSERT INTO stop (session, token_fp, reason, detail, at, shared)
SELECT session, %(token)s, %(reason)s, %(detail)s, now_ms(), %(shared)s FROM run
WHERE id = %(run)s
ON CONFLICT (session, token_fp) DO UPDATE SET reason = excluded.reason, detail = excluded.detail,
    at = excluded.at, shared = excluded.shared WHERE NOT EXISTS (SELECT FROM standing
        WHERE standing.session = stop.session AND standing.token_fp = stop.token_fp)
"""
_SLOW_DOWN = """
UPDATE pace SET next = greatest(next, now_ms() + %(wait)s), slowed = slowed + 1,
    slowed_by = %(run)s, wait = %(named)s
WHERE token_fp = %(token)s
"""


class Slowed(Struct, frozen=True):
    """How often all were told to slow down with a token, and the last time.

    Then it was by this host if `by_us`, with `wait` seconds if the server named them.
    """

    times: int
    by_us: bool
    wait: float | None


class Stop(Struct, frozen=True):
    """Why no call is started with a token; one that is `shared` holds for its whole account."""

    reason: str
    detail: str
    shared: bool = False


class Beat(Struct, frozen=True):
    """What a heartbeat brings.

    Asked at `sent` and told by `received`, in seconds of the clock given, it was `now` (Unix
    seconds) at the ledger. `members` are the hosts alive, this one included; `stops` are by token
    fingerprint, "" for all tokens, `slowed` of ours; hosts that are alive may call with one of
    them at an `other_rate`.
    """

    sent: float
    received: float
    now: float
    members: int
    stops: Mapping[str, Stop]
    slowed: Mapping[str, Slowed]
    other_rate: str | None


class Membership:
    """One run in its fleet, on a connection of its own; used from one thread.

    The order: `join`, then `beat` again and again; `leave` at the end. Each of these says what was
    to be told, until it is said, and raises LocalIOError while the database is away: the next one
    connects anew. `uuid` is the part's, `tokens` are fingerprints of those that it calls with, each
    at a `rate` of this name together with whoever else does, and `clock` is monotonic seconds.
    """

    def __init__(
        self,
        fleet: FleetAddress,
        uuid: str,
        tokens: Sequence[str] = (),
        rate: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = Address.of(fleet)
        self._name = f"harvester-fleet {uuid}"
        self._named = {"tokens": list(tokens), "rate": rate, "alive": ALIVE_FOR}
        self._clock = clock
        self._run = 0
        self._db: Connection | None = None
        self._untold: list[tuple[str, dict[str, object]]] = []

    def close(self) -> None:
        """Let go of the connection; a member that did not leave dies by its silence."""
        if self._db is not None:
            self._db.close()

    def _say(self, *queries: str) -> psycopg.Cursor[Row]:
        """Say what is untold, then run statements, in one exchange; gives the last one's rows."""
        # In an order that all hosts keep to, so that no two wait for each other.
        untold = sorted(self._untold, key=lambda said: (said[0], str(said[1]["token"])))
        said = [*untold, *((query, {}) for query in queries)]
        named = {**self._named, "run": self._run}
        try:
            if self._db is None or self._db.closed:
                self._db = self._connect()
            with self._db.pipeline():
                done = [self._db.execute(query.encode(), named | more) for query, more in said]
        except psycopg.Error as error:
            self.close()
            raise refusal(error, self._address) from error
        del self._untold[: len(untold)]
        return done[-1]

    def _connect(self) -> Connection:
        db = self._address.connect(self._name, timeout=_CONNECT_TIMEOUT)
        db.timeout = _TIMEOUT
        # What is said here is said again soon; and how long a commit takes, a clock is not to tell.
        db.execute("SET synchronous_commit = off")
        return db

    def join(self, run: int) -> Beat:
        """Be a member from here on, as the run that the ledger has begun; see `beat`."""
        self._run = run
        return self.beat()

    def beat(self) -> Beat:
        """Say that this host is alive, and hear what there is to know."""
        sent = self._clock()
        row = self._say(_RATE, _BE_ALIVE, _READ).fetchone()
        received = self._clock()
        now, members, stops, slowed, other_rate = row or (0, 0, {}, {}, None)
        return Beat(
            sent,
            received,
            now / 1000,
            members,
            {token: Stop(*stop) for token, stop in stops.items()},
            {token: Slowed(*each) for token, each in slowed.items()},
            other_rate,
        )

    def leave(self) -> None:
        """Be a member no more."""
        self._say("DELETE FROM member WHERE run = %(run)s")

    def tell_stop(self, token: str, reason: str, detail: str, *, shared: bool = False) -> None:
        """Record a stop of a token ("" for all): no host starts a call with it any more."""
        detail = text_of(detail)[:_MOST_DETAIL]
        values = {"token": token, "reason": reason, "detail": detail, "shared": shared}
        self._untold.append((_STOP, values))

    def tell_slow_down(self, token: str, wait: float, named: float | None) -> None:
        """Let no call start for `wait` seconds; `named` are those that the server said."""
        values = {"token": token, "wait": round(wait * 1000), "named": named}
        self._untold.append((_SLOW_DOWN, values))
