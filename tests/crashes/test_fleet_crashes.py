"""Nights of a fleet that go wrong: three workers and one database, each story from a seed.

A seed that fails is shrunk to a short story. `pytest tests/crashes/test_fleet_crashes.py --seed N`
plays it alone, and `make soak` plays many more. Each story takes as long as dozens on one host, as
a real PostgreSQL is asked at every step; so there are fewer.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.fleet import Stage
from tests.crashes.fleet_play import Server, Worker, play
from tests.crashes.fleet_promises import Played
from tests.crashes.fleet_story import Fate, Kind, Story, shrink, story_of
from tests.crashes.fleet_world import START, StoppableLoop, World
from tests.crashes.seeds import seeds_of


def problems(story: Story, place: Path, stage: Stage) -> list[str]:
    """What went against the promises in one story, played in a folder of its own."""
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        return play(story, folder, stage)
    finally:
        shutil.rmtree(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    seeds_of(metafunc, 5, share=40, least=10)


# A kill is played by an error that ends all at once: a worker may be begun among those that end.
@pytest.mark.filterwarnings("ignore:coroutine 'Dispatcher._work' was never awaited:RuntimeWarning")
def test_every_promise_of_a_fleet_holds_whatever_goes_wrong(
    seeds: range, place: Path, stage: Stage
) -> None:
    for seed in seeds:
        if problems(story_of(seed), place, stage):
            short = shrink(story_of(seed), lambda story: bool(problems(story, place, stage)))
            pytest.fail(f"seed {seed}, as a short story:\n{short}\n{problems(short, place, stage)}")


def test_a_seed_tells_the_same_story_of_a_fleet_every_time() -> None:
    for seed in range(50):
        assert story_of(seed) == story_of(seed)
        assert str(story_of(seed)).startswith(f"seed {seed}:")
    assert len({str(story_of(seed)).partition("\n")[2] for seed in range(50)}) == 50


def test_stories_of_a_fleet_tell_of_all_that_can_go_wrong() -> None:
    stories = [story_of(seed) for seed in range(50)]
    faults = [f for s in stories for career in s.careers for fate in career for f in fate.faults]
    assert {fault.kind for fault in faults} == set(Kind)
    assert any(story.gone for story in stories)
    assert any(story.quota for story in stories)


def test_a_death_before_lines_are_adopted_takes_none_that_the_life_before_had_left(
    place: Path, stage: Stage
) -> None:
    stage.clear(START)
    with closing(StoppableLoop()) as loop:
        played = Played(story_of(0), World(loop, stage.database), place)
        worker = Worker(0, place, played, Server(played))
        worker.output.write_bytes(b"one\ntwo\n")
        worker.tear(Fate())
        worker.output.write_bytes(b"one\ntwo\nthree\n")
        worker.tear(Fate(torn_at=0.5))
    assert worker.output.read_bytes() == b"one\ntwo\nthr"
    assert not played.world.problems
    worker.output.unlink()
