"""A harvest of one host, which has OUTPUT and its ledger to itself."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from harvester.config import RunConfig
from harvester.engine.held import Environment, OpenOutput
from harvester.engine.open_output import open_output
from harvester.engine.run import Run
from harvester.model import StopReason
from harvester.pace import Throttle
from harvester.secret import Secret


class Alone:
    """The `Coordinator` of a host that has none to get on with."""

    lease_margin, ahead_seconds, commit_every = 60.0, 10.0, 0.05

    def open(self, config: RunConfig, env: Environment) -> OpenOutput:
        """Open OUTPUT; errors as `open_output`'s."""
        return open_output(config, env)

    def throttle(self, config: RunConfig, start: float | None, _token: Secret[str]) -> Throttle:
        """Returns the throttle of one token, which begins at `start` calls a second, if given."""
        return Throttle(config.top_rate, config.burst, start)

    def joined(self, _run: Run, _number: int) -> AbstractAsyncContextManager[None]:
        """Join nobody."""
        return nullcontext()

    def disabled(
        self, client: str, reason: StopReason, detail: str, *, is_shared: bool = False
    ) -> None:
        """See `Coordinator.disabled`."""

    def slowed_down(self, client: str, wait: float | None) -> None:
        """See `Coordinator.slowed_down`."""

    async def keep(self) -> None:
        """See `Coordinator.keep`."""
