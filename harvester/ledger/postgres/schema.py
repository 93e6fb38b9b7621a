"""The fleet's schema as numbered migrations: one PostgreSQL schema for each harvest."""

from __future__ import annotations

import re

import psycopg
from psycopg.sql import SQL, Identifier

from harvester.errors import LedgerError, UsageError
from harvester.ledger.postgres.connection import Connection
from harvester.ledger.sql import IS_CHARGED, IS_EMPTY

# Names, units and meanings are those of the embedded ledger, so that one reader serves both.
# "Now" is the database's, through one function. What a job tells of lines is what `line` does: the
# newest that is there is its current one. Only its own host writes a run's tally, so no two wait
# for each other's. What a later migration takes away again, a new schema has only as far as
# something of it is kept.
_MIGRATIONS = (
    """
    CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE
        AS 'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint';
    CREATE TABLE meta (key text PRIMARY KEY, value jsonb NOT NULL);
    CREATE TABLE job (
        seq bigint PRIMARY KEY,
        note_id text COLLATE "C" NOT NULL,
        state smallint NOT NULL DEFAULT 0,
        due bigint,
        attempts integer NOT NULL DEFAULT 0,
        run bigint,
        tries_collection integer NOT NULL DEFAULT 0,
        tries_server integer NOT NULL DEFAULT 0,
        tries_unanswered integer NOT NULL DEFAULT 0,
        code integer,
        reason text,
        fetched_at bigint,
        line_end bigint,
        lines integer NOT NULL DEFAULT 0,
        carried text,
        part bigint
    );
    CREATE UNIQUE INDEX job_by_note ON job (note_id);
    CREATE INDEX job_new ON job (seq) WHERE state = 0 AND due IS NULL;
    CREATE INDEX job_due ON job (due, seq) WHERE state = 0 AND due IS NOT NULL;
    CREATE INDEX job_failed ON job (state) WHERE state >= 2;
    CREATE TABLE tally_of_run (
        run bigint NOT NULL,
        state smallint NOT NULL,
        jobs bigint NOT NULL,
        PRIMARY KEY (run, state)
    );
    INSERT INTO tally_of_run VALUES (0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0);
    CREATE VIEW tally AS
        SELECT state, sum(jobs)::bigint AS jobs FROM tally_of_run GROUP BY state;
    CREATE TABLE claim (
        seq bigint PRIMARY KEY,
        token bigint NOT NULL,
        until bigint NOT NULL,
        sent_at bigint,
        run bigint NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
    CREATE INDEX claim_lapses ON claim (until);
    CREATE TABLE part (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        uuid text NOT NULL UNIQUE,
        host text NOT NULL,
        path text NOT NULL,
        length bigint NOT NULL DEFAULT 0,
        synced bigint NOT NULL DEFAULT 0,
        tail bytea NOT NULL DEFAULT '',
        boot text NOT NULL DEFAULT '',
        rebuilding boolean NOT NULL DEFAULT false,
        op bigint NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50);
    CREATE TABLE run (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        started_at bigint NOT NULL,
        finished_at bigint,
        reason text,
        exit_code integer,
        rate double precision,
        daily_cap bigint,
        part bigint NOT NULL,
        session bigint NOT NULL
    );
    CREATE INDEX run_of_part ON run (part);
    CREATE INDEX run_of_session ON run (session);
    CREATE TABLE activity (
        run bigint NOT NULL,
        minute bigint NOT NULL,
        code integer NOT NULL,
        calls bigint NOT NULL,
        elapsed_ms bigint NOT NULL,
        PRIMARY KEY (run, minute, code)
    );
    CREATE TABLE latency (
        run bigint NOT NULL,
        minute bigint NOT NULL,
        bucket integer NOT NULL,
        calls bigint NOT NULL,
        PRIMARY KEY (run, minute, bucket)
    );
    CREATE TABLE backlog (
        run bigint NOT NULL,
        minute bigint NOT NULL,
        queued bigint NOT NULL,
        PRIMARY KEY (run, minute)
    );
    -- `in_activity`: an outcome was recorded, so `activity` counts the call too.
    CREATE TABLE unanswered (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run bigint NOT NULL,
        seq bigint NOT NULL,
        sent_at bigint NOT NULL,
        how text NOT NULL,
        in_activity boolean NOT NULL
    );
    CREATE INDEX unanswered_by_job ON unanswered (seq);
    CREATE INDEX unanswered_by_run ON unanswered (run);
    CREATE INDEX unanswered_by_time ON unanswered (sent_at);
    CREATE TABLE older (part bigint, seq bigint, lines int, fetched_at bigint, line_end bigint);
    CREATE TABLE duplicate (
        part bigint, seq bigint, line_end bigint, fetched_at bigint, found_at bigint
    );
    CREATE TABLE member (
        run bigint PRIMARY KEY,
        part bigint NOT NULL,
        session bigint NOT NULL,
        alive_until bigint NOT NULL
    ) WITH (fillfactor = 50);
    CREATE TABLE stop (
        session bigint NOT NULL,
        token_fp text NOT NULL,
        reason text NOT NULL,
        detail text NOT NULL,
        at bigint NOT NULL,
        PRIMARY KEY (session, token_fp)
    );
    """,
    "ALTER TABLE run ADD COLUMN bad_lines bigint NOT NULL DEFAULT 0;",
    """
    CREATE TABLE forgotten (part bigint, seq bigint, lines int);
    INSERT INTO forgotten SELECT part.id, seq, 1 FROM part, job
        WHERE rebuilding AND lines = 0 AND fetched_at IS NOT NULL;
    """,
    f"""
    DROP INDEX IF EXISTS activity_charged;
    CREATE INDEX activity_charged ON activity (minute) WHERE {IS_CHARGED};
    CREATE INDEX job_empty ON job (seq) WHERE {IS_EMPTY};
    """,
    # From `next`, in Unix milliseconds, on a call with the token may start. How often it was slowed
    # down, by which run and for how many milliseconds the last time, all members read.
    """
    DROP TABLE IF EXISTS share, freeing;
    CREATE TABLE pace (
        token_fp text PRIMARY KEY,
        rate text NOT NULL,
        next double precision NOT NULL DEFAULT 0,
        slowed bigint NOT NULL DEFAULT 0,
        slowed_by bigint NOT NULL DEFAULT 0,
        wait double precision
    ) WITH (fillfactor = 50);
    ALTER TABLE member ADD COLUMN tokens text[] NOT NULL DEFAULT '{}';
    """,
    # As the embedded ledger has it.
    "ALTER TABLE run ADD COLUMN balances text;",
    # The first of the lines that named no note, and why.
    "ALTER TABLE run ADD COLUMN bad_example text;",
    # What stood here is done anew or taken away below.
    "",
    "",
    # Standard words.
    """
    ALTER TABLE job RENAME COLUMN carried TO extra_fields;
    ALTER TABLE job RENAME COLUMN tries_collection TO failures_collection;
    ALTER TABLE job RENAME COLUMN tries_server TO failures_server;
    ALTER TABLE job RENAME COLUMN tries_unanswered TO failures_unanswered;
    ALTER TABLE claim RENAME COLUMN token TO claim_id;
    UPDATE meta SET key = 'start_rate' WHERE key = 'borne';
    """,
    # What is `shared` holds for all tokens of an account. A quota used up early on the vendor's day
    # may be that of the day before: it is asked again each minute.
    """
    ALTER TABLE stop ADD COLUMN shared boolean NOT NULL DEFAULT false;
    CREATE OR REPLACE VIEW standing AS SELECT stop.* FROM stop, (SELECT now_ms() AS ms) AS now,
        LATERAL (SELECT extract(epoch FROM date_trunc('day', to_timestamp(ms / 1000.0)
            AT TIME ZONE 'Asia/Shanghai') AT TIME ZONE 'Asia/Shanghai') * 1000 AS began) AS day
    WHERE reason <> 'quota' OR at >= began + 900000 OR (at >= began AND ms < at + 60000);
    """,
    # From when on each turn of a token's rate is free, in Unix milliseconds.
    "ALTER TABLE pace ADD COLUMN turns float8[] NOT NULL DEFAULT '{}';",
    # Until when a host waits for the next day, in Unix seconds.
    "ALTER TABLE member ADD COLUMN resumes_at double precision;",
    # A number that comes a second time is found by `op` alone.
    "ALTER TABLE part DROP COLUMN IF EXISTS in_turn, DROP COLUMN IF EXISTS writer;",
    # A line is known by its note and its moment; with `found_at` it was paid for though its note
    # was done. One that is not `is_there` is yet to be found, and counted as charged by then; where
    # its moment is not known, it is any line that is found. Before, `older` counted the lines of a
    # part that were not current, with the newest one's moment, and `forgotten` those yet to be
    # found; of some of them the moment stands in `duplicate`.
    """
    SET LOCAL enable_hashjoin = on;
    CREATE TABLE line (
        seq bigint NOT NULL,
        fetched_at bigint,
        part bigint NOT NULL,
        line_end bigint,
        found_at bigint,
        is_there boolean NOT NULL DEFAULT true,
        is_empty boolean NOT NULL DEFAULT false
    );
    CREATE UNIQUE INDEX line_by_moment ON line (seq, fetched_at);
    CREATE INDEX line_gone ON line (part) WHERE NOT is_there;
    CREATE INDEX line_again ON line (found_at) WHERE found_at IS NOT NULL;
    INSERT INTO line (seq, fetched_at, part, line_end, found_at, is_empty)
    SELECT DISTINCT ON (seq) seq, fetched_at, part, job.line_end, found_at,
        coalesce(code = 0, false)
    FROM job LEFT JOIN duplicate USING (seq, part, fetched_at) WHERE lines > 0 AND part IS NOT NULL;
    WITH moment AS (
        SELECT DISTINCT ON (seq, fetched_at) * FROM (
            SELECT seq, part, fetched_at, line_end, found_at FROM duplicate UNION ALL
            SELECT seq, part, fetched_at, line_end, NULL FROM older
        ) AS known WHERE NOT EXISTS (SELECT FROM line
            WHERE line.seq = known.seq AND line.fetched_at = known.fetched_at)
        ORDER BY seq, fetched_at, found_at
    ), counted AS (
        SELECT seq, part, lines, true AS is_there FROM older UNION ALL
        SELECT seq, part, lines, false FROM forgotten
    )
    INSERT INTO line (seq, fetched_at, part, line_end, found_at, is_there)
    SELECT seq, fetched_at, part, line_end, found_at, is_there FROM (
        SELECT *, row_number() OVER (PARTITION BY seq, part ORDER BY is_there DESC) AS nth
        FROM counted, generate_series(1, lines)
    ) AS counted LEFT JOIN (
        SELECT *, row_number() OVER (PARTITION BY seq, part ORDER BY fetched_at DESC) AS nth
        FROM moment
    ) AS moment USING (seq, part, nth);
    DROP TABLE older, duplicate, forgotten;
    """,
)
NEWEST = len(_MIGRATIONS)
# Says that a schema is ours, and its version, without a table of another program being read.
_MARK = re.compile(r"harvester schema (\d+)", re.ASCII)


def version_of(db: psycopg.Connection, schema: str, *, is_written: bool = False) -> int:
    """The version of a harvest's schema, 0 if there is none, or an empty one.

    Raises LedgerError for a newer harvester's, and for one that is not a harvester's; UsageError
    for another role's if it is to be written.
    """
    found = db.execute(
        "SELECT obj_description(oid, 'pg_namespace'),"
        " EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid),"
        " pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = %s",
        (schema,),
    ).fetchone()
    if found is None or found[:2] == (None, False):
        return 0
    # Whoever owns a schema can put functions there that run with the rights of who uses it.
    if is_written and found[2] != db.info.user:
        raise UsageError(
            f"the schema {schema} belongs to the role {found[2]}, and this host connects as "
            f"{db.info.user}: use one role for all hosts, or choose another --harvest."
        )
    mark = _MARK.fullmatch(found[0] or "")
    if mark is None:
        raise LedgerError(
            f"the database has a schema {schema} that is not harvester's: choose another --harvest."
        )
    version = int(mark[1])
    if version > NEWEST:
        raise LedgerError(
            f"the schema {schema} was written by a newer harvester (schema {version}, this one "
            f"reads {NEWEST}): upgrade harvester to go on with it."
        )
    return version


def harvests_in(db: psycopg.Connection) -> list[str]:
    """The names of all harvests in a database."""
    rows = db.execute(
        "SELECT substr(nspname, 11) FROM pg_namespace WHERE starts_with(nspname, 'harvester_')"
        " AND starts_with(obj_description(oid, 'pg_namespace'), 'harvester schema') ORDER BY 1"
    )
    return [name for (name,) in rows]


def check_version(db: psycopg.Connection, schema: str) -> None:
    """Raise LedgerError if the schema is not what it was when this run began."""
    version = version_of(db, schema, is_written=True)
    if version != NEWEST:
        raise LedgerError(
            f"the schema {schema} is of another version than when this run began ({version}, not "
            f"{NEWEST}): run the same command again."
        )


def migrate(db: Connection, schema: str) -> None:
    """Bring a harvest's schema to the newest version, or make it; hosts take turns.

    `db` commits by itself. Raises LedgerError as `version_of`, UsageError without the right.
    """
    if version_of(db, schema, is_written=True) == NEWEST:
        return
    try:
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (schema,))
            version = version_of(db, schema)
            if not db.execute("SELECT to_regnamespace(%s)", (schema,)).fetchall()[0][0]:
                db.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
            db.execute(SQL("SET LOCAL search_path = {}").format(Identifier(schema)))
            for steps in _MIGRATIONS[version:]:
                db.execute(steps.encode())
            comment = SQL("COMMENT ON SCHEMA {} IS {}")
            mark = f"harvester schema {NEWEST}"
            db.execute(comment.format(Identifier(schema), mark))
    except psycopg.errors.InsufficientPrivilege as error:
        raise UsageError(
            f"the role {db.info.user} may not create the schema {schema}: let the database's owner "
            f'run once, for all harvests: GRANT CREATE ON DATABASE "{db.info.dbname}" TO '
            f'"{db.info.user}";'
        ) from error
