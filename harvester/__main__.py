"""The command `harvester`, also as `python -m harvester`."""

from harvester.leaving import leave_on_signals


def main() -> None:
    """Run the command line; a signal ends it with a word, also while it is still being loaded."""
    leave_on_signals()
    from harvester.cli import main as run  # noqa: PLC0415 - takes a fifth of a second

    run()


if __name__ == "__main__":
    main()
