"""The person's own command that is told how a run ended: for a mail, a webhook, a ping."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from harvester.cli.ending import ending_of
from harvester.cli.signals import Signals
from harvester.config import LEDGER_VARIABLE
from harvester.model import Summary
from harvester.sanitize import sanitize
from harvester.tokens import TOKEN_VARIABLES

# What a run is told by the environment and the command need not know: each may hold a password.
_SECRET = {
    *TOKEN_VARIABLES,
    LEDGER_VARIABLE,
    "HARVESTER_RUN_LEDGER",
    "PGPASSWORD",
    "HARVESTER_RUN_PROXY",
}
_LONGEST = 60.0


class OnFinish:
    """Around a run: at its end, however it comes about, runs `command` by /bin/sh, if there is one.

    Whatever becomes of the command is told to `say` in one line, and changes nothing. After
    `longest` seconds it is killed, with all that it started and that stayed in its process group.
    """

    def __init__(
        self,
        command: str | None,
        output: Path,
        say: Callable[[str], None],
        signals: Signals,
        longest: float = _LONGEST,
    ) -> None:
        self._command = command
        self._output = output
        self._say = say
        self._signals = signals
        self._longest = longest
        self._known: dict[str, str] | None = None

    def ended(self, summary: Summary, closing: str) -> None:
        """The run came to an end of its own; `closing` is its closing line."""
        self._known = of_summary(summary, closing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        known = self._known
        if known is None and error is not None:
            known = of_error(error)
        if self._command is None or known is None:
            return
        known["HARVESTER_OUTPUT"] = str(self._output.absolute())
        trouble = run_command(self._command, known, self._signals, self._longest)
        if trouble:
            self._say(f"harvester: --on-finish {trouble}.")


def of_summary(summary: Summary, closing: str) -> dict[str, str]:
    """What the command is told of a run that began."""
    counts = {
        "DONE": summary.done,
        "QUEUED": summary.queued,
        "FAILED": summary.failed,
        "CHARGED": summary.charged,
        "UNANSWERED": summary.unanswered,
        "CALLS": summary.calls,
    }
    return _told(summary.reason, summary.exit_code, closing, counts)


def of_error(error: BaseException) -> dict[str, str]:
    """What the command is told where no run began: its counts are empty, nobody knows them."""
    names = ("DONE", "QUEUED", "FAILED", "CHARGED", "UNANSWERED", "CALLS")
    end = ending_of(error)
    return _told(end.reason, end.exit_code, end.message, dict.fromkeys(names, ""))


def _told(reason: str, code: int, text: str, counts: Mapping[str, int | str]) -> dict[str, str]:
    fields = {"REASON": reason, "EXIT_CODE": code, "SUMMARY": text, **counts}
    return {f"HARVESTER_{name}": str(value) for name, value in fields.items()}


def run_command(
    command: str, told: Mapping[str, str], signals: Signals, longest: float
) -> str | None:
    """Run a shell command that is `told` in its environment; gives what went wrong, if anything."""
    environment = {name: value for name, value in os.environ.items() if name not in _SECRET}
    try:
        process = subprocess.Popen(  # noqa: S603 - the command is the person's own
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            env={**environment, **told},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"could not be started: {sanitize(str(error))}"

    def end(_: signal.Signals) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
                ended.append(process.pid)

    ended: list[int] = []
    try:
        with signals.acting(end):
            code = process.wait(longest)
    except subprocess.TimeoutExpired:
        return f"was still running after {longest:g} s and was killed"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if ended:
        return "was ended by a signal"
    return f"ended with code {code}" if code else None
