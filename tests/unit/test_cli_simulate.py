"""What the simulator cannot be meant to do is refused in plain words."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from harvester.cli.simulate import simulate
from harvester.errors import UsageError


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--latency", "-1ms"], "--latency"),
        (["--latency", "inf"], "--latency"),
        (["--jitter", "nan"], "--jitter"),
        (["--rate-limit", "-1"], "--rate-limit"),
        (["--daily-quota", "-1"], "--daily-quota"),
        (["--balance", "-1"], "--balance"),
        (["--price", "0,05"], "--price"),
        (["--missing", "1.01"], "--missing"),
        (["--empty", "1.01"], "--empty"),
        (["--gone", "xiaohongshu/note-detail/v77"], "did you mean xiaohongshu/note-detail/v"),
        (["--http-status", "teapot"], "teapot"),
        (["--fail", "301=1.5"], "--fail '301=1.5' is not like 301=0.05"),
        (["--fail", "301=-0.1"], "--fail '301=-0.1' is not like 301=0.05"),
        (["--fail", "301=nan"], "--fail '301=nan' is not like 301=0.05"),
        (["--fail", "0=0.1"], "--fail '0=0.1' is not like 301=0.05"),
        (["--fail", "301=0.6", "--fail", "500=0.6"], "add up to 1.2, more than 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: list[str], complaint: str) -> None:
    ended = CliRunner().invoke(simulate, given)
    assert complaint in (str(ended.exception) if ended.exit_code == 1 else ended.output)
    assert isinstance(ended.exception, UsageError | SystemExit)
