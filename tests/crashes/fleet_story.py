"""What goes wrong in one story of a fleet: three workers' careers, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

WORKERS = 3


class Kind(Enum):
    """What happens to a worker at one of its operations: a commit, or a write to OUTPUT."""

    DEATH = "dies"
    BREAK = "loses its connection"
    PAUSE = "is stopped"


class Phase(Enum):
    """When, seen from that operation. A connection that broke AFTER a commit lost its answer."""

    BEFORE = "before"
    TORN = "in the middle of"
    AFTER = "after"


@dataclass(frozen=True)
class Fault:
    """At the `at`th operation of a life; a pause lasts for so many `seconds`."""

    kind: Kind
    at: int
    phase: Phase = Phase.BEFORE
    seconds: float = 0.0

    def __str__(self) -> str:
        long = f" for {self.seconds:.0f} s" if self.kind is Kind.PAUSE else ""
        return f"{self.kind.value}{long} {self.phase.value} operation {self.at}"


@dataclass(frozen=True)
class Fate:
    """What happens in one life of a worker, which begins after `rest` seconds.

    Where it dies, OUTPUT is torn at that part of what was not recorded; None keeps all of it.
    """

    faults: tuple[Fault, ...] = ()
    rest: float = 0.0
    torn_at: float | None = None

    def __str__(self) -> str:
        torn = "" if self.torn_at is None else f", OUTPUT torn at {self.torn_at:.2f}"
        return f"after {self.rest:.1f} s: {', then '.join(map(str, self.faults)) or 'lives'}{torn}"


@dataclass(frozen=True)
class Story:
    """Notes with what they answer before they are saved, and each worker's first lives.

    The workers in `gone` never come back; `quota` charges are made before the first 303, and
    `skews` are how far the hosts' clocks are wrong, in seconds.
    """

    seed: int
    notes: tuple[tuple[str, ...], ...]
    careers: tuple[tuple[Fate, ...], ...]
    gone: frozenset[int] = frozenset()
    quota: int = 0
    per_second: int = 30
    skews: tuple[float, ...] = (0.0,) * WORKERS

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"seed {self.seed}: {len(self.notes)} notes, {self.per_second}/s, quota {self.quota}"
        for number, answers in enumerate(self.notes):
            if answers:
                yield f"  note {number} answers {', '.join([*answers, 'saved'])}"
        for number, career in enumerate(self.careers):
            ends = "does not come back" if number in self.gone else "lives on until all is done"
            yield f"  worker {number}, its clock {self.skews[number]:+.1f} s wrong:"
            for fate in career:
                yield f"    {fate}"
            yield f"    {ends}"


_ANSWERS = ("301", "301", "500", "302", "404", "202", "lost", "broken", "unsent", "slow", "slow")
_KINDS = (*[Kind.DEATH] * 4, *[Kind.BREAK] * 3, *[Kind.PAUSE] * 3)
_LAST_OPERATION = 26


def story_of(seed: int) -> Story:
    """The story of a seed."""
    dice = random.Random(seed)
    notes = tuple(
        tuple(dice.choices(_ANSWERS, k=dice.choice((0, 0, 0, 0, 1, 1, 2))))
        for _ in range(dice.choice((6, 15, 24, 30)))
    )
    careers = tuple(_career(dice) for _ in range(WORKERS))
    # Worker 0 sees to it that somebody finishes.
    gone = {n for n in range(1, WORKERS) if _ends_in_death(careers[n]) and dice.random() < 0.4}
    return Story(
        seed,
        notes,
        careers,
        frozenset(gone),
        quota=dice.choice((0, 0, 0, dice.randrange(1, len(notes)))),
        per_second=dice.choice((6, 30, 60)),
        skews=tuple(dice.choice((0.0, 0.0, -2.0, 1.5)) for _ in range(WORKERS)),
    )


def _career(dice: random.Random) -> tuple[Fate, ...]:
    return tuple(_fate(dice) for _ in range(dice.choice((0, 1, 2, 2))))


def _fate(dice: random.Random) -> Fate:
    ats = sorted(dice.sample(range(1, _LAST_OPERATION), k=dice.choice((1, 2, 3, 4))))
    faults = tuple(
        Fault(dice.choice(_KINDS), at, dice.choice(list(Phase)), dice.choice((2.0, 25.0, 45.0)))
        for at in ats
    )
    return Fate(
        faults,
        dice.choice((0.0, 0.0, 1.0, 5.0, 30.0)),
        dice.random() if dice.random() < 0.5 else None,
    )


def _ends_in_death(career: tuple[Fate, ...]) -> bool:
    return bool(career) and any(fault.kind is Kind.DEATH for fault in career[-1].faults)


def shrink(story: Story, fails: Callable[[Story], bool], most: int = 300) -> Story:
    """The shortest story found that still fails, in at most so many tries."""
    tries = 0
    while True:
        for less in _shorter(story):
            tries += 1
            if tries > most:
                return story
            if fails(less):
                story = less
                break
        else:
            return story


def _shorter(story: Story) -> Iterator[Story]:
    for n, career in enumerate(story.careers):
        for less in _shorter_careers(career):
            yield replace(story, careers=(*story.careers[:n], less, *story.careers[n + 1 :]))
    half = len(story.notes) // 2
    if half:
        yield replace(story, notes=story.notes[:half])
        yield replace(story, notes=story.notes[half:])
    if any(story.notes):
        yield replace(story, notes=((),) * len(story.notes))
    if story.quota:
        yield replace(story, quota=0)
    for worker in story.gone:
        yield replace(story, gone=story.gone - {worker})
    if any(story.skews):
        yield replace(story, skews=(0.0,) * WORKERS)
    for n, answers in enumerate(story.notes):
        yield replace(story, notes=story.notes[:n] + story.notes[n + 1 :])
        if answers:
            yield replace(story, notes=(*story.notes[:n], (), *story.notes[n + 1 :]))


def _shorter_careers(career: tuple[Fate, ...]) -> Iterator[tuple[Fate, ...]]:
    for n, fate in enumerate(career):
        yield career[:n] + career[n + 1 :]
        for m in range(len(fate.faults)):
            less = replace(fate, faults=fate.faults[:m] + fate.faults[m + 1 :])
            yield (*career[:n], less, *career[n + 1 :])
        if fate.torn_at is not None:
            yield (*career[:n], replace(fate, torn_at=None), *career[n + 1 :])
