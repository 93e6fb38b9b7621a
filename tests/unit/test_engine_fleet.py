"""How long a host waits for a database that is away, while no run is on."""

from __future__ import annotations

from harvester.engine.fleet import OutagePolicy


def test_a_host_that_is_opening_or_ending_waits_for_some_seconds_from_when_it_has_to() -> None:
    now = 0.0
    outage = OutagePolicy(lambda: now)
    now = 1000.0
    assert not outage.give_up()
    now += 14
    assert not outage.give_up()
    now += 2
    assert outage.give_up()


def test_each_absence_is_waited_for_anew() -> None:
    now = 0.0
    outage = OutagePolicy(lambda: now)
    assert not outage.give_up()
    now += 14
    outage.is_over()
    now += 14
    assert not outage.give_up()
    now += 16
    assert outage.give_up()


def test_once_given_up_the_end_of_the_run_brings_no_more_patience() -> None:
    now = 0.0
    outage = OutagePolicy(lambda: now)
    assert not outage.give_up()
    now += 16
    outage.end()
    assert outage.give_up()
