"""The command as its users start it: real processes, a real simulator, a server that misbehaves."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.process.threaded import PATIENCE, Threaded
from tests.process.warm import ROOT, Warm

TOKEN = "tok-3f9ac17e55d04b28"  # noqa: S105 - a made up one, to be searched for in what is written
# Many calls, short waits, and nothing but calls: what tests of whole processes need.
FAST = ("--rate", "1000/s", "--backoff-base", "0.01", "--backoff-cap", "0.05", "--no-account")
_PROGRAM = ("-m", "harvester")

Answerer = Callable[["Upstream", str, int], Awaitable[web.StreamResponse]]
AccountPage = Callable[[web.Request], web.StreamResponse]


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait for something another process does; the only place of these tests that sleeps."""
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        assert waited < patience, f"waited {patience:g} s in vain for: {what}"
        # The longer it takes, the less a moment more matters; looking costs what is waited for.
        time.sleep(min(0.005 + waited / 20, 0.05))


def note_ids(many: int, seed: int = 1) -> list[str]:
    """Different note ids, the same for the same seed."""
    dice = random.Random(seed)
    return [f"{0x67000000 + n:08x}{dice.getrandbits(64):016x}" for n in range(many)]


@contextmanager
def refusing() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens: held, or another test's server could come there."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def closing_line(self) -> str:
        return self.out.splitlines()[-1] if self.out else ""


class Forked:
    """A fork of a warm parent, with as much of `subprocess.Popen` as is used here."""

    def __init__(
        self,
        warm: Warm,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        files: Sequence[int],
    ) -> None:
        self._warm = warm
        self._code: int | None = None
        self.pid = warm.start(args, env, cwd, files)

    def poll(self) -> int | None:
        if self._code is None:
            self._code = self._warm.poll(self.pid)
        return self._code

    def wait(self, patience: float) -> int:
        until(lambda: self.poll() is not None, "a process to end", patience)
        assert self._code is not None
        return self._code

    def send_signal(self, number: int) -> None:
        # Until its end is asked for it keeps its pid.
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Started:
    """A process that may still be running; its output goes to files."""

    def __init__(
        self,
        command: Sequence[str],
        place: Path,
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: bytes | None,
        warm: Warm | None = None,
    ) -> None:
        self._out, self._err = place.with_suffix(".out"), place.with_suffix(".err")
        source = place.with_suffix(".in")
        if stdin is not None:
            source.write_bytes(stdin)
        with (
            self._out.open("wb") as out,
            self._err.open("wb") as err,
            Path(os.devnull if stdin is None else source).open("rb") as given,
        ):
            self._process: subprocess.Popen[bytes] | Forked
            if warm is not None:
                files = [given.fileno(), out.fileno(), err.fileno()]
                self._process = Forked(warm, command, env, cwd, files)
                return
            self._process = subprocess.Popen(
                command,
                stdin=given,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def says(self, text: str) -> None:
        """Wait until the process has printed a text."""
        until(lambda: text in self.err or text in self.out or not self.is_running, f"{text!r}")
        said = self.err + self.out
        assert text in said, said

    def finish(self, patience: float = PATIENCE) -> Finished:
        """Wait for the end."""
        code = self._process.wait(patience)
        return Finished(code, self.out, self.err)

    def end(self) -> None:
        """End it, however it fares."""
        if self.is_running:
            self._process.kill()
        self._process.wait(PATIENCE)


def _is_heeded(env: Mapping[str, str]) -> bool:
    """Whether an interpreter would start otherwise in this environment than in the tool's."""
    heeded = {name: env[name] for name in env if name.startswith(("PYTHON", "LC_", "LANG"))}
    return heeded != {"PYTHONPATH": str(ROOT)}


class Simulator:
    """`harvester simulate` in a process of its own."""

    def __init__(self, process: Started) -> None:
        until(lambda: "\n" in process.out or not process.is_running, "the simulator's first line")
        assert process.is_running, process.err
        self.process = process
        self.url = next(word for word in process.out.split() if word.startswith("http://"))

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        with closing(connection):
            connection.request(method, path)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found

    def charges(self) -> dict[str, Any]:
        return self._ask("GET", "/_simulator/charges")

    @property
    def calls(self) -> int:
        return int(self.charges()["calls"])

    @property
    def charged(self) -> int:
        return int(self.charges()["charged"])

    @property
    def charged_twice(self) -> list[str]:
        return list(self.charges()["chargedTwice"])

    def new_day(self) -> None:
        self._ask("POST", "/_simulator/day")

    def top_up(self, calls: int) -> None:
        self._ask("POST", f"/_simulator/balance?add={calls}")


class Upstream(Threaded):
    """A server of the test's own: `answer` decides what each call gets."""

    def __init__(self, answer: Answerer, account: AccountPage) -> None:
        super().__init__()
        self.answer, self.account = answer, account
        self.starts: list[tuple[float, str]] = []
        self.tokens: list[str] = []
        self._open = asyncio.Event()
        self.__enter__()

    async def serve(self) -> None:
        app = web.Application()
        app.add_routes([web.get("/{path:.*}", self._handle)])
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.ready(runner.addresses[0][1])
        await self.ending.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/user/"):
            return self.account(request)
        note_id = request.query.get("noteId", "")
        self.starts.append((time.monotonic(), note_id))
        self.tokens.append(request.query.get("token", ""))
        return await self.answer(self, note_id, len(self.starts))

    @property
    def calls(self) -> int:
        return len(self.starts)

    async def opened(self) -> None:
        """Wait, in an answer, until the test opens the gate."""
        await self._open.wait()

    def open(self) -> None:
        """Let held answers go."""
        self.loop.call_soon_threadsafe(self._open.set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> None:
        self.__exit__()

    @staticmethod
    def reply(code: int, data: object = None, message: str = "said so") -> web.Response:
        return web.json_response({"code": code, "message": message, "data": data})


async def held(upstream: Upstream, note_id: str, _nth: int) -> web.StreamResponse:
    """An answer that comes once the test opens the gate."""
    await upstream.opened()
    return upstream.reply(0, {"noteId": note_id})


def no_account(_request: web.Request) -> web.StreamResponse:
    """The account's pages are not there, as by default: no call was made."""
    return web.json_response({"code": 404, "message": "Resource not found"}, status=404)


class Tool:
    """The command under test, in a folder of its own and a clean environment."""

    token = TOKEN
    fast = FAST

    def __init__(self, folder: Path, logs: Path, warm: Warm) -> None:
        self.folder, self.logs, self._warm = folder, logs, warm
        self.output = folder / "notes.jsonl"
        self._started: list[Started] = []
        self._upstreams: list[Upstream] = []
        self._held = ExitStack()

    # Starting

    @property
    def env(self) -> dict[str, str]:
        """The least a process needs, without a token."""
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}

    def start(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        python: Sequence[str] = _PROGRAM,
        shell: str = "",
        cold: bool = False,
    ) -> Started:
        """Start `harvester ARGS`; `shell` is put before the command, in a shell.

        It is forked from a warm parent, unless an interpreter's own start matters: in a shell, with
        other arguments or an environment that interpreters heed, or when `cold` says so.
        """
        given = {**self.env, "JUSTONEAPI_TOKEN": TOKEN} if env is None else env
        is_cold = cold or bool(shell) or python != _PROGRAM or _is_heeded(given)
        command = [*map(str, args)]
        if is_cold:
            command = [sys.executable, *python, *command]
        if shell:
            command = ["/bin/sh", "-c", shell, "sh", *command]
        started = Started(
            command,
            self.logs / f"{len(self._started)}",
            env=given,
            cwd=cwd or self.folder,
            stdin=stdin,
            warm=None if is_cold else self._warm,
        )
        self._started.append(started)
        return started

    def run(self, *args: str | Path, **how: Any) -> Finished:  # noqa: ANN401 - as for `start`
        return self.start(*args, **how).finish()

    def start_harvest(self, url: str, *args: str | Path, **how: Any) -> Started:  # noqa: ANN401
        return self.start("run", "-o", self.output, "--base-url", url, *FAST, *args, **how)

    def harvest(self, url: str, *args: str | Path, **how: Any) -> Finished:  # noqa: ANN401
        return self.start_harvest(url, *args, **how).finish()

    def simulate(self, *options: str) -> Simulator:
        few = ("--port", "0", "--latency", "2ms", "--jitter", "1ms")
        return Simulator(self.start("simulate", *few, *options, env=self.env))

    def upstream(self, answer: Answerer = held, account: AccountPage = no_account) -> Upstream:
        upstream = Upstream(answer, account)
        self._upstreams.append(upstream)
        return upstream

    def end(self) -> None:
        for started in self._started:
            started.end()
        for upstream in self._upstreams:
            upstream.end()
        self._held.close()

    def free_port(self) -> int:
        """A port where nobody listens, nor will until the end."""
        return self._held.enter_context(refusing())

    # Files

    def write(self, name: str, lines: Iterable[str]) -> Path:
        path = self.folder / name
        path.write_text("".join(line + "\n" for line in lines), "utf-8")
        return path

    def notes(self, many: int, seed: int = 1) -> Path:
        """A file of note ids."""
        return self.write(f"ids-{many}-{seed}.txt", note_ids(many, seed))

    def saved(self, output: Path | None = None) -> list[str]:
        """The ids on the lines of OUTPUT, each line whole."""
        text = (output or self.output).read_bytes()
        assert not text or text.endswith(b"\n")
        return [json.loads(line)["noteId"] for line in text.splitlines() if line]

    def status(self, output: Path | None = None) -> dict[str, Any]:
        found = self.run("status", output or self.output, "--json", env=self.env)
        assert found.code == 0, found.text
        parsed: dict[str, Any] = json.loads(found.out)
        return parsed

    def verify(self) -> Finished:
        return self.run("verify", self.output, env=self.env)

    def holding(self, secret: str) -> list[str]:
        """The files that hold a text: of the folder, and what all processes printed."""
        files = [*self.folder.rglob("*"), *self.logs.rglob("*")]
        return [str(f) for f in files if f.is_file() and secret.encode() in f.read_bytes()]

    # Helpers, at hand wherever the tool is

    note_ids = staticmethod(note_ids)
    until = staticmethod(until)
