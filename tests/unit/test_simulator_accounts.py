"""The simulator's account counts exactly, whatever the keys look like."""

from __future__ import annotations

from harvester.simulator.accounts import Charges, SlidingWindow


def test_a_window_lets_go_of_a_moment_one_second_old() -> None:
    window = SlidingWindow()
    for moment in (10.0, 10.5):
        window.add(moment)
    assert window.count(10.999) == 2
    assert window.count(11.0) == 1
    assert window.count(11.5) == 0


def test_most_per_second_is_taken_over_any_half_open_second() -> None:
    charges = Charges()
    for moment in (0.0, 0.75, 1.0, 1.25, 1.5, 2.0, 9.0):
        charges.arrive(moment)
    # 0.75, 1.0, 1.25, 1.5; the second from 1.0 on ends before 2.0
    assert charges.page()["maxPerSecond"] == 4


def test_a_note_charged_on_two_endpoints_is_not_charged_twice() -> None:
    charges = Charges()
    note = bytes.fromhex("67f32a94000000001d02eb4a")
    for endpoint in (b"\x00", b"\x01"):
        charges.charge(endpoint + note)
    assert charges.page()["chargedTwice"] == []
    charges.charge(b"\x01" + note)
    assert charges.page()["chargedTwice"] == [note.hex()]
    assert charges.page()["charged"] == 3


def test_notes_charged_twice_are_sorted_and_named_once() -> None:
    charges = Charges()
    for digit in "ccbbbaad":
        charges.charge(b"\x00" + bytes.fromhex(digit * 24))
    assert charges.page()["chargedTwice"] == ["a" * 24, "b" * 24, "c" * 24]


def test_tried_counts_charges_and_failures() -> None:
    charges = Charges()
    key = b"\x00" + bytes(12)
    assert charges.tried(key) == 0
    charges.fail(key)
    charges.charge(key)
    charges.charge(key)
    charges.fail(key)
    assert charges.tried(key) == 4


def test_many_notes_are_all_remembered() -> None:
    charges = Charges()
    keys = [b"\x00" + number.to_bytes(12, "big") for number in range(20_000)]
    for key in keys:
        charges.charge(key)
    assert charges.page()["chargedTwice"] == []
    assert all(charges.tried(key) == 1 for key in keys)
