"""The embedded ledger's schema as numbered migrations; PRAGMA user_version holds the number."""

from __future__ import annotations

import sqlite3

from harvester.errors import LedgerError
from harvester.ledger.sql import IS_EMPTY

# Times are Unix milliseconds. `note_id` is 12 bytes for 24 hex digits, else text. A job that was
# never asked for has no `due`, so the queue of new jobs needs no index but the order of `seq`, and
# the index of requeued ones stays small. `failures_*` count only for the run named in `run`.
_MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE job (
        seq INTEGER PRIMARY KEY,
        note_id BLOB NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,
        due INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        run INTEGER,
        tries_collection INTEGER NOT NULL DEFAULT 0,
        tries_server INTEGER NOT NULL DEFAULT 0,
        tries_unanswered INTEGER NOT NULL DEFAULT 0,
        code INTEGER,
        reason TEXT,
        fetched_at INTEGER,
        line_end INTEGER,
        lines INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX job_by_note ON job (note_id);
    CREATE INDEX job_due ON job (due) WHERE state = 0 AND due IS NOT NULL;
    CREATE INDEX job_failed ON job (state) WHERE state >= 2;
    CREATE TABLE tally (state INTEGER PRIMARY KEY, jobs INTEGER NOT NULL);
    INSERT INTO tally VALUES (0, 0), (1, 0), (2, 0), (3, 0);
    CREATE TABLE claim (
        seq INTEGER PRIMARY KEY,
        token INTEGER NOT NULL,
        until INTEGER NOT NULL,
        sent_at INTEGER
    );
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        started_at INTEGER NOT NULL,
        finished_at INTEGER,
        reason TEXT,
        exit_code INTEGER
    );
    CREATE TABLE activity (
        run INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        code INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        elapsed_ms INTEGER NOT NULL,
        PRIMARY KEY (run, minute, code)
    ) WITHOUT ROWID;
    CREATE TABLE unanswered (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        sent_at INTEGER NOT NULL,
        how TEXT NOT NULL
    );
    CREATE TABLE output (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        length INTEGER NOT NULL,
        synced INTEGER NOT NULL,
        tail BLOB NOT NULL
    );
    INSERT INTO output VALUES (1, 0, 0, x'');
    """,
    # What travels along from the input is the text of a JSON object. `rate` is in calls a second,
    # NULL where it was to be found; `bucket` is that of rules/latency.py, of calls with an answer.
    """
    ALTER TABLE job ADD COLUMN carried TEXT;
    ALTER TABLE run ADD COLUMN rate REAL;
    ALTER TABLE run ADD COLUMN daily_cap INTEGER;
    CREATE TABLE latency (
        run INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        bucket INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        PRIMARY KEY (run, minute, bucket)
    ) WITHOUT ROWID;
    CREATE TABLE backlog (
        run INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        queued INTEGER NOT NULL,
        PRIMARY KEY (run, minute)
    ) WITHOUT ROWID;
    """,
    # Lines of its input that named no note.
    "ALTER TABLE run ADD COLUMN bad_lines INTEGER NOT NULL DEFAULT 0;",
    # How many lines of a note, whose calls are counted as charged, were forgotten and not found
    # again since. Where OUTPUT is just being read anew, a note that had a line had one.
    """
    ALTER TABLE job ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX job_forgotten ON job (seq) WHERE forgotten > 0;
    UPDATE job SET forgotten = 1 WHERE lines = 0 AND fetched_at IS NOT NULL
        AND EXISTS (SELECT 1 FROM meta WHERE key = 'rebuilding');
    """,
    f"CREATE INDEX job_empty ON job (seq) WHERE {IS_EMPTY};",
    # What the vendor told of the balance around the run: the JSON of money.py's `Balances`.
    "ALTER TABLE run ADD COLUMN balances TEXT;",
    # The first of the lines that named no note, and why.
    "ALTER TABLE run ADD COLUMN bad_example TEXT;",
    # Of notes that are never to be fetched again; a mark tells an id, and not what it is.
    "CREATE TABLE forgotten (mark BLOB PRIMARY KEY) WITHOUT ROWID;",
    # Standard words.
    """
    ALTER TABLE job RENAME COLUMN carried TO extra_fields;
    ALTER TABLE job RENAME COLUMN tries_collection TO failures_collection;
    ALTER TABLE job RENAME COLUMN tries_server TO failures_server;
    ALTER TABLE job RENAME COLUMN tries_unanswered TO failures_unanswered;
    ALTER TABLE claim RENAME COLUMN token TO claim_id;
    UPDATE meta SET key = 'start_rate' WHERE key = 'borne';
    """,
)
NEWEST = len(_MIGRATIONS)


def version_of(connection: sqlite3.Connection, path: str) -> int:
    """The number of a ledger's schema, 0 of an empty file; raises LedgerError for a newer one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > NEWEST:
        raise LedgerError(
            f"{path} was written by a newer harvester (schema {version}, this one reads {NEWEST}): "
            "upgrade harvester to go on with it."
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring a ledger to the newest schema, each step in one transaction.

    Raises LedgerError for a ledger of a newer harvester, or for another program's database.
    """
    version = version_of(connection, path)
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version == 0 and tables:
        raise LedgerError(f"{path} is a database of another program: choose another --output.")
    # It stays in the file, so not before it is known to be ours.
    connection.execute("PRAGMA journal_mode = WAL")
    for number in range(version, NEWEST):
        steps = f"BEGIN IMMEDIATE;{_MIGRATIONS[number]};PRAGMA user_version = {number + 1};COMMIT;"
        connection.executescript(steps)
