"""What an answer does to the run, beside what becomes of its note: a value, and nothing else."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from harvester.model import SIMULATED_PREFIX, Answer, Fault, Job, Judgement, StopReason, Verdict
from harvester.rules.breaker import MOST_PROBES, Breaker, FirstAnswers
from harvester.rules.codes import ACCOUNT_WIDE, ENDPOINT_INVALID

# How the request id of a simulated answer begins, as JSON text.
_SIMULATED = b'"' + SIMULATED_PREFIX.encode()


class Reaction(Struct, frozen=True):
    """What is to be done about an answer.

    `stop` ends this run, `refused` that of every host: something is wrong with each request,
    whatever its token; `disable` takes this token out of use, and where it `is_shared` so do all
    others of its account. `slow_down` and `accepted` are for the rate; `warning` is to be told.
    """

    stop: tuple[StopReason, str] | None = None
    refused: str = ""
    disable: tuple[StopReason, str] | None = None
    is_shared: bool = False
    slow_down: bool = False
    accepted: bool = False
    warning: str = ""


_NONE, _ACCEPTED, _SLOW_DOWN = Reaction(), Reaction(accepted=True), Reaction(slow_down=True)


class RunHealth:
    """Follows the answers of a run in the order they come.

    `simulated` tells what OUTPUT holds, None while it is empty. `is_unproven` while no answer has
    told that a server is the simulator for which an OUTPUT of practice is right. `refused` are the
    jobs rejected while all answers said that the request is wrong; `advice` is what to do then, and
    `is_deprecated` tells of the endpoint. While `breaker` is tripped, only probes may be sent.
    """

    def __init__(
        self,
        *,
        simulated: bool | None = None,
        is_unproven: bool = False,
        advice: str = "",
        is_deprecated: bool = False,
    ) -> None:
        self._simulated = simulated
        self.breaker = Breaker()
        self.first_answers = FirstAnswers(is_deprecated=is_deprecated)
        self._advice = advice
        self._probe: int | None = None
        self._tripped_by = ""
        self.is_unproven = is_unproven
        self.refused: list[int] = []

    @property
    def is_single(self) -> bool:
        """Whether only one call at a time may be in flight."""
        return self.is_unproven or self.breaker.is_tripped

    def mark_sent(self, job: Job) -> None:
        """Take note of a call that is sent: it may be a probe."""
        if self.breaker.is_tripped:
            self._probe = job.seq

    def checked(self, judgement: Judgement) -> Judgement:
        """Returns the same, unless it would mix simulated and real notes: then a stop.

        Only an answer tells whether a server on this machine is a simulator.
        """
        if judgement.verdict is not Verdict.SAVE:
            return judgement
        simulated = judgement.request_id.startswith(_SIMULATED)
        if self._simulated is None:
            self._simulated = simulated
        if simulated == self._simulated:
            self.is_unproven = False
            return judgement
        came, held = ("simulated", "real") if simulated else ("real", "simulated")
        reason = f"OUTPUT holds {held} notes, and this answer is a {came} one"
        return replace(
            judgement,
            verdict=Verdict.STOP,
            reason=reason,
            stop=StopReason.INPUT,
            unanswered=True,
        )

    def react(self, job: Job, answer: Answer, judgement: Judgement) -> Reaction:
        """Returns what an answer does to the run."""
        reaction = _NONE
        if judgement.verdict is Verdict.SLOW_DOWN:
            reaction = _SLOW_DOWN
        elif answer.fault is None:
            reaction = _ACCEPTED
        if answer.fault is None:
            self._see_first(job, judgement)
            if complaint := self.first_answers.complaint:
                reaction = replace(reaction, refused=self._advised(complaint))
        if judgement.stop is not None:
            reaction = self._stopping(reaction, judgement, judgement.stop)
        if answer.fault in (Fault.CLOSED, Fault.RESET):
            return reaction
        return self._see(job, judgement, reaction)

    def _see_first(self, job: Job, judgement: Judgement) -> None:
        self.first_answers.see(judgement)
        if judgement.verdict is Verdict.REJECT and self.first_answers.is_watching:
            self.refused.append(job.seq)

    def _see(self, job: Job, judgement: Judgement, reaction: Reaction) -> Reaction:
        """Let the breaker see it."""
        breaker, is_probe = self.breaker, job.seq == self._probe
        was_tripped = breaker.is_tripped
        breaker.see(job.seq, judgement.verdict, probe=is_probe, again=any(job.failures_by_cause))
        if breaker.is_spent:
            failed = f"{breaker.failed_probes} probes in a row failed"
            stop = StopReason.UPSTREAM, f"{self._tripped_by}; {failed}"
            return replace(reaction, stop=stop)
        if breaker.is_tripped and not was_tripped:
            self._tripped_by = f"the answers of many notes in a row say: {judgement.reason}"
            pause = f"the run pauses, tries with one call at a time, and ends if {MOST_PROBES} fail"
            return replace(reaction, warning=f"{self._tripped_by}: {pause}")
        return reaction

    def _stopping(self, reaction: Reaction, judgement: Judgement, stop: StopReason) -> Reaction:
        reason = judgement.reason
        if stop is StopReason.INPUT:
            text = f"{reason}: choose another --output. What came is kept in OUTPUT.unread.jsonl."
            return replace(reaction, stop=(stop, text))
        # It is the place that is wrong, whatever the token.
        if judgement.is_redirect:
            return replace(reaction, refused=reason)
        if judgement.code == ENDPOINT_INVALID:
            return replace(reaction, refused=self._advised(reason))
        is_shared = judgement.code in ACCOUNT_WIDE
        return replace(reaction, disable=(stop, reason), is_shared=is_shared)

    def _advised(self, complaint: str) -> str:
        return f"{complaint}; {self._advice}" if self._advice else complaint
