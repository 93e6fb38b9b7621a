"""`harvester account`: what the vendor says of the account, and of the token."""

from __future__ import annotations

import click

from harvester.cli.params import Command, telling_names
from harvester.cli.run import AS_RUN, parsed_as_run, words_of_run
from harvester.cli.telling import json_option


@click.command(
    cls=Command,
    context_settings=AS_RUN,
    examples=("harvester account --token-file token.txt", "harvester account --json"),
)
@words_of_run(
    "[OPTION OF RUN]...",
    "How the API is reached, as `run` is told: --token-file, --base-url, --region, --proxy.",
)
@json_option
@click.pass_context
def account(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Say what the vendor says: the balance, today's calls, and whether the token is good.

    What `run` finds in its variables and in harvester.toml holds here, too. Asking is no call of a
    run. The exit code is 0 where all tokens are good, 5 where one is refused, else 6.
    """
    from harvester.cli.accounting import asked
    from harvester.config import RunConfig

    given = parsed_as_run(words, ctx)
    said = {name: given.params[name] for name in ("token_file", "base_url", "region", "proxy")}
    with telling_names(given):
        # Neither INPUT nor OUTPUT is looked at.
        config = RunConfig.read(["-"], "notes.jsonl", said)
    return asked(config)
