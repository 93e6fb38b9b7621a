"""Sends claimed jobs as the turns of a lane come, and judges what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from harvester.config import RunConfig
from harvester.descriptors import few_descriptors
from harvester.engine.audience import Audience
from harvester.engine.feeder import Feeder
from harvester.engine.lane import Lane, Lanes
from harvester.engine.ports import CallFinished, Notice, Ports
from harvester.engine.progress import Progress
from harvester.engine.recorder import Recorder
from harvester.engine.stop import Stop
from harvester.errors import HarvesterError
from harvester.model import (
    SIMULATED_PREFIX,
    Answer,
    Fault,
    Job,
    Judgement,
    Outcome,
    StopReason,
    Verdict,
)
from harvester.output.lines import make_line
from harvester.output.unread import make_unread
from harvester.rules.backoff import backoff_delay
from harvester.rules.breaker import Breaker, FirstAnswers
from harvester.rules.budget import calls_allowed, is_reached
from harvester.rules.outcomes import saved, unsaved
from harvester.rules.retry_after import parse_retry_after
from harvester.rules.verdicts import judge
from harvester.threads import died

# In flight at most, where the user names no number: rate times latency, up to this.
_MOST_WORKERS = 1024
# Judging more than this could hold the event loop up for longer than a turn.
_LARGE_BODY = 256 << 10
_LARGEST_BATCH = 64
# With all workers busy, those that land within so many seconds go out again together: recording
# one departure costs as much as recording twenty.
_TOGETHER = 0.001
# How the request id of a simulated answer begins, as JSON text.
_SIMULATED = b'"' + SIMULATED_PREFIX.encode()
# A descriptor of our own is waited for so many seconds before its note is sent again.
_TILL_ONE_IS_FREE = 0.2


class Watch(Struct):
    """What the callers of all lanes share: the rules that watch the answers, in their order.

    `refused` are the jobs rejected while all answers were code 400, `probing` is the job whose call
    is a probe, `tripped_by` is what tripped the breaker, `landed` is set whenever a call has ended
    or its answer is written, `is_short` once there were too few descriptors for all connections,
    `is_full` once the disk had too little room for the answers of all calls, `simulated` what
    OUTPUT holds, None while it is empty, `is_unproven` while no answer has told that a server is
    the simulator for which an OUTPUT of practice is right.
    """

    breaker: Breaker = field(default_factory=Breaker)
    first_answers: FirstAnswers = field(default_factory=FirstAnswers)
    refused: list[int] = field(default_factory=list)
    probing: int | None = None
    is_unread_told: bool = False
    tripped_by: str = ""
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    is_short: bool = False
    is_full: bool = False
    simulated: bool | None = None
    is_unproven: bool = False
    # One at a time: what JSON unfolds to can be thirty times as long.
    judging: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


class Caller:
    """The calls of one lane: one task takes the turns and records departures; workers call."""

    def __init__(
        self,
        lane: Lane,
        lanes: Lanes,
        watch: Watch,
        ports: Ports,
        progress: Progress,
        feeder: Feeder,
        recorder: Recorder,
        stop: Stop,
        audience: Audience,
        config: RunConfig,
        lease: float,
    ) -> None:
        self._lane = lane
        self._lanes = lanes
        self._pace = lane.pace
        self._watch = watch
        self._ports = ports
        self._progress = progress
        self._feeder = feeder
        self._recorder = recorder
        self._stop = stop
        self._audience = audience
        self._config = config
        self._limits = config.limits
        self._retry_limits = config.retry_limits
        self._lease = lease
        self._most = min(config.workers or _MOST_WORKERS, lane.most)
        self._sent: asyncio.Queue[Job | None] = asyncio.Queue()
        self._workers = 0
        self._gate = asyncio.Lock()

    # Sending

    async def send(self, group: asyncio.TaskGroup) -> None:
        """Send claimed jobs until cancelled, or the lane rests; workers belong to the group."""
        try:
            while self._lane.resting is None:
                await self._permission()
                await self._pace.turn()
                # Not sooner: a note in hand is one that no other lane can send.
                batch = await self._gather(await self._feeder.take())
                await self._depart(batch, group)
        except Exception as error:  # noqa: BLE001 - what is in flight is to be saved
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Stop; what was sent and does not land is given back as unanswered in the end."""
        told = error if isinstance(error, HarvesterError) else died(error)
        self._stop.set(StopReason.LOCAL_IO, str(told))
        self._watch.landed.set()

    async def _permission(self) -> None:
        """Wait until the run may start a call."""
        landed = self._watch.landed
        while True:
            landed.clear()
            self._note_limit()
            if self._watch.breaker.is_tripped and not self._progress.busy:
                await self._before_probe()
            if self._room() > 0:
                return
            self._tell_full()
            await landed.wait()
            if self._most - self._lane.flying < self._most // 4:
                await asyncio.sleep(_TOGETHER)

    def _room(self) -> int:
        """How many calls may start at this moment."""
        progress = self._progress
        busy = progress.busy
        room = min(self._most - self._lane.flying, self._recorder.room - busy)
        allowed = calls_allowed(self._limits, progress.spent, busy, progress.departing)
        if allowed is not None:
            room = min(room, allowed)
        is_single = self._watch.breaker.is_tripped or self._watch.is_unproven
        return min(room, 1 - busy) if is_single else room

    def _tell_full(self) -> None:
        """Say once where it is the disk that allows no more calls."""
        calls = self._ports.sink.calls
        if self._watch.is_full or calls >= self._most or self._progress.busy < calls:
            return
        self._watch.is_full = True
        text = (
            f"the disk has little room left: {calls} answers could be kept beside OUTPUT, should "
        )
        text += "it take none, so no more calls are in flight at once: make room"
        self._audience.tell(Notice("disk", text))

    def _note_limit(self) -> None:
        name = is_reached(self._limits, self._progress.spent)
        if name is not None:
            self._stop.set(StopReason.LIMIT, f"{name} is reached")

    async def _before_probe(self) -> None:
        """With the breaker tripped, one call at a time after a growing pause."""
        failed = self._watch.breaker.failed_probes
        delay = backoff_delay(failed + 1, self._retry_limits, self._ports.jitter)
        self._audience.tell(Notice("probe", f"upstream is failing: probing in {delay:.1f} s"))
        await asyncio.sleep(delay)

    async def _gather(self, first: Job) -> list[Job]:
        """All jobs whose turns have come, so that one commit serves them all.

        None where another lane has taken what was allowed in the meantime.
        """
        if self._room() <= 0 or self._lane.resting is not None or self._pace.is_paused:
            self._feeder.put_back(first)
            return []
        batch = [first]
        self._reserve(1)
        while (
            len(batch) < _LARGEST_BATCH
            and self._feeder.has_more
            and self._room() > 0
            and await self._pace.try_turn()
        ):
            batch.append(await self._feeder.take())
            self._reserve(1)
        return batch

    def _reserve(self, calls: int) -> None:
        """Count calls that are about to be sent, so that no lane takes their room."""
        self._progress.departing += calls
        self._lane.flying += calls

    async def _depart(self, batch: list[Job], group: asyncio.TaskGroup) -> None:
        """Record the calls before they are sent, then let workers send them."""
        if not batch:
            return
        held: list[Job] = []
        try:
            held = await self._ports.thread.run(self._ports.ledger.depart, batch, self._lease)
        finally:
            self._reserve(len(held) - len(batch))
        self._recorder.touch()
        for job in set(batch).difference(held):
            self._progress.given_back(job)
        for job in held:
            self._hand_over(job, group)

    def _hand_over(self, job: Job, group: asyncio.TaskGroup) -> None:
        if self._watch.breaker.is_tripped:
            self._watch.probing = job.seq
        if self._workers < self._lane.flying:
            self._workers += 1
            group.create_task(self._work())
        self._sent.put_nowait(job)

    def dismiss(self) -> None:
        """Let the workers go once their calls have landed."""
        for _ in range(self._workers):
            self._sent.put_nowait(None)

    # Answers

    async def _work(self) -> None:
        while (job := await self._sent.get()) is not None:
            try:
                await self._call(job)
            except Exception as error:  # noqa: BLE001 - what others have in hand is to be saved
                self._fail(error)

    async def _call(self, job: Job) -> None:
        answer = await self._lane.fetcher.fetch(job.note_id, partial(self._start, job))
        if answer is None or answer.fault is Fault.NO_DESCRIPTOR:
            await self._take_back(job, answer)
            return
        if job.seq not in self._progress.flying:  # there was no connection to start it on
            self._progress.sent(job)
        try:
            self._land(job, answer, self._of_kind(await self._judged(answer)))
        except BaseException:
            # What is not recorded gives its room back here: others wait for it.
            answer.release()
            raise

    async def _judged(self, answer: Answer) -> Judgement:
        is_first = not self._progress.answered
        judged = partial(judge, answer, self._lane.redaction.said, is_first=is_first)
        if len(answer.body or b"") <= _LARGE_BODY:
            return judged()
        async with self._watch.judging:
            return await asyncio.to_thread(judged)

    def _of_kind(self, judgement: Judgement) -> Judgement:
        """The same, unless it would mix simulated and real notes: then the run stops.

        Only an answer tells whether a server on this machine is a simulator.
        """
        if judgement.verdict is not Verdict.SAVE:
            return judgement
        simulated = judgement.request_id.startswith(_SIMULATED)
        if self._watch.simulated is None:
            self._watch.simulated = simulated
        if simulated == self._watch.simulated:
            self._watch.is_unproven = False
            return judgement
        came, held = ("simulated", "real") if simulated else ("real", "simulated")
        reason = f"OUTPUT holds {held} notes, and this answer is a {came} one"
        self._stop.set(
            StopReason.INPUT,
            f"{reason}: choose another --output. What came is kept in OUTPUT.unread.jsonl.",
        )
        return replace(judgement, verdict=Verdict.STOP, reason=reason, unanswered=True)

    async def _start(self, job: Job, is_fit: Callable[[], bool]) -> bool | None:
        """Wait until the window allows the call; gives whether it may still be sent then.

        None where its connection is not fit any more: a turn is for a call that goes out at once.
        """
        async with self._gate:
            while not (self._stop.is_set or self._lane.resting or self._pace.is_paused):
                if not is_fit():
                    return None
                delay = self._pace.start()
                if not delay:
                    self._progress.sent(job)
                    return True
                await self._stop.wait_at_most(delay)
        return False

    async def _take_back(self, job: Job, answer: Answer | None) -> None:
        """Put a job back that was not sent."""
        if answer is not None:
            self._most = max(1, min(self._most, self._lane.flying - 1))
            if not self._watch.is_short:
                self._watch.is_short = True
                self._audience.tell(Notice("few descriptors", few_descriptors(self._most)))
            await self._stop.wait_at_most(_TILL_ONE_IS_FREE)
        self._reserve(-1)
        await self._ports.thread.run(self._ports.ledger.release, [job])
        self._progress.given_back(job)
        self._recorder.recorded.set()
        self._watch.landed.set()

    def _land(self, job: Job, answer: Answer, judgement: Judgement) -> None:
        outcome = self._outcome(job, answer, judgement)
        probe = self._watch.probing == job.seq
        self._progress.landed(outcome)
        self._recorder.put(outcome)
        self._lane.flying -= 1
        if answer.fault is None:
            self._progress.answered += not judgement.is_redirect
        else:
            self._progress.last_fault = judgement.reason
        self._heed(job, answer, judgement, probe=probe)
        self._watch.landed.set()
        if self._audience.is_there:
            self._tell(job, answer, judgement)

    def _tell(self, job: Job, answer: Answer, judgement: Judgement) -> None:
        self._audience.tell(
            CallFinished(
                job.note_id,
                judgement.verdict.value,
                judgement.code,
                judgement.reason,
                job.attempts + 1,
                answer.elapsed,
                charged=judgement.verdict is Verdict.SAVE,
                unanswered=judgement.unanswered,
            )
        )

    def _outcome(self, job: Job, answer: Answer, judgement: Judgement) -> Outcome:
        if judgement.verdict is Verdict.SAVE:
            now = self._ports.clock()
            line = make_line(job, judgement, self._config.endpoint, now)
            line = self._lane.redaction.line(line)
            return saved(job, answer, judgement, line, now)
        return unsaved(
            job,
            answer,
            judgement,
            self._retry_limits,
            self._ports.jitter,
            self._unread(job, answer, judgement),
        )

    def _unread(self, job: Job, answer: Answer, judgement: Judgement) -> bytes | None:
        """The line of an answer that may be paid for and cannot be used; said once."""
        if not (judgement.unanswered and answer.body):
            return None
        if not self._watch.is_unread_told:
            self._watch.is_unread_told = True
            text = "answers that cannot be used may be charged: kept in OUTPUT.unread.jsonl"
            self._audience.tell(Notice("unread", text))
        line = make_unread(job, answer, judgement, self._ports.clock())
        return self._lane.redaction.line(line)

    def _heed(self, job: Job, answer: Answer, judgement: Judgement, *, probe: bool) -> None:
        """Let the answer act on the run: stop it, slow it down, trip or close the breaker."""
        if judgement.stop is not None and judgement.is_redirect:
            # It is the place that is wrong, whatever the token.
            self._lanes.refuse(judgement.reason)
        elif judgement.stop is not None:
            self._lanes.rest(self._lane, judgement.stop, judgement.reason)
        if judgement.verdict is Verdict.SLOW_DOWN:
            self._slow_down(answer)
        elif answer.fault is None:
            self._pace.go_on(answer.elapsed)
        if answer.fault is None:
            self._watch_first(job, judgement)
        if answer.fault in (Fault.CLOSED, Fault.RESET):
            self._progress.closed += 1
            return
        breaker = self._watch.breaker
        breaker.see(job.seq, judgement.verdict, probe=probe, again=any(job.tries))
        if breaker.is_spent:
            failed = f"{breaker.failed_probes} probes in a row failed"
            self._stop.set(StopReason.UPSTREAM, f"{self._watch.tripped_by}; {failed}")
        elif breaker.is_tripped and not probe:
            text = f"the answers of many notes in a row say: {judgement.reason}"
            self._watch.tripped_by = text
            self._audience.tell(Notice("breaker", text))

    def _watch_first(self, job: Job, judgement: Judgement) -> None:
        watch = self._watch
        watch.first_answers.see(judgement.code)
        if judgement.verdict is Verdict.REJECT and watch.first_answers.is_watching:
            watch.refused.append(job.seq)
        if watch.first_answers.is_suspicious:
            self._lanes.refuse("the first answers all say 400: the request itself is wrong")

    def _slow_down(self, answer: Answer) -> None:
        self._progress.slow_downs += 1
        wait = parse_retry_after(answer.retry_after, self._ports.clock(), answer.date)
        if self._pace.slow_down(wait, answer.elapsed):
            self._lanes.slow_down(self._lane, wait)
            self._audience.tell(
                Notice("slow down", f"rate limit: {self._pace.per_second:.3g} calls/s from here")
            )
