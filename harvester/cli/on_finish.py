"""Who is told how a run ended, or that it waits: webhooks, and the person's own command."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from harvester import json_text
from harvester.cli.ending import ending_of
from harvester.cli.signals import Signals
from harvester.config import LEDGER_VARIABLE
from harvester.engine.ports import NEXT_DAY, Event, Notice
from harvester.observe.webhooks import Webhooks
from harvester.sanitize import sanitize
from harvester.tokens import TOKEN_VARIABLES

# What a run is told by the environment and the command need not know: each may hold a password.
_SECRET = {
    *TOKEN_VARIABLES,
    LEDGER_VARIABLE,
    "HARVESTER_RUN_LEDGER",
    "PGPASSWORD",
    "HARVESTER_RUN_PROXY",
    "HARVESTER_RUN_NOTIFY",
}
_LONGEST = 60.0
# What the command finds in its environment, by its key in JSON.
VARIABLES = {
    "HARVESTER_REASON": "reason",
    "HARVESTER_EXIT_CODE": "exitCode",
    "HARVESTER_SUMMARY": "message",
    "HARVESTER_OUTPUT": "output",
    **{f"HARVESTER_{key.upper()}": key for key in ("done", "queued", "failed", "charged")},
    **{f"HARVESTER_{key.upper()}": key for key in ("unanswered", "calls")},
}


class OnFinish:
    """Around a run: at its end, however it comes about, tells `webhooks` and runs `command`.

    It observes the run, too, and tells webhooks that it waits for the next day.

    The command, if there is one, is run by /bin/sh. Whatever becomes of it is told to `say` in one
    line, and changes nothing. After a minute it is killed, with all that it started and that stayed
    in its process group.
    """

    def __init__(
        self,
        command: str | None,
        webhooks: Webhooks,
        output: Path,
        say: Callable[[str], None],
        signals: Signals,
    ) -> None:
        self._command = command
        self._webhooks = webhooks
        self._place = {"output": str(output.absolute()), "host": platform.node()}
        self._say = say
        self._signals = signals
        self._told: Mapping[str, Any] | None = None
        self._lines: tuple[str, ...] = ()

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        if isinstance(event, Notice) and event.kind == NEXT_DAY:
            self._tell({"event": "waiting", "message": f"harvester: {event.text}"})

    def _tell(self, known: Mapping[str, Any]) -> None:
        where = "{output} on {host}".format(**self._place)
        text = "\n".join((known["message"], *self._lines, where))
        self._webhooks.tell(text, {**known, **self._place})

    def ended(self, told: Mapping[str, Any], lines: Iterable[str]) -> None:
        """The run came to an end of its own: its summary as JSON has it, and in a few lines."""
        self._told, self._lines = told, tuple(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        known = self._told
        if known is None and error is not None:
            known = json_text.told(ending_of(error))
        if known is None:
            return
        known = {**known, **self._place}
        self._tell({"event": "end", **known})
        if self._command is not None:
            # What nobody knows, since no run began, is empty.
            variables = {name: str(known.get(key, "")) for name, key in VARIABLES.items()}
            trouble = run_command(self._command, variables, self._signals, _LONGEST)
            if trouble:
                self._say(f"harvester: --on-finish {trouble}.")
        with self._signals.acting(lambda _: self._webhooks.leave()):
            self._webhooks.wait()


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

    def end(_: signal.Signals | None = None) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    try:
        with signals.acting(end):
            code = process.wait(longest)
    except subprocess.TimeoutExpired:
        return f"was still running after {longest:g} s and was killed"
    finally:
        end()
        process.wait()
    if code == -signal.SIGKILL:
        return "was ended by a signal"
    return f"ended with code {code}" if code else None
