"""`make bench`: ratios, measured side by side in one run; absolute times mean little here."""

from __future__ import annotations

from tests.bench import bodies, pace, scale, speed


def main() -> None:
    """Print a table for each part; what takes long comes last."""
    speed.main()
    bodies.main()
    pace.main()
    scale.main()
    speed.many()


if __name__ == "__main__":
    main()
