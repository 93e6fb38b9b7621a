"""A run rehearsed on a copy of its ledger: what it would find to do, by the run's own rules."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.engine.held import Environment
from harvester.engine.open_output import begin, open_output
from harvester.engine.open_run import this_environment
from harvester.errors import DamagedLedgerError, HarvesterError, LocalIOError
from harvester.halt import Look
from harvester.ledger.sqlite.ledger import SqliteLedger
from harvester.ledger.sqlite.reading import ledger_path, reading
from harvester.output.ending import holds, line_before
from harvester.output.file import NO_FOLDER
from harvester.output.part import check_no_part
from harvester.sides import Side

# So much is copied of OUTPUT's beginning, and before the end of what the ledger vouches for.
_MARGIN = 1 << 20
# What a run keeps beside OUTPUT and takes back into it, and what it never takes.
_BESIDE = (Side.SPOOL, Side.KEPT, Side.FORGOTTEN)


@contextmanager
def rehearsed(config: RunConfig, look: Look) -> Iterator[SqliteLedger]:
    """The ledger that a run would begin with, as a copy that is thrown away; errors as a run's."""
    env = replace(this_environment(), look=look)
    output = config.output.resolve()
    check_no_part(output)
    if not output.parent.is_dir():
        raise LocalIOError(f"cannot write {output}: {NO_FOLDER}, then run again.")
    with tempfile.TemporaryDirectory(prefix="harvester-") as folder:
        copy = Path(folder).resolve() / output.name
        try:
            _copy(output, copy, env, is_whole=config.rebuild)
            opened = open_output(replace(config, output=copy, tokens=()), env)
            begin(opened, config, env)
        except HarvesterError as error:
            # What is to be mended is where the copy was made from.
            error.args = (str(error).replace(str(copy), str(output)),)
            raise
        except OSError as error:
            raise LocalIOError(
                f"{output} cannot be copied to be looked at ({error.strerror}): check the file, "
                f"and for room in {folder}, or set TMPDIR."
            ) from None
        with closing(opened):
            assert isinstance(opened.ledger, SqliteLedger)  # noqa: S101 - an OUTPUT's own
            yield opened.ledger


def _copy(output: Path, copy: Path, env: Environment, *, is_whole: bool) -> None:
    """Copy the ledger, and of OUTPUT what is read where its ledger vouches for the rest."""
    for side in _BESIDE:
        with suppress(OSError):
            shutil.copyfile(side.of(output), side.of(copy))
    is_known = _copy_ledger(output, copy)
    if output.is_file():
        known = _known_length(output, copy, env) if is_known and not is_whole else 0
        _copy_lines(output, copy, max(0, known - _MARGIN), env.look)


def _copy_ledger(output: Path, copy: Path) -> bool:
    if (place := ledger_path(output)).exists():
        # SQLite would say that the ledger itself cannot be read.
        if shutil.disk_usage(copy.parent).free < place.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with suppress(DamagedLedgerError), reading(place, allow_older=True, is_brief=True) as known:
            known.copy_to(ledger_path(copy))
            return True
        # A run would set it aside and go on without.
        ledger_path(copy).unlink(missing_ok=True)
    return False


def _known_length(output: Path, copy: Path, env: Environment) -> int:
    """How much of OUTPUT is as the ledger knows it, in bytes, less its last line."""
    with closing(SqliteLedger(ledger_path(copy), env.clock)) as ledger:
        if ledger.is_forgetting():
            return 0
        known, synced = ledger.checkpoint(), ledger.synced()
    with output.open("rb") as file:
        if not holds(file.fileno(), known):
            return 0
        last = line_before(file.fileno(), known.length)
    return min(known.length - len(last), synced)


def _copy_lines(output: Path, copy: Path, start: int, look: Look) -> None:
    """Copy OUTPUT but for what lies between its beginning and `start`, which takes no room."""
    with output.open("rb") as source, copy.open("wb") as target:
        if start > _MARGIN:
            target.write(source.read(_MARGIN))
            source.seek(start)
            target.seek(start)
        while block := source.read(_MARGIN):
            look()
            target.write(block)
        os.ftruncate(target.fileno(), target.tell())
