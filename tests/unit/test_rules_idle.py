"""How long a connection may be idle: what the server taught, and for how long it holds."""

from __future__ import annotations

from harvester.rules.idle import IdleLimit


def test_a_connection_is_left_alone_sooner_than_the_server_ends_one() -> None:
    limit = IdleLimit()
    at_first = limit.seconds(0.0)
    limit.learn(4.0, 10.0)
    assert limit.seconds(10.0) == 3.0
    assert at_first > 3.0


def test_only_what_is_shorter_teaches_anything() -> None:
    limit = IdleLimit()
    limit.learn(4.0, 10.0)
    limit.learn(20.0, 11.0)
    assert limit.seconds(12.0) == 3.0
    limit.learn(1.0, 13.0)
    assert limit.seconds(13.0) == 0.75


def test_what_was_learnt_holds_for_a_while_only() -> None:
    limit = IdleLimit()
    at_first = limit.seconds(0.0)
    limit.learn(0.001, 10.0)
    assert limit.seconds(900.0) < 0.001
    assert limit.seconds(911.0) == at_first
