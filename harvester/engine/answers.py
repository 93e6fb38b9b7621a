"""Judges what comes back, has it recorded, and lets it act on the run."""

from __future__ import annotations

from functools import partial

from harvester.engine.clients import TokenClient, TokenPool
from harvester.engine.ports import CallFinished, Notice, Ports
from harvester.engine.recorder import Recorder
from harvester.engine.state import RunState
from harvester.model import Answer, Job, Judgement, Outcome, Verdict
from harvester.output.lines import make_line
from harvester.output.unread import make_unread
from harvester.rules.codes import CHARGED
from harvester.rules.health import Reaction
from harvester.rules.outcomes import saved, unsaved
from harvester.rules.retry_after import parse_retry_after
from harvester.rules.verdicts import judge

# Judging more than this could hold the event loop up for longer than a turn.
_LARGE_BODY = 256 << 10


class AnswerHandler:
    """What becomes of each answer, whatever client it came by."""

    def __init__(self, ports: Ports, state: RunState, pool: TokenPool, recorder: Recorder) -> None:
        self._ports = ports
        self._state = state
        self._pool = pool
        self._recorder = recorder
        self._retry_limits = ports.config.retry_limits

    @property
    def room(self) -> int:
        """For how many answers there is room, though OUTPUT should fail."""
        return self._recorder.room

    async def take(self, client: TokenClient, job: Job, answer: Answer) -> None:
        """Take the answer to a call."""
        try:
            self._complete(client, job, answer, await self._judged(client, answer))
        except BaseException:
            # What is not recorded gives its room back here: others wait for it.
            answer.release()
            raise

    async def _judged(self, client: TokenClient, answer: Answer) -> Judgement:
        is_first = not self._state.answered
        judged = partial(judge, answer, client.redaction.said, is_first=is_first)
        if len(answer.body or b"") <= _LARGE_BODY:
            return judged()
        # One at a time: what JSON unfolds to can be thirty times as long.
        return await self._ports.reading.run(judged)

    def _complete(
        self, client: TokenClient, job: Job, answer: Answer, judgement: Judgement
    ) -> None:
        state = self._state
        judgement = state.health.checked(judgement)
        outcome = self._outcome(client, job, answer, judgement)
        state.completed(outcome, judgement, is_fault=answer.fault is not None)
        self._recorder.put(outcome)
        client.reserve(-1)
        self._apply(state.health.react(job, answer, judgement), client, answer)
        if state.is_observed:
            self._tell(job, answer, judgement)

    def _outcome(
        self, client: TokenClient, job: Job, answer: Answer, judgement: Judgement
    ) -> Outcome:
        # To the millisecond, as its line tells it: by that the line is known again.
        now = int(self._ports.clock() * 1000) / 1000
        if judgement.verdict is Verdict.SAVE:
            line = make_line(job, judgement, self._ports.config.endpoint, now)
            return saved(job, answer, judgement, client.redaction.line(line), now)
        unread = None
        if judgement.unanswered and answer.body:
            text = "answers that cannot be used may be charged: kept in OUTPUT.unread.jsonl"
            self._state.emit_once("unread", text)
            unread = client.redaction.line(make_unread(job, answer, judgement, now))
        return unsaved(job, answer, judgement, self._retry_limits, self._ports.jitter, unread)

    def _apply(self, reaction: Reaction, client: TokenClient, answer: Answer) -> None:
        """Do what an answer asks for: the one place where it acts on the run."""
        if reaction.accepted:
            client.throttle.go_on(answer.elapsed)
        elif reaction.slow_down:
            wait = parse_retry_after(answer.retry_after, self._ports.clock(), answer.date)
            self._pool.slow_down(client, wait, answer.elapsed)
        if reaction.disable is not None:
            self._pool.disable(client, *reaction.disable, is_shared=reaction.is_shared)
        elif reaction.accepted:
            client.believe()
        if reaction.refused:
            self._pool.refuse(reaction.refused)
        if reaction.stop is not None:
            self._state.stop(*reaction.stop)
        if reaction.warning:
            self._state.emit(Notice("breaker", reaction.warning))

    def _tell(self, job: Job, answer: Answer, judgement: Judgement) -> None:
        self._state.emit(
            CallFinished(
                job.note_id,
                judgement.verdict.value,
                judgement.code,
                judgement.reason,
                job.attempts + 1,
                answer.elapsed,
                charged=judgement.code in CHARGED and not judgement.unanswered,
                unanswered=judgement.unanswered,
            )
        )
