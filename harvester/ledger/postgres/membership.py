"""Membership in a fleet: heartbeats, each host's share of a token's rate, stops told to all."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from msgspec import Struct, field
from psycopg.sql import SQL, Identifier

from harvester.errors import UsageError
from harvester.ledger.postgres.connection import Address, Connection, failure, is_away, refusal
from harvester.ledger.postgres.schema import schema_of
from harvester.ledger.postgres.transaction import text_of
from harvester.parsing import Rate
from harvester.rules.shares import Divided, Freeing, Share, divide, reduced

# In seconds. A member that was not heard of for ALIVE_FOR is dead, and its grants have ended.
BEAT_EVERY = 0.3
ALIVE_FOR = 0.9
# A heartbeat that is slower than this is of no use; a host that stops in one holds no other up.
_PATIENCE, _IDLE = 1.0, 0.4
_CONNECT_PATIENCE = 2
# A grant ends here this much before it does in the database, which counts in milliseconds.
_MARGIN = 0.01
# The server refuses notices of 8000 bytes.
_MOST_DETAIL = 500
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' token ' || %s, 0))"
_BE_ALIVE = """
INSERT INTO member (run, part, session, alive_until)
SELECT id, part, session, %s FROM run WHERE id = %s
ON CONFLICT (run) DO UPDATE SET alive_until = excluded.alive_until
"""
_HOLD = """
INSERT INTO share (token_fp, run, calls, alive_until, rate_calls, rate_period)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (token_fp, run) DO UPDATE SET calls = excluded.calls, alive_until = excluded.alive_until
"""
_STOP = """
INSERT INTO stop (session, token_fp, reason, detail, at)
SELECT session, %s, %s, %s, now_ms() FROM run WHERE id = %s ON CONFLICT DO NOTHING
"""
_STOPS = """
SELECT token_fp, reason, detail FROM stop WHERE session = (SELECT session FROM run WHERE id = %s)
"""
_ALIVE = """
SELECT count(*) FROM member WHERE alive_until > now_ms() AND run <> %s
AND session = (SELECT session FROM run WHERE id = %s)
"""
_MY_TOKENS = "SELECT token_fp FROM share WHERE run = %s ORDER BY token_fp"
_LEAVE = """
WITH gone AS (DELETE FROM share WHERE run = %s RETURNING token_fp, calls, rate_period)
INSERT INTO freeing (token_fp, calls, until)
SELECT token_fp, calls, now_ms() + ceil(rate_period * 1000)::bigint FROM gone WHERE calls > 0
"""


class Beat(Struct, frozen=True):
    """What a heartbeat brings.

    `grants` are whole calls in any window of the token's reduced period (`reduced` in
    rules/shares.py), by token fingerprint; they are to be gone by at once, and until `valid_until`
    (seconds of the clock given), then by none. `stops` are reason and detail by fingerprint, ""
    for all tokens. `members` are the hosts alive, this one included. `again_in` (seconds) is when
    another heartbeat will change something, if sooner than usual; 0 confirms a lower grant.
    """

    grants: Mapping[str, int]
    stops: Mapping[str, tuple[str, str]]
    members: int
    valid_until: float
    again_in: float | None = None


class Told(Struct, frozen=True):
    """What another host told: `kind` is "stop", "slow down" or "members".

    `wait` is seconds for a slow-down, None where the server named none.
    """

    kind: str
    token: str = ""
    reason: str = ""
    detail: str = ""
    wait: float | None = None


class _Seen(Struct):
    """What one heartbeat reads, under the tokens' locks."""

    now: int
    shares: list[tuple[Any, ...]] = field(default_factory=list)
    freeing: list[tuple[Any, ...]] = field(default_factory=list)


class Membership:
    """One run in its fleet, on a connection of its own; used from one thread, but for `wake`.

    The order: `join`, then `beat` every BEAT_EVERY seconds and as `again_in` says, with `wait`
    between; `leave` at the end. `clock` is monotonic seconds, `uuid` the part's.

    Every method raises LocalIOError while the database is away: the next call connects anew, and
    until a beat succeeds the last grants hold as long as they are valid. A stop that could not be
    told goes with the next beat.
    """

    def __init__(
        self, url: str, harvest: str, uuid: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = Address.parse(url)
        self._schema = schema_of(harvest)
        self._name = f"harvester-fleet {uuid}"
        self._clock = clock
        self._run = 0
        self._using: dict[str, int] = {}
        self._untold: dict[str, tuple[str, str]] = {}
        self._db: Connection | None = None
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)

    def close(self) -> None:
        """Let go of the connection; a member that did not leave dies by its silence."""
        if self._db is not None:
            self._db.close()
        for end in (self._woken, self._wake):
            os.close(end)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """The connection, made anew if it broke; errors become ours."""
        try:
            if self._db is None or self._db.closed:
                self._db = self._connect()
        except psycopg.Error as error:
            raise refusal(error, self._address) from error
        db = self._db
        try:
            yield db
        except psycopg.Error as error:
            if is_away(error):
                db.close()
            db.roll_back()
            raise failure(error, self._address) from error
        except BaseException:
            db.roll_back()
            raise

    def _connect(self) -> Connection:
        db = self._address.connect(self._schema, self._name, idle=_IDLE, patience=_CONNECT_PATIENCE)
        try:
            db.patience = _PATIENCE
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                " application_name = %s AND datname = current_database()"
                " AND usename = current_user AND pid <> pg_backend_pid()",
                (self._name,),
            )
            db.execute(SQL("LISTEN {}").format(Identifier(self._schema)))
        except BaseException:
            db.close()
            raise
        return db

    # The member's life

    def join(self, run: int) -> None:
        """Be a member from here on, as the run that the ledger has begun."""
        self._run = run
        with self._connected() as db:
            now = self._begin(db, ())
            self._end(db, [(_BE_ALIVE, (now.now + round(ALIVE_FOR * 1000), run))], news=True)

    def beat(self, wants: Mapping[str, Rate]) -> Beat:
        """Say that this host is alive and calls with these tokens, each at its fleet's rate.

        Raises UsageError where another host was told another rate for a token.
        """
        sent = self._clock()
        with self._connected() as db:
            self._tell_untold(db)
            seen = self._begin(db, sorted(wants))
            rates = {token: reduced(rate) for token, rate in wants.items()}
            divided = {token: self._divide(token, *rates[token], seen) for token in sorted(wants)}
            self._write(db, divided, rates, seen)
            stops = {row[0]: (row[1], row[2]) for row in db.execute(_STOPS, (self._run,))}
            ((others,),) = db.execute(_ALIVE, (self._run, self._run)).fetchall()
        self._using = {token: d.grant for token, d in divided.items()}
        soon = [d.again_in / 1000 for d in divided.values() if d.again_in is not None]
        valid_until = sent + ALIVE_FOR - _MARGIN
        return Beat(dict(self._using), stops, others + 1, valid_until, min(soon, default=None))

    def _begin(self, db: Connection, tokens: tuple[str, ...] | list[str]) -> _Seen:
        """Begin a transaction that holds the tokens' shares; in one order, so nobody waits long."""
        named = list(tokens)
        with db.pipeline():
            db.execute("BEGIN")
            for token in named:
                db.execute(_LOCK, (token,))
            now = db.execute("SELECT now_ms()")
            shares = db.execute(
                "SELECT token_fp, run, calls, alive_until, rate_calls, rate_period FROM share"
                " WHERE token_fp = ANY(%s)",
                (named,),
            )
        # Not in the pipeline: else the server does not end it if this host stops here (work.py).
        freeing = db.execute(
            "SELECT token_fp, calls, until FROM freeing WHERE token_fp = ANY(%s)", (named,)
        )
        return _Seen(now.fetchall()[0][0], shares.fetchall(), freeing.fetchall())

    def _divide(self, token: str, calls: int, period: float, seen: _Seen) -> Divided:
        rows = [row for row in seen.shares if row[0] == token]
        for _, run, _, alive_until, other_calls, other_period in rows:
            is_other = run != self._run and alive_until > seen.now
            if is_other and (other_calls, other_period) != (calls, period):
                raise UsageError(
                    "another host of this harvest calls with the same token at "
                    f"{other_calls / other_period:.3g} calls/s, not {calls / period:.3g}: give "
                    "the same --rate on all."
                )
        return divide(
            self._run,
            self._using.get(token, 0),
            [Share(row[1], row[2], row[3]) for row in rows],
            [Freeing(row[1], row[2]) for row in seen.freeing if row[0] == token],
            seen.now,
            calls,
            round(period * 1000),
        )

    def _write(
        self,
        db: Connection,
        divided: Mapping[str, Divided],
        rates: Mapping[str, tuple[int, float]],
        seen: _Seen,
    ) -> None:
        """Write what a heartbeat changes, and wake the others where it concerns them."""
        alive = seen.now + round(ALIVE_FOR * 1000)
        steps: list[tuple[str, tuple[object, ...]]] = [(_BE_ALIVE, (alive, self._run))]
        known = {row[0] for row in seen.shares if row[1] == self._run}
        news = False
        for token, change in divided.items():
            steps.append((_HOLD, (token, self._run, change.calls, alive, *rates[token])))
            if any(row[0] == token and row[2] <= seen.now for row in seen.freeing):
                over = "DELETE FROM freeing WHERE token_fp = %s AND until <= %s"
                steps.append((over, (token, seen.now)))
            if change.dead:
                gone = "DELETE FROM share WHERE token_fp = %s AND run = ANY(%s)"
                steps.append((gone, (token, change.dead)))
            steps += [
                ("INSERT INTO freeing VALUES (%s, %s, %s)", (token, freed.calls, freed.until))
                for freed in change.freed
            ]
            news = news or token not in known or bool(change.freed)
        self._end(db, steps, news=news)

    def _end(
        self, db: Connection, steps: list[tuple[str, tuple[object, ...]]], *, news: bool
    ) -> None:
        """Write and commit; `news` for the other members wake them for a heartbeat."""
        with db.pipeline():
            for query, values in steps:
                db.execute(query.encode(), values)
            if news:
                self._notify(db, {"kind": "members"})
            db.execute("COMMIT")

    def leave(self) -> None:
        """Be a member no more; what this host had is free one period later."""
        with self._connected() as db:
            tokens = [row[0] for row in db.execute(_MY_TOKENS, (self._run,))]
            self._begin(db, tokens)
            gone = ("DELETE FROM member WHERE run = %s", (self._run,))
            self._end(db, [(_LEAVE, (self._run,)), gone], news=True)
        self._using = {}

    # Telling and hearing

    def tell_stop(self, token: str, reason: str, detail: str) -> None:
        """Record a stop of a token ("" for all), so that no host starts a call with it; tell it."""
        self._untold[token] = (reason, text_of(detail)[:_MOST_DETAIL])
        with self._connected() as db:
            self._tell_untold(db)

    def _tell_untold(self, db: Connection) -> None:
        for token, (reason, detail) in list(self._untold.items()):
            with db.transaction():
                db.execute(_STOP, (token, reason, detail, self._run))
                told = {"kind": "stop", "token": token, "reason": reason, "detail": detail}
                self._notify(db, told)
            del self._untold[token]

    def tell_slow_down(self, token: str, wait: float | None) -> None:
        """Tell all hosts that the server asked for a slower pace with a token."""
        with self._connected() as db:
            self._notify(db, {"kind": "slow down", "token": token, "wait": wait})

    def _notify(self, db: Connection, told: Mapping[str, object]) -> None:
        text = json.dumps({**told, "run": self._run})
        db.execute("SELECT pg_notify(%s, %s)", (self._schema, text))

    def wait(self, timeout: float) -> list[Told]:
        """Wait for what others tell, at most so many seconds, or until `wake`."""
        end = time.monotonic() + timeout
        with self._connected() as db:
            while not (heard := self._heard(db)):
                left = end - time.monotonic()
                if left <= 0:
                    break
                ready, _, _ = select.select([db.fileno(), self._woken], [], [], left)
                if self._woken in ready:
                    os.read(self._woken, 4096)
                    break
        return heard

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        try:
            os.write(self._wake, b"!")
        except BlockingIOError:
            return  # it is full of wakes already

    def _heard(self, db: Connection) -> list[Told]:
        """What has come in, without what this host told itself."""
        heard = []
        for notice in db.notifies(timeout=0):
            said = json.loads(notice.payload)
            if said.pop("run") != self._run:
                heard.append(Told(**said))
        return heard
