"""Warm starts: a process that has loaded the program, and forks it for each test that asks.

A fork is a process like any other: its pid, its signals, its files, folder and environment are its
own. What it spares is the interpreter's start and the imports, which cost more than most tests do.
`Warm` is the tests' side; run as a program, this file is the parent of the forks.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import harvester

ROOT = Path(harvester.__file__).parents[1]
# What most commands load, here once for all; where an extra is missing, they say so themselves.
_LOADED = (
    "harvester.cli.run",
    "harvester.cli.accounting",
    "harvester.doctor.examination",
    "harvester.cli.running",
    "harvester.cli.verifying",
    "harvester.cli.status",
    "harvester.cli.failures",
    "harvester.cli.merge",
    "harvester.cli.report",
    "harvester.cli.retry",
    "harvester.cli.schedule",
    "harvester.cli.simulate",
    "harvester.simulator.server",
    "harvester.output.merge",
    "harvester.ledger.latest_lines",
    "harvester.console.dry_run",
    "harvester.console.failures",
    "harvester.observe.metrics",
    "harvester.status.reading",
    "harvester.console.status_text",
    "harvester.engine.fleet",
    "harvester.ledger.postgres.ledger",
    "harvester.ledger.postgres.membership",
    "harvester.ledger.postgres.reading",
    "harvester.ledger.postgres.retrying",
    "harvester.ledger.postgres.resilient",
    "harvester.report.page",
    "durationpy",
    "rich.console",
)
# In the environment of a fork, for tests that wait for the end of either: how many seconds a lease
# is longer than a call may take, and a database that is away is waited for by a run that is ending.
LEASE_MARGIN = "TESTS_LEASE_MARGIN"
OUTAGE_PATIENCE = "TESTS_OUTAGE_PATIENCE"
# And where it is to tell at its end by how many KiB its memory grew at the most.
GROWTH = "TESTS_GROWTH"
_LENGTH = struct.Struct("!I")
_STANDARD = 3
_MOST_FILES = 1024


class Warm:
    """A warm parent, started when it is first needed; it ends with whoever made it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._talk: socket.socket | None = None
        self._parent: subprocess.Popen[bytes] | None = None

    def end(self) -> None:
        """End the parent; its forks are their makers' to end."""
        if self._talk is not None and self._parent is not None:
            self._talk.close()
            self._parent.wait()

    def start(
        self, args: Sequence[str], env: Mapping[str, str], cwd: Path, files: Sequence[int]
    ) -> int:
        """Fork `harvester ARGS` in a session of its own; `files` become its 0, 1 and 2.

        Gives its pid.
        """
        asked = {"args": list(args), "env": dict(env), "cwd": str(cwd)}
        return int(self._ask(asked, files))

    def poll(self, pid: int) -> int | None:
        """The exit code of a fork, as `subprocess` has it; None while it runs."""
        code = self._ask({"pid": pid})
        return None if code is None else int(code)

    def _ask(self, asked: Mapping[str, object], files: Sequence[int] = ()) -> Any:  # noqa: ANN401
        with self._lock:
            if self._talk is None:
                self._talk, self._parent = _launched()
            _tell(self._talk, asked, files)
            return _heard(self._talk)


def _launched() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    with theirs:
        parent = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return ours, parent


def _tell(talk: socket.socket, said: object, files: Sequence[int] = ()) -> None:
    text = json.dumps(said).encode()
    socket.send_fds(talk, [_LENGTH.pack(len(text))], files)
    talk.sendall(text)


def _heard(talk: socket.socket) -> Any:  # noqa: ANN401 - whatever was said
    return json.loads(_read(talk, *_LENGTH.unpack(_read(talk, _LENGTH.size))))


def _read(talk: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = talk.recv(size - len(found))
        if not piece:
            raise EOFError("the other side of a warm start is gone")
        found += piece
    return found


# The parent's side


def _serve(talk: socket.socket) -> Callable[[], None] | None:
    """Fork for each who asks, and tell exit codes; in a fork, gives what it is to do."""
    while True:
        head, files, _, _ = socket.recv_fds(talk, _LENGTH.size, _STANDARD)
        if not head:
            return None
        asked = json.loads(_read(talk, *_LENGTH.unpack(head)))
        if "pid" in asked:
            _tell(talk, _code_of(asked["pid"]))
            continue
        pid = os.fork()
        if not pid:
            return _prepared(asked, files)
        for file in files:
            os.close(file)
        _tell(talk, pid)


def _code_of(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _prepared(asked: Mapping[str, Any], files: Sequence[int]) -> Callable[[], None]:
    """Make a fork what a process of its own would be."""
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
    if os.isatty(0):  # as a shell's command has it: Ctrl-C comes from there
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.closerange(_STANDARD, _MOST_FILES)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    random.seed()
    sys.argv = [str(ROOT / "harvester" / "__main__.py"), *asked["args"]]
    gc.enable()
    from harvester.__main__ import main  # noqa: PLC0415 - the parent has no use for it
    from harvester.engine.fleet import FleetSession  # noqa: PLC0415 - the same

    if LEASE_MARGIN in asked["env"]:
        FleetSession.lease_margin = float(asked["env"][LEASE_MARGIN])
    if OUTAGE_PATIENCE in asked["env"]:
        FleetSession.patience = float(asked["env"][OUTAGE_PATIENCE])
    if GROWTH in asked["env"]:
        atexit.register(_tell_growth, Path(asked["env"][GROWTH]), _kibis_of("VmRSS"))
    return main


def _kibis_of(name: str) -> int:
    """What the system says of this process; nothing where it does not."""
    said = Path("/proc/self/status")
    lines = said.read_text().splitlines() if said.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def _tell_growth(place: Path, before: int) -> None:
    place.write_text(str(_kibis_of("VmHWM") - before))


def _main(file: int) -> None:
    for name in _LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    # Ctrl-C is for the tests, which end what they started.
    run = _serve(socket.socket(fileno=file))
    if run is not None:
        _end_with(run)


def _end_with(run: Callable[[], None]) -> None:
    """End as an interpreter does, but leave it to the system to take everything apart.

    A fork shares what its parent loaded until it lets go of it, module by module: that costs more
    than most commands do.
    """
    try:
        run()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            raise
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001 - as above: what an interpreter's end consists of
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):
            raise end from None  # the interpreter knows what to say of it
        os._exit(end.code or 0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _main(int(sys.argv[1]))
