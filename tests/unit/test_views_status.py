"""What a ledger holds, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harvester.ledger.protocol import Identity
from harvester.ledger.reader import reading
from harvester.ledger.sqlite import SqliteLedger
from harvester.plain import has_unprintable
from harvester.views.status import status_lines, status_of

NOW = 1795395723.0
PROMISED = [
    "done",
    "queued",
    "waiting",
    "rejected",
    "exhausted",
    "unanswered",
    "charged",
    "endpoint",
    "runs",
]
PROMISED_OF_RUNS = ["startedAt", "finishedAt", "reason", "exitCode", "calls", "charged", "byCode"]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of three queued notes and one run that made no call."""
    path = tmp_path / "out.jsonl.ledger"
    held = SqliteLedger(path, lambda: NOW)
    held.identify(Identity("xiaohongshu-pgy/note-detail/v1", simulated=True))
    held.begin_run(120.0)
    held.enrol(["67f32a94000000001d02eb4a", "6a274ceb000000000803f157", "a b"], None)
    held.finish_run("limit", 7)
    held.close()
    return path


def test_the_status_holds_what_the_contract_promises_and_is_json(ledger: Path) -> None:
    with reading(ledger) as reader:
        status = status_of(reader, NOW, NOW)
    assert set(PROMISED) <= set(status)
    assert set(PROMISED_OF_RUNS) <= set(status["runs"][0])
    assert json.loads(json.dumps(status)) == status
    assert (status["queued"], status["done"], status["charged"]) == (3, 0, 0)
    assert (status["endpoint"], status["simulated"]) == ("xiaohongshu-pgy/note-detail/v1", True)
    assert (status["runs"][0]["reason"], status["runs"][0]["exitCode"]) == ("limit", 7)
    assert status["runs"][0]["startedAt"] == "2026-11-23T01:02:03.000Z"


def test_without_any_answer_each_note_left_is_one_call_and_no_time_is_guessed(ledger: Path) -> None:
    with reading(ledger) as reader:
        left = status_of(reader, NOW, NOW)["left"]
    assert left == {"calls": 3, "hours": None, "days": None}


def test_the_status_is_told_in_plain_lines(ledger: Path) -> None:
    with reading(ledger) as reader:
        lines = list(status_lines(status_of(reader, NOW, NOW), 0.05))
    assert lines[0] == "endpoint xiaohongshu-pgy/note-detail/v1 (simulated)"
    assert lines[1] == "0 done, 3 queued (0 waiting), 0 rejected, 0 exhausted"
    assert lines[3] == "left: about 3 calls (0.15 at 0.05 a call)"
    assert "limit (exit 7); 0 calls, 0 charged; by code: none" in lines[4]
    assert not any(map(has_unprintable, lines))


def test_what_is_left_goes_by_the_share_and_the_pace_of_the_runs_so_far() -> None:
    status = {
        "simulated": False,
        "endpoint": "e",
        "done": 1000,
        "queued": 2000,
        "waiting": 5,
        "nextDue": "2026-11-23T01:02:03.000Z",
        "rejected": 1,
        "exhausted": 2,
        "charged": 1000,
        "chargedToday": 10,
        "unanswered": 1,
        "left": {"calls": 2200, "hours": 0.5, "days": 0.5 / 24},
        "runs": [
            {
                "startedAt": "2026-11-23T01:02:03.000Z",
                "seconds": None,
                "reason": None,
                "exitCode": None,
                "calls": 1,
                "charged": 1,
                "byCode": {"0": 1},
            }
        ],
    }
    assert list(status_lines(status, None)) == [
        "endpoint e",
        (
            "1,000 done, 2,000 queued (5 waiting, the next due 2026-11-23T01:02:03.000Z), "
            "1 rejected, 2 exhausted"
        ),
        "1,000 calls charged, 10 of them today; 1 call may have been charged without an answer",
        "left: about 2,200 calls, 30 min 0 s at the pace so far",
        "run 2026-11-23T01:02:03.000Z: going on, or killed; 1 call, 1 charged; by code: 0: 1",
    ]
