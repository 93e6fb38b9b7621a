"""A harvest of one host, which has OUTPUT and its ledger to itself."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from harvester.config import RunConfig
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.open_output import open_output
from harvester.engine.ports import Coordinator
from harvester.engine.run import Run
from harvester.pace import Throttle
from harvester.secret import Secret


class Alone(Coordinator):
    """The `Coordinator` of a host that has none to get on with."""

    def open(self, config: RunConfig, env: Environment) -> OpenOutput:
        """Open OUTPUT; errors as `open_output`'s."""
        return open_output(config, env)

    def throttle(self, config: RunConfig, start: float | None, _token: Secret[str]) -> Throttle:
        """Returns the throttle of one token, which begins at `start` calls a second, if given."""
        return Throttle(config.top_rate, config.burst, start)

    def joined(self, _run: Run, _number: int) -> AbstractAsyncContextManager[None]:
        """Join nobody."""
        return nullcontext()
