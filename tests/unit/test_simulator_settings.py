"""Settings of the simulator that cannot be meant are refused in plain words."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from harvester.errors import UsageError
from harvester.simulator import SimulatorSettings


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"latency": -0.001}, "latency must be a number, 0 or more, not -0.001"),
        ({"latency": math.inf}, "latency must be a number, 0 or more, not inf"),
        ({"jitter": math.nan}, "jitter must be a number, 0 or more, not nan"),
        ({"rate_limit": -1}, "rate limit must be a number, 0 or more, not -1"),
        ({"daily_quota": -1}, "daily quota must be a number, 0 or more, not -1"),
        ({"balance": -1}, "balance must be a number, 0 or more, not -1"),
        ({"fail": {301: 1.5}}, "failures with code 301 must be between 0 and 1, not 1.5"),
        ({"fail": {301: -0.1}}, "failures with code 301 must be between 0 and 1, not -0.1"),
        ({"fail": {301: math.nan}}, "failures with code 301 must be between 0 and 1, not nan"),
        ({"fail": {0: 0.1}}, "a failure needs a code above 0, not 0"),
        ({"fail": {301: 0.6, 500: 0.6}}, "add up to 1.2, more than 1"),
        ({"missing": 1.01}, "missing notes must be between 0 and 1, not 1.01"),
        ({"http_status": "teapot"}, "HTTP status must be mapped or always-200, not teapot"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(complaint)):
        SimulatorSettings(**given)


def test_shares_may_fill_the_whole() -> None:
    tenths = dict.fromkeys(range(501, 511), 0.1)
    assert SimulatorSettings(fail=tenths, missing=1).fail == tenths
