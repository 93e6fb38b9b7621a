"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

OUTPUT = click.Path(dir_okay=False, path_type=Path)
existing_output = click.argument("output", type=OUTPUT)
price = click.option("--price", type=click.FloatRange(min=0), help="Price of one charged call.")
