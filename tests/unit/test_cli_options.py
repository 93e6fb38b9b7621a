"""Numbers are checked as they are read; examples are broken where a shell lets them."""

from __future__ import annotations

import shlex

import click
import pytest

from harvester.cli.options import Number, broken

LONG = "JUSTONEAPI_TOKEN=x harvester run a.txt b.txt -o n.jsonl --simulate --rate 5/s > 'a b' 2> c"


@pytest.mark.parametrize("width", [20, 38, 60, 100])
def test_a_broken_example_is_the_same_command(width: int) -> None:
    lines = list(broken(LONG, width))
    assert all(line.endswith(" \\") for line in lines[:-1])
    joined = " ".join(line.removesuffix(" \\") for line in lines)
    assert shlex.split(joined) == shlex.split(LONG)
    if width >= 38:
        assert max(map(len, lines)) <= width


def test_an_option_keeps_its_value_beside_it() -> None:
    for width in range(25, 60):
        assert any("-o n.jsonl" in line for line in broken(LONG, width))
        assert any("--rate 5/s" in line for line in broken(LONG, width))


@pytest.mark.parametrize(
    ("number", "text", "told"),
    [
        (Number(1), "0", "'0' is not a whole number of 1 or more."),
        (Number(1), "1.5", "'1.5' is not a whole number of 1 or more."),
        (Number(0.0), "nan", "'nan' is not a number of 0 or more."),
        (Number(0.0, 1), "2", "'2' is not a number from 0 to 1."),
        (Number(0, 65535), "65536", "'65536' is not a whole number from 0 to 65535."),
    ],
)
def test_a_wrong_number_is_told_with_what_is_wanted(number: Number, text: str, told: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        number.convert(text, None, None)
    assert caught.value.message == told


def test_a_right_number_is_itself() -> None:
    assert Number(0, 65535).convert("65535", None, None) == 65535
    assert Number(0.0).convert("0.05", None, None) == 0.05
