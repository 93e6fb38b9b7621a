"""Tables with aligned columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import zip_longest


def show(title: str, rows: Sequence[Sequence[str]], *notes: str) -> None:
    """Print a table; the first row is its head, the first column stands left, all others right."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    print(f"\n{title}")
    for row in rows:
        first, *others = zip(row, widths, strict=False)
        line = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        print("  " + "  ".join(line).rstrip())
    for note in notes:
        print(f"  {note}")
    sys.stdout.flush()
