"""Looks: when the daemon asks the scheduler, and why. Every look has a cause, and all commands share a budget.

Pure. Owns the causes, the clocks and the token bucket. Knows no command: whoever asks counts what it has sent.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import timedelta
from enum import StrEnum

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, WaitsFor

_OLD_S = 1.0  # work that waited for less is served by the pilots that are there
_A_LOOK = 2.0  # commands


class Cause(StrEnum):
    """Why the daemon looks."""

    START = "the daemon has started"
    ADMIN = "an admin has said something"
    EVICTION = "pilots have left for a prime job: does it run?"
    DUE = "the plan wanted a look now"
    CONTENTION = "prime jobs wait, and pilots may be in their way"
    WORK = "work waits that no pilot can take"
    CLOCK = "the clock"


_UNBUDGETED = frozenset({Cause.START, Cause.ADMIN, Cause.CONTENTION, Cause.EVICTION})
"""Causes that cannot wait: an admin's word, and prime jobs."""


class LookKind(StrEnum):
    """How much is asked."""

    FULL = "full"  # nodes and batch jobs
    GLANCE = "glance"  # which batch jobs pend and run, and no more of them: one command


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A look that should be taken now."""

    kind: LookKind
    cause: Cause


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a look or a glance shows of prime jobs."""

    waiting: frozenset[str] = frozenset()  # ids of those that wait for nodes, or for what we do not know
    alive: frozenset[str] = frozenset()  # ids of all that have not ended

    def asks_for_a_look(self, before: Sight) -> bool:
        """Return whether prime jobs may want other nodes than when `before` was seen.

        One has come, or waits no longer; or one waits, and another has ended whose nodes it may want beside ours.
        """
        return self.waiting != before.waiting or bool(self.waiting and before.alive - self.alive)


def sight(batch_jobs: Iterable[BatchJob], ours: Container[str]) -> Sight:
    """Return what can be seen of prime jobs. `ours`: names and ids of batch jobs that are pilots."""
    primes = [
        batch for batch in batch_jobs if not (batch.state.is_ended or batch.name in ours or batch.batch_job_id in ours)
    ]
    waiting = (
        batch.batch_job_id
        for batch in primes
        if batch.state is BatchState.PENDING and batch.waits_for is not WaitsFor.OTHER
    )
    return Sight(waiting=frozenset(waiting), alive=frozenset(batch.batch_job_id for batch in primes))


class LookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often the scheduler may be asked. The defaults suit one that costs nothing: a look whenever somebody asks."""

    rest: timedelta = timedelta(0)  # between two looks while there are neither pilots nor work
    busy: timedelta = timedelta(0)  # while there are
    again: timedelta = timedelta(seconds=2)  # between two looks for work
    glance: timedelta | None = None  # between two glances while pilots are there; None: the mode needs none
    per_minute: float | None = None  # commands on average; None: no budget
    burst: float = 4.0  # commands that may be saved up


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A token bucket over commands."""

    tokens: float
    at: float

    def spent(self, commands: int, now: float, settings: LookSettings) -> Bucket:
        """Return the bucket at `now`, after so many commands were sent since it was last asked."""
        rate = (settings.per_minute or 0.0) / 60
        tokens = min(settings.burst, self.tokens + max(0.0, now - self.at) * rate) - commands
        return Bucket(tokens=max(tokens, 0.0), at=now)  # many submissions at once must not blind us for long


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known without asking the scheduler."""

    pilots: int  # that have not ended
    waiting: int  # invocations
    oldest_s: float = 0.0  # how long the first of them has waited
    said_at: float = 0.0  # when an admin last said something
    eviction_at: float | None = None  # when it should be looked how an eviction goes


class LookState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered from look to look."""

    looked_at: float | None = None
    glanced_at: float = 0.0
    waiting: int = 0  # invocations at the last look
    due_at: float | None = None  # when the plan wants the next look
    bucket: Bucket | None = None

    def looked(self, facts: Facts, now: float, *, due_at: float | None) -> LookState:
        """Return the pace after a full look at `now`. `due_at`: when the plan wants the next one, if it does."""
        return msgspec.structs.replace(self, looked_at=now, glanced_at=now, waiting=facts.waiting, due_at=due_at)

    def glanced(self, now: float) -> LookState:
        """Return the pace after a glance at `now`."""
        return msgspec.structs.replace(self, glanced_at=now)

    def spent(self, commands: int, now: float, settings: LookSettings) -> LookState:
        """Return the pace after so many commands were sent since the last call."""
        if settings.per_minute is None:
            return self
        before = self.bucket or Bucket(tokens=settings.burst, at=now)
        return msgspec.structs.replace(self, bucket=before.spent(commands, now, settings))


def wanted(pace: LookState, facts: Facts, settings: LookSettings, now: float) -> Look | None:
    """Return the look to take now, None while nothing asks for one or the budget is spent."""
    cause = _cause(pace, facts, settings, now)
    if cause is not None and (cause in _UNBUDGETED or _has_tokens(pace, settings)):
        return Look(kind=LookKind.FULL, cause=cause)
    if settings.glance is not None and facts.pilots and now - pace.glanced_at >= settings.glance.total_seconds():
        return Look(kind=LookKind.GLANCE, cause=Cause.CLOCK)
    return None


def _has_tokens(pace: LookState, settings: LookSettings) -> bool:
    return settings.per_minute is None or pace.bucket is None or pace.bucket.tokens >= _A_LOOK


def _cause(pace: LookState, facts: Facts, settings: LookSettings, now: float) -> Cause | None:
    if pace.looked_at is None:
        return Cause.START
    since = now - pace.looked_at
    if facts.said_at > pace.looked_at:
        return Cause.ADMIN
    if facts.eviction_at is not None and now >= facts.eviction_at > pace.looked_at:
        return Cause.EVICTION
    if pace.due_at is not None and now >= pace.due_at:
        return Cause.DUE
    is_unserved = facts.waiting > pace.waiting and (not facts.pilots or facts.oldest_s >= _OLD_S)
    if is_unserved and since >= settings.again.total_seconds():
        return Cause.WORK
    clock = settings.busy if facts.pilots or facts.waiting else settings.rest
    return Cause.CLOCK if since >= clock.total_seconds() else None
