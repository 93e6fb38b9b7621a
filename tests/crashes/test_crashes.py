"""Nights that go wrong, each from a seed; after each one every promise must hold.

A seed that fails is shrunk to a short story. `pytest tests/crashes/test_crashes.py --seed N` plays
it alone, and `make soak` plays many more.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.crashes.play import play
from tests.crashes.seeds import seeds_of
from tests.crashes.story import Story, shrink, story_of


def problems(story: Story, place: Path) -> list[str]:
    """What went against the promises in one story, played in a folder of its own."""
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        return play(story, folder)
    finally:
        shutil.rmtree(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    seeds_of(metafunc, 25)


# A kill is played by an error that ends all at once: a worker may be begun among those that end.
@pytest.mark.filterwarnings("ignore:coroutine 'Dispatcher._work' was never awaited:RuntimeWarning")
def test_every_promise_holds_whatever_goes_wrong(seeds: range, place: Path) -> None:
    for seed in seeds:
        if problems(story_of(seed), place):
            short = shrink(story_of(seed), lambda story: bool(problems(story, place)))
            pytest.fail(f"seed {seed}, as a short story:\n{short}\n{problems(short, place)}")


def test_a_seed_tells_the_same_story_every_time(place: Path) -> None:
    for seed in range(50):
        assert story_of(seed) == story_of(seed)
        assert str(story_of(seed)).startswith(f"seed {seed}:")
    assert len({str(story_of(seed)).partition("\n")[2] for seed in range(50)}) > 45
