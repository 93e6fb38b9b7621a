"""One exception tree: each class holds the exit code and the word that its error ends with."""

from __future__ import annotations

from typing import ClassVar


class HarvesterError(Exception):
    """Anything harvester refuses or fails at; its text tells what to do next.

    `reason` is the word for programs: a stop's, or one of its own.
    """

    exit_code: ClassVar[int] = 2
    reason: ClassVar[str] = "usage"


class UsageError(HarvesterError):
    """Options or settings that cannot be meant, or that contradict the ledger (exit 2)."""


class OptionError(UsageError):
    """A value that an option cannot have (exit 2).

    `option` is its name in Python, `told` what is wrong, `value` the value as it is shown, empty
    where it might be a secret. `name` is what the person called it: --rate, HARVESTER_RUN_RATE.
    """

    def __init__(self, option: str, told: str, value: str = "", name: str = "") -> None:
        self.option, self.told, self.value = option, told, value
        self.is_named = bool(name)
        name = name or f"--{option.replace('_', '-')}"
        joined = " " if name.startswith("--") else "="
        super().__init__(f"{name}{joined}{value} {told}" if value else f"{name} {told}")

    def by(self, name: str) -> OptionError:
        """The same, told by another name of the option."""
        return self if self.is_named else OptionError(self.option, self.told, self.value, name)


class NoHarvestError(UsageError):
    """A harvest that no run has begun yet (exit 2)."""


class InputError(HarvesterError):
    """An INPUT that cannot be read as note ids; names the file and the line (exit 2)."""

    reason = "input"


class OutputMismatchError(HarvesterError):
    """OUTPUT and its ledger do not belong together, or OUTPUT lost lines (exit 2)."""


class LedgerError(HarvesterError):
    """A ledger this version cannot use: newer, foreign or corrupt (exit 2)."""


class DamagedLedgerError(LedgerError):
    """A ledger whose file is broken: it is set aside and rebuilt from OUTPUT (exit 74)."""

    exit_code = 74
    reason = "local I/O"


class LocalIOError(HarvesterError):
    """The disk or a file failed: full, read-only, unwritable (exit 74, as sysexits' EX_IOERR)."""

    exit_code = 74
    reason = "local I/O"


class UnforeseenError(LocalIOError):
    """What nobody foresaw, on a thread of ours; or there is no more memory (exit 74)."""


class OutputChangedError(LocalIOError):
    """OUTPUT was moved, replaced or written by somebody else while a run was on (exit 74)."""


class OutputLockedError(HarvesterError):
    """Another run holds this OUTPUT (exit 75, as sysexits' EX_TEMPFAIL)."""

    exit_code = 75
    reason = "locked"


class HaltedError(HarvesterError):
    """What comes before the first call took longer than the run may last (exit 7)."""

    exit_code = 7
    reason = "limit"

    def __init__(self) -> None:
        super().__init__(
            "stopped by its own limit: --max-runtime was reached before the first call, while "
            "INPUT was checked or OUTPUT was read; nothing was sent. Give it more time."
        )


class NobodyReadsError(HarvesterError):
    """Whoever read standard output has gone (exit 141, as of a shell's SIGPIPE)."""

    exit_code = 141


def want_of_extra(extra: str) -> str:
    """What to do where a library is missing that an extra brings.

    By name, an installer would look for whatever is called harvester on the net.
    """
    return f"install harvester from its folder again, with '.[{extra}]' in place of '.'"


def is_want_of_memory(error: BaseException) -> bool:
    """Whether the system refused memory, be it for an object or for a thread."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return isinstance(error, MemoryError) or "can't start new thread" in str(error)
