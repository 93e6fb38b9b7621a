"""Hosts of one fleet: processes on parts of their own, and the one database that they share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from tests.cut import Cut
from tests.process.tool import Finished, Started, Tool
from tests.process.warm import LEASE_MARGIN


class Hosts:
    """The hosts of one fleet, each with a part of its own in the tool's folder.

    `usual` are options of all their runs.
    """

    def __init__(self, tool: Tool, database: str, *usual: str) -> None:
        self.tool, self.database = tool, database
        self._usual = usual
        self._stack = ExitStack()
        self._runs: list[Started] = []
        self._asking: psycopg.Connection[tuple[Any, ...]] | None = None

    def part(self, name: str) -> Path:
        return self.tool.folder / f"part-{name}.jsonl"

    @property
    def parts(self) -> list[Path]:
        return sorted(self.tool.folder.glob("part-*.jsonl"))

    def env(self, ledger: str | None = None, *, without: str = "") -> dict[str, str]:
        """What a host finds in its environment, but for one name."""
        names = {
            **self.tool.env,
            "JUSTONEAPI_TOKEN": self.tool.token,
            "HARVESTER_LEDGER": ledger or self.database,
            LEASE_MARGIN: "4",
        }
        return {name: text for name, text in names.items() if name != without}

    def start(
        self,
        name: str,
        url: str,
        *args: str | Path,
        rate: int | None = None,
        ledger: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Started:
        pace = () if rate is None else ("--rate", f"{rate}/s")
        run = self.tool.start(
            *("run", "-o", self.part(name), "--base-url", url, *self._usual, *pace, *args),
            env=self.env(ledger) if env is None else env,
        )
        self._runs.append(run)
        return run

    def harvest(self, name: str, url: str, *args: str | Path) -> Finished:
        """Run a host to its end; some notes may have failed."""
        ended = self.start(name, url, *args).finish()
        assert ended.code in {0, 1}, ended.text
        return ended

    def cut(self) -> Cut:
        """A network between a host and the database; a host is given its `url`."""
        return self._stack.enter_context(Cut(self.database))

    def close(self) -> None:
        for run in self._runs:
            run.end()
        self._stack.close()
        if self._asking is not None:
            self._asking.close()

    # What came of it

    def look(self, *args: str | Path) -> Finished:
        """Run a command on the fleet's ledger."""
        return self.tool.run(*args, env=self.env())

    def status(self) -> dict[str, Any]:
        found = self.look("status", "--json")
        assert found.code == 0, found.text
        told: dict[str, Any] = json.loads(found.out)
        return told

    def verify(self, *names: str) -> Finished:
        return self.look("verify", *map(self.part, names))

    def ask(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        if self._asking is None:
            self._asking = psycopg.connect(self.database, autocommit=True)
            self._asking.execute("SET search_path = harvester_default")
        try:
            found = self._asking.execute(query, values)
            return found.fetchall() if found.description else []
        except psycopg.OperationalError:  # the server was killed or started again
            self._asking.close()
            self._asking = None
            raise

    @property
    def alive(self) -> int:
        """How many hosts live and beat; one that has only just begun is waited for longer."""
        live = "SELECT count(*) FROM member WHERE alive_until BETWEEN now_ms() AND now_ms() + 2000"
        try:
            ((many,),) = self.ask(live)
        except psycopg.errors.UndefinedTable:
            return 0
        return int(many)

    def written(self, name: str) -> int:
        """How many lines a host has written so far."""
        part = self.part(name)
        return part.read_bytes().count(b"\n") if part.exists() else 0

    @property
    def lines(self) -> Counter[str]:
        """How many lines each note has over all parts."""
        return Counter(note for part in self.parts for note in self.tool.saved(part))

    @property
    def unanswered(self) -> list[str]:
        """The notes of calls without an answer, once for each."""
        rows = self.ask("SELECT note_id FROM unanswered JOIN job USING (seq)")
        return [row[0] for row in rows]

    @property
    def duplicates(self) -> list[str]:
        """The notes of lines that were paid for again, once for each."""
        rows = self.ask("SELECT note_id FROM line JOIN job USING (seq) WHERE found_at IS NOT NULL")
        return [row[0] for row in rows]

    def has_each_once(self, ids: list[str]) -> None:
        """Every note is on one current line, and a line more is a duplicate that is listed."""
        lines, again = self.lines, Counter(self.duplicates)
        assert {note: many - again[note] for note, many in lines.items()} == dict.fromkeys(ids, 1)
        found = self.ask("SELECT note_id FROM job WHERE state = 1 AND lines > 0")
        assert sorted(row[0] for row in found) == sorted(ids)
