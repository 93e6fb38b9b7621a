"""What the SQL of both ledgers has alike: what counts as what."""

from __future__ import annotations

from harvester.ledger.keys import from_key
from harvester.model import Job, Outcome
from harvester.rules.codes import CHARGED

# Answers without a business code are counted under the first one; under the second, calls that
# nobody took, since they met a connection that had ended while it was idle.
NO_CODE, NOT_TAKEN = -1, -2
# Of `activity`: what is counted as charged.
IS_CHARGED = f"code IN ({', '.join(map(str, sorted(CHARGED)))})"
# Of `job`: a done one has a code only if there is nothing in its data.
IS_EMPTY = "state = 1 AND code = 0"
# And that is given up since the vendor says that it is gone; in words that an index knows.
IS_GONE = "state >= 2 AND state = 2 AND code = 404"
# How an answer was lost that had been charged and written down already.
LOST = "lost in a power cut"
# Of a call that was out when its note was found on a line of another one.
OVERTAKEN = "its note was done by another call"
# A day in milliseconds: what lies further ahead was written by a clock that was wrong.
DAY_MS = 86_400_000
# The fields of `Counts`, and the calls that count against a daily cap; what is {named} is SQL for
# milliseconds.
COUNTS = f"""
SELECT (SELECT jobs FROM tally WHERE state = 0),
    (SELECT count(*) FROM job WHERE state = 0 AND due > {{now}}), (SELECT count(*) FROM claim),
    (SELECT jobs FROM tally WHERE state = 1), (SELECT jobs FROM tally WHERE state = 2),
    (SELECT jobs FROM tally WHERE state = 3), (SELECT count(*) FROM job WHERE {IS_GONE})
"""
USED = f"""
SELECT (SELECT coalesce(sum(calls), 0) FROM activity WHERE {IS_CHARGED}
        AND minute BETWEEN {{since}} / 60000 AND ({{now}} + {DAY_MS}) / 60000)
    + (SELECT count(*) FROM unanswered WHERE how <> '{LOST}'
        AND sent_at BETWEEN {{since}} AND {{now}} + {DAY_MS})
"""
# More runs than these are not looked through for the price of a call.
BALANCES = "SELECT balances FROM run WHERE balances IS NOT NULL ORDER BY id DESC LIMIT 100"


# What `job_of` makes a job of.
JOB_COLUMNS = (
    "job.seq, job.note_id, job.attempts, job.run, job.failures_collection, job.failures_server,"
    " job.failures_unanswered, job.extra_fields"
)
JobRow = tuple[int, bytes | str, int, int | None, int, int, int, str | None]


def job_of(row: JobRow, claim_id: int, this_run: int) -> Job:
    """A claimed job; failures of earlier runs do not count in this one."""
    seq, key, attempts, run, collection, server, unanswered, extra_fields = row
    failures = (collection, server, unanswered) if run == this_run else (0, 0, 0)
    return Job(seq, from_key(key), claim_id, attempts, failures, extra_fields)


def code_of(outcome: Outcome) -> int:
    """What a call is counted under."""
    if outcome.closed:
        return NOT_TAKEN
    return NO_CODE if outcome.code is None else outcome.code
