"""The address of a fleet's ledger: what of it may be shown."""

from __future__ import annotations

import pytest

from harvester.ledger.fleet import FleetAddress, without_password

SECRET = "s3cret"  # noqa: S105 - a made up one


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"postgresql://me:{SECRET}@host:5432/notes", "postgresql://me@host:5432/notes"),
        (f"postgres://me:{SECRET}#?x@host/notes", "postgres://me@host/notes"),
        (f"postgresql://me:{SECRET}@[::1]/notes", "postgresql://me@[::1]/notes"),
        (f"postgresql://me:{SECRET}@one:1,two:2/notes", "postgresql://me@one:1,two:2/notes"),
        (f"postgresql://me@host/notes?password={SECRET}", "postgresql://me@host/notes"),
        (
            f"postgresql://host/notes?user=me&password={SECRET}&sslmode=require",
            "postgresql://host/notes?user=me&sslmode=require",
        ),
        (f"host=here password={SECRET} user=me", "host=here user=me"),
        (f"host=here user=me password = '{SECRET} \\' of two'", "host=here user=me"),
    ],
)
def test_an_address_is_shown_without_its_password(given: str, shown: str) -> None:
    assert without_password(given) == shown
    assert SECRET not in repr(FleetAddress(given))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://host:5432/notes",
        "postgresql://me@[::1]:5432/notes",
        "postgresql:///notes?host=/run/postgresql&sslmode=disable",
        "host=here user=me",
    ],
)
def test_an_address_without_a_password_is_shown_as_it_is(address: str) -> None:
    assert without_password(address) == address
