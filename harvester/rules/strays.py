"""Tells the refusals of a limit from those that come at any pace.

A limit refuses more and more of the calls above it, and none below. So it takes several refusals
among the latest answers to drop; where drops follow one another, a much slower pace is tried, and
if nearly as many are refused there, that share is usual from then on, and it takes more than that.
"""

from __future__ import annotations

import math
from collections import deque

from msgspec import Struct

# Refusals are held against the latest so many answers; before there were as many, each one counts.
_WINDOW = 100
# So many refusals within a window are a limit, and more where more are usual: with that many
# standard deviations of a Poisson distribution above, one window in some hundred misleads.
_LEAST, _DEVIATIONS = 2, 2.5
# After so many drops, over at least and at most so many answers and to this share of the pace, a
# slower one is tried: this share of the fastest that was refused, at most this one of the present.
_DROPS, _LEAST_APART, _MOST_APART, _FALLEN = 3, 30, 600, 0.6
_TRIED, _LESS = 0.4, 0.9
# It is tried until so many calls were refused, or answered.
_ENOUGH_REFUSED, _ENOUGH_ANSWERS = 3, 200
# Strays refuse there more than this part of the share that was refused before, and a smaller share
# than this one, which is told after so many answers.
_ALIKE, _MOST_STRAYS, _LEAST_TRIED = 0.4, 0.2, 20
# How many answers the share of lone refusals below what was sustained is taken over.
_FEW, _MEMORY = 200, 2000


class _Drop(Struct, frozen=True):
    """How many answers there had been, how many of them refused, and the pace that was refused."""

    answers: int
    refused: int
    rate: float


class Strays:
    """Told of every answer; paces are calls a second.

    `trial` is the pace to try now, if any; `proven` is, after a trial that has just ended, the pace
    that the refusals turned out not to depend on, if they do not.
    """

    def __init__(self) -> None:
        self._answers = self._refused = 0
        self._below, self._usual = 0, 0.0
        self._latest: deque[tuple[int, bool]] = deque()
        self._drops: deque[_Drop] = deque()
        self.trial: float | None = None
        self.proven: float | None = None

    def accept(self, *, is_below: bool) -> None:
        """Take note of an accepted call; `is_below` tells that such a pace was sustained before."""
        self._count(0)
        self._learn(0, is_below=is_below)

    def refuse(self, rate: float, *, is_below: bool) -> float | None:
        """Take note of a refused call; gives the share refused of the latest, if it is a limit's.

        `rate` is the pace now. None where it may well be a stray.
        """
        is_trial = self.trial is not None
        self._count(1)
        while self._latest and self._latest[0][0] <= self._answers - _WINDOW:
            self._learn(1, is_below=self._latest.popleft()[1])
        self._latest.append((self._answers, is_below))
        many = len(self._latest)
        is_new = self._answers <= _WINDOW and not self._usual
        if is_trial or (not is_new and many < self._enough()):
            return None
        # A limit that has moved refuses many at once below what was sustained: they count as one.
        self._learn(1, is_below=is_below and self._answers > _WINDOW)
        self._latest.clear()
        self._drop(rate)
        return (many - 1) / _WINDOW

    def _count(self, refused: int) -> None:
        self._answers += 1
        self._refused += refused
        self.proven = None
        if self.trial is not None:
            self._judge()

    def _learn(self, refused: int, *, is_below: bool) -> None:
        if is_below:
            self._below += 1
            self._usual += (refused - self._usual) / min(max(self._below, _FEW), _MEMORY)

    def _enough(self) -> int:
        expected = self._usual * _WINDOW
        return _LEAST + int(expected + _DEVIATIONS * math.sqrt(expected))

    def _drop(self, rate: float) -> None:
        """Take note of a drop, and begin a trial if there were several."""
        drops = self._drops
        while drops and drops[0].answers <= self._answers - _MOST_APART:
            drops.popleft()
        drops.append(_Drop(self._answers, self._refused, rate))
        fastest = max(drop.rate for drop in drops)
        among = self._answers - drops[0].answers
        if len(drops) >= _DROPS and among >= _LEAST_APART and rate < _FALLEN * fastest:
            self.trial = min(_LESS * rate, _TRIED * fastest)

    def _judge(self) -> None:
        """End the trial if it shows enough."""
        first, last = self._drops[0], self._drops[-1]
        answers, refused = self._answers - last.answers, self._refused - last.refused
        share = refused / answers
        if share > _MOST_STRAYS:
            if answers >= _LEAST_TRIED:
                self._end(None)
        elif refused >= _ENOUGH_REFUSED or answers >= _ENOUGH_ANSWERS:
            before = (last.refused - first.refused) / (last.answers - first.answers)
            if refused >= _ENOUGH_REFUSED and share > _ALIKE * before:
                self._usual = share
                self._end(max(drop.rate for drop in self._drops))
            else:
                self._end(None)

    def _end(self, proven: float | None) -> None:
        self.trial, self.proven = None, proven
        self._drops.clear()
        self._latest.clear()
