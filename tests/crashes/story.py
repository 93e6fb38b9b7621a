"""What goes wrong in one crash simulation: made from a seed, and cut short when it fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from tests.crashes.edits import DOUBLED, EDITS, RARE_EDITS


class Kind(Enum):
    """What happens to a run at one operation of its disk."""

    KILL = "killed"
    POWER = "power cut"
    FULL = "disk full"
    STALL = "stopped for a while"
    EDIT = "edited"


class Phase(Enum):
    """When, seen from that operation."""

    BEFORE = "before"
    TORN = "in the middle of"
    AFTER = "after"
    READING = "while it reads OUTPUT, seen from the beginning of that"


@dataclass(frozen=True)
class Fault:
    """At the `at`th operation; FULL lasts for `length` operations, STALL for as many seconds.

    EDIT changes OUTPUT in a way of EDITS, which is `how`.
    """

    kind: Kind
    at: int
    phase: Phase = Phase.BEFORE
    length: int = 1
    how: str = ""


# What editors and other programs do to lines without changing what they say.
STORES: dict[str, Callable[[bytes], bytes]] = {
    "last newline stripped": lambda text: text.removesuffix(b"\n"),
    "CRLF": lambda text: text.replace(b"\r", b"").replace(b"\n", b"\r\n"),
    "BOM": lambda text: b"\xef\xbb\xbf" + text.removeprefix(b"\xef\xbb\xbf") if text else text,
    "blank lines": lambda text: text.replace(b"\n", b"\n\n"),
    "NUL bytes": lambda text: text + bytes(700),
}
# The same, and what people do by hand; drawn apart, so that the stories of seeds stay as they are.
RARE_STORES: dict[str, Callable[[bytes], bytes]] = {
    "a hole": lambda text: text.replace(b"\n", b"\n" + bytes(700), 1),
    DOUBLED: lambda text: text + text[: text.find(b"\n") + 1] * text.endswith(b"\n"),
}


@dataclass(frozen=True)
class Fate:
    """What happens to one run: a fault, signals (seconds after its start), what came before it.

    `rest` are the seconds between the run before and this one, `clock_step` what the wall clock was
    set forward or back meanwhile. `stores` says how OUTPUT was stored anew meanwhile, by STORES.
    Nobody reads its log where it `is_unread`.
    """

    fault: Fault | None = None
    stop_at: float | None = None
    abort_at: float | None = None
    clock_step: float = 0.0
    rest: float = 60.0
    loses_ledger: bool = False
    stores: str = ""
    is_unread: bool = False


@dataclass(frozen=True)
class Story:
    """Notes with what they answer before they are saved, and the fates of the first runs."""

    seed: int
    notes: tuple[tuple[str, ...], ...]
    fates: tuple[Fate, ...]
    quota: int = 0
    per_second: int = 20
    workers: int = 4
    sync: bool = False
    bulk_after: int = 1000

    @property
    def doubles(self) -> bool:
        """Whether somebody doubles a line by hand."""
        faults = (fate.fault.how for fate in self.fates if fate.fault is not None)
        return DOUBLED in (*faults, *(fate.stores for fate in self.fates))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"seed {self.seed}: quota {self.quota}, {self.per_second}/s, {self.workers} workers"
        yield f"  sync {self.sync}, in bulk after {self.bulk_after} ids"
        for number, answers in enumerate(self.notes):
            yield f"  note {number} answers {', '.join([*answers, 'saved'])}"
        for number, fate in enumerate(self.fates, 1):
            yield f"  run {number}: {fate}"


_ANSWERS = ("301", "301", "301", "500", "302", "garbage", "lost", "unsent", "broken", "202")
_PHASES = (Phase.BEFORE, Phase.TORN, Phase.AFTER)
_KINDS = (*[Kind.KILL] * 5, *[Kind.POWER] * 3, *[Kind.FULL] * 2, Kind.STALL)


def story_of(seed: int) -> Story:
    """The story of a seed."""
    dice = random.Random(seed)
    notes = tuple(
        tuple(dice.choices(_ANSWERS, k=dice.choice((0, 0, 0, 1, 1, 2, 5))))
        for _ in range(dice.randrange(1, 12))
    )
    fates = tuple(_fate(dice) for _ in range(dice.randrange(1, 5)))
    story = Story(
        seed,
        notes,
        fates,
        quota=dice.choice((0, 0, 0, dice.randrange(1, 6))),
        per_second=dice.choice((2, 20, 200)),
        workers=dice.choice((1, 3, 8)),
        sync=dice.random() < 0.2,
        bulk_after=dice.choice((0, 3, 1000)),
    )
    fates = tuple(_meddled_with(dice, fate) for fate in fates)
    return replace(story, fates=tuple(_rarely_meddled_with(dice, fate) for fate in fates))


def _meddled_with(dice: random.Random, fate: Fate) -> Fate:
    """The same, or what people do to a run instead."""
    fate = replace(fate, is_unread=dice.random() < 0.1)
    at, phase, draw = dice.randrange(1, 70), dice.choice((Phase.BEFORE, Phase.AFTER)), dice.random()
    if draw < 0.1:
        return replace(fate, fault=Fault(Kind.STALL, at, phase, dice.choice((30, 300))))
    if draw < 0.25:
        phase = phase if at % 3 else Phase.READING
        return replace(fate, fault=Fault(Kind.EDIT, at, phase, how=dice.choice(list(EDITS))))
    return fate


def _rarely_meddled_with(dice: random.Random, fate: Fate) -> Fate:
    """The same, or what was thought of later."""
    draw, fault = dice.random(), fate.fault
    if draw < 0.05:
        return replace(fate, stores=dice.choice(list(RARE_STORES)))
    if draw < 0.1 and fault is not None and fault.kind is Kind.EDIT:
        how = dice.choice(list(RARE_EDITS))
        return replace(fate, fault=replace(fault, how=how))
    return fate


def _fate(dice: random.Random) -> Fate:
    fate = _fate_of_run(dice)
    return replace(fate, stores=dice.choice(list(STORES))) if dice.random() < 0.1 else fate


def _fate_of_run(dice: random.Random) -> Fate:
    draw = dice.random()
    step = dice.choice((0, 0, 0, -3600, 30, 86_400))
    loses = dice.random() < 0.05
    rest = dice.choice((0.1, 0.1, 60.0))
    if draw < 0.1:
        at = dice.uniform(0, 3)
        return Fate(None, at, at + dice.uniform(0, 1), step, rest, loses)
    kind = dice.choice(_KINDS)
    length = {Kind.FULL: dice.randrange(1, 30), Kind.STALL: dice.choice((1, 200, 4000))}
    fault = Fault(kind, dice.randrange(1, 70), dice.choice(_PHASES), length.get(kind, 1))
    return Fate(fault, None, None, step, rest, loses)


def shrink(story: Story, fails: Callable[[Story], bool]) -> Story:
    """The shortest story found that still fails: without what it does not need."""
    while True:
        shorter = next((less for less in _shorter(story) if fails(less)), None)
        if shorter is None:
            return story
        story = shorter


def _shorter(story: Story) -> Iterator[Story]:
    for n in range(len(story.fates)):
        yield replace(story, fates=story.fates[:n] + story.fates[n + 1 :])
    for n in range(len(story.notes)):
        yield replace(story, notes=story.notes[:n] + story.notes[n + 1 :])
    for n, answers in enumerate(story.notes):
        for m in range(len(answers)):
            less = answers[:m] + answers[m + 1 :]
            yield replace(story, notes=(*story.notes[:n], less, *story.notes[n + 1 :]))
    if story.quota:
        yield replace(story, quota=0)
    if story.workers > 1:
        yield replace(story, workers=1)
