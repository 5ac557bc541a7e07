"""The net effect of a group of writes on invocations, computed before any row is written. Pure.

A write sees its invocation as the one before it left it, under the rules of the second line (the dispatcher refuses the
same before): what carries a fencing token other than the present one, or comes after the end, changes nothing. What a
group did to one invocation becomes one row, whatever the number of writes; decision 0006 tells why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import msgspec

from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind, InvocationState
from harvester.domain.payload.blobs import BlobRef
from harvester.store.writes.changes import CheckpointKept, Concluded, Granted, NewInvocation, Requeued, Started

InvocationWrite = NewInvocation | Granted | Started | CheckpointKept | Requeued | Concluded

_ACCEPTED, _LEASED, _RUNNING = InvocationState.ACCEPTED, InvocationState.LEASED, InvocationState.RUNNING
_ENDS = {InvocationState.SUCCEEDED: ActivationEnd.SUCCEEDED, InvocationState.FAILED: ActivationEnd.FAILED}


class Attempt(msgspec.Struct, gc=False):
    """What becomes of one activation: a new row or, with what is None staying, changes of the row that exists."""

    invocation_id: str
    fence: int
    started_at: float | None = None
    ended_at: float | None = None
    end: ActivationEnd | None = None
    checkpoints: int = 0
    checkpoint_at: float | None = None


class Life(msgspec.Struct, array_like=True, gc=False):
    """What becomes of one invocation. The first fields are read, in this order; an instant that is None stays."""

    invocation_id: str
    function_id: str
    state: InvocationState
    fence: int = 0
    pilot_id: str | None = None
    attempts: int = 0
    retries_used: int = 0
    deaths: int = 0
    has_checkpoint: int = 0  # 1 where its row in the table of checkpoints may exist
    # ---- not read
    checkpoint: tuple[int, int] = (0, 0)  # fencing token and number of the newest one; read where it is asked for
    is_new: bool = False  # of this group
    is_changed: bool = False
    was: InvocationState | None = None  # before the group; None where it was not there, or nothing has changed
    started_at: float | None = None
    ended_at: float | None = None
    checkpoint_at: float | None = None
    failure: Failure | None = None
    value: bytes | BlobRef | None = None
    kept: CheckpointKept | None = None  # the newest checkpoint, where it is of this group
    attempt: Attempt | None = None  # the present activation, where this group has touched it


class Folded(msgspec.Struct):
    """The net effect of a group: each row to be written, once."""

    inserted: list[tuple[NewInvocation, Life]] = []
    updated: list[Life] = []
    begun: list[tuple[Granted, Attempt]] = []  # new activations
    continued: list[Attempt] = []  # changes of activations that an earlier group began
    kept: list[CheckpointKept] = []
    dropped: list[str] = []  # invocations whose checkpoint goes
    demand: dict[str, list[int]] = {}  # function version -> change of what waits, of what is held


def known_before(writes: Iterable[InvocationWrite]) -> tuple[list[str], list[str]]:
    """Return the invocations that must be read before folding `writes`, and those whose checkpoint must be."""
    fresh: set[str] = set()
    older: dict[str, bool] = {}
    for write in writes:
        invocation_id = write.invocation_id
        if type(write) is NewInvocation and not write.is_again:
            fresh.add(invocation_id)
        elif invocation_id not in fresh:
            if type(write) is CheckpointKept:
                older[invocation_id] = True
            elif invocation_id not in older:
                older[invocation_id] = False
    return list(older), [name for name, asks in older.items() if asks]


def fold(writes: Iterable[InvocationWrite], lives: dict[str, Life]) -> Folded:
    """Return what `writes`, one after the other, make of `lives`: what `known_before` asked for, changed in place.

    An id that is accepted twice is inserted twice, and the database refuses the second, unless that one `is_again`.
    """
    folded = Folded()
    for write in writes:
        life = lives.get(write.invocation_id)
        if type(write) is NewInvocation:
            if life is None or not write.is_again:
                lives[write.invocation_id] = _insert(folded, write)
            continue
        if life is None:
            continue
        was = life.state
        if _change(folded, life, write) and not (life.is_changed or life.is_new):
            life.is_changed, life.was = True, was
            folded.updated.append(life)
    for _, life in folded.inserted:
        _settle(folded, life)
    for life in folded.updated:
        _settle(folded, life)
    return folded


def activation_end(write: Concluded) -> ActivationEnd:
    """Return how the activation that `write` ends has ended."""
    if write.failure is not None and write.failure.kind is FailureKind.POISON:
        return ActivationEnd.SLOT_DIED
    return _ENDS.get(write.state, ActivationEnd.CANCELLED)


def _change(folded: Folded, life: Life, write: Granted | Started | CheckpointKept | Requeued | Concluded) -> bool:
    """Change `life` as `write` says; return False where the rules refuse it and nothing has changed."""
    if type(write) is Granted:
        return _grant(folded, life, write)
    if type(write) is Started:
        return _start(folded, life, write)
    if type(write) is Concluded:
        return _conclude(folded, life, write)
    if type(write) is CheckpointKept:
        return _keep(folded, life, write)
    if type(write) is Requeued:
        return _requeue(folded, life, write)
    assert_never(write)


def _insert(folded: Folded, write: NewInvocation) -> Life:
    life = Life(write.invocation_id, write.function_id, _ACCEPTED, is_new=True)
    folded.inserted.append((write, life))
    return life


def _grant(folded: Folded, life: Life, write: Granted) -> bool:
    if life.state is not _ACCEPTED or write.fence <= life.fence:
        return False
    life.state, life.fence, life.pilot_id, life.attempts = _LEASED, write.fence, write.pilot_id, write.attempt
    life.attempt = Attempt(write.invocation_id, write.fence)
    folded.begun.append((write, life.attempt))
    return True


def _start(folded: Folded, life: Life, write: Started) -> bool:
    if life.state is not _LEASED or write.fence != life.fence:
        return False
    life.state = _RUNNING
    _begin(life, _present(folded, life), write.at)
    return True


def _keep(folded: Folded, life: Life, write: CheckpointKept) -> bool:
    # One that the pilot sent twice, or an older one, is not counted again.
    if not _is_held(life, write.fence) or (write.fence, write.seq) <= life.checkpoint:
        return False
    attempt = _present(folded, life)
    attempt.checkpoints += 1
    attempt.checkpoint_at = life.checkpoint_at = write.at
    life.checkpoint, life.kept = (write.fence, write.seq), write
    return True


def _requeue(folded: Folded, life: Life, write: Requeued) -> bool:
    if not _is_held(life, write.fence):
        return False
    attempt = _present(folded, life)
    attempt.ended_at, attempt.end = write.at, write.end
    life.state, life.pilot_id = _ACCEPTED, None
    life.retries_used, life.deaths = write.retries_used, write.deaths
    return True


def _conclude(folded: Folded, life: Life, write: Concluded) -> bool:
    # Under the present token, or with none where it waits or its user cancels it.
    state = life.state
    if state is not _RUNNING and state is not _LEASED and state is not _ACCEPTED:
        return False
    if write.fence != life.fence and (
        write.fence != 0 or (state is not _ACCEPTED and write.state is not InvocationState.CANCELLED)
    ):
        return False
    if state is not _ACCEPTED:
        attempt = _present(folded, life)
        attempt.ended_at, attempt.end = write.at, activation_end(write)
        if write.started_at is not None and state is _LEASED:
            _begin(life, attempt, write.started_at)
    life.state, life.ended_at, life.pilot_id, life.failure = write.state, write.at, None, write.failure
    if write.state is InvocationState.SUCCEEDED:
        life.value = write.value
    return True


def _is_held(life: Life, fence: int) -> bool:
    return life.fence == fence and (life.state is _RUNNING or life.state is _LEASED)


def _present(folded: Folded, life: Life) -> Attempt:
    """Return the present activation of a life that is held."""
    attempt = life.attempt
    if attempt is None or attempt.fence != life.fence:
        attempt = life.attempt = Attempt(life.invocation_id, life.fence)
        folded.continued.append(attempt)
    return attempt


def _begin(life: Life, attempt: Attempt, at: float) -> None:
    attempt.started_at = at
    if life.started_at is None:
        life.started_at = at


def _settle(folded: Folded, life: Life) -> None:
    """Add what follows from a life's last state: what its checkpoint becomes, what is counted for its function."""
    state, was = life.state, life.was
    is_waiting, is_held = state is _ACCEPTED, state is _LEASED or state is _RUNNING
    if not (is_waiting or is_held):
        if life.has_checkpoint:
            folded.dropped.append(life.invocation_id)
    elif life.kept is not None:
        folded.kept.append(life.kept)
    waiting = is_waiting - (was is _ACCEPTED)
    held = is_held - (was is _LEASED or was is _RUNNING)
    if waiting or held:
        counts = folded.demand.setdefault(life.function_id, [0, 0])
        counts[0] += waiting
        counts[1] += held
